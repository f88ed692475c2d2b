"""The command line: exit codes, streams, and what it may import; each kind once as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import CliResult

Run = Callable[..., CliResult]


def wattshed(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "energy.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_answers_with_its_exit_code() -> None:
    """As `run_cli` does in the process of the tests."""
    helped, wrong = wattshed("dispatch", "--help"), wattshed("dispatch")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Usage" in helped.stdout
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Usage" in wrong.stderr


@pytest.mark.parametrize(
    "arguments",
    [("dispatch",), ("dispatch", "--nonsense", "x"), ("nonsense",), ("demo", "--port", "0")],
)
def test_wrong_usage_is_bad_input(run_cli: Run, arguments: tuple[str, ...]) -> None:
    result = run_cli(*arguments)
    assert result.exit_code == 2
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
def test_every_command_has_help(run_cli: Run, command: str) -> None:
    result = run_cli(command, "--help")
    assert result.exit_code == 0
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
def test_operate_takes_an_instant_or_a_range(run_cli: Run, options: list[str]) -> None:
    result = run_cli("operate", "--city", "nowhere", *options)
    assert result.exit_code == 2
    assert "give either --now, or both --from and --to" in result.stderr
