"""Wear that depends on depth: a store in segments, as in Xu, Zhao, Zheng, Litvinov and Kirschen, "Factoring
the Cycle Aging Cost of Batteries Participating in Electricity Markets", IEEE Transactions on Power Systems
33(2), 2018.

A curve splits a store of `e_max_kwh` into segments, each with an energy and a price of its own per MWh that
it discharges. Prices rise with depth, so the cheapest segment is emptied first and filled first: what a
cycle costs is what its depth asks for. At the start of the horizon the cheapest segments are full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from energy.domain.documents import Document
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import Positive

if TYPE_CHECKING:
    from optimizer.assets.battery import Battery
    from optimizer.site import Columns, Site


class WearStep(Document):
    """What a MWh costs, at the connection, that is discharged at a depth of up to `depth` (share of
    `e_max_kwh`), from the depth of the step before on."""

    depth: Annotated[float, Field(gt=0, le=1)]
    cost_per_mwh: Positive


def curve_faults(path: str, curve: Sequence[WearStep], wear_cost_per_mwh: float) -> Iterator[Fault]:
    """A curve that covers not all of the store, is not convex, or stands beside a flat cost."""
    if not curve:
        return
    if wear_cost_per_mwh > 0:
        yield Fault(f"{path}.wear_curve", "stands beside wear_cost_per_mwh; give one of the two")
    for number in range(1, len(curve)):
        before, step, where = curve[number - 1], curve[number], f"{path}.wear_curve[{number}]"
        if step.depth <= before.depth:
            yield Fault(f"{where}.depth", f"{step.depth:g} is not above {before.depth:g}; sort by depth")
        if step.cost_per_mwh < before.cost_per_mwh:
            yield Fault(
                f"{where}.cost_per_mwh",
                f"{step.cost_per_mwh:g} is below {before.cost_per_mwh:g} of the step before; wear must not "
                "fall with depth, or the dispatch would empty the deepest segment first",
            )
    if curve[-1].depth != 1.0:
        yield Fault(
            f"{path}.wear_curve[{len(curve) - 1}].depth",
            f"is {curve[-1].depth:g}; the last step must reach depth 1",
        )


def capacities_kwh(curve: Sequence[WearStep], e_max_kwh: float) -> FloatArray:
    """The size of each segment, cheapest first."""
    return np.diff([0.0, *(step.depth for step in curve)]) * e_max_kwh


def filled_kwh(capacities: FloatArray, energy_kwh: float) -> FloatArray:
    """The energy of each segment where the cheapest are full."""
    return np.clip(energy_kwh - (np.cumsum(capacities) - capacities), 0.0, capacities)


def drained_kwh(battery: Battery, p_kw: FloatArray, hours: float) -> FloatArray:
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


def depth_wear(battery: Battery, p_kw: FloatArray, hours: float) -> float:
    """What discharging costs by depth, from its power alone."""
    costs = np.array([step.cost_per_mwh for step in battery.wear_curve])
    return float(costs @ drained_kwh(battery, p_kw, hours)) * battery.discharge_efficiency / 1000


def segment_rows(site: Site, batteries: Sequence[Battery], charge: Columns, discharge: Columns) -> IntArray:
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
