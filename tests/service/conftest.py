"""The reference city with a day-ahead plan, made once for all who go on from there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from energy.service.service import Service
from energy.store import Store

DAY_AHEAD = "2016-10-30"
"""An autumn Sunday of 100 quarter-hours: the clocks go back."""


@pytest.fixture(scope="session")
def planned_home(once: Callable[[str, Callable[[Path], None]], Path], reference_home: Path) -> Path:
    """A WATTSHED_HOME with the reference city and its day-ahead plan of `DAY_AHEAD`; copy it first."""
    from energy.app import open_service
    from energy.service.cities import reference_city_directory

    def plan(folder: Path) -> None:
        shutil.copytree(reference_home, folder, dirs_exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WATTSHED_HOME", str(folder))
            patch.delenv("DATABASE_URL", raising=False)
            service = open_service([reference_city_directory()])
            service.plan("reference", DAY_AHEAD, information="day-ahead")
            service.close()

    return once("planned", plan)


@pytest.fixture(scope="module")
def service(planned_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Another service than the one that planned the day: all it knows is in the store."""
    from energy.service.cities import open_city, reference_city_directory

    folder = shutil.copytree(planned_home, tmp_path_factory.mktemp("home"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(folder))
        store = Store.open(f"sqlite:///{folder / 'store.db'}")
        yield Service(store, [open_city(reference_city_directory())])
        store.close()
