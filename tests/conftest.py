"""Fixtures for all tests, and the rule of CI: nothing may be skipped for lack of a service."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


def need(available: bool, reason: str) -> None:
    """Skip with `reason` where something is not available; under CI=true, fail instead."""
    if available:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI=true allows no skip")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WATTSHED_HOME of its own for each test, so that no test sees another's store."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WATTSHED_HOME", str(path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return path


@dataclass(frozen=True)
class CliResult:
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def run_cli(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CliResult]:
    """Run ``wattshed ARGUMENTS`` in this process, through the same entry point as the command."""

    def run(*arguments: str, stdin: bytes | None = None) -> CliResult:
        from energy.cli import main

        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setattr("sys.argv", ["wattshed", *arguments])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capfdbinary.readouterr()
        code = stopped.value.code
        return CliResult(code if isinstance(code, int) else 1, captured.out.decode(), captured.err.decode())

    return run
