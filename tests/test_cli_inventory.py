"""`wattshed inventory` as an officer calls it, on a copy of the reference city."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from energy.service.cities import reference_city_directory

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "inventory.csv"


def test_entries_are_stored_listed_and_refused(
    run_cli: Any, reference_home: Path, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(reference_home, home, dirs_exist_ok=True)
    city = shutil.copytree(reference_city_directory(), tmp_path / "city")
    stored = run_cli("inventory", "--city", str(city), "--set", str(EXAMPLE))
    assert stored.exit_code == 0, stored.stderr
    rows = json.loads(stored.stdout)["rows"]
    table = tmp_path / "entries.csv"
    listed = run_cli("inventory", "--city", str(city), "-o", str(table))
    assert listed.exit_code == 0, listed.stderr
    assert table.read_bytes() == (city / "inventory.csv").read_bytes()
    assert len(table.read_text("utf-8").splitlines()) == 1 + len(rows)

    table.write_text("reference,tonnes\nI.1.2,3\nI.1.1,-3\n", "utf-8")
    refused = run_cli("inventory", "--city", str(city), "--set", str(table), "--all")
    assert refused.exit_code == 2
    assert f"{table}: line 2, reference: the electricity of I.1.2" in refused.stderr
    assert f"{table}: line 3, tonnes: is negative" in refused.stderr
    assert json.loads(run_cli("inventory", "--city", str(city)).stdout)["rows"] == rows
    built_in = run_cli("inventory", "--city", str(reference_city_directory()), "--set", str(EXAMPLE))
    assert built_in.exit_code == 2
    assert "takes no entries; serve a copy" in built_in.stderr
