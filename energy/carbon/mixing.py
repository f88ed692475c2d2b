"""The mix at every node over a horizon, storage included: tracing and tanks in one sweep over time.

Everything is followed as columns of one array: 0 power (MW), 1 carbon (kg/h), 2 renewable power (MW); where
factors have ranges, 3 and 4 carbon by their low and high ends; then one column per technology class or
single source (MW).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.carbon.tank import Tanks
from energy.carbon.tracing import OrientedFlows, Tracer
from energy.domain.network import FloatArray, IntArray

POWER, CARBON, RENEWABLE = 0, 1, 2
"""Columns of what is followed."""
CLASSES = 3
"""Where the classes start without ranges."""
LOW, HIGH, RANGED_CLASSES = 3, 4, 5
"""Carbon by the ends of the factors' ranges, and where the classes start then."""


@dataclass(frozen=True)
class StorageFlows:
    """What the tanks do; arrays of shape (steps, tanks), all ≥ 0.

    A tank holds the columns from `CARBON` to before the classes: these end at its door, what it delivers
    is a class of its own.

    Attributes:
        tanks: their state before the first step, MWh and kg; advanced in place.
        node, column: where each tank is connected, and the class column of what it delivers.
        charge_mw, discharge_mw: at the connection. drive_mwh: taken at the battery, at the step's end.
    """

    tanks: Tanks
    node: IntArray
    column: IntArray
    charge_mw: FloatArray
    discharge_mw: FloatArray
    drive_mwh: FloatArray


@dataclass(frozen=True)
class TankRecord:
    """What the tanks took, gave and hold.

    All of shape (steps, tanks, contents) with carbon (kg), renewable energy (MWh) and, with ranges, low and
    high carbon last, except `energy_mwh` of shape (steps, tanks). `energy_mwh` and `content` are states at
    the end of the step; `residual` is what an emptied tank still carried.
    """

    charged: FloatArray
    discharged: FloatArray
    driven: FloatArray
    residual: FloatArray
    energy_mwh: FloatArray
    content: FloatArray


@dataclass(frozen=True)
class LocalSupply:
    """Aggregated coupling: local generation serves the demand at its own bus before it is traced.

    Attributes:
        injected: the part of what is injected that is local, shape (steps, nodes, columns).
        demand_mw: local demand, shape (steps, nodes).
    """

    injected: FloatArray
    demand_mw: FloatArray


@dataclass(frozen=True)
class Mixes:
    """What reaches the nodes, shape (steps, nodes, columns) each, and what the tanks did.

    Attributes:
        traced: what is injected into the network (without what aggregated coupling serves locally).
        node: per MW of through-flow (column 0 is 1); 0 where nothing flows through.
        demand: per MW drawn at the node; differs from `node` only with aggregated coupling.
        local_mw: demand that is served locally, shape (steps, nodes); 0 with direct coupling.
        served: what serves it, (steps, nodes, columns); None with direct coupling.
    """

    traced: FloatArray
    node: FloatArray
    demand: FloatArray
    local_mw: FloatArray
    served: FloatArray | None
    record: TankRecord | None


def follow(
    tracer: Tracer,
    flows: OrientedFlows,
    injected: FloatArray,
    hours: float,
    storages: StorageFlows | None = None,
    local: LocalSupply | None = None,
) -> Mixes:
    """Follow what is injected (steps, nodes, columns) to every node.

    Without tanks all steps are independent. With tanks they run in order: what a tank delivers has the
    mix it held at the start of the step, then it charges with the mix at its node.
    """
    if storages is None:
        return _mix(tracer, flows, injected, local)
    steps, tanks = len(injected), storages.tanks
    contents = slice(CARBON, CARBON + tanks.content.shape[1])
    charge, discharge = storages.charge_mw * hours, storages.discharge_mw * hours
    mixes, records = [], []
    for step in range(steps):
        tanks.stand()
        discharged = tanks.discharge(discharge[step])
        delivered = np.zeros_like(injected[step])
        np.add.at(delivered[:, POWER], storages.node, storages.discharge_mw[step])
        np.add.at(delivered, (storages.node, storages.column), storages.discharge_mw[step])
        np.add.at(delivered[:, contents], storages.node, discharged / hours)
        supply = None
        if local is not None:
            supply = LocalSupply(
                local.injected[step : step + 1] + delivered, local.demand_mw[step : step + 1]
            )
        mixed = _mix(tracer, flows.window(step, step + 1), injected[step : step + 1] + delivered, supply)
        charged = charge[step][:, None] * mixed.demand[0, storages.node, contents]
        tanks.charge(charge[step], charged)
        driven = tanks.withdraw(storages.drive_mwh[step])
        residual = tanks.book_out()
        mixes.append(mixed)
        records.append((charged, discharged, driven, residual, tanks.energy, tanks.content))
    return Mixes(
        traced=np.concatenate([mixed.traced for mixed in mixes]),
        node=np.concatenate([mixed.node for mixed in mixes]),
        demand=np.concatenate([mixed.demand for mixed in mixes]),
        local_mw=np.concatenate([mixed.local_mw for mixed in mixes]),
        served=None
        if local is None
        else np.concatenate([mixed.served for mixed in mixes if mixed.served is not None]),
        record=TankRecord(*(np.stack(values) for values in zip(*records, strict=True))),
    )


def _mix(tracer: Tracer, flows: OrientedFlows, injected: FloatArray, local: LocalSupply | None) -> Mixes:
    traced, served, served_mw = injected, None, np.zeros(injected.shape[:2])
    if local is not None:
        generated = local.injected[:, :, POWER]
        share = np.divide(
            np.minimum(local.demand_mw, generated),
            generated,
            out=np.zeros_like(generated),
            where=generated > 0,
        )
        served = share[:, :, None] * local.injected
        served_mw = served[:, :, POWER]
        traced = injected - served
    through = traced[:, :, POWER] + flows.inflow_mw
    accumulated = tracer.accumulate(flows.arriving_mw, through, traced)
    power = accumulated[:, :, POWER]
    divisor = np.where(power > 0, power, np.inf)  # nothing flows through: a mix of 0
    node = np.divide(accumulated, divisor[:, :, None], out=np.empty_like(traced))
    if served is None or local is None:
        return Mixes(traced, node, node, served_mw, None, None)
    drawn = local.demand_mw[:, :, None]
    rest = np.maximum(local.demand_mw - served_mw, 0.0)
    mixed = served + rest[:, :, None] * node
    demand = np.divide(mixed, drawn, out=node.copy(), where=drawn > 0)
    return Mixes(traced, node, demand, served_mw, served, None)
