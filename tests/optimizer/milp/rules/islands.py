"""Islands: load that goes unserved by priority, and what stores keep for the time after the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from tests.optimizer.builders import Document, at, series
from tests.optimizer.islands import LENGTHS
from tests.optimizer.places import lineage

if TYPE_CHECKING:
    from tests.optimizer.milp.formulation import Formulation
    from tests.optimizer.milp.random_problem import Place


@dataclass(frozen=True)
class Kept:
    """What an asset holds at the end: kWh that a unit of `column` above `least` feeds after `hours`."""

    column: int
    least: float
    kwh_per_unit: float
    most_kw: float
    retained_per_hour: float = 1.0


def firm(f: Formulation, asset: Document) -> np.ndarray:
    """A load less what may be shed of it."""
    demand = series(asset["p_kw"], f.steps)
    return demand - np.clip(demand, 0, None) * (f.stated(asset, "shed_limit_fraction") or 0.0)


def sheds(f: Formulation) -> dict[str, np.ndarray]:
    """The steps in which an island, at a connection or above it, lets less through than its load."""
    short = {}
    for key in f.connections:
        loads = [firm(f, asset) for asset in f.below(key) if asset["type"] == "load"]
        short[key] = f.exchange[key] < sum((np.clip(load, 0, None) for load in loads), np.zeros(f.steps))
    return {
        key: np.any([short[above] for above in lineage(f.document, key)], axis=0) for key in f.connections
    }


def unserved(f: Formulation, asset: Document) -> None:
    """What an island may leave unserved of a load."""
    shed = f.sheds[asset["connection"]]
    for t, most in enumerate(np.clip(firm(f, asset), 0, None) * shed):
        if shed[t]:
            column = f.column(0, float(most), short=asset.get("priority", 1.0) * f.hours)
            f.draw(asset, t, column, -1.0, control=False)


def formulate(f: Formulation) -> None:
    """The rest of every island that outlasts the horizon."""
    ends = {key: _steps(f, c) for key, c in f.connections.items() if c.get("island")}
    lasting = {key: end for key, (begin, end) in ends.items() if begin < f.steps < end}
    for key, end in lasting.items():
        inside = [
            asset
            for asset in f.below(key)
            if not any(
                other != key and key in lineage(f.document, other)
                for other in lasting
                if other in lineage(f.document, asset["connection"])
            )
        ]
        _rest(f, inside, end - f.steps)


def _steps(f: Formulation, connection: Document) -> tuple[int, int]:
    begin = 0.0 if connection.get("island_from") is None else f.step_of(connection["island_from"])
    duration = connection.get("island_duration")
    return floor(begin), f.steps if duration is None else ceil(begin + LENGTHS[duration] / f.hours)


def _rest(f: Formulation, assets: list[Document], steps: int) -> None:
    """No horizon here is as long as a day: all of it repeats."""
    times = np.array([steps // f.steps + (t < steps % f.steps) for t in range(f.steps)])
    lacking = np.zeros(f.steps)
    terms: dict[int, float] = {}
    for asset in assets:
        if asset["type"] == "load":
            wanted = firm(f, asset)
            lacking += wanted
            kwh = float(times @ np.clip(wanted, 0, None)) * f.hours
            terms[f.column(0, kwh, short=asset.get("priority", 1.0))] = 1.0
        elif asset["type"] == "renewable":
            lacking -= series(asset["available_kw"], f.steps)
        elif asset["type"] in ("generator", "chp"):
            lacking -= series(asset["p_max_kw"], f.steps)
        if asset["id"] in f.kept:
            kept, hours = f.kept[asset["id"]], steps * f.hours
            fed = f.column(0, kept.most_kw * hours)
            per_unit = kept.kwh_per_unit * kept.retained_per_hour**hours
            f.row({fed: 1.0, kept.column: -per_unit}, -np.inf, -per_unit * kept.least)
            terms[fed] = 1.0
    needed = float(times @ np.clip(lacking, 0, None)) * f.hours
    if needed > 0:
        f.row(terms, needed, np.inf)


def draw(random: Random, document: Document, place: Place) -> None:
    for connection in random.sample(
        document["connections"], random.choice([1, 1, len(document["connections"])])
    ):
        connection["island"] = True
        connection["island_from"] = random.choice(
            [None, *(at(quarter / 4 * place.hours) for quarter in range(-2, 4 * place.steps, 3))]
        )
        connection["island_duration"] = random.choice([None, "PT15M", "PT1H", "PT2H", "PT6H"])
        connection["island_return_ramp_kw_per_h"] = random.choice([None, 2.0, 12.0])
    for asset in document["assets"]:
        if asset["type"] == "load":
            asset["priority"] = random.choice([1.0, 2.0, 5.0])
