"""What a grid's tables say, as plain values: buses with places, loads, generation, storages, profiles.

Only values leave this module; nothing outside `grid_models` sees a pandapower table.
"""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid
from grid_models.sources import Grid, load_grid

SIMBENCH_ZONE = ZoneInfo("Europe/Berlin")
"""SimBench stamps its profiles in German local time with daylight saving: 92 and 100 quarter-hours."""
LOW_VOLTAGE_KV = 1.0
_SPELT = {"self-discharge_percent_per_day": "self_discharge_percent_per_day"}
"""SimBench's column name that is no Python name."""


@dataclass(frozen=True, slots=True)
class Bus:
    """A bus and its place on the map.

    `xy` is longitude and latitude (None where the grid has none), LV buses moved rigidly with their
    whole LV grid onto the station that feeds it; `station` is that station's bus.
    """

    index: int
    name: str
    vn_kv: float
    xy: tuple[float, float] | None
    station: int | None
    external: bool


@dataclass(frozen=True, slots=True)
class Injection:
    """A row of the load or sgen table in service: `p_mw`, `q_mvar` with the table's scaling applied."""

    table: str
    index: int
    name: str
    bus: int
    vn_kv: float
    type: str | None
    profile: str | None
    p_mw: float
    q_mvar: float


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of the storage table in service. `efficiency` is one-way, None where the table has none."""

    index: int
    name: str
    bus: int
    vn_kv: float
    profile: str | None
    charge_max_mw: float
    discharge_max_mw: float
    e_max_mwh: float
    e_min_mwh: float
    efficiency: float | None
    self_discharge_per_hour: float


@dataclass(frozen=True)
class GridElements:
    """The tables of one grid. `lines` are the connections a map draws: table, index, from and to bus;
    `external_grids` the indices of what feeds it.
    """

    buses: Mapping[int, Bus]
    lines: tuple[tuple[str, int, int, int], ...]
    loads: tuple[Injection, ...]
    sgens: tuple[Injection, ...]
    storages: tuple[Storage, ...]
    external_grids: tuple[int, ...]

    def only(self, energised: Callable[[int], bool]) -> tuple[GridElements, tuple[str, ...]]:
        """Without what stands at buses that are not energised, and how much of each table that was."""
        kept: dict[str, Any] = {}
        notices = []
        for table in ("loads", "sgens", "storages"):
            rows = getattr(self, table)
            kept[table] = tuple(row for row in rows if energised(row.bus))
            if len(kept[table]) < len(rows):
                number = len(rows) - len(kept[table])
                notices.append(f"{number} {table} left out: they are fed by another external grid, or none")
        return replace(self, **kept), tuple(notices)


def grid_elements(grid: Grid) -> GridElements:
    """The elements of `grid` that a city is made of; rows out of service are left out."""
    net = grid.net
    vn_kv = {int(index): float(value) for index, value in net.bus.vn_kv.items()}
    return GridElements(
        buses=_buses(net),
        lines=tuple(
            (table, int(row.Index), int(getattr(row, ends[0])), int(getattr(row, ends[1])))
            for table, ends in (("line", ("from_bus", "to_bus")), ("trafo", ("hv_bus", "lv_bus")))
            for row in net[table].itertuples()
        ),
        loads=tuple(_injection("load", row, vn_kv) for row in _in_service(net.load)),
        sgens=tuple(_injection("sgen", row, vn_kv) for row in _in_service(net.sgen)),
        storages=tuple(_storage(row, vn_kv) for row in _in_service(net.storage.rename(columns=_SPELT))),
        external_grids=tuple(int(row.Index) for row in _in_service(net.ext_grid)),
    )


def profile_columns(grid: Grid) -> tuple[str, ...]:
    """The names of the grid's own load and generation profiles, relative to the table's power."""
    return tuple(
        str(column)
        for table in ("load", "renewables", "powerplants")
        if grid.profiles is not None and table in grid.profiles
        for column in grid.profiles[table].columns
        if column != "time"
    )


def profile_series(grid: Grid, columns: Sequence[str]) -> tuple[TimeGrid, FloatArray]:
    """The named profiles on their UTC time grid, shape (steps, columns).

    Raises `InputError` where the local stamps are not contiguous quarter-hours or a value is not finite.
    """
    frames = {
        str(column): frame
        for table in ("storage", "powerplants", "renewables", "load")
        if (frame := (grid.profiles or {}).get(table)) is not None
        for column in frame.columns
    }
    stamps = [str(stamp) for stamp in frames[columns[0]]["time"]]
    first, second = (
        datetime.strptime(stamp, "%d.%m.%Y %H:%M").replace(tzinfo=SIMBENCH_ZONE) for stamp in stamps[:2]
    )
    time = TimeGrid(first, second - first, len(stamps))
    faults = []
    for instant, stamp in zip(time, stamps, strict=True):
        local = instant.astimezone(SIMBENCH_ZONE).strftime("%d.%m.%Y %H:%M")
        if local != stamp:
            faults = [Fault(f"profiles of {grid.source}", f"stamp {stamp!r} stands where {local} is due")]
            break
    values = np.column_stack([np.asarray(frames[column][column], dtype=float) for column in columns])
    faults += [
        Fault(f"profile {columns[int(k)]!r} of {grid.source}", "has values that are not finite")
        for k in np.flatnonzero(~np.isfinite(values).all(axis=0))
    ]
    if faults:
        raise InputError(faults)
    return time, values


def _in_service(table: Any) -> Any:
    return table[table.in_service.astype(bool)].itertuples()


def _text(value: Any) -> str | None:
    return None if value is None or value != value or str(value) in ("", "<NA>") else str(value)


def _number(row: Any, column: str, default: float = math.nan) -> float:
    value: Any = getattr(row, column, None)
    return default if _text(value) is None else float(value)


def _injection(table: str, row: Any, vn_kv: Mapping[int, float]) -> Injection:
    scaling = _number(row, "scaling", 1.0)
    return Injection(
        table=table,
        index=int(row.Index),
        name=_text(row.name) or f"{table} {row.Index}",
        bus=int(row.bus),
        vn_kv=vn_kv[int(row.bus)],
        type=_text(getattr(row, "type", None)),
        profile=_text(getattr(row, "profile", None)),
        p_mw=_number(row, "p_mw", 0.0) * scaling,
        q_mvar=_number(row, "q_mvar", 0.0) * scaling,
    )


def _storage(row: Any, vn_kv: Mapping[int, float]) -> Storage:
    """Power from the rating: SimBench's ``max_p_mw = 0`` with ``min_p_mw < 0`` means no limit on charging
    but a sign convention of its own, so both directions take ``sn_mva`` or the largest power given.
    """
    powers = [abs(_number(row, name, 0.0)) for name in ("sn_mva", "min_p_mw", "max_p_mw", "p_mw")]
    power = powers[0] or max(powers)
    efficiency = _number(row, "efficiency_percent")
    per_day = _number(row, "self_discharge_percent_per_day", 0.0)
    return Storage(
        index=int(row.Index),
        name=_text(row.name) or f"storage {row.Index}",
        bus=int(row.bus),
        vn_kv=vn_kv[int(row.bus)],
        profile=_text(getattr(row, "profile", None)),
        charge_max_mw=power,
        discharge_max_mw=power,
        e_max_mwh=_number(row, "max_e_mwh", 0.0),
        e_min_mwh=_number(row, "min_e_mwh", 0.0),
        # SimBench's column of per cents holds the fraction
        efficiency=None if math.isnan(efficiency) else (efficiency / 100 if efficiency > 1 else efficiency),
        self_discharge_per_hour=per_day / 100 / 24,
    )


def _buses(net: Any) -> dict[int, Bus]:
    places = {int(index): _place(geo) for index, geo in net.bus.geo.items()} if "geo" in net.bus else {}
    external = {int(bus) for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]}
    station: dict[int, int] = {}
    moved = dict(places)
    for area, feeder, lv_bus in _low_voltage_areas(net):
        origin, target = places.get(lv_bus), places.get(feeder)
        for bus in area:
            station[bus] = feeder
            place = places.get(bus)
            if place and origin and target:
                moved[bus] = (place[0] + target[0] - origin[0], place[1] + target[1] - origin[1])
    return {
        int(row.Index): Bus(
            index=int(row.Index),
            name=_text(row.name) or f"bus {row.Index}",
            vn_kv=float(row.vn_kv),
            xy=moved.get(int(row.Index)),
            station=station.get(int(row.Index)),
            external=int(row.Index) in external,
        )
        for row in net.bus.itertuples()
    }


def _place(geo: Any) -> tuple[float, float] | None:
    text = _text(geo)
    if text is None:
        return None
    x, y = json.loads(text)["coordinates"][:2]
    return float(x), float(y)


def _low_voltage_areas(net: Any) -> list[tuple[set[int], int, int]]:
    """Each LV grid with the buses of the transformer that feeds it: (buses, hv_bus, lv_bus)."""
    opened = {int(row.element) for row in net.switch.itertuples() if row.et == "l" and not row.closed}
    neighbours: dict[int, set[int]] = defaultdict(set)
    ties = [(row.from_bus, row.to_bus) for row in _in_service(net.line) if int(row.Index) not in opened]
    ties += [(row.bus, row.element) for row in net.switch.itertuples() if row.et == "b" and row.closed]
    for a, b in ties:
        neighbours[int(a)].add(int(b))
        neighbours[int(b)].add(int(a))
    seen: set[int] = set()
    areas = []
    for row in _in_service(net.trafo):
        start = int(row.lv_bus)
        if start in seen or net.bus.vn_kv.at[start] > LOW_VOLTAGE_KV:
            continue
        area, frontier = {start}, [start]
        while frontier:
            new = neighbours[frontier.pop()] - area
            area |= new
            frontier += new
        seen |= area
        areas.append((area, int(row.hv_bus), start))
    return areas


def save_grid(grid: Grid, path: Path) -> None:
    """Write the grid as pandapower JSON, without its profiles: what a city needs of them it keeps itself."""
    import pandapower as pp

    net = copy.copy(grid.net)
    for name in ("profiles", "loadcases"):
        net.pop(name, None)
    pp.to_json(net, str(path))


def read_grid(path: Path, source: str) -> Grid:
    """The grid that `save_grid` wrote, under the name of the source it came from."""
    return replace(load_grid(str(path)), source=source)
