"""Electric vehicles: what they do, and what they need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule, Conflict, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import AssetRows, Burden
from optimizer.assets.charging import SERVED_KWH, Charged, Charging, uncharged
from optimizer.assets.fleet import FleetRows
from optimizer.assets.reach import REACHED_KWH, kwh, when, window
from optimizer.assets.store import stored_kwh, wear_cost
from optimizer.assets.vehicle import Stay, Vehicle
from optimizer.assets.wear import excess_wear

if TYPE_CHECKING:
    from optimizer.site import Site


class ElectricVehicle(Vehicle):
    """An EV as dispatched: steered in its sessions, charged at once where nobody steers it."""

    type: Literal["ev"]

    def energies(
        self, p_kw: FloatArray, unserved_trip_kwh: Mapping[int, float], time: TimeGrid
    ) -> FloatArray:
        """Energy at the end of each step, kWh, from its power and what each trip went short of."""
        change = stored_kwh(p_kw, self.charge_efficiency, self.discharge_efficiency, time.hours)
        for number, (step, trip) in enumerate(self.drives(time)):
            change[step] -= trip.energy_kwh - unserved_trip_kwh.get(number, 0.0)
        return self.e_start_kwh + np.cumsum(change)

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """Full power from each arrival until the departure need (without one: the full battery) is met."""
        p_kw, unserved = np.zeros(time.steps), {}
        by_step: dict[int, list[tuple[Any, ...]]] = {}
        for stay in self.stays(time):
            need = stay.session.e_departure_min_kwh
            target = self.e_max_kwh if need is None else need
            for step in range(stay.first, stay.last + 1):
                event = (stay.session.arrival, 1, target, stay.power_max(step))
                by_step.setdefault(step, []).append(event)
        for number, (step, trip) in enumerate(self.drives(time)):
            by_step.setdefault(step, []).append((trip.arrival, 0, number, trip.energy_kwh))
        energy = self.e_start_kwh
        for step in sorted(by_step):
            # a car that comes home charges what the drive took in the same step
            for _, charges, what, amount in sorted(by_step[step]):
                if charges:
                    room = max(what - energy, 0.0) / self.charge_efficiency / time.hours
                    power = min(room, amount)
                    p_kw[step] += power
                    energy += power * self.charge_efficiency * time.hours
                else:
                    unserved[what] = max(amount - (energy - self.e_min_kwh), 0.0)
                    energy -= amount - unserved[what]
        return AssetSchedule(p_kw, {"e_kwh": self.energies(p_kw, unserved, time)})

    def charging(self, time: TimeGrid) -> Charging:
        """Full power from each arrival until the departure need (without one: the full battery) is met."""
        steps = time.steps
        most, least, drives = np.zeros(steps), np.zeros(steps), np.zeros(steps)
        target, due = np.full(steps, self.e_min_kwh), np.full(steps, steps - 1)
        priority = np.full(steps, self.priority)
        for step, trip in self.drives(time):
            drives[step] += trip.energy_kwh
        for stay in self.stays(time):
            need = stay.session.e_departure_min_kwh
            goal = np.full(stay.last + 1 - stay.first, self.e_max_kwh if need is None else need)
            # the need holds before the energy of a drive that begins after the stay leaves
            goal[-1] -= self._driven_after(stay.session.departure, stay.last, time)
            touched = np.arange(stay.first, stay.last + 1)
            share = np.minimum(touched + 1.0, stay.end) - np.maximum(touched, stay.begin)
            most[touched] += stay.session.charge_max_kw * share
            least[touched] += stay.session.charge_min_kw * share
            target[touched] = np.maximum(target[touched], goal)
            due[touched] = stay.last
            priority[touched] = self.priority_of(stay.session)
        return Charging(
            e_start_kwh=self.e_start_kwh,
            e_min_kwh=self.e_min_kwh,
            e_max_kwh=self.e_max_kwh,
            efficiency=self.charge_efficiency,
            retained=1.0,
            most_kw=most,
            least_kw=least,
            target_kwh=target,
            drives_kwh=drives,
            due=due,
            priority=priority,
        )

    def shortfalls_of(self, charged: Charged, time: TimeGrid) -> Iterator[Shortfall]:
        """The needs that charging so leaves unmet."""
        left = charged.unserved_kwh.copy()
        for step, trip in reversed(self.drives(time)):
            short = min(float(left[step]), trip.energy_kwh)
            left[step] -= short
            if short > SERVED_KWH:
                yield Shortfall("trip_energy", trip.arrival, short, asset=self.id, since=trip.departure)
        for stay in self.stays(time):
            later = self._driven_after(stay.session.departure, stay.last, time)
            served = float(charged.e_kwh[stay.last] + max(later - charged.unserved_kwh[stay.last], 0.0))
            if stay.need_kwh > self.e_min_kwh and stay.need_kwh - served > SERVED_KWH:
                short, since = stay.need_kwh - served, stay.session.arrival
                yield Shortfall("departure_energy", stay.at, short, asset=self.id, since=since)

    def _driven_after(self, departure: datetime, step: int, time: TimeGrid) -> float:
        """What drives that begin after `departure` take in the step, kWh."""
        return sum(t.energy_kwh for at, t in self.drives(time) if at == step and t.departure >= departure)

    def out_of_reach(self, time: TimeGrid) -> Iterator[Conflict]:
        """Drives and departure needs beyond what full charging gives; each after those before it were eased.

        Full power whenever it may charge gives the most energy there can be at the end of each step.
        """
        gain, energy = self.charge_efficiency * time.hours, self.e_start_kwh
        drives, stays = defaultdict(list), defaultdict(list)
        for step, drive in self.drives(time):
            drives[step].append(drive)
        for stay in self.stays(time):
            for step in range(stay.first, stay.last + 1):
                stays[step].append(stay)
        for step in sorted({*drives, *stays}):
            driven = {number: drive.energy_kwh for number, drive in enumerate(drives[step])}
            charged = gain * sum(stay.power_max(step) for stay in stays[step])
            energy = min(self.e_max_kwh, energy + charged - sum(driven.values()))
            missing = self.e_min_kwh - energy
            for number in sorted(driven, reverse=True):
                if missing > REACHED_KWH and driven[number] > 0:
                    short = min(missing, driven[number])
                    drive = drives[step][number]
                    needs, most = kwh(drive.energy_kwh, drive.energy_kwh - short)
                    yield Conflict(
                        (self.id,),
                        self.connection,
                        *window(drive.departure, drive.arrival, time),
                        "energy_kwh",
                        short,
                        "kWh",
                        f"asset {self.id!r}: the drive from {when(drive.departure, time)} to "
                        f"{when(drive.arrival, time)} needs {needs} but has at most {most}. Shorten the "
                        "drive, charge on the way, or allow a shortfall.",
                    )
                    driven[number] -= short
                    missing -= short
            energy = max(energy, self.e_min_kwh)
            for stay in stays[step]:
                if stay.last != step:
                    continue
                later = sum(
                    driven[number]
                    for number, drive in enumerate(drives[step])
                    if drive.departure >= stay.session.departure
                )
                short = stay.need_kwh - later - energy
                if short > REACHED_KWH:
                    yield self._out_of_charge(stay, short, time)
                    energy = min(self.e_max_kwh, energy + short)

    def _out_of_charge(self, stay: Stay, short_kwh: float, time: TimeGrid) -> Conflict:
        """A departure need, and the charging power that would meet it; raised power counts after the horizon
        too, where a session goes on beyond it."""
        session = stay.session
        stays_hours = (time.position(session.departure) - stay.begin) * time.hours
        take = self.charge_efficiency * session.charge_max_kw * stays_hours
        needs, most = kwh(take + short_kwh, take)
        by_hand = f"{session.charge_max_kw:g} kW × {stays_hours:.4g} h"
        if self.charge_efficiency < 1:
            by_hand += f" × {self.charge_efficiency:g}"
        return Conflict(
            (self.id,),
            self.connection,
            *window(session.arrival, session.departure, time),
            "charge_max_kw",
            short_kwh / (self.charge_efficiency * stays_hours),
            "kW",
            f"asset {self.id!r}: needs {needs} by {when(session.departure, time)} but can take at most "
            f"{most} ({by_hand}). Move the departure, lower the target, or allow a shortfall.",
        )

    def relaxed(self, conflicts: Sequence[Conflict], time: TimeGrid) -> ElectricVehicle:
        """The EV with stronger chargers and shorter drives."""
        left: dict[tuple[object, ...], float] = defaultdict(float)
        for one in conflicts:
            left[one.limit, one.start, one.end] += one.relaxation
        sessions, trips = list(self.sessions), list(self.trips)
        for number, session in enumerate(self.sessions):
            if time.start < session.departure and session.arrival < time.end:
                more = left["charge_max_kw", *window(session.arrival, session.departure, time)]
                sessions[number] = session.model_copy(update={"charge_max_kw": session.charge_max_kw + more})
        for number, trip in enumerate(self.trips):
            if time.start <= trip.arrival < time.end:
                named = ("energy_kwh", *window(trip.departure, trip.arrival, time))
                less = min(left[named], trip.energy_kwh)
                left[named] -= less
                trips[number] = trip.model_copy(update={"energy_kwh": trip.energy_kwh - less})
        return self.model_copy(update={"sessions": tuple(sessions), "trips": tuple(trips)})

    def due_kwh(self, time: TimeGrid) -> Mapping[int, tuple[datetime, float]]:
        """Departure needs, and what drives leave."""
        drives = {step: (trip.departure, self.e_min_kwh) for step, trip in self.drives(time)}
        needs = {
            stay.last: (stay.at, stay.need_kwh) for stay in self.stays(time) if stay.need_kwh > self.e_min_kwh
        }
        return drives | needs

    @property
    def bears(self) -> Burden | None:
        return "charging"

    def at_stake_kwh(self, time: TimeGrid) -> float:
        """What would be unmet if it never charged."""
        never = uncharged(self.charging(time))
        return sum(shortfall.amount_kwh for shortfall in self.shortfalls_of(never, time))

    def borne_kwh(self, schedule: AssetSchedule, shortfalls: Sequence[Shortfall], time: TimeGrid) -> float:
        del schedule, time
        return sum(shortfall.amount_kwh for shortfall in shortfalls)

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        wear = wear_cost(schedule.p_kw, self.least_wear_cost_per_mwh, time)
        if self.wear_curve:
            wear += excess_wear(self, schedule.series["e_kwh"])
        return {"wear": wear}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[ElectricVehicle]) -> AssetRows:
        return FleetRows(site, assets)
