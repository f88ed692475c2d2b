"""Every folder with a ``case.toml`` under ``tests/cases`` or ``tests/bad_input`` tests the command line.

``case.toml``:

    title = "…"            # what it shows
    source = "…"           # where inputs and expectations come from, with licence
    command = ["carbon", "trace", "input.json"]   # arguments; names of files in the folder become paths
    exit_code = 0          # default 0
    tolerance = 1e-9       # default 1e-9; |value − expected| ≤ tolerance × max(1, |expected|)
    expected = "expected.json"   # subset of the answer: only what stands there is compared
    stderr = ["…"]         # each must stand in what is written to standard error
"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from energy.service.documents import ScheduleDocument

HERE = Path(__file__).parent
FOLDERS = sorted(path.parent for root in ("cases", "bad_input") for path in (HERE / root).rglob("case.toml"))
KEYS = {"title", "source", "command", "exit_code", "tolerance", "expected", "stderr"}


def differences(actual: Any, expected: Any, tolerance: float, path: str = "") -> list[str]:
    """Where `actual` lacks or contradicts what `expected` says."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [f"{path}: {actual!r} is no object"]
        found = []
        for key, value in expected.items():
            where = f"{path}.{key}" if path else key
            found += (
                differences(actual[key], value, tolerance, where) if key in actual else [f"{where}: missing"]
            )
        return found
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return [f"{path}: {actual!r} is no list of {len(expected)}"]
        return [
            difference
            for k, value in enumerate(expected)
            for difference in differences(actual[k], value, tolerance, f"{path}[{k}]")
        ]
    if isinstance(expected, float | int) and not isinstance(expected, bool):
        close = isinstance(actual, float | int) and abs(actual - expected) <= tolerance * max(
            1.0, abs(expected)
        )
        return [] if close else [f"{path}: {actual!r}, expected {expected!r} (tolerance {tolerance:g})"]
    return [] if actual == expected else [f"{path}: {actual!r}, expected {expected!r}"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(HERE)))
def test_case(folder: Path, tmp_path: Path, run_cli: Any) -> None:
    case = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
    assert set(case) <= KEYS, f"unknown keys in case.toml: {set(case) - KEYS}"
    assert "title" in case
    work = shutil.copytree(folder, tmp_path / "case")
    arguments = [str(work / part) if (folder / part).exists() else part for part in case["command"]]
    before = sorted(path.relative_to(work) for path in work.rglob("*"))

    result = run_cli(*arguments)

    assert result.exit_code == case.get("exit_code", 0), result.stderr
    for text in case.get("stderr", []):
        assert text in result.stderr
    if "expected" in case:
        expected = json.loads((folder / case["expected"]).read_text(encoding="utf-8"))
        assert differences(json.loads(result.stdout), expected, case.get("tolerance", 1e-9)) == []
    if case["command"][0] == "dispatch" and result.stdout:
        ScheduleDocument.model_validate_json(result.stdout)
    if case.get("exit_code", 0) == 2:
        assert result.stdout == ""
        assert sorted(path.relative_to(work) for path in work.rglob("*")) == before, "half-written output"
