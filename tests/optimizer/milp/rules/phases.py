"""Phases: an asset draws on one, or a third on each; limits on every phase and on their differences."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from tests.optimizer.builders import Document
from tests.optimizer.milp.program import Terms

if TYPE_CHECKING:
    from tests.optimizer.milp.formulation import Formulation
    from tests.optimizer.milp.random_problem import Place

PHASES = ("L1", "L2", "L3")


def formulate(f: Formulation) -> None:
    for key, connection in f.connections.items():
        limit, uneven = (
            f.limit(connection, name) for name in ("phase_import_limit_kw", "unbalance_limit_kw")
        )
        for t in range(f.steps):
            powers = [_power(f, key, phase, t) for phase in PHASES]
            for terms, constant in powers:
                if np.isfinite(limit[t]):
                    _at_most(f, terms, float(limit[t]) - constant)
            for (one, constant), (other, its_constant) in permutations(powers, 2):
                if np.isfinite(uneven[t]):
                    difference = {k: one.get(k, 0.0) - other.get(k, 0.0) for k in one | other}
                    _at_most(f, difference, float(uneven[t]) - constant + its_constant)


def _at_most(f: Formulation, terms: Terms, most: float) -> None:
    """Also where no column has a part in it: then the problem may have no solution."""
    f.row(terms or {f.column(0, 0): 1.0}, -np.inf, most)


def _power(f: Formulation, key: str, phase: str, t: int) -> tuple[Terms, float]:
    terms: Terms = {}
    constant = 0.0
    for asset in f.below(key):
        share = {"L123": 1 / 3, phase: 1.0}.get(asset.get("phases", "L123"), 0.0)
        constant += share * float(f.constant[asset["id"]][t])
        for column, coefficient in f.drawn[asset["id"]][t].items():
            terms[column] = terms.get(column, 0.0) + share * coefficient
    return terms, constant


def draw(random: Random, document: Document, place: Place) -> None:
    for asset in document["assets"]:
        if random.random() < 0.7:
            asset["phases"] = random.choice(["L1", "L2", "L3", "L123"])
    connection = random.choice(document["connections"])
    if random.random() < 0.7:
        connection["phase_import_limit_kw"] = random.choice([6.0, 15.0, place.series(random, 8, 20)])
    if random.random() < 0.7:
        connection["unbalance_limit_kw"] = random.choice([4.6, 9.0, 15.0])
