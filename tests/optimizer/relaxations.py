"""Conflicts applied to the problem they are about, as their reader would: each limit where it stands."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from energy.domain.network import FloatArray
from tests.optimizer.builders import Document, series

HOURS = {"PT15M": 0.25, "PT30M": 0.5, "PT1H": 1.0}
ROUNDING = 1e-6


def applied(document: Document, conflicts: list[Document], share: float = 1.0) -> Document:
    """The problem with every named limit eased by `share` of its relaxation, where and when it says, and a
    little for rounding."""
    eased = copy.deepcopy(document)
    for conflict in conflicts:
        EASES[conflict["limit"]](_Place(eased, conflict, share))
    return eased


class _Place:
    """What a conflict is about in a document, and by how much that is eased.

    Attributes:
        amount, by_step: the relaxation, and in each step of the horizon (all of it from start to end where it
            is not told by step).
    """

    def __init__(self, document: Document, conflict: Document, share: float) -> None:
        self.document, self.conflict, self.limit = document, conflict, conflict["limit"]
        time = document["time"]
        self.steps, self.hours = time["steps"], HOURS[time["resolution"]]
        self._start = datetime.fromisoformat(time["start"])
        self._end = self._start + timedelta(hours=self.steps * self.hours)
        self.window = tuple(datetime.fromisoformat(conflict[name]) for name in ("start", "end"))
        assert self._start <= self.window[0] < self.window[1] <= self._end
        self.amount = self._eased(conflict["relaxation"], share)
        first, last = (self._position(instant) for instant in self.window)
        self.by_step = np.zeros(self.steps)
        told = conflict.get("relaxation_by_step")
        if told is None:
            self.by_step[math.floor(first) : math.ceil(last)] = self.amount
        else:
            # it begins and ends with what it takes
            assert len(told) == last - first
            assert min(told[0], told[-1]) > 0 <= min(told)
            whole = max(told) if conflict["unit"] == "kW" else sum(told)
            assert np.isclose(whole, conflict["relaxation"])
            values = np.array(told)
            self.by_step[round(first) : round(last)] = np.where(values > 0, self._eased(values, share), 0.0)

    def _eased(self, amount: Any, share: float) -> Any:
        return share * amount + (ROUNDING if share == 1.0 else 0.0)

    def _position(self, instant: datetime) -> float:
        return (instant - self._start) / timedelta(hours=self.hours)

    @property
    def asset(self) -> Document:
        (found,) = (a for a in self.document["assets"] if a["id"] == self.conflict["assets"][0])
        return found

    @property
    def connection(self) -> Document:
        (found,) = (c for c in self.document["connections"] if c["id"] == self.conflict["connection"])
        return found

    @property
    def heat(self) -> Document:
        """Where the demand, the store and the dump of its heat stand."""
        return self.asset["heat"] if self.asset["type"] == "flexible_load" else self.asset

    @property
    def store(self) -> Document:
        """Where its least energies stand."""
        names = {"chp": "heat_store", "flexible_load": "store"}
        return self.heat[names[self.asset["type"]]] if self.asset["type"] in names else self.asset

    def due(self, items: list[Document], first: str, last: str) -> list[Document]:
        """Those whose time is that of the conflict: in the horizon, of no length the step they are in."""
        return [item for item in items if self._inside(item[first], item[last]) == self.window]

    def _inside(self, first: str, last: str) -> tuple[datetime, datetime]:
        start = max(datetime.fromisoformat(first), self._start)
        end = min(datetime.fromisoformat(last), self._end)
        if start < end:
            return start, end
        step = timedelta(hours=self.hours)
        return (begin := start - (start - self._start) % step), begin + step

    def lower(self, where: Document, name: str) -> None:
        where[name] = max(0.0, (where.get(name) or 0.0) - self.amount)

    def add(self, where: Document, name: str, change: FloatArray, least: float = -np.inf) -> None:
        """Another value of a series in each step."""
        where[name] = np.maximum(least, series(where.get(name), self.steps) + change).tolist()


def _connection_limit(place: _Place) -> None:
    place.add(place.connection, place.limit, place.by_step)


def _signals(place: _Place) -> None:
    """Above what statutory minima leave already: the operator's limit is raised beyond their sum."""
    least = sum(asset.get("statutory_min_kw", 0.0) for asset in place.document["assets"])
    for signal in place.connection["grid_signals"]:
        signal["limit_kw"] = max(signal["limit_kw"], least) + place.amount


def _reserve(place: _Place) -> None:
    """All that is committed over that time: a conflict names its offer in words only."""
    for offer in place.document["offers"]:
        if f"offer {offer['id']!r} " in place.conflict["message"]:
            place.lower(offer, "committed_kw")
            offer["min_kw"] = 0.0


def _island(place: _Place) -> None:
    for name in [name for name in place.connection if name.startswith("island")]:
        del place.connection[name]


def _load(place: _Place) -> None:
    """Less of it in its steps, or none of it where an island that goes on after the horizon lacks some."""
    if "relaxation_by_step" in place.conflict:
        place.add(place.asset, "p_kw", -place.by_step / place.hours, least=0.0)
    else:
        place.asset["p_kw"] = 0.0


def _charger(place: _Place) -> None:
    for stay in place.due(place.asset["sessions"], "arrival", "departure"):
        stay["charge_max_kw"] += place.amount


def _drive(place: _Place) -> None:
    for drive in place.due(place.asset["trips"], "departure", "arrival"):
        place.lower(drive, "energy_kwh")


def _departure(place: _Place) -> None:
    for stay in place.due(place.asset["sessions"], "arrival", "departure"):
        place.lower(stay, "e_departure_min_kwh")


def _window(place: _Place) -> None:
    for window in place.due(place.asset["energy_windows"], "start", "end"):
        place.lower(window, "e_min_kwh")


def _heat_demand(place: _Place) -> None:
    place.add(place.heat, "heat_demand_kw", -place.by_step / place.hours, least=0.0)


def _hydrogen_demand(place: _Place) -> None:
    place.add(place.asset, "demand_kg", -place.by_step, least=0.0)


def _swaps(place: _Place) -> None:
    place.add(place.asset, "swaps", -np.round(place.by_step))


def _band(place: _Place) -> None:
    room = place.asset["room"]
    place.add(room, "temp_min_c", -place.by_step / place.hours)
    place.add(room, "temp_max_c", place.by_step / place.hours)


def _run(place: _Place) -> None:
    place.document["assets"].remove(place.asset)


def _dump(place: _Place) -> None:
    place.heat["heat_dump" if place.asset["type"] == "chp" else "dump"] = True


def _least_energy(place: _Place) -> None:
    place.lower(place.store, place.limit)


def _tank(place: _Place) -> None:
    place.lower(place.asset["tank"], place.limit.removeprefix("tank."))


EASES: dict[str, Callable[[_Place], None]] = {
    "import_limit_kw": _connection_limit,
    "export_limit_kw": _connection_limit,
    "phase_import_limit_kw": _connection_limit,
    "unbalance_limit_kw": _connection_limit,
    "grid_signals": _signals,
    "committed_reserve": _reserve,
    "island": _island,
    "island_return_ramp_kw_per_h": _island,
    "unserved_load": _load,
    "charge_max_kw": _charger,
    "energy_kwh": _drive,
    "trip_energy": _drive,
    "departure_energy": _departure,
    "energy_window": _window,
    "heat_demand": _heat_demand,
    "hydrogen_demand": _hydrogen_demand,
    "unmet_swap": _swaps,
    "comfort": _band,
    "unserved_run": _run,
    "heat_dump": _dump,
    "e_min_kwh": _least_energy,
    "e_end_min_kwh": _least_energy,
    "tank.end_min_kg": _tank,
}
"""What easing each limit means."""
WHOLE = {"unmet_swap", "unserved_run", "heat_dump", "island", "island_return_ramp_kw_per_h", "grid_signals"}
"""Limits of which there is no part to ease, or that are eased by more than named."""
