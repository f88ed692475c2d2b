"""Re-solving 1,000 EVs a quarter-hour later with other prices, states and loads: warm against cold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import numpy as np

from energy.domain.network import ElementId, GridLimits, Losses
from energy.domain.schedule import Schedule
from optimizer import Dispatcher, DispatchProblem
from optimizer.problem import Pins

EVS, STEPS = 1000, 96


def instant(step: int) -> str:
    """The start of a quarter-hour of the day."""
    return (datetime(2016, 6, 21, tzinfo=UTC) + step * timedelta(minutes=15)).isoformat()


def document(random: np.random.Generator) -> dict[str, Any]:
    """A night of charging under one limit; `random` moves prices and loads."""
    fixed = np.random.default_rng(0)
    evs = []
    for number in range(EVS):
        arrival = int(fixed.integers(0, 60))
        departure = min(STEPS, arrival + int(fixed.integers(16, 36)))
        session = {
            "arrival": instant(arrival),
            "departure": instant(departure),
            "charge_max_kw": 11.0,
            "e_departure_min_kwh": 40.0,
        }
        evs.append(
            {
                "type": "ev",
                "id": f"ev{number}",
                "connection": "root",
                "e_max_kwh": 60.0,
                "e_start_kwh": float(fixed.uniform(5, 30)),
                "charge_efficiency": 0.95,
                "sessions": [session],
            }
        )
    price = 60 + 20 * np.sin(np.arange(STEPS) / 12) + random.normal(0, 1, STEPS)
    base = {"type": "load", "id": "base", "connection": "root"}
    return {
        "schema": "wattshed.dispatch/1",
        "time": {"start": "2016-06-21T00:00:00Z", "resolution": "PT15M", "steps": STEPS},
        "connections": [
            {
                "id": "root",
                "import_price_per_mwh": price.tolist(),
                "export_price_per_mwh": 0.0,
                "import_limit_kw": 4.0 * EVS,
            }
        ],
        "assets": [*evs, {**base, "p_kw": (EVS * (1 + 0.05 * random.random(STEPS))).tolist()}],
    }


def on_grid(document: dict[str, Any]) -> dict[str, Any]:
    """The same behind one line of a grid."""
    placed = [{**item, "bus": 0} for item in (*document["connections"], *document["assets"])]
    return {
        **document,
        "network": {"grid": "line"},
        "options": {"bus_prices": False},
        "connections": placed[:1],
        "assets": placed[1:],
    }


def rows(problem: DispatchProblem, random: np.random.Generator) -> GridLimits:
    """The loading and the losses of that line, linearised at other points each time: it is full at 3.5 MW
    and loses 1 % of 1 MW there, four times as much of 2 MW."""
    steps, point = np.arange(STEPS), 3.0 + 0.2 * random.random((STEPS, 1))
    return GridLimits(
        problem.terminals,
        steps,
        (ElementId("line", 0),) * STEPS,
        ("loading_percent",) * STEPS,
        100 / 3.5 * (1 + 0.01 * random.random((STEPS, 1))),
        np.zeros(STEPS),
        np.full(STEPS, -100.0),
        np.full(STEPS, 100.0),
        Losses.linear(steps, -0.01 * point[:, 0] ** 2, 0.02 * point),
    )


def cold_and_warm(grid: bool) -> tuple[float, float]:
    """Seconds of the solves alone; building is the same in both."""
    first, second = (document(np.random.default_rng(seed)) for seed in (1, 2))
    problem = DispatchProblem.from_document(on_grid(first) if grid else first)
    later = DispatchProblem.from_document(on_grid(second) if grid else second)

    def solve(dispatcher: Dispatcher, seed: int) -> tuple[float, Schedule]:
        if grid:
            dispatcher.add(rows(dispatcher.problem, np.random.default_rng(seed)))
        began = process_time()
        found = dispatcher.solve()
        return process_time() - began, found

    dispatcher = Dispatcher(problem)
    _, before = solve(dispatcher, 1)
    later = replace(later, pins=Pins(past=1, until=1, assets=before.assets))
    cold_seconds, cold = solve(Dispatcher(later), 2)
    assert dispatcher.update(later)
    warm_seconds, warm = solve(dispatcher, 2)
    assert abs(warm.objective["total"] - cold.objective["total"]) < 1e-6 * abs(cold.objective["total"])
    return cold_seconds, warm_seconds


def run() -> list[tuple[str, float, str]]:
    """Without a grid, and with the rows of one, which are linearised anew before the re-solve."""
    found = []
    for where, grid in (("", False), (" on a grid", True)):
        cold, warm = cold_and_warm(grid)
        remark = f"{cold:.2f} s cold, {warm:.2f} s warm; at least 2 wanted"
        found.append((f"cold against warm re-solve{where}", cold / warm, remark))
    return found
