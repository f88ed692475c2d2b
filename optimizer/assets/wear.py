"""Wear that depends on depth: a store in segments, as in Xu, Zhao, Zheng, Litvinov and Kirschen, "Factoring
the Cycle Aging Cost of Batteries Participating in Electricity Markets", IEEE Transactions on Power Systems
33(2), 2018.

A curve splits a store of `e_max_kwh` into segments, each with an energy and a price of its own per MWh that
it discharges. Prices rise with depth, so the cheapest segment is emptied first and filled first: what a
cycle costs is what its depth asks for. At the start of the horizon the cheapest segments are full.

Driving takes an EV deeper as well. That it drives is no choice of the dispatch, at what depth is: every MWh
from a segment costs what that segment is dearer than the first, driven or discharged, and discharging costs
the first price besides. So V2G pays what it adds to the wear of the drives, before or after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import Entries
from optimizer.assets.store import EnergyStore, WearStep

if TYPE_CHECKING:
    from optimizer.site import Columns, Site


def capacities_kwh(curve: Sequence[WearStep], e_max_kwh: float) -> FloatArray:
    """The size of each segment, cheapest first."""
    return np.diff([0.0, *(step.depth for step in curve)]) * e_max_kwh


def filled_kwh(capacities: FloatArray, energy_kwh: float) -> FloatArray:
    """The energy of each segment where the cheapest are full."""
    return np.clip(energy_kwh - (np.cumsum(capacities) - capacities), 0.0, capacities)


def drained_kwh(battery: EnergyStore, p_kw: FloatArray, hours: float) -> FloatArray:
    """What its power takes from each segment in all, kWh in the store: the cheapest first.

    Nothing else costs less: at any time a cheap segment has given all that it could have given by then.
    """
    capacities = capacities_kwh(battery.wear_curve, battery.e_max_kwh)
    levels = filled_kwh(capacities, battery.e_start_kwh)
    retained, drained = battery.retained(hours), np.zeros(len(capacities))
    for power in p_kw.tolist():
        levels *= retained
        if power > 0:
            room = np.maximum(capacities - levels, 0.0)
            levels += filled_kwh(room, power * hours * battery.charge_efficiency)
        elif power < 0:
            asked = -power * hours / battery.discharge_efficiency
            taken = filled_kwh(np.maximum(levels, 0.0), asked)
            # a metered past may have taken what the store was not thought to hold
            taken[-1] += asked - taken.sum()
            levels -= taken
            drained += taken
    return drained


def depth_wear(battery: EnergyStore, p_kw: FloatArray, hours: float) -> float:
    """What discharging costs by depth, from its power alone."""
    costs = np.array([step.cost_per_mwh for step in battery.wear_curve])
    return float(costs @ drained_kwh(battery, p_kw, hours)) * battery.discharge_efficiency / 1000


def segment_rows(
    site: Site, batteries: Sequence[EnergyStore], charge: Columns, discharge: Columns
) -> IntArray:
    """The segments of the batteries that have a curve; rows of `charge` and `discharge` are batteries.

    Gives back the energies of their deepest segments, shape (batteries, steps).
    """
    curved = [number for number, battery in enumerate(batteries) if battery.wear_curve]
    segments = [(number, k) for number in curved for k in range(len(batteries[number].wear_curve))]
    labels = [f"{batteries[number].id}.{k}" for number, k in segments]
    capacity = {n: capacities_kwh(batteries[n].wear_curve, batteries[n].e_max_kwh) for n in curved}
    start = {n: filled_kwh(capacity[n], batteries[n].e_start_kwh) for n in curved}
    costs = np.array([batteries[number].wear_curve[k].cost_per_mwh for number, k in segments])
    sizes = np.array([capacity[number][k] for number, k in segments])
    into = site.columns("segment_charge_kw", labels)
    out = site.columns("segment_discharge_kw", labels, price=costs[:, None])
    energy = site.columns("segment_kwh", labels, upper=sizes[:, None])
    hours = site.time.hours
    at = {n: [row for row, (number, _) in enumerate(segments) if number == n] for n in curved}

    def segment_balance(_: Any, row: int, step: int) -> Any:
        number, k = segments[row]
        battery = batteries[number]
        gained = (
            battery.charge_efficiency * hours * into.variable[row, step]
            - hours / battery.discharge_efficiency * out.variable[row, step]
        )
        retained = battery.retained(hours)
        if step == 0:
            return energy.variable[row, step] - gained == retained * float(start[number][k])
        return energy.variable[row, step] - retained * energy.variable[row, step - 1] - gained == 0.0

    def segment_charge(_: Any, position: int, step: int) -> Any:
        number = curved[position]
        return sum(into.variable[row, step] for row in at[number]) == charge.variable[number, step]

    def segment_discharge(_: Any, position: int, step: int) -> Any:
        number = curved[position]
        return sum(out.variable[row, step] for row in at[number]) == discharge.variable[number, step]

    site.rows("segment_balance", len(segments), site.time.steps, rule=segment_balance)
    site.rows("segment_charge", len(curved), site.time.steps, rule=segment_charge)
    site.rows("segment_discharge", len(curved), site.time.steps, rule=segment_discharge)
    return energy.index[[at[number][-1] for number in curved]]


def excess_costs(curve: Sequence[WearStep]) -> FloatArray:
    """What a MWh costs in each segment beyond the first one's price."""
    costs = np.array([step.cost_per_mwh for step in curve])
    return costs - costs[:1]


def excess_wear(ev: EnergyStore, e_kwh: FloatArray) -> float:
    """What the segments below the first cost more than it, from the energy at the end of each step alone."""
    capacities, excess = capacities_kwh(ev.wear_curve, ev.e_max_kwh), excess_costs(ev.wear_curve)
    levels, drained = filled_kwh(capacities, ev.e_start_kwh), np.zeros(len(capacities))
    for change in np.diff(e_kwh, prepend=ev.e_start_kwh).tolist():
        if change > 0:
            levels += filled_kwh(capacities - levels, change)
        else:
            taken = filled_kwh(levels, -change)
            levels -= taken
            drained += taken
    return float(excess @ drained) * ev.discharge_efficiency / 1000


class FleetSegments:
    """The segments of the EVs that have a curve, as sparse rows over the states of the fleet.

    Columns from `first_column`: the energy of each segment and state, then what segments below the first
    lose by it. Rows from `first_row`: the segments hold the energy of the state, then e + lost ≥ e_before.
    What is charged and taken within one step passes through the first segment, which costs nothing more.
    """

    def __init__(
        self,
        evs: Sequence[EnergyStore],
        state_ev: IntArray,
        energy: IntArray,
        hours: float,
        first_column: int,
        first_row: int,
    ) -> None:
        none = np.zeros(0, np.int64)
        state, number, before, states, last = [none], [none], [none], [none], [none]
        size, cost, start = ([np.zeros(0)] for _ in range(3))
        found = 0
        for position, ev in enumerate(evs):
            if not ev.wear_curve:
                continue
            own = np.arange(*np.searchsorted(state_ev, [position, position + 1]))
            count, capacities = len(ev.wear_curve), capacities_kwh(ev.wear_curve, ev.e_max_kwh)
            flat = found + np.arange(len(own) * count)
            state.append(np.repeat(own, count))
            number.append(np.tile(np.arange(count), len(own)))
            before.append(np.where(flat - found < count, -1, flat - count))
            size.append(np.tile(capacities, len(own)))
            cost.append(np.tile(excess_costs(ev.wear_curve) * ev.discharge_efficiency / hours, len(own)))
            full = np.zeros(len(flat))
            full[:count] = filled_kwh(capacities, ev.e_start_kwh)[: len(flat)]
            start.append(full)
            states.append(own)
            last.append(flat[count - 1 :: count])
            found += len(flat)
        self.state, self._number = np.concatenate(state), np.concatenate(number)
        self.states = np.concatenate(states)
        deep, before_it = np.flatnonzero(self._number > 0), np.concatenate(before)
        kwh, lost = first_column + np.arange(found), first_column + found + np.arange(len(deep))
        self._deep, self.deepest = deep, kwh[np.concatenate(last)]
        holds = first_row + np.searchsorted(self.states, self.state)
        loses = first_row + len(self.states) + np.arange(len(deep))
        following = np.flatnonzero(before_it[deep] >= 0)
        self.entries: list[Entries] = [
            (holds, kwh, 1.0),
            (first_row + np.arange(len(self.states)), energy[self.states], -1.0),
            (loses, kwh[deep], 1.0),
            (loses, lost, 1.0),
            (loses[following], kwh[before_it[deep[following]]], -1.0),
        ]
        self.upper = np.concatenate([*size, np.full(len(deep), np.inf)])
        self.cost = np.concatenate([np.zeros(found), np.concatenate(cost)[deep]])
        equal = np.zeros(len(self.states))
        self.row_lower = np.concatenate([equal, np.concatenate(start)[deep]])
        self.row_upper = np.concatenate([equal, np.full(len(deep), np.inf)])

    def column_names(self, states: Sequence[str]) -> list[str]:
        """From what names each state of the fleet: EV and step."""
        names = [f"({states[at]},{k})" for at, k in zip(self.state, self._number, strict=True)]
        return [*(f"ev_segment_kwh{name}" for name in names), *(f"ev_lost_kwh{names[k]}" for k in self._deep)]

    def row_names(self, states: Sequence[str]) -> list[str]:
        holds = [f"ev_segments({states[at]})" for at in self.states]
        return [*holds, *(f"ev_segment_lost({states[self.state[k]]},{self._number[k]})" for k in self._deep)]
