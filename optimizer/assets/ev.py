"""Electric vehicles: charging sessions, trips, V2G.

A fleet enters the linear program as sparse rows; Pyomo sees only the fleet's power per connection and
step. Columns, in this order, over *pieces* (a session in one step it touches) and *states* (an EV at
the end of a step that a session touches or a trip ends in):

    charge[piece], discharge[piece with V2G], e[state], trip_short[trip], need_short[need]

Rows: energy from state to state, departure needs, and the link to the fleet's power.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from energy.domain.documents import Document, Instant, Items
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid, format_instant
from optimizer.assets.base import Asset, AssetRows, Efficiency, Positive, SparseBlock, TerminalPower
from optimizer.assets.battery import energy_faults, stored_kwh, wear_cost
from optimizer.assets.charging import (
    SERVED_KWH,
    Charged,
    Charging,
    vehicle_charging,
    vehicle_shortfalls,
)

if TYPE_CHECKING:
    from optimizer.site import Columns, Site

Entries = tuple[IntArray, IntArray, FloatArray]
"""Rows, columns and values of a part of a matrix."""


class Session(Document):
    """A stay at the charger. Power only from `arrival` to `departure`; `charge_min_kw` is semicontinuous:
    the EV charges with nothing, or with at least this."""

    arrival: Instant
    departure: Instant
    charge_max_kw: Positive
    discharge_max_kw: Positive = 0.0
    charge_min_kw: Positive = 0.0
    e_departure_min_kwh: Positive | None = None


class Trip(Document):
    """A drive that takes `energy_kwh` from the battery."""

    departure: Instant
    arrival: Instant
    energy_kwh: Positive
    distance_km: Positive | None = None


class ElectricVehicle(Asset):
    """An EV at one connection; `p_kw` ``+`` charges, V2G is negative."""

    type: Literal["ev"]
    e_min_kwh: Positive = 0.0
    e_max_kwh: Positive
    e_start_kwh: Positive
    charge_efficiency: Efficiency = 1.0
    discharge_efficiency: Efficiency = 1.0
    wear_cost_per_mwh: Positive = 0.0
    sessions: Items[Session] = ()
    trips: Items[Trip] = ()

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from energy_faults(path, self.e_min_kwh, self.e_start_kwh, self.e_max_kwh)
        for number, session in enumerate(self.sessions):
            where = f"{path}.sessions[{number}]"
            if session.departure < session.arrival:
                yield Fault(
                    f"{where}.departure",
                    f"{format_instant(session.departure)} is before the arrival "
                    f"{format_instant(session.arrival)}; swap or correct them",
                )
            if session.charge_min_kw > session.charge_max_kw:
                yield Fault(
                    f"{where}.charge_min_kw",
                    f"{session.charge_min_kw:g} kW is above charge_max_kw "
                    f"{session.charge_max_kw:g}; lower it",
                )
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
        for session in self.sessions:
            span = f"the session {format_instant(session.arrival)} to {format_instant(session.departure)}"
            if session.departure == session.arrival:
                yield f"asset {self.id!r}: {span} lasts no time and is left out, with its departure need"
            elif session.departure <= time.start or session.arrival >= time.end:
                yield f"asset {self.id!r}: {span} is outside the horizon and left out"
            elif session.arrival < time.start or session.departure > time.end:
                yield f"asset {self.id!r}: {span} is clipped to the horizon"
        for trip in self.trips:
            if not time.start <= trip.arrival < time.end:
                yield (
                    f"asset {self.id!r}: the trip that arrives at {format_instant(trip.arrival)} is outside "
                    "the horizon and left out"
                )

    def terminals(self) -> tuple[Terminal, ...]:
        found = [self.terminal(1)]
        if any(session.discharge_max_kw > 0 for session in self.sessions):
            found.append(self.terminal(-1))
        return tuple(dict.fromkeys(found))

    def stays(self, time: TimeGrid) -> list[Stay]:
        """The sessions inside the horizon, in order of arrival."""
        found = []
        for session in sorted(self.sessions, key=lambda session: session.arrival):
            begin, end = max(time.position(session.arrival), 0.0), time.position(session.departure)
            outside = max(end - time.steps, 0.0)
            end = min(end, float(time.steps))
            if begin >= end:
                continue
            need = session.e_departure_min_kwh or 0.0
            if outside:
                need -= self.charge_efficiency * session.charge_max_kw * outside * time.hours
            at = time.end if outside else session.departure
            found.append(Stay(session, begin, end, floor(begin), ceil(end) - 1, need, at))
        return found

    def drives(self, time: TimeGrid) -> list[tuple[int, Trip]]:
        """The trips that arrive inside the horizon, each with the step at whose end its energy leaves."""
        ordered = sorted(self.trips, key=lambda trip: trip.arrival)
        return [
            (time.step_at(trip.arrival), trip) for trip in ordered if time.start <= trip.arrival < time.end
        ]

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
        return vehicle_charging(self, time)

    def shortfalls_of(self, charged: Charged, time: TimeGrid) -> Iterator[Shortfall]:
        return vehicle_shortfalls(self, charged, time)

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        return {"wear": wear_cost(schedule.p_kw, self.wear_cost_per_mwh, time)}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[ElectricVehicle]) -> AssetRows:
        return FleetRows(site, assets)


@dataclass(frozen=True, slots=True)
class Stay:
    """A session inside the horizon, in steps: from `begin` to `end`, touching steps `first` to `last`.

    `need_kwh` is due at the end of step `last`, reported at time `at`.
    """

    session: Session
    begin: float
    end: float
    first: int
    last: int
    need_kwh: float
    at: Any

    def power_max(self, step: int) -> float:
        """Largest mean charging power in a step: the maximum times the covered share."""
        return self.session.charge_max_kw * (min(step + 1.0, self.end) - max(float(step), self.begin))


class FleetRows(AssetRows):
    """All EVs of a problem as sparse rows."""

    def __init__(self, site: Site, evs: Sequence[ElectricVehicle]) -> None:
        self._evs, self._time = evs, site.time
        self._connections = sorted({ev.connection for ev in evs})
        self._stays = [(number, stay) for number, ev in enumerate(evs) for stay in ev.stays(site.time)]
        self._drives = [
            (number, order, step, trip)
            for number, ev in enumerate(evs)
            for order, (step, trip) in enumerate(ev.drives(site.time))
        ]
        self._cut_into_pieces()
        self._find_states()
        widths = [len(self._piece_ev), len(self._v2g), len(self._keys), len(self._drives), len(self._needs)]
        edges = pairwise(np.concatenate([[0], np.cumsum(widths)]))
        charge, discharge, energy, trip_short, need_short = (np.arange(a, b) for a, b in edges)
        self._local = charge, discharge, trip_short, need_short

        energy_entries, energy_rhs = self._energy_rows(energy)
        need_entries, need_rhs = self._need_rows(energy)
        fleet = self._fleet_power(site)
        link_entries, self._link_keys, first_link = self._link_rows()
        entries = energy_entries + need_entries + link_entries
        rows, columns, values = (np.concatenate([entry[k] for entry in entries]) for k in range(3))
        equal = np.concatenate([energy_rhs, need_rhs, np.zeros(len(self._link_keys))])
        upper = equal.copy()
        upper[len(energy_rhs) : first_link] = np.inf
        lowest, cost = np.zeros(sum(widths)), np.zeros(sum(widths))
        e_min = self._of_evs("e_min_kwh")
        lowest[energy] = e_min[self._state_ev]
        cost[discharge] = self._of_evs("wear_cost_per_mwh")[self._piece_ev[self._v2g]]
        need_upper = self._need_kwh - e_min[self._need_ev]
        highest = [
            self._charge_max,
            self._discharge_max[self._v2g],
            self._of_evs("e_max_kwh")[self._state_ev],
            self._drive_kwh,
            need_upper,
        ]
        links = np.arange(first_link, len(equal)), fleet.index.ravel()[self._link_keys]
        self.sparse = SparseBlock(
            entries=(rows, columns, values),
            links=(*links, -np.ones(len(self._link_keys))),
            lower=lowest,
            upper=np.concatenate(highest),
            cost=cost,
            row_lower=equal,
            row_upper=upper,
            column_names=self._column_names,
            row_names=self._row_names,
        )

    def _of_evs(self, name: str) -> FloatArray:
        return np.array([getattr(ev, name) for ev in self._evs], float)

    def _cut_into_pieces(self) -> None:
        """The pieces of all sessions, by EV and step, with the power that the covered share allows."""
        stays = self._stays

        def of_stays(values: Iterator[float]) -> FloatArray:
            return np.fromiter(values, float, len(stays))

        stay_ev = np.array([number for number, _ in stays], np.int64)
        first = np.array([stay.first for _, stay in stays], np.int64)
        last = np.array([stay.last for _, stay in stays], np.int64)
        begin, end = of_stays(stay.begin for _, stay in stays), of_stays(stay.end for _, stay in stays)
        length = last - first + 1
        stay_of = np.repeat(np.arange(len(stays)), length)
        start_of_stay = np.cumsum(length) - length
        step = np.arange(int(length.sum())) - start_of_stay[stay_of] + first[stay_of]
        share = np.minimum(step + 1.0, end[stay_of]) - np.maximum(step, begin[stay_of])
        self._piece_ev, self._piece_step = stay_ev[stay_of], step
        self._charge_max = of_stays(s.session.charge_max_kw for _, s in stays)[stay_of] * share
        self._charge_min = of_stays(s.session.charge_min_kw for _, s in stays)[stay_of] * share
        self._discharge_max = of_stays(s.session.discharge_max_kw for _, s in stays)[stay_of] * share
        self._v2g = np.flatnonzero(self._discharge_max > 0)
        need = of_stays(stay.need_kwh for _, stay in stays)
        self._needs = np.flatnonzero(need > self._of_evs("e_min_kwh")[stay_ev])
        self._need_ev, self._need_kwh = stay_ev[self._needs], need[self._needs]
        self._need_step = last[self._needs]

    def _find_states(self) -> None:
        """The states, by EV and step, and which of them each piece, drive and need changes."""
        steps = self._time.steps
        drive_ev = np.array([drive[0] for drive in self._drives], np.int64)
        drive_step = np.array([drive[2] for drive in self._drives], np.int64)
        self._drive_kwh = np.array([drive[3].energy_kwh for drive in self._drives], float)
        piece_key, drive_key = self._piece_ev * steps + self._piece_step, drive_ev * steps + drive_step
        self._keys, state_at = _distinct(len(self._evs) * steps, piece_key, drive_key)
        self._state_ev = self._keys // steps
        self._state_of_piece, self._state_of_drive = state_at[piece_key], state_at[drive_key]
        self._state_of_need = state_at[self._need_ev * steps + self._need_step]

    def _energy_rows(self, energy: IntArray) -> tuple[list[Entries], FloatArray]:
        """e − e_before − gain·charge + loss·discharge − trip_short = e_start (first state) − trips."""
        charge, discharge, trip_short, _ = self._local
        states, v2g = len(energy), self._v2g
        gain = self._of_evs("charge_efficiency") * self._time.hours
        loss = self._time.hours / self._of_evs("discharge_efficiency")
        first = np.concatenate([[True], self._state_ev[1:] != self._state_ev[:-1]])[:states]
        following = np.flatnonzero(~first)
        entries = [
            (np.arange(states), energy, np.ones(states)),
            (following, energy[following - 1], -np.ones(len(following))),
            (self._state_of_piece, charge, -gain[self._piece_ev]),
            (self._state_of_piece[v2g], discharge, loss[self._piece_ev[v2g]]),
            (self._state_of_drive, trip_short, -np.ones(len(trip_short))),
        ]
        driven = np.bincount(self._state_of_drive, self._drive_kwh, minlength=states)
        return entries, np.where(first, self._of_evs("e_start_kwh")[self._state_ev], 0.0) - driven

    def _need_rows(self, energy: IntArray) -> tuple[list[Entries], FloatArray]:
        """e + need_short ≥ need, before the energy of a trip that begins after the session leaves."""
        _, _, trip_short, need_short = self._local
        rows = len(energy) + np.arange(len(self._needs))
        rhs = self._need_kwh.copy()
        entries = [
            (rows, energy[self._state_of_need], np.ones(len(rows))),
            (rows, need_short, np.ones(len(rows))),
        ]
        for position, stay_number in enumerate(self._needs):
            departure = self._stays[stay_number][1].session.departure
            for order in np.flatnonzero(self._state_of_drive == self._state_of_need[position]):
                if self._drives[order][3].departure >= departure:
                    rhs[position] -= self._drive_kwh[order]
                    entries.append((rows[[position]], trip_short[[order]], -np.ones(1)))
        return entries, rhs

    def _fleet_power(self, site: Site) -> Columns:
        """The power of all EVs at a connection, in Pyomo."""
        shape = len(self._connections), site.time.steps
        key, count = self._link_key(), shape[0] * shape[1]
        fleet = site.columns(
            "fleet_kw",
            self._connections,
            lower=-np.bincount(key, self._discharge_max, count).reshape(shape),
            upper=np.bincount(key, self._charge_max, count).reshape(shape),
        )
        for number, connection in enumerate(self._connections):
            site.draw(connection, fleet, number, 1.0)
        return fleet

    def _link_key(self) -> IntArray:
        """Connection and step of each piece."""
        fleet_of = np.array([self._connections.index(ev.connection) for ev in self._evs])
        return fleet_of[self._piece_ev] * self._time.steps + self._piece_step

    def _link_rows(self) -> tuple[list[Entries], IntArray, int]:
        """Σ charge − Σ discharge − fleet_kw = 0, its key (connection and step) and the first row's number."""
        charge, discharge, _, _ = self._local
        key = self._link_key()
        link_keys, link_at = _distinct(len(self._connections) * self._time.steps, key)
        first = len(self._keys) + len(self._needs)
        row = first + link_at[key]
        entries = [
            (row, charge, np.ones(len(charge))),
            (row[self._v2g], discharge, -np.ones(len(discharge))),
        ]
        return entries, link_keys, first

    def place(self, first_column: int) -> None:
        self._charge, self._discharge, self._trip_short, self._need_short = (
            local + first_column for local in self._local
        )
        self.exclusive = np.column_stack([self._charge[self._v2g], self._discharge])
        stepped = np.flatnonzero(self._charge_min > 0)
        self.semicontinuous = self._charge[stepped]
        self.semicontinuous_min = self._charge_min[stepped]
        self.needs = np.concatenate([self._trip_short, self._need_short])
        whose = [number for number, *_ in self._drives] + self._need_ev.tolist()
        self.need_weights = np.array([self._evs[number].priority for number in whose], float)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        edges = np.searchsorted(self._piece_ev, np.arange(len(self._evs) + 1))
        v2g_ev = self._piece_ev[self._v2g]
        v2g_edges = np.searchsorted(v2g_ev, np.arange(len(self._evs) + 1))
        for number, ev in enumerate(self._evs):
            pieces = np.arange(edges[number], edges[number + 1])
            if len(pieces):
                yield TerminalPower(
                    ev.terminal(1), self._piece_step[pieces], self._charge[pieces], np.ones(len(pieces))
                )
            back = np.arange(v2g_edges[number], v2g_edges[number + 1])
            if len(back):
                yield TerminalPower(
                    ev.terminal(-1),
                    self._piece_step[self._v2g[back]],
                    self._discharge[back],
                    -np.ones(len(back)),
                )

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        steps = self._time.steps
        size = len(self._evs) * steps
        power = np.bincount(self._piece_ev * steps + self._piece_step, x[self._charge], size)
        back = self._v2g
        power -= np.bincount(self._piece_ev[back] * steps + self._piece_step[back], x[self._discharge], size)
        power = power.reshape(-1, steps)
        unserved = self._unserved_trips(x)
        for number, ev in enumerate(self._evs):
            p_kw = power[number]
            energies = ev.energies(p_kw, unserved.get(number, {}), self._time)
            yield ev.id, AssetSchedule(p_kw, {"e_kwh": np.clip(energies, ev.e_min_kwh, ev.e_max_kwh)})

    def _unserved_trips(self, x: FloatArray) -> dict[int, dict[int, float]]:
        unserved: dict[int, dict[int, float]] = {}
        for column in np.flatnonzero(x[self._trip_short] > SERVED_KWH):
            number, order, _, _ = self._drives[column]
            unserved.setdefault(number, {})[order] = float(x[self._trip_short[column]])
        return unserved

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for row in np.flatnonzero(x[self._need_short] > SERVED_KWH):
            number, stay = self._stays[self._needs[row]]
            yield Shortfall(
                "departure_energy", stay.at, float(x[self._need_short[row]]), asset=self._evs[number].id
            )
        for column in np.flatnonzero(x[self._trip_short] > SERVED_KWH):
            number, _, _, trip = self._drives[column]
            yield Shortfall(
                "trip_energy", trip.arrival, float(x[self._trip_short[column]]), asset=self._evs[number].id
            )

    def _column_names(self) -> list[str]:
        steps = self._time.steps
        piece = [
            f"({self._evs[ev].id},{step})" for ev, step in zip(self._piece_ev, self._piece_step, strict=True)
        ]
        state = [f"({self._evs[key // steps].id},{key % steps})" for key in self._keys]
        drives = [f"({self._evs[number].id},{order})" for number, order, _, _ in self._drives]
        needs = [f"({self._evs[self._stays[n][0]].id},{self._stays[n][1].last})" for n in self._needs]
        return [
            *(f"ev_charge_kw{label}" for label in piece),
            *(f"ev_discharge_kw{piece[k]}" for k in self._v2g),
            *(f"ev_e_kwh{label}" for label in state),
            *(f"trip_short_kwh{label}" for label in drives),
            *(f"need_short_kwh{label}" for label in needs),
        ]

    def _row_names(self) -> list[str]:
        steps = self._time.steps
        state = [f"ev_energy({self._evs[key // steps].id},{key % steps})" for key in self._keys]
        needs = [f"ev_need({self._evs[self._stays[n][0]].id},{self._stays[n][1].last})" for n in self._needs]
        link = [f"fleet_power({self._connections[key // steps]},{key % steps})" for key in self._link_keys]
        return [*state, *needs, *link]


def _distinct(size: int, *keys: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct keys, ascending, and the position of each key below `size` among them."""
    present = np.zeros(size, bool)
    for some in keys:
        present[some] = True
    return np.flatnonzero(present), np.cumsum(present) - 1
