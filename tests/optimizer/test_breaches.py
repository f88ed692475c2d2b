"""Chances of a breach that are to be kept beyond the scenarios: what a sample of them can tell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from energy.domain.errors import InputError
from energy.service.documents import ScheduleDocument
from optimizer import DispatchProblem, dispatch
from optimizer.breaches import budget, level, needed
from tests.optimizer.builders import Document, load, problem_of, renewable
from tests.optimizer.uncertainty import check_scenarios


@given(
    count=st.integers(1, 400),
    probability=st.floats(0.001, 0.999),
    confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_so_few_breach_that_a_more_frequent_breach_would_show(
    count: int, probability: float, confidence: float
) -> None:
    may = round(budget(probability, confidence, count) * count)
    rest = 1 - confidence
    assert may == 0 or binom.cdf(may, count, probability) <= rest + 1e-12
    assert binom.cdf(may + 1, count, probability) > rest - 1e-12
    kept = level(may, count, confidence)
    assert may == count or binom.cdf(may, count, kept) == pytest.approx(rest, abs=1e-9)
    enough = count >= needed(probability, confidence)
    assert enough == ((1 - probability) ** count <= rest * (1 + 1e-9))
    assert not enough or kept <= probability + 1e-9


def sampled(count: int, **more: Any) -> Document:
    """Wind of 1, 2, 3 ... kW behind an export limit of 0, worth as much: each breach is a gain."""
    document = problem_of([renewable(0.0), load(0.0)], steps=1, export_limit_kw=0.0, **more)
    document["scenarios"] = [
        {"id": f"s{k}", "probability": 1 / count, "series": {"assets.pv.available_kw": k + 1.0}}
        for k in range(count)
    ]
    return document


def test_fewer_scenarios_breach_than_the_probability_says() -> None:
    """B(1; 8, 0.5) = 9/256 and B(2; 8, 0.5) = 37/256: with 0.95 one of eight may, not four."""
    for confidence, names in ((None, {"s4", "s5", "s6", "s7"}), (0.95, {"s7"})):
        document = sampled(8, breach_probability=0.5, breach_confidence=confidence)
        answer = dispatch(DispatchProblem.from_document(document)).document()
        ScheduleDocument.model_validate(answer)
        check_scenarios(document, answer)
        assert set(answer["breach"]["poc"]["scenarios"]) == names
    found = answer["breach"]["poc"]
    assert found["sample_budget"] == 1 / 8
    assert binom.cdf(1, 8, found["level"]) == pytest.approx(0.05)
    assert found["scenarios_needed"] == 5
    assert not any("too few" in notice for notice in answer["notices"])


def test_too_few_scenarios_keep_every_limit_and_say_how_many_it_takes() -> None:
    document = sampled(8, breach_probability=0.1, breach_confidence=0.95)
    answer = dispatch(DispatchProblem.from_document(document)).document()
    found = answer["breach"]["poc"]
    assert (found["scenarios"], found["sample_budget"], found["scenarios_needed"]) == ([], 0.0, 29)
    assert found["level"] == pytest.approx(1 - 0.05 ** (1 / 8))
    assert any(
        "8 scenarios are too few" in notice and "29 are needed" in notice for notice in answer["notices"]
    )
    assert answer["objective"]["energy"] == 0.0


def test_an_overrun_counts_for_the_level_although_it_is_a_shortfall() -> None:
    document = problem_of([load(0.0)], steps=1, import_limit_kw=5.0, breach_probability=0.3)
    document["connections"][0]["breach_confidence"] = 0.9
    document["scenarios"] = [
        {"id": name, "probability": 0.5, "series": {"assets.base.p_kw": kw}}
        for name, kw in (("a", 3.0), ("b", 9.0))
    ]
    answer = dispatch(DispatchProblem.from_document(document)).document()
    found = answer["breach"]["poc"]
    assert found["planned"] == 0.0
    assert answer["scenarios"]["b"]["shortfalls"][0]["amount_kwh"] == pytest.approx(4.0)
    assert binom.cdf(1, 2, found["level"]) == pytest.approx(0.1)


def test_a_sample_is_equally_likely_and_a_confidence_needs_a_chance() -> None:
    document = sampled(2, breach_probability=0.1, breach_confidence=0.95)
    document["scenarios"][0]["probability"], document["scenarios"][1]["probability"] = 0.4, 0.6
    for change in ({}, {"breach_probability": 0.0}, {"breach_confidence": 1.0}):
        document["connections"][0] |= change
        with pytest.raises(InputError) as caught:
            DispatchProblem.from_document(document)
        assert "connections[0].breach_confidence" in [fault.path for fault in caught.value.faults]
