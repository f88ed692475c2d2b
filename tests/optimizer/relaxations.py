"""Conflicts applied to the problem they are about, as their reader would: each limit where it stands."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tests.optimizer.builders import Document, series

HOURS = {"PT15M": 0.25, "PT30M": 0.5, "PT1H": 1.0}
ROUNDING = 1e-6


def applied(document: Document, conflicts: list[Document], share: float = 1.0) -> Document:
    """The problem with every named limit eased by `share` of its relaxation, and a little for rounding."""
    eased = copy.deepcopy(document)
    for conflict in conflicts:
        amount = share * conflict["relaxation"] + (ROUNDING if share == 1.0 else 0.0)
        EASES[conflict["limit"]](_Place(eased, conflict), amount)
    return eased


class _Place:
    """What a conflict is about in a document."""

    def __init__(self, document: Document, conflict: Document) -> None:
        self.document, self.conflict, self.limit = document, conflict, conflict["limit"]
        time = document["time"]
        self.steps, self.hours = time["steps"], HOURS[time["resolution"]]
        self._start = datetime.fromisoformat(time["start"])
        self._end = self._start + timedelta(hours=self.steps * self.hours)
        self.at = datetime.fromisoformat(conflict["end"])
        self.step = round((self.at - self._start) / timedelta(hours=self.hours))

    @property
    def asset(self) -> Document:
        (found,) = (a for a in self.document["assets"] if a["id"] == self.conflict["assets"][0])
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

    def due(self, items: list[Document], name: str) -> list[Document]:
        """Those whose instant `name`, or the horizon's end where it is later, is that of the conflict."""
        return [item for item in items if min(datetime.fromisoformat(item[name]), self._end) == self.at]

    def lower(self, where: Document, name: str, amount: float) -> None:
        where[name] = max(0.0, (where.get(name) or 0.0) - amount)

    def add(self, where: Document, name: str, amount: float, least: float = -np.inf) -> None:
        """Another value of a series in the step of the conflict."""
        values = series(where.get(name), self.steps).copy()
        values[self.step] = max(least, values[self.step] + amount)
        where[name] = values.tolist()


def _connection_limit(place: _Place, amount: float) -> None:
    (target,) = (c for c in place.document["connections"] if c["id"] == place.conflict["connection"])
    target[place.limit] = (series(target[place.limit], place.steps) + amount).tolist()


def _signals(place: _Place, amount: float) -> None:
    """Above what statutory minima leave already: the operator's limit is raised beyond their sum."""
    (target,) = (c for c in place.document["connections"] if c["id"] == place.conflict["connection"])
    least = sum(asset.get("statutory_min_kw", 0.0) for asset in place.document["assets"])
    for signal in target["grid_signals"]:
        signal["limit_kw"] = max(signal["limit_kw"], least) + amount


def _reserve(place: _Place, amount: float) -> None:
    """All that is committed over that time: a conflict names its offer in words only."""
    for offer in place.document["offers"]:
        if f"offer {offer['id']!r} " in place.conflict["message"]:
            place.lower(offer, "committed_kw", amount)
            offer["min_kw"] = 0.0


def _island(place: _Place, amount: float) -> None:
    del amount
    (target,) = (c for c in place.document["connections"] if c["id"] == place.conflict["connection"])
    for name in [name for name in target if name.startswith("island")]:
        del target[name]


def _load(place: _Place, amount: float) -> None:
    """Less of it in the step of the conflict, or over all steps for what comes after the horizon."""
    if place.step < place.steps:
        place.add(place.asset, "p_kw", -amount / place.hours, least=0.0)
    else:
        place.asset["p_kw"] = 0.0


def _charger(place: _Place, amount: float) -> None:
    for stay in place.asset["sessions"]:
        if stay["arrival"] == place.conflict["start"]:
            stay["charge_max_kw"] += amount


def _drive(place: _Place, amount: float) -> None:
    for drive in place.due(place.asset["trips"], "arrival"):
        place.lower(drive, "energy_kwh", amount)


def _departure(place: _Place, amount: float) -> None:
    for stay in place.due(place.asset["sessions"], "departure"):
        place.lower(stay, "e_departure_min_kwh", amount)


def _window(place: _Place, amount: float) -> None:
    for window in place.due(place.asset["energy_windows"], "end"):
        place.lower(window, "e_min_kwh", amount)


def _heat_demand(place: _Place, amount: float) -> None:
    place.add(place.heat, "heat_demand_kw", -amount / place.hours, least=0.0)


def _hydrogen_demand(place: _Place, amount: float) -> None:
    place.add(place.asset, "demand_kg", -amount, least=0.0)


def _swaps(place: _Place, amount: float) -> None:
    place.add(place.asset, "swaps", -round(amount))


def _band(place: _Place, amount: float) -> None:
    room = place.asset["room"]
    place.add(room, "temp_min_c", -amount / place.hours)
    place.add(room, "temp_max_c", amount / place.hours)


def _run(place: _Place, amount: float) -> None:
    del amount
    place.document["assets"].remove(place.asset)


def _dump(place: _Place, amount: float) -> None:
    del amount
    place.heat["heat_dump" if place.asset["type"] == "chp" else "dump"] = True


def _least_energy(place: _Place, amount: float) -> None:
    place.lower(place.store, place.limit, amount)


def _tank(place: _Place, amount: float) -> None:
    place.lower(place.asset["tank"], place.limit.removeprefix("tank."), amount)


EASES: dict[str, Callable[[_Place, float], Any]] = {
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
