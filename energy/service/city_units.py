"""A city's further assets (generators, heat pumps, shiftable loads, hydrogen, swaps): the problem of a day.

Their fields are the dispatcher's own. What is a series may follow a profile; what has a time has a clock time
and recurs every local day. How they stand when a day begins follows from the plan of the day before.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.city import Profiles, Scaled, SiteUnit
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid, format_instant
from energy.feeds.city import CITY_FILE, UnitEntry
from energy.service.previous import read_previous
from optimizer import DispatchProblem
from optimizer.assets import ASSET_TYPES, Asset
from optimizer.assets.commitment import CommittedUnit
from optimizer.assets.flexible_load import EnergyWindow, covered

Role = Literal["source", "use", "tank"]
ROLES: Mapping[str, Role] = {
    "chp": "source",
    "flexible_load": "use",
    "generator": "source",
    "hydrogen_station": "tank",
    "shiftable_load": "use",
    "swap_station": "tank",
}
"""The types of asset that are units of a city, and what each is in the carbon account."""
OF_THEIR_OWN = ("battery", "ev", "load", "renewable")
"""The types that a city has tables of their own for."""
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
LONGEST_STATE = timedelta(hours=23)
"""A state is carried over from one day: minimum times must not be longer than the shortest local day."""
EARLIER = ":earlier"
"""Added to the id of a run that belongs to the day before."""
DAY = timedelta(days=1)


@dataclass(frozen=True)
class DayBefore:
    """What the stored plan of the day before has units do; `schedules` by asset id."""

    time: TimeGrid
    schedules: Mapping[str, AssetSchedule]

    @staticmethod
    def of(schedule: Any) -> DayBefore:
        """Of the ``wattshed.schedule/1`` in a stored plan."""
        previous = read_previous(schedule)
        return DayBefore(previous.time, previous.assets)


def gather_units(
    entries: Sequence[UnitEntry], columns: set[str], bus_index: Any
) -> tuple[list[SiteUnit], list[Fault]]:
    """The units of ``city.toml`` and what is wrong with their types, buses and series.

    `columns` are the series there are; `bus_index` finds a bus or raises `InputError`.
    """
    units, faults = [], []
    for number, entry in enumerate(entries):
        where = f"{CITY_FILE}: assets.units[{number}]"
        if entry.type not in ROLES:
            table = f"; give it in assets.{_table(entry.type)}" if entry.type in OF_THEIR_OWN else ""
            hint = table or f"; {nearest(entry.type, ROLES)}"
            faults.append(Fault(f"{where}.type", f"{entry.type!r} is not a type of unit{hint}"))
            continue
        fields = _plain(entry.model_extra or {})
        if "connection" in fields:
            faults.append(
                Fault(f"{where}.connection", "is given, but a city has only one connection; remove it")
            )
        series = {}
        kind = ASSET_TYPES[entry.type]
        for path in (*kind.series_fields, *kind.nested_series):
            try:
                scaled = _scaled(_get(fields, path))
            except ValueError as error:
                faults.append(Fault(f"{where}.{path}", str(error)))
                continue
            if scaled is None:
                continue
            series[path] = scaled
            if scaled.column not in columns:
                what = f"needs the series {scaled.column!r}; {nearest(scaled.column, columns)}"
                faults.append(Fault(f"{where}.{path}", what))
        bus = -1
        try:
            bus = bus_index(entry.bus, where)
        except InputError as error:
            faults += error.faults
        units.append(
            SiteUnit(
                id=entry.id,
                name=entry.name or entry.id,
                bus=bus,
                type=entry.type,
                technology=entry.technology or entry.type,
                renewable_share=entry.renewable_share,
                carbon_start_g_per_kwh=entry.carbon_start_g_per_kwh,
                fields=fields,
                series=series,
            )
        )
    return units, faults


def check_units(units: Sequence[SiteUnit], profiles: Profiles, zone: ZoneInfo) -> list[Fault]:
    """What is wrong with the units over the whole time there are series for."""
    faults: list[Fault] = []
    for number, unit in enumerate(units):
        faults += [
            Fault(f"{CITY_FILE}: assets.units[{number}].{path}", message) for path, message in _no_clock(unit)
        ]
    if faults or not units:
        return faults
    whole = profiles.time
    days = range(round((whole.end - whole.start) / DAY) + 1)
    first = whole.start.astimezone(zone).date()
    documents = [
        {**next(iter(_documents(unit, profiles, whole, zone, [first + k * DAY for k in days], None))),
         "id": unit.id}
        for unit in units
    ]  # fmt: skip
    try:
        problem = DispatchProblem.from_document(
            {
                "schema": "wattshed.dispatch/1",
                "time": whole.document(),
                "connections": [{"id": "grid"}],
                "assets": documents,
            }
        )
    except InputError as error:
        return [Fault(f"{CITY_FILE}: {_of_unit(fault.path)}", fault.message) for fault in error.faults]
    place = {unit.id: number for number, unit in enumerate(units)}
    for asset in problem.assets:
        if isinstance(asset, CommittedUnit):
            faults += [
                Fault(
                    f"{CITY_FILE}: assets.units[{place[asset.id]}].{name}",
                    "is longer than 23 hours; a city's day knows the day before, and no more",
                )
                for name in ("min_up", "min_down")
                if getattr(asset, name) > LONGEST_STATE
            ]
    return faults


def unit_documents(
    units: Sequence[SiteUnit], known: Profiles, horizon: TimeGrid, zone: ZoneInfo, before: DayBefore | None
) -> list[dict[str, Any]]:
    """The units as assets of a ``wattshed.dispatch/1`` over `horizon`, which begins with a local day.

    They stand as `before` left them; one that it does not know as ``city.toml`` declares.
    """
    today = horizon.start.astimezone(zone).date()
    days = [today - DAY, today, today + DAY]
    documents = [
        document for unit in units for document in _documents(unit, known, horizon, zone, days, before)
    ]
    for document in documents:
        if document["type"] == "swap_station" and isinstance(document.get("swaps"), list):
            # what is expected of a count is a mean of counts
            document["swaps"] = np.rint(document["swaps"]).tolist()
    return documents


def parts_of(unit: SiteUnit) -> tuple[str, str]:
    """The ids under which a unit stands in a schedule: its own, and that of its run of the day before."""
    return unit.id, unit.id + EARLIER


def declared_kwh(units: Sequence[SiteUnit]) -> dict[str, float]:
    """What the stores of units hold as the city declares them, electricity that made it, kWh."""
    held = {}
    for unit in units:
        fields = unit.fields
        if unit.type == "hydrogen_station":
            held[unit.id] = fields["tank"]["start_kg"] * fields["electrolyser"]["kwh_per_kg"]
        elif unit.type == "swap_station":
            start = fields["e_start_kwh"]
            held[unit.id] = sum(start) if isinstance(start, list | tuple) else start * fields["slots"]
    return held


def _documents(
    unit: SiteUnit,
    known: Profiles,
    horizon: TimeGrid,
    zone: ZoneInfo,
    days: Sequence[date],
    before: DayBefore | None,
) -> Iterator[dict[str, Any]]:
    fields = copy.deepcopy(dict(unit.fields))
    for path, scaled in unit.series.items():
        _set(fields, path, (known.window(scaled.column, horizon) * scaled.factor).tolist())
    document = {"type": unit.type, "id": unit.id, "connection": "grid", "bus": unit.bus, **fields}
    past = None if before is None else before.schedules.get(unit.id)
    if unit.type == "shiftable_load":
        yield from _runs(document, horizon, zone, days, None if past is None else (before, past))
        return
    if "energy_windows" in fields:
        document["energy_windows"] = [
            window
            for given in fields["energy_windows"]
            for day in days
            if (window := _window(given, day, zone, horizon, before, past)) is not None
        ]
    if before is not None and past is not None:
        asset: Asset = ASSET_TYPES[unit.type].model_validate(document)
        for path, value in asset.state_after(past, before.time).items():
            _set(document, path, value)
    yield document


def _window(
    given: Mapping[str, Any],
    day: date,
    zone: ZoneInfo,
    horizon: TimeGrid,
    before: DayBefore | None,
    past: AssetSchedule | None,
) -> dict[str, Any] | None:
    """An energy window of one day, with what is left of it where it began before the horizon."""
    start, end = _span(given["start"], given["end"], day, zone)
    if end <= horizon.start or start >= horizon.end:
        return None
    window = {**given, "start": format_instant(start), "end": format_instant(end)}
    if start >= horizon.start:
        return window
    window["start"] = format_instant(horizon.start)
    for name in ("e_min_kwh", "e_max_kwh"):
        amount = given.get(name)
        if amount is None:
            continue
        if before is None or past is None:
            # nothing is known of the part before: it took its share
            window[name] = amount * ((end - horizon.start) / (end - start))
        else:
            share = covered(EnergyWindow(start=start, end=end), before.time)
            window[name] = max(amount - float(share @ past.p_kw) * before.time.hours, 0.0)
    return window


def _runs(
    document: dict[str, Any],
    horizon: TimeGrid,
    zone: ZoneInfo,
    days: Sequence[date],
    past: Any,
) -> Iterator[dict[str, Any]]:
    """The runs of a shiftable load: that of the day, and what the day before has left of its own."""
    yesterday, today = (days[0], days[1]) if len(days) == 3 else (None, days[0])
    opens, closes = document["earliest_start"], document["latest_end"]
    start, end = _span(opens, closes, today, zone)
    yield {**document, "earliest_start": format_instant(start), "latest_end": format_instant(end)}
    if yesterday is None or past is None:
        return
    before, schedule = past
    start, end = _span(opens, closes, yesterday, zone)
    if end <= horizon.start:
        return
    earlier = {**document, "id": document["id"] + EARLIER}
    started = np.flatnonzero(schedule.series["start"] > 0)
    if not len(started):
        yield {**earlier, "earliest_start": format_instant(start), "latest_end": format_instant(end)}
        return
    rest = list(document["profile_kw"])[before.time.steps - int(started[0]) :]
    if any(rest):
        yield {
            **earlier,
            "profile_kw": rest,
            "earliest_start": format_instant(horizon.start),
            "latest_end": format_instant(horizon.start + len(rest) * horizon.resolution),
        }


def _span(opens: str, closes: str, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From one clock time of a day to another, of the next day where that is not later."""
    start, end = (
        datetime.combine(day, time.fromisoformat(clock), zone).astimezone(UTC) for clock in (opens, closes)
    )
    if closes <= opens:
        end = datetime.combine(day + DAY, time.fromisoformat(closes), zone).astimezone(UTC)
    return start, end


def _no_clock(unit: SiteUnit) -> Iterator[tuple[str, str]]:
    """The times of a unit that are no clock times."""
    times = [(name, unit.fields.get(name)) for name in ("earliest_start", "latest_end")]
    windows = unit.fields.get("energy_windows", [])
    if not isinstance(windows, list) or not all(isinstance(window, Mapping) for window in windows):
        yield "energy_windows", "must be a list of tables"
        return
    for number, window in enumerate(windows):
        times += [(f"energy_windows[{number}].{name}", window.get(name)) for name in ("start", "end")]
    shiftable = unit.type == "shiftable_load"
    for path, value in times:
        wanted = shiftable if path in ("earliest_start", "latest_end") else True
        if value is None and wanted:
            yield path, "is missing; give a clock time like 22:00"
        elif value is not None and not (isinstance(value, str) and CLOCK.fullmatch(value)):
            yield path, f"{value!r} is not a clock time; write one like 22:00, it recurs every local day"
    if shiftable and not isinstance(unit.fields.get("profile_kw"), list):
        yield "profile_kw", "must be a list of powers, one per step"


def _scaled(value: Any) -> Scaled | None:
    """A series that follows a profile: its name, or a table with `profile` and `factor`."""
    if isinstance(value, str):
        return Scaled(value, 1.0)
    if not isinstance(value, Mapping):
        return None
    unknown = sorted(value.keys() - {"profile", "factor"})
    factor = value.get("factor", 1.0)
    if unknown or not isinstance(value.get("profile"), str):
        raise ValueError("a series is a number, a profile's name, or { profile = …, factor = … }")
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise ValueError(f"has the factor {factor!r}; a number is needed")
    return Scaled(value["profile"], float(factor))


def _plain(value: Any) -> Any:
    """What TOML holds, as JSON has it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.isoformat("minutes") if isinstance(value, time) else value


def _get(fields: Mapping[str, Any], path: str) -> Any:
    found: Any = fields
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _set(fields: dict[str, Any], path: str, value: Any) -> None:
    *outer, name = path.split(".")
    for part in outer:
        fields = fields[part]
    fields[name] = value


def _of_unit(path: str) -> str:
    return "assets.units" + path.removeprefix("assets") if path.startswith("assets[") else path


def _table(kind: str) -> str:
    return {"battery": "batteries", "ev": "vehicles", "load": "loads", "renewable": "renewables"}[kind]
