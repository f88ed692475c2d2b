"""Cities on disk: open (prepared once into the cache), check, scaffold.

A city is a directory with ``city.toml``; the reference city is merely one. pandapower is imported only
where a grid has to be read: opening a prepared city takes about a second.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from energy.domain.city import City
from energy.domain.errors import Fault, InputError
from energy.domain.progress import Progress, silent
from energy.feeds.city import CITY_FILE
from energy.feeds.city_cache import GRID_FILE, cache_folder, fingerprint, load_city, new_folder, save_city

if TYPE_CHECKING:
    from grid_models.sources import Grid
    from grid_models.twin import Twin


def reference_city_directory() -> Path:
    """The directory of the reference city that ships with Wattshed."""
    import grid_models

    return Path(grid_models.__file__).parent / "reference_city"


def open_city(directory: Path, progress: Progress = silent) -> City:
    """The city of `directory`, prepared into the cache on first use and after every change of a file.

    A cache that is damaged is made anew: all that it holds follows from the directory. Raises `InputError`
    with every fault of the directory; nothing is cached then.
    """
    directory = _city_directory(directory)
    mark = fingerprint(directory)
    folder = cache_folder(mark)
    if folder.is_dir():
        try:
            city = load_city(folder)
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            progress(0.0, f"the cache {folder} is damaged ({error}); preparing the city again")
            shutil.rmtree(folder)
    if not folder.is_dir():
        from energy.service.preparation import prepare_city
        from grid_models.elements import save_grid

        prepared, grid = prepare_city(directory, mark, progress)
        with new_folder(folder) as temporary:
            save_city(prepared, temporary)
            save_grid(grid, temporary / GRID_FILE)
        city = load_city(folder)
    progress(1.0, "city opened")
    return city


def city_grid(city: City) -> Grid:
    """The grid of an opened city, from the cache: no source has to be read or converted again."""
    from grid_models.elements import read_grid

    return read_grid(cache_folder(city.fingerprint) / GRID_FILE, city.grid_source)


def city_twin(city: City) -> Twin:
    """The twin of an opened city: its cached grid with the city's limits, taps and root connection."""
    from grid_models.twin import Twin

    return Twin(city_grid(city), limits=city.limits, taps=city.grid_taps, root_ext_grid=city.grid_root)


def check_city(directory: Path, progress: Progress = silent) -> dict[str, Any]:
    """What the city consists of and what is merely poor, as a JSON-ready report; `InputError` for faults."""
    from energy.service.preparation import prepare_city

    directory = _city_directory(directory)
    city, _ = prepare_city(directory, fingerprint(directory), progress)
    time = city.profiles.time
    days = [
        instant.astimezone(city.zone).date().isoformat()
        for instant in (time.start, time.instant(time.steps - 1))
    ]
    return {
        "city": city.id,
        "name": city.name,
        "grid": city.grid_source,
        "first_day": days[0],
        "last_day": days[1],
        "resolution": time.document()["resolution"],
        "buses": len(city.bus_names),
        "loads": len(city.loads),
        "renewables": len(city.renewables),
        "batteries": len(city.batteries),
        "evs": len(city.vehicles),
        "units": len(city.units),
        "sessions": sum(len(vehicle.sessions) for vehicle in city.vehicles),
        "districts": {
            district.id: {"name": district.name, "buses": len(district.buses)} for district in city.districts
        },
        "sources": [source.document() for source in city.sources],
        "notices": list(city.notices),
    }


def init_city(directory: Path, grid: str) -> list[Path]:
    """Scaffold a commented city for a grid source in a new or empty directory; returns what was written."""
    from energy.service.scaffold import scaffold_city

    return scaffold_city(directory, grid)


def _city_directory(directory: Path) -> Path:
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(
            Fault(str(directory), f"is not a directory; a city is one with {CITY_FILE} (`wattshed init DIR`)")
        )
    return directory
