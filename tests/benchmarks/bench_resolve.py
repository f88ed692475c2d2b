"""Re-solving 1,000 EVs a quarter-hour later with other prices, states and loads: warm against cold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import numpy as np

from optimizer import Dispatcher, DispatchProblem
from optimizer.rolling import Pins

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


def run() -> list[tuple[str, float, str]]:
    """The solve alone; building is the same in both."""
    problem = DispatchProblem.from_document(document(np.random.default_rng(1)))
    dispatcher = Dispatcher(problem)
    before = dispatcher.solve()
    later = DispatchProblem.from_document(document(np.random.default_rng(2)))
    later = replace(later, pins=Pins(past=1, until=1, assets=before.assets))

    fresh = Dispatcher(later)
    began = process_time()
    cold = fresh.solve()
    cold_seconds = process_time() - began
    assert dispatcher.update(later)
    began = process_time()
    warm = dispatcher.solve()
    warm_seconds = process_time() - began
    assert abs(warm.objective["total"] - cold.objective["total"]) < 1e-6 * abs(cold.objective["total"])
    remark = f"{cold_seconds:.2f} s cold, {warm_seconds:.2f} s warm; at least 2 wanted"
    return [("cold against warm re-solve", cold_seconds / warm_seconds, remark)]
