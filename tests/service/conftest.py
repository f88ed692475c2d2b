"""The reference city with a day-ahead plan, made once for all who go on from there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
