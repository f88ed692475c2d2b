"""Building the linear program of 5,000 EVs, against the same program from raw arrays."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray
from optimizer import DispatchProblem
from optimizer.assets.vehicle import Vehicle
from optimizer.model import build
from optimizer.solver import LinearProgram, Solver
from tests.benchmarks.bench_whole_call import passed

EVS, STEPS, HOURS, EFFICIENCY = 5000, 96, 0.25, 0.95
START = datetime(2016, 6, 21, tzinfo=UTC)


def problem() -> DispatchProblem:
    """5,000 EVs with V2G on one connection, a session of 4 to 9 hours each."""
    random = np.random.default_rng(0)
    arrival = random.integers(0, 60, EVS)
    departure = np.minimum(arrival + random.integers(16, 36, EVS), STEPS)

    def instant(step: int) -> str:
        return (START + timedelta(hours=HOURS * int(step))).isoformat()

    evs: list[dict[str, Any]] = [
        {
            "type": "ev",
            "id": f"ev{k}",
            "connection": "root",
            "e_max_kwh": 60.0,
            "e_start_kwh": 20.0,
            "charge_efficiency": EFFICIENCY,
            "discharge_efficiency": EFFICIENCY,
            "wear_cost_per_mwh": 20.0,
            "sessions": [
                {
                    "arrival": instant(arrival[k]),
                    "departure": instant(departure[k]),
                    "charge_max_kw": 11.0,
                    "discharge_max_kw": 11.0,
                    "e_departure_min_kwh": 40.0,
                }
            ],
        }
        for k in range(EVS)
    ]
    price = (60 + 20 * np.sin(np.arange(STEPS) / 12)).tolist()
    return DispatchProblem.from_document(
        {
            "schema": "wattshed.dispatch/1",
            "time": {"start": START.isoformat(), "resolution": "PT15M", "steps": STEPS},
            "connections": [{"id": "root", "import_price_per_mwh": price, "export_price_per_mwh": 0.0}],
            "assets": evs,
        }
    )


def raw(arrival: Any, departure: Any) -> LinearProgram:
    """The same program straight from arrays: charge | discharge | energy | short | import | export."""
    length = departure - arrival
    pieces = int(length.sum())
    ev = np.repeat(np.arange(EVS), length)
    start = np.cumsum(length) - length
    number = np.arange(pieces)
    step = number - start[ev] + arrival[ev]
    first, last = step == arrival[ev], number[step == departure[ev] - 1]
    later, one = number[~first], np.ones
    energy, short = 2 * pieces, 3 * pieces
    trade = short + EVS
    need, balance = pieces + np.arange(EVS), pieces + EVS
    every = np.arange(STEPS)
    entries = [
        (number, energy + number, one(pieces)),
        (later, energy + later - 1, -one(len(later))),
        (number, number, np.full(pieces, -HOURS * EFFICIENCY)),
        (number, pieces + number, np.full(pieces, HOURS / EFFICIENCY)),
        (need, energy + last, one(EVS)),
        (need, short + np.arange(EVS), one(EVS)),
        (balance + step, number, -one(pieces)),
        (balance + step, pieces + number, one(pieces)),
        (balance + every, trade + every, one(STEPS)),
        (balance + every, trade + STEPS + every, -one(STEPS)),
    ]
    row, column, value = (np.concatenate([entry[k] for entry in entries]) for k in range(3))
    shape = (balance + STEPS, trade + 2 * STEPS)
    zeros, width = np.zeros, shape[1]
    upper = np.full(width, np.inf)
    upper[: 2 * pieces], upper[energy:short], upper[short:trade] = 11.0, 60.0, 40.0
    cost = zeros(width)
    cost[pieces:energy] = 20.0
    cost[trade : trade + STEPS] = 60 + 20 * np.sin(every / 12)
    low = np.concatenate([np.where(first, 20.0, 0.0), np.full(EVS, 40.0), zeros(STEPS)])
    high = low.copy()
    high[need] = np.inf
    return LinearProgram(
        sp.csc_array((value, (row, column)), shape=shape), cost, zeros(width), upper, low, high
    )


def in_turns(*makers: Callable[[], object], rounds: int = 25) -> FloatArray:
    """Processor seconds of each in every round, shape (makers, rounds)."""
    spent = np.zeros((len(makers), rounds))
    for number in range(rounds):
        for row, make in enumerate(makers):
            gc.collect()
            began = process_time()
            make()
            spent[row, number] = process_time() - began
    return spent


def run() -> list[tuple[str, float, str]]:
    """The time from a validated problem, and from arrays, to a program that HiGHS holds. Arrays are passed
    in the two ways there are: as the dispatcher passes its own, and as a HighsLp, number by number. Others
    share the machine: the ratio is the median of those of the rounds."""
    dispatch = problem()
    stays = [ev.stays(dispatch.time)[0] for ev in dispatch.assets if isinstance(ev, Vehicle)]
    arrival, departure = np.array([(stay.first, stay.last + 1) for stay in stays]).T
    ours, as_arrays, as_lp = in_turns(
        lambda: Solver(build(dispatch).linear, mip_gap=1e-4),
        lambda: Solver(raw(arrival, departure), mip_gap=1e-4),
        lambda: passed(raw(arrival, departure)),
    )
    size = build(dispatch).linear.matrix.shape
    remark = f"{size[0]:,} rows, {size[1]:,} columns; goal at most 1.5"
    return [
        (
            f"LP build of 5,000 EVs against raw arrays passed {how}",
            float(np.median(ours / theirs)),
            f"{np.median(ours) * 1000:.0f} ms against {np.median(theirs) * 1000:.0f} ms; {remark}",
        )
        for how, theirs in (("the same way", as_arrays), ("as a HighsLp", as_lp))
    ]
