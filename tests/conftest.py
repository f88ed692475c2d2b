"""Fixtures for all tests, and the rule of CI: nothing may be skipped for lack of a service.

The tests run in one process or, with ``-n``, in several that share nothing but what `once` makes.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


LONGEST = (
    "browser/test_dashboard.py",
    "optimizer/test_random_problems.py",
    "service/reports/test_real_day.py",
    "test_deadlines.py",
    "service/test_planning.py",
    "service/test_operate.py",
    "service/test_days.py",
    "api/test_server.py",
    "service/test_cities.py",
    "service/test_coupling.py",
    "service/test_against_opf.py",
    "grid_models/test_twin.py",
    "test_cli.py",
)
"""Files that take the longest; the first two do not wait for each other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that two processes with a file each at a time end together."""
    places = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def need(available: bool, reason: str) -> None:
    """Skip with `reason` where something is not available; under CI=true, fail instead."""
    if available:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI=true allows no skip")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that nobody has used; ``mktemp`` would list all earlier ones for each."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in count())


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """WATTSHED_HOME of its own for each test, so that no test sees another's store."""
    path = next(homes)
    path.mkdir()
    monkeypatch.setenv("WATTSHED_HOME", str(path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """``once(name, make)``: a folder that `make` has filled once in this run, whichever process came first.

    Nobody writes into it later: a test works on a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        made, temporary = shared / name, shared / f"{name}.tmp"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                make(temporary)
                temporary.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def reference_home(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A WATTSHED_HOME in which the reference city is prepared; copy it before you use it."""
    from energy.service.cities import open_city, reference_city_directory

    def prepare(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WATTSHED_HOME", str(folder))
            open_city(reference_city_directory())

    return once("reference", prepare)


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
