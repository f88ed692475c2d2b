"""Seeded random problems against an independent formulation (`tests.optimizer.milp`) and the checker."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from optimizer.assets import ASSET_TYPES
from tests.optimizer.builders import solve, weighted
from tests.optimizer.milp import ASSETS
from tests.optimizer.milp.formulation import optimum
from tests.optimizer.milp.random_problem import random_problem

SEEDS = range(320)
TOLERANCE = 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_same_optimum(seed: int) -> None:
    document = random_problem(Random(seed))
    expected = optimum(document)
    answer = solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert answer["conflicts"]
        return
    assert answer["status"] == "optimal"
    assert weighted(document, answer) == pytest.approx(expected[0], abs=TOLERANCE, rel=TOLERANCE)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(expected[1], abs=TOLERANCE, rel=TOLERANCE)
    assert answer["best_bound"] <= answer["objective"]["total"] + 1e-9


def test_every_asset_type_is_formulated_and_drawn() -> None:
    assert set(ASSETS) == set(ASSET_TYPES), "a file in tests/optimizer/milp is missing"
    drawn = Counter(asset["type"] for seed in SEEDS for asset in random_problem(Random(seed))["assets"])
    assert min(drawn[kind] for kind in ASSETS) >= 40
