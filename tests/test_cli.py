"""The command line as a process: exit codes, streams, and what it may import."""

from __future__ import annotations

import subprocess
import sys

import pytest


def wattshed(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "energy.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [("dispatch",), ("dispatch", "--nonsense", "x"), ("nonsense",), ("demo", "--port", "0")],
)
def test_wrong_usage_is_bad_input(arguments: tuple[str, ...]) -> None:
    result = wattshed(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        "dispatch",
        "grid",
        "carbon",
        "schema",
        "init",
        "check",
        "plan",
        "operate",
        "serve",
        "demo",
        "factors",
        "import",
    ],
)
def test_every_command_has_help(command: str) -> None:
    result = wattshed(command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize("arguments", [("dispatch", "-"), ("carbon", "trace", "-"), ("carbon", "tank", "-")])
def test_bad_input_is_reported_on_standard_error_alone(arguments: tuple[str, ...]) -> None:
    result = wattshed(*arguments, stdin='{"schema": NaN}')
    assert result.returncode == 2
    assert result.stdout == ""
    assert "NaN is not JSON" in result.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("optimizer", {"pandapower", "fastapi", "dash", "sqlalchemy"}),
        ("energy.cli", {"pandapower", "fastapi", "dash", "sqlalchemy", "pyomo", "numba", "pandas"}),
        ("energy.service.dispatch", {"pandapower", "fastapi", "dash", "sqlalchemy"}),
        ("energy.service.ledger", {"pandapower", "fastapi", "dash", "sqlalchemy", "pyomo"}),
    ],
)
def test_imports_stay_light(module: str, unwanted: set[str]) -> None:
    program = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--from", "2016-06-20"],
        ["--to", "2016-06-20"],
        ["--now", "2016-06-21T10:15+02:00", "--from", "2016-06-20", "--to", "2016-06-21"],
    ],
)
def test_operate_takes_an_instant_or_a_range(options: list[str]) -> None:
    result = wattshed("operate", "--city", "nowhere", *options)
    assert result.returncode == 2
    assert "give either --now, or both --from and --to" in result.stderr
