"""Heat behind an asset: a demand, a store, what is thrown away; shared by the asset types with heat."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.optimizer.builders import Document, series
from tests.optimizer.milp.formulation import Formulation, Terms


def balance(
    f: Formulation, made: list[Terms], demand_kw: Any, store: Document | None, dump: bool, priority: float
) -> None:
    """e' = e · kept + h · (made + unmet − demand − dumped), per step; without a store nothing is kept."""
    demand = series(demand_kw, f.steps)
    before: int | None = None
    for t in range(f.steps):
        unmet = f.column(0, float(demand[t]), short=f.hours * priority)
        waste = f.column(0, np.inf if dump else 0.0)
        terms = {column: -f.hours * value for column, value in made[t].items()}
        terms |= {unmet: -f.hours, waste: f.hours}
        right = -f.hours * float(demand[t])
        if store is not None:
            lowest = store.get("e_min_kwh", 0.0)
            if t == f.steps - 1:
                lowest = max(lowest, store.get("e_end_min_kwh") or 0.0)
            level = f.column(lowest, store["e_max_kwh"])
            kept = (1 - store.get("loss_per_hour", 0.0)) ** f.hours
            terms[level] = 1.0
            if before is None:
                right += kept * store["e_start_kwh"]
            else:
                terms[before] = -kept
            before = level
        f.row(terms, right, right)


def draw_store(random: Random) -> Document | None:
    if random.random() < 0.4:
        return None
    return {
        "e_min_kwh": random.choice([0.0, 2.0]),
        "e_max_kwh": random.choice([6.0, 20.0]),
        "e_start_kwh": random.choice([2.0, 6.0]),
        "e_end_min_kwh": random.choice([None, 4.0]),
        "loss_per_hour": random.choice([0.0, 0.05]),
    }
