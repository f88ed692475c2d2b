"""A prepared city on disk: written whole or not at all, read back in a second without any grid library."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import platformdirs
from pydantic import TypeAdapter

from energy.domain.city import ChargingSession, City, Profiles, Vehicle
from energy.domain.time import TimeGrid
from energy.feeds.officer import OFFICER_FILES

FORMAT = "7"
"""Part of every fingerprint; a change of what preparation computes raises it."""
GRID_FILE = "grid.json"
_PLAIN = tuple(field.name for field in fields(City) if field.name not in ("profiles", "vehicles"))
_HINTS = get_type_hints(City)
_VEHICLES = TypeAdapter(tuple[Vehicle, ...])


def home() -> Path:
    """Where store and cache live: ``WATTSHED_HOME``, or the platform's folder for user data."""
    return Path(os.environ.get("WATTSHED_HOME") or platformdirs.user_data_dir("wattshed", appauthor=False))


def fingerprint(directory: Path) -> str:
    """A hash of every file of the city's directory that shapes its days, and of the versions that read a grid
    out of its source."""
    digest = hashlib.sha256()
    for name in ("wattshed", "pandapower", "simbench"):
        digest.update(f"{name} {version(name)} {FORMAT}\n".encode())
    apart = {directory / name for name in OFFICER_FILES}
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and path not in apart):
        digest.update(f"{path.relative_to(directory).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def cache_folder(mark: str) -> Path:
    """The folder of the city with this fingerprint."""
    return home() / "cache" / f"city-{mark.removeprefix('sha256:')[:24]}"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well.

    Where another process was first, its folder stays: both hold the same city.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        try:
            temporary.replace(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_city(city: City, folder: Path) -> None:
    """Write `city` into `folder`: values as JSON, series and sessions as arrays."""
    document = {
        name: TypeAdapter(_HINTS[name]).dump_python(getattr(city, name), mode="json") for name in _PLAIN
    }
    document["vehicles"] = _VEHICLES.dump_python(
        tuple(replace(vehicle, sessions=()) for vehicle in city.vehicles), mode="json"
    )
    document["columns"] = city.profiles.columns
    document["start"] = city.profiles.time.start.isoformat()
    document["resolution_seconds"] = city.profiles.time.resolution.total_seconds()
    (folder / "city.json").write_text(json.dumps(document), encoding="utf-8")
    np.save(folder / "profiles.npy", city.profiles.values)
    np.savez(
        folder / "sessions.npz",
        count=np.array([len(vehicle.sessions) for vehicle in city.vehicles], dtype=np.int64),
        sessions=np.array(
            [
                (
                    session.arrival.timestamp(),
                    session.departure.timestamp(),
                    session.charge_max_kw,
                    session.discharge_max_kw,
                    session.energy_kwh,
                    session.distance_km,
                )
                for vehicle in city.vehicles
                for session in vehicle.sessions
            ],
            dtype=float,
        ).reshape(-1, 6),
    )


def load_city(folder: Path) -> City:
    """The city that `save_city` wrote."""
    document: dict[str, Any] = json.loads((folder / "city.json").read_text(encoding="utf-8"))
    values = np.load(folder / "profiles.npy")
    arrays = np.load(folder / "sessions.npz")
    sessions = [
        ChargingSession(
            datetime.fromtimestamp(arrival, UTC), datetime.fromtimestamp(departure, UTC), *numbers
        )
        for arrival, departure, *numbers in arrays["sessions"].tolist()
    ]
    edges = np.concatenate([[0], np.cumsum(arrays["count"])])
    time = TimeGrid(
        datetime.fromisoformat(document["start"]),
        timedelta(seconds=document["resolution_seconds"]),
        len(values),
    )
    return City(
        **{name: TypeAdapter(_HINTS[name]).validate_python(document[name]) for name in _PLAIN},
        vehicles=tuple(
            replace(vehicle, sessions=tuple(sessions[edges[k] : edges[k + 1]]))
            for k, vehicle in enumerate(_VEHICLES.validate_python(document["vehicles"]))
        ),
        profiles=Profiles(time, tuple(document["columns"]), values),
    )
