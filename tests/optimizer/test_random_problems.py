"""Seeded random problems against an independent formulation (`tests.optimizer.milp`) and the checker."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from energy.service.documents import ScheduleDocument
from optimizer import DispatchProblem, dispatch
from optimizer.assets import ASSET_TYPES
from tests.optimizer.builders import Document, weighted
from tests.optimizer.milp import ASSETS
from tests.optimizer.milp.formulation import optimum
from tests.optimizer.milp.random_problem import RULES, random_problem
from tests.optimizer.uncertainty import check, expected

SEEDS = range(320)
TOLERANCE = 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_same_optimum(seed: int) -> None:
    document = random_problem(Random(seed))
    best = optimum(document)
    answer = dispatch(DispatchProblem.from_document(document)).document()
    ScheduleDocument.model_validate(answer)
    if best is None:
        assert answer["status"] == "infeasible"
        return
    assert answer["status"] == "optimal"
    check(document, answer)
    assert expected(document, answer, weighted) == pytest.approx(best[0], abs=TOLERANCE, rel=TOLERANCE)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(best[1], abs=TOLERANCE, rel=TOLERANCE)
    assert answer["best_bound"] <= answer["objective"]["total"] + 1e-9


def test_every_asset_type_is_formulated_and_drawn() -> None:
    assert set(ASSETS) == set(ASSET_TYPES), "a file in tests/optimizer/milp is missing"
    drawn = Counter(asset["type"] for seed in SEEDS for asset in random_problem(Random(seed))["assets"])
    assert min(drawn[kind] for kind in ASSETS) >= 40


def test_every_rule_is_drawn() -> None:
    drawn = Counter(rule for seed in SEEDS for rule in ruled(random_problem(Random(seed))))
    assert min(drawn[rule] for rule in RULES) >= 30


def ruled(document: Document) -> set[str]:
    """The rules that a problem has."""
    stated = {key for connection in document["connections"] for key, value in connection.items() if value}
    marks = {
        "tariffs": {"import_tariff", "export_tariff", "import_blocks"},
        "phases": {"phase_import_limit_kw", "unbalance_limit_kw"},
        "signals": {"grid_signals"},
        "islands": {"island"},
        "breaches": {"breach_probability"},
    }
    found = {rule for rule, keys in marks.items() if keys & stated}
    found |= {rule for rule in ("offers", "scenarios") if document.get(rule)}
    return found | ({"fairness"} if document["objective"].get("fairness") else set())
