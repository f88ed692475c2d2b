"""The rows of a fleet of EVs.

A fleet enters the linear program as sparse rows; Pyomo sees only the fleet's power per connection and
step. Columns, in this order, over *pieces* (a session in one step it touches) and *states* (an EV at
the end of a step that a session touches or a trip ends in):

    charge[piece], discharge[piece with V2G], e[state], trip_short[trip], need_short[need]

and the segments of EVs with a `wear_curve`. Rows: energy from state to state, departure needs, the link to
the fleet's power, and those of the segments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Shortfall
from optimizer.assets.base import (
    AssetRows,
    Burden,
    Control,
    Entries,
    Flexibility,
    InverterPower,
    SparseBlock,
    StorePlan,
    TerminalPower,
)
from optimizer.assets.charging import SERVED_KWH
from optimizer.assets.store import store_flexibility, stored_kwh
from optimizer.assets.vehicle import FleetStays, Vehicle, numbers
from optimizer.assets.wear import FleetSegments

if TYPE_CHECKING:
    from optimizer.site import Site

STATED = (
    "e_min_kwh",
    "e_max_kwh",
    "e_start_kwh",
    "charge_efficiency",
    "discharge_efficiency",
    "v2g_reserve_kwh",
    "least_wear_cost_per_mwh",
    "priority",
    "v2g_consent",
)
"""What every EV states."""


class FleetRows(AssetRows):
    """All EVs of a problem as sparse rows."""

    def __init__(self, site: Site, evs: Sequence[Vehicle]) -> None:
        self._evs, self._time = evs, site.time
        self._stated = dict(zip(STATED, numbers(evs, *STATED), strict=True))
        self._stays = FleetStays(evs, self._stated, site.time)
        self._drives = [
            (number, order, step, trip)
            for number, ev in enumerate(evs)
            if ev.trips
            for order, (step, trip) in enumerate(ev.drives(site.time))
        ]
        self._cut_into_pieces()
        self._find_states()
        self._find_needs()
        self._declare_power(site)

    def _cut_into_pieces(self) -> None:
        """The pieces of all sessions, by EV and step, with the power that the covered share allows."""
        stays = self._stays
        length = stays.last - stays.first + 1
        stop = np.cumsum(length)
        start = stop - length
        step = np.arange(length.sum()) + np.repeat(stays.first - start, length)
        share = np.ones(len(step))
        share[start] = np.minimum(stays.first + 1.0, stays.end) - stays.begin
        share[stop - 1] = stays.end - np.maximum(stays.last, stays.begin)
        self._piece_ev, self._piece_step, self._share = np.repeat(stays.ev, length), step, share
        self._charge_max, self._charge_min, self._discharge_max, self._discharge_min = (
            np.repeat(power, length) * share
            for power in (stays.charge_max, stays.charge_min, stays.discharge_max, stays.discharge_min)
        )
        self._v2g = np.flatnonzero(self._discharge_max > 0)
        self._v2g_ev = self._piece_ev[self._v2g]

    def _find_states(self) -> None:
        """The states, by EV and step, and which of them each piece and drive changes."""
        steps = self._time.steps
        drive_ev = self._drive_ev = np.array([drive[0] for drive in self._drives], np.int64)
        drive_step = self._drive_step = np.array([drive[2] for drive in self._drives], np.int64)
        self._drive_kwh = np.array([drive[3].energy_kwh for drive in self._drives], float)
        piece_key, drive_key = self._piece_ev * steps + self._piece_step, drive_ev * steps + drive_step
        self._keys, self._state_at = _distinct(len(self._evs) * steps, piece_key, drive_key)
        self._state_ev = self._keys // steps
        self._is_first = np.diff(self._state_ev, prepend=-1) > 0
        self._state_of_piece, self._state_of_drive = self._state_at[piece_key], self._state_at[drive_key]

    def _find_needs(self) -> None:
        """The stays with a need above the least energy, and the drives whose energy leaves in the same step
        but only after the departure: the need holds before them."""
        stays = self._stays
        self._needs = np.flatnonzero(stays.need > self._stated["e_min_kwh"][stays.ev])
        self._need_ev, self._need_kwh = stays.ev[self._needs], stays.need[self._needs]
        self._state_of_need = self._state_at[self._need_ev * self._time.steps + stays.last[self._needs]]
        drives_of: dict[int, list[int]] = defaultdict(list)
        for order, state in enumerate(self._state_of_drive.tolist()):
            drives_of[state].append(order)
        later = [
            (position, order)
            for position, state in enumerate(self._state_of_need.tolist() if drives_of else ())
            for order in drives_of.get(state, ())
            if self._drives[order][3].departure >= stays.sessions[self._needs[position]].departure
        ]
        self._later = np.array(later, np.int64).reshape(-1, 2)
        self._need_rhs = self._need_kwh.copy()
        np.subtract.at(self._need_rhs, self._later[:, 0], self._drive_kwh[self._later[:, 1]])

    def _declare_power(self, site: Site) -> None:
        """The power of all EVs at a connection, in Pyomo."""
        of_ev = [ev.connection for ev in self._evs]
        self._connections = sorted(set(of_ev))
        shape = len(self._connections), site.time.steps
        count = shape[0] * shape[1]
        first_key = dict(zip(self._connections, range(0, count, site.time.steps), strict=True))
        key = np.array([first_key[connection] for connection in of_ev])[self._piece_ev] + self._piece_step
        self._link_keys, link_at = _distinct(count, key)
        self._link_of_piece = link_at[key]
        self._link_labels = [site.named(connection) for connection in self._connections]
        fleet = site.columns(
            "fleet_kw",
            self._connections,
            lower=-np.bincount(key, self._discharge_max, count).reshape(shape),
            upper=np.bincount(key, self._charge_max, count).reshape(shape),
        )
        for row, connection in enumerate(self._connections):
            site.draw(connection, fleet, row, 1.0)
        self._fleet = fleet.index.ravel()[self._link_keys]

    def place(self, first_column: int) -> None:
        widths = [len(self._piece_ev), len(self._v2g), len(self._keys), len(self._drives), len(self._needs)]
        edges = pairwise((first_column + np.concatenate([[0], np.cumsum(widths)])).tolist())
        self._charge, self._discharge, self._energies, self._trip_short, self._need_short = (
            np.arange(begin, end) for begin, end in edges
        )
        self._segments = FleetSegments(
            self._evs,
            self._state_ev,
            self._energies,
            self._time.hours,
            first_column=first_column + sum(widths),
            first_row=len(self._keys) + len(self._needs) + len(self._link_keys),
        )
        self.exclusive = np.column_stack([self._charge[self._v2g], self._discharge])
        stepped, stepped_back = self._charge_min > 0, self._discharge_min[self._v2g] > 0
        self.semicontinuous = np.concatenate([self._charge[stepped], self._discharge[stepped_back]])
        least = self._charge_min[stepped], self._discharge_min[self._v2g[stepped_back]]
        self.semicontinuous_min = np.concatenate(least)
        reserve = self._stated["v2g_reserve_kwh"]
        reserved = (reserve > self._stated["e_min_kwh"])[self._v2g_ev]
        pieces = self._v2g[reserved]
        energy = self._energies[self._state_of_piece[pieces]]
        self.reserves = np.column_stack([self._discharge[reserved], energy])
        self.reserved_kwh = reserve[self._piece_ev[pieces]]
        self.needs = np.concatenate([self._trip_short, self._need_short])
        of_drives, of_needs = self._stated["priority"][self._drive_ev], self._stays.priority[self._needs]
        self.need_weights = np.concatenate([of_drives, of_needs])

    def block(self) -> SparseBlock:
        energy_rhs, links, segments = self._energy_rhs(), _zeros(len(self._link_keys)), self._segments
        e_min, wear = self._stated["e_min_kwh"], self._stated["least_wear_cost_per_mwh"]
        unmet = len(self.needs)
        return SparseBlock(
            entries=[*self._energy_rows(), *self._need_rows(), *self._link_rows(), *segments.entries],
            lower=[
                _zeros(len(self._charge) + len(self._discharge)),
                e_min[self._state_ev],
                _zeros(unmet + len(segments.upper)),
            ],
            upper=[
                self._charge_max,
                self._discharge_max[self._v2g],
                self._stated["e_max_kwh"][self._state_ev],
                self._drive_kwh,
                self._need_kwh - e_min[self._need_ev],
                segments.upper,
            ],
            cost=[
                _zeros(len(self._charge)),
                wear[self._v2g_ev],
                _zeros(len(self._energies) + unmet),
                segments.cost,
            ],
            row_lower=[energy_rhs, self._need_rhs, links, segments.row_lower],
            row_upper=[energy_rhs, np.full(len(self._needs), np.inf), links, segments.row_upper],
            column_names=self._column_names,
            row_names=self._row_names,
        )

    def _energy_rows(self) -> Iterator[Entries]:
        """e − e_before − gain·charge + loss·discharge − trip_short = e_start (first state) − trips."""
        gain = self._stated["charge_efficiency"] * self._time.hours
        loss = self._time.hours / self._stated["discharge_efficiency"]
        following = np.flatnonzero(~self._is_first)
        yield np.arange(len(self._keys)), self._energies, 1.0
        yield following, self._energies[following - 1], -1.0
        yield self._state_of_piece, self._charge, (-gain)[self._piece_ev]
        yield self._state_of_piece[self._v2g], self._discharge, loss[self._v2g_ev]
        yield self._state_of_drive, self._trip_short, -1.0

    def _energy_rhs(self) -> FloatArray:
        rhs = np.zeros(len(self._keys))
        rhs[self._is_first] = self._stated["e_start_kwh"][self._state_ev[self._is_first]]
        return rhs - np.bincount(self._state_of_drive, self._drive_kwh, len(rhs))

    def _need_rows(self) -> Iterator[Entries]:
        """e + need_short − trip_short of later drives ≥ need − these drives."""
        rows = len(self._keys) + np.arange(len(self._needs))
        yield rows, self._energies[self._state_of_need], 1.0
        yield rows, self._need_short, 1.0
        yield rows[self._later[:, 0]], self._trip_short[self._later[:, 1]], -1.0

    def _link_rows(self) -> Iterator[Entries]:
        """Σ charge − Σ discharge − fleet_kw = 0."""
        first = len(self._keys) + len(self._needs)
        row = first + self._link_of_piece
        yield row, self._charge, 1.0
        yield row[self._v2g], self._discharge, -1.0
        yield first + np.arange(len(self._link_keys)), self._fleet, -1.0

    @property
    def states(self) -> tuple[IntArray, IntArray]:
        steps = self._keys % self._time.steps
        deepest, at = self._segments.deepest, self._segments.states
        columns = [self._energies, deepest, self._fleet]
        of_fleet = self._link_keys % self._time.steps
        return np.concatenate(columns), np.concatenate([steps, steps[at], of_fleet])

    def stated_controls(self) -> Iterator[Control]:
        edges = np.searchsorted(self._piece_ev, np.arange(len(self._evs) + 1))
        v2g_edges = np.searchsorted(self._piece_ev[self._v2g], np.arange(len(self._evs) + 1))
        for number, ev in enumerate(self._evs):
            own = np.arange(edges[number], edges[number + 1])
            yield Control(
                ev.id,
                "p_kw",
                self._piece_step[own],
                self._charge[own],
                least=self._charge_min[own],
                most=self._charge_max[own],
            )
            some = np.arange(v2g_edges[number], v2g_edges[number + 1])
            back = self._v2g[some]
            yield Control(
                ev.id,
                "p_kw",
                self._piece_step[back],
                self._discharge[some],
                -1,
                least=self._discharge_min[back],
                most=self._discharge_max[back],
            )

    def left_unserved(self, known: Mapping[str, AssetSchedule], until: int) -> tuple[IntArray, FloatArray]:
        short = np.zeros(len(self._drives))
        missing: dict[tuple[int, int], float] = {}
        for row, (number, _, step, trip) in enumerate(self._drives):
            ev, key = self._evs[number], (number, step)
            if step >= until or ev.id not in known:
                continue
            if key not in missing:
                own = known[ev.id]
                e_kwh = np.append(ev.e_start_kwh, own.series["e_kwh"])
                way = ev.charge_efficiency, ev.discharge_efficiency, self._time.hours
                taken = e_kwh[step] + stored_kwh(own.p_kw[step], *way) - e_kwh[step + 1]
                driven = self._drive_kwh[(self._drive_ev == number) & (self._drive_step == step)].sum()
                missing[key] = driven - float(taken)
            served = missing[key] <= SERVED_KWH
            short[row] = 0.0 if served else min(missing[key], trip.energy_kwh)
            missing[key] -= short[row]
        past = (self._drive_step < until) & np.isin(self._drive_ev, [number for number, _ in missing])
        return self._trip_short[past], short[past]

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

    def inverter_powers(self, kva: Mapping[str, float]) -> Iterator[InverterPower]:
        for number, ev in enumerate(self._evs):
            pieces = np.flatnonzero(self._piece_ev == number) if ev.id in kva else np.zeros(0, np.int64)
            if not len(pieces):
                continue
            steps, position = np.unique(self._piece_step[pieces], return_inverse=True)
            back = np.flatnonzero(np.isin(self._v2g, pieces))
            yield InverterPower(
                ev.id,
                steps,
                kva[ev.id] * np.minimum(np.bincount(position, self._share[pieces]), 1.0),
                np.zeros(len(steps)),
                np.concatenate([position, np.searchsorted(steps, self._piece_step[self._v2g[back]])]),
                np.concatenate([self._charge[pieces], self._discharge[back]]),
                np.concatenate([np.ones(len(pieces)), -np.ones(len(back))]),
            )

    def controls(self, steps: int) -> IntArray:
        early = self._piece_step < steps
        return np.concatenate([self._charge[early], self._discharge[early[self._v2g]]])

    def flexibility(self) -> Iterator[Flexibility]:
        """Of every EV in the steps that a session covers wholly. After a call it can follow its plan until
        it is plugged in again, with the need of its departure."""
        v2g_column = np.full(len(self._piece_ev), -1)
        v2g_column[self._v2g] = self._discharge
        whole = (self._share == 1.0) & (self._charge_min == 0) & (self._discharge_min == 0)
        for number, ev in enumerate(self._evs):
            columns = np.full((3, self._time.steps), -1)
            powers = np.zeros((2, self._time.steps))
            states = np.flatnonzero(self._state_ev == number)
            columns[2, self._keys[states] % self._time.steps] = self._energies[states]
            pieces = np.flatnonzero((self._piece_ev == number) & whole)
            at = self._piece_step[pieces]
            columns[0, at], columns[1, at] = self._charge[pieces], v2g_column[pieces]
            # a reserve in the battery forbids some of the discharging, so a call must not rely on it
            relied = ev.v2g_reserve_kwh <= ev.e_min_kwh
            powers[0, at] = self._charge_max[pieces]
            powers[1, at] = self._discharge_max[pieces] * relied
            yield from store_flexibility(
                ev,
                (columns[0], powers[0]),
                (columns[1], powers[1]),
                columns[2],
                np.full(self._time.steps, ev.e_min_kwh),
                tuple(self._plans(number, columns[2])),
            )

    def _plans(self, number: int, energy: IntArray) -> Iterator[StorePlan]:
        """The states of each session and of the drives after it, with the need of its departure."""
        stays = np.flatnonzero(self._stays.ev == number).tolist()
        drives = {step for ev, _, step, _ in self._drives if ev == number}
        row_of = {int(stay): row for row, stay in enumerate(self._needs)}
        first, last = self._stays.first[stays].tolist(), self._stays.last[stays].tolist()
        for position, stay in enumerate(stays):
            end = first[position + 1] if position + 1 < len(stays) else self._time.steps
            # a drive that ends as the next session begins is still served by this one
            end += end in drives
            steps = np.arange(first[position], max(end, last[position] + 1))
            row = row_of.get(stay)
            need = None
            if row is not None:
                need_kwh = float(self._need_rhs[row])
                need = last[position], int(self._need_short[row]), need_kwh
            yield StorePlan(steps[energy[steps] >= 0], need)

    def burdens(self) -> Iterator[tuple[Burden, str, IntArray, float]]:
        whose = np.concatenate([self._drive_ev, self._need_ev])
        for number in np.unique(whose).tolist():
            yield "charging", self._evs[number].id, self.needs[whose == number], 1.0

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        steps = self._time.steps
        size = len(self._evs) * steps
        power = np.bincount(self._piece_ev * steps + self._piece_step, x[self._charge], size).astype(float)
        back = self._v2g
        power -= np.bincount(self._piece_ev[back] * steps + self._piece_step[back], x[self._discharge], size)
        power = power.reshape(-1, steps)
        stated = {name: values[:, None] for name, values in self._stated.items()}
        gain, loss = stated["charge_efficiency"], stated["discharge_efficiency"]
        change = stored_kwh(power, gain, loss, self._time.hours)
        short = x[self._trip_short]
        served = self._drive_kwh - np.where(short > SERVED_KWH, short, 0.0)
        np.subtract.at(change, (self._drive_ev, self._drive_step), served)
        energies = stated["e_start_kwh"] + np.cumsum(change, axis=1)
        np.clip(energies, stated["e_min_kwh"], stated["e_max_kwh"], out=energies)
        for ev, p_kw, e_kwh in zip(self._evs, power, energies, strict=True):
            yield ev.id, AssetSchedule(p_kw, {"e_kwh": e_kwh})

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for row in np.flatnonzero(x[self._need_short] > SERVED_KWH):
            short, ev = float(x[self._need_short[row]]), self._evs[int(self._need_ev[row])].id
            session = self._stays.sessions[self._needs[row]]
            at = min(session.departure, self._time.end)
            yield Shortfall("departure_energy", at, short, asset=ev, since=session.arrival)
        for column in np.flatnonzero(x[self._trip_short] > SERVED_KWH):
            number, _, _, trip = self._drives[column]
            short, ev = float(x[self._trip_short[column]]), self._evs[number].id
            yield Shortfall("trip_energy", trip.arrival, short, asset=ev, since=trip.departure)

    def _column_names(self) -> list[str]:
        piece = [
            f"({self._evs[ev].id},{step})"
            for ev, step in zip(self._piece_ev.tolist(), self._piece_step.tolist(), strict=True)
        ]
        state = [f"({name})" for name in self._state_names()]
        drives = [f"({self._evs[number].id},{order})" for number, order, _, _ in self._drives]
        needs = [f"({name})" for name in self._need_names()]
        return [
            *(f"ev_charge_kw{label}" for label in piece),
            *(f"ev_discharge_kw{piece[k]}" for k in self._v2g),
            *(f"ev_e_kwh{label}" for label in state),
            *(f"trip_short_kwh{label}" for label in drives),
            *(f"need_short_kwh{label}" for label in needs),
            *self._segments.column_names(self._state_names()),
        ]

    def _row_names(self) -> list[str]:
        steps = self._time.steps
        state = [f"ev_energy({name})" for name in self._state_names()]
        needs = [f"ev_need({name})" for name in self._need_names()]
        link = [f"fleet_power({self._link_labels[key // steps]},{key % steps})" for key in self._link_keys]
        return [*state, *needs, *link, *self._segments.row_names(self._state_names())]

    def _state_names(self) -> list[str]:
        steps = self._time.steps
        return [f"{self._evs[key // steps].id},{key % steps}" for key in self._keys]

    def _need_names(self) -> list[str]:
        last = self._stays.last[self._needs]
        return [f"{self._evs[number].id},{step}" for number, step in zip(self._need_ev, last, strict=True)]


def _zeros(count: int) -> FloatArray:
    """So many zeros that take no memory."""
    return np.broadcast_to(0.0, count)


def _distinct(size: int, *keys: IntArray) -> tuple[IntArray, NDArray[np.int32]]:
    """The distinct keys, ascending, and the position of each key below `size` among them."""
    present = np.zeros(size, bool)
    for some in keys:
        present[some] = True
    distinct, position = np.flatnonzero(present), np.empty(size, np.int32)
    position[distinct] = np.arange(len(distinct))
    return distinct, position
