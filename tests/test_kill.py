"""A process that is killed in the middle of a plan leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from energy.service.cities import init_city, open_city
from energy.store import Store

DAY = "2016-06-21"


def test_a_kill_in_the_middle_of_a_plan_leaves_nothing_half_written(home: Path, tmp_path: Path) -> None:
    directory, written = tmp_path / "city", tmp_path / "written"
    init_city(directory, "pandapower:case33bw")
    city = open_city(directory)
    written.mkdir()
    output = written / "plan.json"
    output.write_text("what was there before", encoding="utf-8")
    command = [sys.executable, "-c", "from energy.cli import main; main()", "plan"]
    arguments = ["--city", str(directory), "--day", DAY, "-o", str(output)]
    process = subprocess.Popen(
        [*command, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WATTSHED_HOME": str(home)},
    )
    assert process.stderr is not None
    began = time.monotonic()
    for line in process.stderr:
        if "AC power flow and carbon" in line:
            break
        assert time.monotonic() - began < 120, "the plan never came to its carbon"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stderr.close()

    assert output.read_text(encoding="utf-8") == "what was there before"
    assert [path.name for path in written.iterdir()] == ["plan.json"]
    store = Store.open(f"sqlite:///{home / 'store.db'}")
    assert store.plan(city.id, DAY) is None
    assert store.plans(city.id) == ()
    assert store.carry_over(city.id, "2016-06-22") is None
    store.close()
    assert open_city(directory).fingerprint == city.fingerprint
