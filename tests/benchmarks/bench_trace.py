"""The trace of a year (intensity and its range, renewable share, district accounts) against its AC solve.

The second figure adds what districts emit when loads also carry the losses on their way to them
(``emissions_with_losses_kg``, which plans hold too): another pass over the network.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from energy.carbon.accounts import Account, Supply, UpstreamMix, Use, account
from energy.domain.network import NodalPower, OperatingLimits
from grid_models.injections import own_series
from grid_models.sources import load_grid
from grid_models.twin import Twin

GRID = "simbench:1-MV-urban--0-sw"
DISTRICTS = 10
REPEATS = 3
Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """The shortest of some runs after one that compiles, and what it gave."""
    result, seconds = work(), []
    for _ in range(REPEATS):
        started = clock.perf_counter()
        result = work()
        seconds.append(clock.perf_counter() - started)
    return min(seconds), result


def run() -> list[tuple[str, float, str]]:
    grid = load_grid(GRID)
    time, series, shapes, shape, value = own_series(grid)
    values = shapes[:, shape] * value
    bus = np.array([grid.net[item.table].bus.at[item.index] for item in series])
    active = np.array([item.quantity == "p_mw" for item in series])
    feeding = np.array([item.table == "sgen" for item in series])
    signed = np.where(feeding, -1.0, 1.0) * values
    power = NodalPower(time, bus, np.where(active, signed, 0.0), np.where(active, 0.0, signed))
    supply_mw = np.maximum(values[:, active & feeding], 0.0)
    supply = Supply(
        bus[active & feeding],
        ("pv",) * int((active & feeding).sum()),
        supply_mw,
        np.full(supply_mw.shape[1], 41.0),
        np.ones(supply_mw.shape[1], dtype=bool),
        (np.full(supply_mw.shape[1], 26.0), np.full(supply_mw.shape[1], 60.0)),
    )
    use = Use(bus[active & ~feeding], values[:, active & ~feeding])
    hour = np.arange(time.steps) * time.hours
    carbon = 400.0 + 100.0 * np.sin(hour * np.pi / 12)
    upstream = UpstreamMix(carbon, np.full(time.steps, 0.3), (0.8 * carbon, 1.3 * carbon))
    twin = Twin(grid, limits=OperatingLimits())
    districts = {element.index: f"d{k % DISTRICTS}" for k, element in enumerate(twin.buses)}

    solving, state = timed(lambda: twin.solve(power))
    flows = twin.flows(state)

    def trace(losses_on_loads: bool) -> Account:
        return account(flows, supply, use, None, upstream, districts, losses_on_loads=losses_on_loads)

    tracing, traced = timed(lambda: trace(False))
    gross, _ = timed(lambda: trace(True))
    share = np.abs(traced.steps["residual_kg"] / traced.steps["sources_kg"]).max()
    remark = (
        f"{time.steps} steps, {flows.node_count} nodes: trace {tracing:.2f} s, AC {solving:.2f} s; wanted "
        f"≤ 5; largest residual {share:.0e} of a step's sources"
    )
    return [
        ("trace of a year / AC of that year", tracing / solving, remark),
        ("the same with losses on loads / AC of that year", gross / solving, f"trace {gross:.2f} s"),
    ]
