"""How a store charges when nobody controls it: what the safe rule of `optimizer.fallback` works with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import Shortfall
from energy.domain.time import TimeGrid

if TYPE_CHECKING:
    from optimizer.assets.ev import ElectricVehicle

SERVED_KWH = 1e-6
"""Unserved energy (of heat too) below this is the solver's tolerance."""


@dataclass(frozen=True)
class Charging:
    """A store that draws at most `most_kw` until its energy at the end of a step is `target_kwh`.

    It draws nothing or at least `least_kw`. `drives_kwh` leave in a step; `due` is the last step in which
    it can charge for its target, `priority` what that is worth beside others. Energies are in the store;
    arrays have shape (steps,).
    """

    e_start_kwh: float
    e_min_kwh: float
    e_max_kwh: float
    efficiency: float
    retained: float
    most_kw: FloatArray
    least_kw: FloatArray
    target_kwh: FloatArray
    drives_kwh: FloatArray
    due: IntArray
    priority: FloatArray


@dataclass(frozen=True)
class Charged:
    """What became of a `Charging`: power, energy at the end of each step, and what drives went short of."""

    p_kw: FloatArray
    e_kwh: FloatArray
    unserved_kwh: FloatArray


def vehicle_charging(ev: ElectricVehicle, time: TimeGrid) -> Charging:
    """Full power from each arrival until the departure need (without one: the full battery) is met."""
    steps = time.steps
    most, least, drives = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    target, due = np.full(steps, ev.e_min_kwh), np.full(steps, steps - 1)
    priority = np.full(steps, ev.priority)
    for step, trip in ev.drives(time):
        drives[step] += trip.energy_kwh
    for stay in ev.stays(time):
        need = stay.session.e_departure_min_kwh
        goal = np.full(stay.last + 1 - stay.first, ev.e_max_kwh if need is None else need)
        # the need holds before the energy of a drive that begins after the stay leaves
        goal[-1] -= _driven_after(ev, stay.session.departure, stay.last, time)
        touched = np.arange(stay.first, stay.last + 1)
        share = np.minimum(touched + 1.0, stay.end) - np.maximum(touched, stay.begin)
        most[touched] += stay.session.charge_max_kw * share
        least[touched] += stay.session.charge_min_kw * share
        target[touched] = np.maximum(target[touched], goal)
        due[touched] = stay.last
        priority[touched] = ev.priority_of(stay.session)
    return Charging(
        e_start_kwh=ev.e_start_kwh,
        e_min_kwh=ev.e_min_kwh,
        e_max_kwh=ev.e_max_kwh,
        efficiency=ev.charge_efficiency,
        retained=1.0,
        most_kw=most,
        least_kw=least,
        target_kwh=target,
        drives_kwh=drives,
        due=due,
        priority=priority,
    )


def uncharged(charging: Charging) -> Charged:
    """What becomes of a store that never charges."""
    energy, energies = charging.e_start_kwh, np.zeros(len(charging.drives_kwh))
    unserved = np.zeros(len(energies))
    for step, drive in enumerate(charging.drives_kwh.tolist()):
        energy *= charging.retained
        unserved[step] = max(drive - (energy - charging.e_min_kwh), 0.0)
        energies[step] = energy = energy - (drive - unserved[step])
    return Charged(np.zeros(len(energies)), energies, unserved)


def vehicle_shortfalls(ev: ElectricVehicle, charged: Charged, time: TimeGrid) -> Iterator[Shortfall]:
    """The needs that charging so leaves unmet."""
    left = charged.unserved_kwh.copy()
    for step, trip in reversed(ev.drives(time)):
        short = min(float(left[step]), trip.energy_kwh)
        left[step] -= short
        if short > SERVED_KWH:
            yield Shortfall("trip_energy", trip.arrival, short, asset=ev.id, since=trip.departure)
    for stay in ev.stays(time):
        later = _driven_after(ev, stay.session.departure, stay.last, time)
        served = float(charged.e_kwh[stay.last] + max(later - charged.unserved_kwh[stay.last], 0.0))
        if stay.need_kwh > ev.e_min_kwh and stay.need_kwh - served > SERVED_KWH:
            short, since = stay.need_kwh - served, stay.session.arrival
            yield Shortfall("departure_energy", stay.at, short, asset=ev.id, since=since)


def _driven_after(ev: ElectricVehicle, departure: datetime, step: int, time: TimeGrid) -> float:
    """What drives that begin after `departure` take in the step, kWh."""
    return sum(t.energy_kwh for at, t in ev.drives(time) if at == step and t.departure >= departure)
