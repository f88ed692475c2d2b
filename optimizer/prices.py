"""Prices on a grid: what a MWh more of active power, at unity power factor, costs at a bus.

A locational price is the price at the root plus what the network adds on the way (Schweppe et al., Spot
Pricing of Electricity, 1988): losses, congestion of branches, voltage limits. Its parts are the duals of
the rows through which the power passes, so they add up to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import PRICE_PARTS, Schedule
from optimizer.assets import Asset
from optimizer.problem import DispatchProblem

Price = Mapping[str, FloatArray]


def with_grid_prices(schedule: Schedule, problem: DispatchProblem, of_grid: Mapping[int, Price]) -> Schedule:
    """`schedule` with the price at every bus whose part of the grid is known, and with that part in the
    prices of connections that have a bus."""
    root = schedule.connections[problem.root]
    buses: dict[int, Price] = {}
    if problem.options.bus_prices or problem.options.explain:
        standing = {asset.bus for asset in problem.assets} | {c.bus for c in problem.connections.values()}
        wanted = sorted({bus for bus in standing if isinstance(bus, int)} & set(of_grid))
        buses = {bus: _added(root.price_per_mwh, of_grid[bus]) for bus in wanted}
    connections = dict(schedule.connections)
    for key, connection in problem.connections.items():
        # the root stands at the external grid, before any loss or limit
        if connection.parent and isinstance(connection.bus, int) and connection.bus in of_grid:
            flow = connections[key]
            price = _added(flow.price_per_mwh, of_grid[connection.bus])
            connections[key] = replace(flow, price_per_mwh=price)
    return replace(schedule, connections=connections, buses=buses)


def at_asset(problem: DispatchProblem, schedule: Schedule, asset: Asset) -> FloatArray:
    """What a MWh more drawn at the asset's place costs: its connection's price, with the grid's part at its
    own bus."""
    root = schedule.connections[problem.root]
    connection = problem.connections[asset.connection]
    total = schedule.connections[asset.connection].price_per_mwh["total"]
    for bus, sign in ((asset.bus, 1.0), (connection.bus if connection.parent else None, -1.0)):
        if isinstance(bus, int) and bus in schedule.buses:
            total = total + sign * (schedule.buses[bus]["total"] - root.price_per_mwh["total"])
    return total


def _added(price: Price, more: Price) -> Price:
    parts = {part: price[part] + more.get(part, 0.0) for part in PRICE_PARTS}
    return {"total": np.sum(list(parts.values()), axis=0), **parts}
