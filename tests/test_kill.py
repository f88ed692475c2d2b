"""A process that is killed in the middle of a plan leaves nothing half-written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from energy.service.cities import open_city, reference_city_directory
from energy.store import Store

DAY = "2016-06-21"


def test_a_kill_in_the_middle_of_a_plan_leaves_nothing_half_written(
    reference_home: Path, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(reference_home, home, dirs_exist_ok=True)
    city = open_city(reference_city_directory())
    output = tmp_path / "plan.json"
    output.write_text("what was there before", encoding="utf-8")
    command = [sys.executable, "-c", "from energy.cli import main; main()", "plan"]
    arguments = ["--city", str(reference_city_directory()), "--day", DAY, "-o", str(output)]
    process = subprocess.Popen(
        [*command, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WATTSHED_HOME": str(home)},
    )
    assert process.stderr is not None
    began = time.monotonic()
    for line in process.stderr:
        if "round 2" in line:
            break
        assert time.monotonic() - began < 120, "the plan never came to its second round"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stderr.close()

    assert output.read_text(encoding="utf-8") == "what was there before"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    store = Store.open(f"sqlite:///{home / 'store.db'}")
    assert store.plan(city.id, DAY) is None
    assert store.plans(city.id) == ()
    assert store.carry_over(city.id, "2016-06-22") is None
    store.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(home))
        assert open_city(reference_city_directory()).fingerprint == city.fingerprint
