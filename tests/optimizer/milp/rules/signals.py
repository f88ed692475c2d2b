"""Grid operators' signals: what controllable assets draw together, never below their statutory minima."""

from __future__ import annotations

from math import ceil, floor
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from tests.optimizer.builders import Document, at, series

if TYPE_CHECKING:
    from tests.optimizer.milp.formulation import Formulation
    from tests.optimizer.milp.random_problem import Place

CONTROLLABLE = ("battery", "ev", "flexible_load")


def formulate(f: Formulation) -> None:
    for key, connection in f.connections.items():
        members = [asset for asset in f.below(key) if asset["type"] in CONTROLLABLE]
        for signal in connection.get("grid_signals", ()):
            for t in range(f.steps):
                if not f.step_of(signal["start"]) < t + 1 or not f.step_of(signal["end"]) > t:
                    continue
                least = sum(asset.get("statutory_min_kw", 0.0) for asset in members if _can_draw(f, asset, t))
                terms: dict[int, float] = {}
                for asset in members:
                    terms |= f.drawn[asset["id"]][t]
                if terms:
                    f.row(terms, -np.inf, max(signal["limit_kw"], least))


def _can_draw(f: Formulation, asset: Document, t: int) -> bool:
    if asset["type"] == "ev":
        return any(
            stay["charge_max_kw"] > 0
            and floor(f.step_of(stay["arrival"])) <= t < ceil(f.step_of(stay["departure"]))
            for stay in asset["sessions"]
        )
    return bool(series(asset.get("charge_max_kw", asset.get("p_max_kw")), f.steps)[t] > 0)


def draw(random: Random, document: Document, place: Place) -> None:
    for asset in document["assets"]:
        if asset["type"] in CONTROLLABLE and random.random() < 0.6:
            asset["statutory_min_kw"] = random.choice([1.0, 4.2])
    for connection in random.sample(
        document["connections"], random.choice([1, 1, len(document["connections"])])
    ):
        connection["grid_signals"] = []
        for _ in range(random.choice([1, 2])):
            begin = random.randint(-2, 4 * place.steps) / 4
            end = begin + random.randint(1, 4 * place.steps) / 4
            connection["grid_signals"].append(
                {
                    "start": at(begin * place.hours),
                    "end": at(end * place.hours),
                    "limit_kw": random.choice([0.0, 3.0, 9.0]),
                }
            )
