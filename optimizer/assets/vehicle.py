"""What an EV states: its battery, its charging sessions and its trips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from math import ceil, floor
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from energy.domain.documents import Document, Instant, Items
from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, Terminal
from energy.domain.time import TimeGrid, format_instant
from optimizer.assets.store import EnergyStore, energy_faults, least_power_faults
from optimizer.quantities import Positive, Priority


class Session(Document):
    """A stay at the charger. Power only from `arrival` to `departure`; each way it is nothing, or at least
    its minimum (`charge_min_kw`, `discharge_min_kw`). `priority` replaces that of the EV for its need;
    without `v2g_consent` there is no discharge, whatever `discharge_max_kw` says."""

    arrival: Instant
    departure: Instant
    charge_max_kw: Positive
    discharge_max_kw: Positive = 0.0
    charge_min_kw: Positive = 0.0
    discharge_min_kw: Positive = 0.0
    e_departure_min_kwh: Positive | None = None
    priority: Priority | None = None
    v2g_consent: bool = True


class Trip(Document):
    """A drive that takes `energy_kwh` from the battery."""

    departure: Instant
    arrival: Instant
    energy_kwh: Positive
    distance_km: Positive | None = None


class Vehicle(EnergyStore):
    """An EV at one connection; `p_kw` ``+`` charges, V2G is negative.

    It discharges only in steps that end with at least `v2g_reserve_kwh`, and only with consent: its own
    and that of the session. V2G wears it at `wear_cost_per_mwh`, or by depth along `wear_curve`; drives
    then pay only what their depth is dearer than the first step.
    """

    v2g_consent: bool = True
    v2g_reserve_kwh: Positive = 0.0
    sessions: Items[Session] = ()
    trips: Items[Trip] = ()

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from energy_faults(path, self.e_min_kwh, self.e_start_kwh, self.e_max_kwh)
        if self.v2g_reserve_kwh > self.e_max_kwh:
            yield Fault(
                f"{path}.v2g_reserve_kwh",
                f"{self.v2g_reserve_kwh:g} kWh is above e_max_kwh {self.e_max_kwh:g}; lower it",
            )
        for number, session in enumerate(self.sessions):
            where = f"{path}.sessions[{number}]"
            if session.departure < session.arrival:
                yield Fault(
                    f"{where}.departure",
                    f"{format_instant(session.departure)} is before the arrival "
                    f"{format_instant(session.arrival)}; swap or correct them",
                )
            yield from least_power_faults(where, session)
            need = session.e_departure_min_kwh
            if need is not None and need > self.e_max_kwh:
                yield Fault(
                    f"{where}.e_departure_min_kwh",
                    f"{need:g} kWh is above e_max_kwh {self.e_max_kwh:g}; lower it",
                )
        for number, trip in enumerate(self.trips):
            if trip.arrival < trip.departure:
                yield Fault(
                    f"{path}.trips[{number}].arrival",
                    f"{format_instant(trip.arrival)} is before the departure "
                    f"{format_instant(trip.departure)}; swap or correct them",
                )
        yield from self._overlaps(path)

    def _overlaps(self, path: str) -> Iterator[Fault]:
        if len(self.sessions) + len(self.trips) < 2:
            return
        stays = [(s.arrival, s.departure, "sessions", n) for n, s in enumerate(self.sessions)]
        drives = [(t.departure, t.arrival, "trips", n) for n, t in enumerate(self.trips)]
        intervals = sorted(item for item in stays + drives if item[0] < item[1])
        latest = None
        for item in intervals:
            if latest is not None and item[0] < latest[1]:
                yield Fault(
                    f"{path}.{item[2]}[{item[3]}]",
                    f"begins at {format_instant(item[0])}, before {latest[2]}[{latest[3]}] ends at "
                    f"{format_instant(latest[1])}; an EV is in one place at a time",
                )
            if latest is None or item[1] > latest[1]:
                latest = item

    def notices(self, time: TimeGrid) -> Iterator[str]:
        start, end = time.start, time.end
        for session in self.sessions:
            if session.departure == session.arrival:
                fate = "has no duration and is left out, with its departure need"
            elif session.departure <= start or session.arrival >= end:
                fate = "is outside the horizon and left out"
            elif session.arrival < start or session.departure > end:
                fate = "is clipped to the horizon"
            else:
                continue
            span = f"the session {format_instant(session.arrival)} to {format_instant(session.departure)}"
            yield f"asset {self.id!r}: {span} {fate}"
        refused = 0
        if any(s.discharge_max_kw > 0 and self.discharge_max_kw(s) == 0 for s in self.sessions):
            stays = [stay.session for stay in self.stays(time)]
            refused = sum(s.discharge_max_kw > 0 and self.discharge_max_kw(s) == 0 for s in stays)
        if refused:
            yield f"asset {self.id!r}: no V2G in {refused} of its sessions, without v2g_consent"
        for trip in self.trips:
            if not time.start <= trip.arrival < time.end:
                yield (
                    f"asset {self.id!r}: the trip that arrives at {format_instant(trip.arrival)} is outside "
                    "the horizon and left out"
                )

    def terminals(self) -> tuple[Terminal, ...]:
        found = [self.terminal(1)]
        if any(self.discharge_max_kw(session) > 0 for session in self.sessions):
            found.append(self.terminal(-1))
        return tuple(dict.fromkeys(found))

    @property
    def least_wear_cost_per_mwh(self) -> float:
        """What a MWh discharged costs at any depth."""
        return self.wear_curve[0].cost_per_mwh if self.wear_curve else self.wear_cost_per_mwh

    def discharge_max_kw(self, session: Session) -> float:
        """The largest discharging power of a session: none without consent."""
        return session.discharge_max_kw if self.v2g_consent and session.v2g_consent else 0.0

    def priority_of(self, session: Session) -> float:
        """What weighs the need of a session."""
        return self.priority if session.priority is None else session.priority

    def stays(self, time: TimeGrid) -> list[Stay]:
        """The sessions inside the horizon, in order of arrival."""
        found = []
        # most have one, and fleets are long
        ordered = self.sessions if len(self.sessions) < 2 else sorted(self.sessions, key=_arrival)
        for session in ordered:
            begin, end = time.position(session.arrival), time.position(session.departure)
            begin = begin if begin > 0 else 0.0
            need, at = session.e_departure_min_kwh or 0.0, session.departure
            if end > time.steps:
                outside = end - time.steps
                need -= self.charge_efficiency * session.charge_max_kw * outside * time.hours
                end, at = float(time.steps), time.end
            if begin >= end:
                continue
            found.append(Stay(session, begin, end, floor(begin), ceil(end) - 1, need, at))
        return found

    def can_draw(self, time: TimeGrid) -> BoolArray:
        steps = np.zeros(time.steps, bool)
        for stay in self.stays(time):
            steps[stay.first : stay.last + 1] |= stay.session.charge_max_kw > 0
        return steps

    def drives(self, time: TimeGrid) -> list[tuple[int, Trip]]:
        """The trips that arrive inside the horizon, each with the step at whose end its energy leaves."""
        ordered = sorted(self.trips, key=lambda trip: trip.arrival)
        return [
            (time.step_at(trip.arrival), trip) for trip in ordered if time.start <= trip.arrival < time.end
        ]


_arrival = attrgetter("arrival")


class Stay(NamedTuple):
    """A session inside the horizon, in steps: from `begin` to `end`, touching steps `first` to `last`.

    `need_kwh` is due at the end of step `last`, reported at time `at`.
    """

    session: Session
    begin: float
    end: float
    first: int
    last: int
    need_kwh: float
    at: datetime

    def power_max(self, step: int) -> float:
        """Largest mean charging power in a step: the maximum times the covered share."""
        return self.session.charge_max_kw * (min(step + 1.0, self.end) - max(float(step), self.begin))


class FleetStays:
    """What `Vehicle.stays` says of one EV, of many at once: in their order, then by arrival.

    `stated` has what every EV states, by field.

    Attributes:
        sessions: those inside the horizon; `ev` is whose each is, `need` what is due at its end, kWh.
        begin, end: in steps from the start of the horizon; first, last: the steps that they touch.
        charge_max, charge_min, discharge_max, discharge_min: kW; priority: what its need weighs.
    """

    def __init__(self, evs: Sequence[Vehicle], stated: Mapping[str, FloatArray], time: TimeGrid) -> None:
        every = [session for ev in evs for session in ev.sessions]
        whose = np.repeat(np.arange(len(evs)), [len(ev.sessions) for ev in evs])
        arrival = time.positions(session.arrival for session in every)
        departure = time.positions(session.departure for session in every)
        begin, end = np.maximum(arrival, 0.0), np.minimum(departure, time.steps)
        order = np.lexsort((arrival, whose))
        order = order[begin[order] < end[order]]
        self.ev, self.begin, self.end = whose[order], begin[order], end[order]
        self.first, self.last = np.floor(self.begin).astype(np.int64), np.ceil(self.end).astype(np.int64) - 1
        self.sessions = [every[k] for k in order.tolist()]
        self.charge_max, self.charge_min, discharge_max, self.discharge_min, consent = numbers(
            self.sessions,
            "charge_max_kw",
            "charge_min_kw",
            "discharge_max_kw",
            "discharge_min_kw",
            "v2g_consent",
        )
        gain, priority, of_ev = (
            stated[name][self.ev] for name in ("charge_efficiency", "priority", "v2g_consent")
        )
        self.discharge_max = discharge_max * consent * of_ev
        due = np.array([session.e_departure_min_kwh or 0.0 for session in self.sessions])
        # what can still be charged beyond the horizon is not due at its end
        self.need = due - gain * self.charge_max * (departure[order] - self.end) * time.hours
        own = np.array([session.priority for session in self.sessions], float)
        self.priority = np.where(np.isnan(own), priority, own)


def numbers(items: Sequence[Any], *names: str) -> FloatArray:
    """Numbers that every item states, shape (names, items)."""
    flat = chain.from_iterable(map(attrgetter(*names), items))
    values = np.fromiter(flat, float, len(items) * len(names))
    return np.ascontiguousarray(values.reshape(-1, len(names)).T)
