"""Swap stations: by hand, and random ones against all ways of serving swaps, without any symmetry broken."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from energy.domain.errors import InputError
from optimizer import DispatchProblem, uncontrolled
from tests.optimizer.builders import Document, problem_of, solve
from tests.optimizer.milp.formulation import optimum
from tests.optimizer.stations import each_step, swap_station


def least_power_cost(document: Document, pattern: np.ndarray) -> float | None:
    """Least cost of charging so that exactly the swaps of `pattern` (steps, slots) happen; None if none can.

    A linear program of its own: import price ≥ export price, so that no exclusion is needed.
    """
    asset, connection = document["assets"][0], document["connections"][0]
    battery, (steps, slots) = asset["battery"], pattern.shape
    full, empty = battery["e_full_kwh"], battery["e_empty_kwh"]
    count = steps * slots
    # columns: charge (steps, slots), then import; energy is substituted out
    lower_triangle = np.kron(np.tril(np.ones((steps, steps))), np.eye(slots)) * battery["charge_efficiency"]
    base = (each_step(asset["e_start_kwh"], slots) - (full - empty) * np.cumsum(pattern, axis=0)).ravel()
    before = np.concatenate([each_step(asset["e_start_kwh"], slots), base[:-slots]])
    at_start = np.vstack([np.zeros((slots, count)), lower_triangle[:-slots]])
    # what leaves was taken out of `base` of its own step already: a full battery stood there before
    taken = pattern.ravel() > 0
    rows = [lower_triangle, -lower_triangle, -at_start[taken], np.kron(np.eye(steps), np.ones(slots))]
    most = [full - base, base - empty, before[taken] - full, np.full(steps, asset["p_max_kw"])]
    result = linprog(
        np.repeat(connection["import_price_per_mwh"], slots) / 1000,
        A_ub=np.vstack(rows),
        b_ub=np.concatenate(most) + 1e-9,
        bounds=(0, battery["charge_max_kw"]),
    )
    return float(result.fun) if result.status == 0 else None


def brute_force(document: Document) -> tuple[float, float]:
    """Fewest unmet swaps and the least cost at that, over every pattern of swaps in every slot."""
    asset, steps = document["assets"][0], document["time"]["steps"]
    wanted = each_step(asset["swaps"], steps)
    choices = [
        [choice for choice in product((0, 1), repeat=asset["slots"]) if sum(choice) <= wanted[step]]
        for step in range(steps)
    ]
    best = (np.inf, np.inf)
    for pattern in product(*choices):
        unmet = wanted.sum() - np.sum(pattern)
        if unmet <= best[0]:
            cost = least_power_cost(document, np.array(pattern, float))
            if cost is not None:
                best = min(best, (unmet, cost))
    return best


@st.composite
def one_way(draw: Any) -> Document:
    steps, slots = draw(st.sampled_from([(2, 3), (3, 2), (4, 2), (5, 2), (3, 3)]))
    station = swap_station(
        slots=slots,
        battery={
            "e_full_kwh": 10.0,
            "e_empty_kwh": 2.0,
            "charge_max_kw": draw(st.sampled_from([3.0, 5.0, 10.0])),
            "charge_efficiency": draw(st.sampled_from([0.8, 1.0])),
        },
        e_start_kwh=draw(st.lists(st.sampled_from([2.0, 6.0, 8.0, 10.0]), min_size=slots, max_size=slots)),
        swaps=draw(st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0]), min_size=steps, max_size=steps)),
        p_max_kw=draw(st.sampled_from([4.0, 8.0, 40.0])),
    )
    prices = draw(st.lists(st.integers(1, 90).map(float), min_size=steps, max_size=steps))
    return problem_of(
        [station],
        steps=steps,
        import_price_per_mwh=prices,
        export_price_per_mwh=0.0,
        options={"mip_gap": 0.0},
    )


@settings(max_examples=25)
@given(document=one_way())
def test_as_good_as_the_best_of_all_patterns(document: Document) -> None:
    unmet, cost = brute_force(document)
    answer = solve(document)
    assert answer["status"] == "optimal"
    assert sum(answer["assets"]["rack"]["unmet_swaps"]) == unmet
    assert answer["objective"]["energy"] == pytest.approx(cost, abs=1e-6)


@st.composite
def two_way(draw: Any) -> Document:
    steps, slots = draw(st.integers(1, 4)), draw(st.integers(1, 3))

    def prices(low: int) -> list[float]:
        return draw(st.lists(st.integers(low, 300).map(float), min_size=steps, max_size=steps))

    station = swap_station(
        slots=slots,
        battery={
            "e_full_kwh": 10.0,
            "e_empty_kwh": 2.0,
            "charge_max_kw": draw(st.sampled_from([5.0, 10.0])),
            "discharge_max_kw": draw(st.sampled_from([0.0, 4.0, 10.0])),
            "charge_efficiency": draw(st.sampled_from([0.8, 1.0])),
            "discharge_efficiency": draw(st.sampled_from([0.5, 1.0])),
        },
        e_start_kwh=draw(st.lists(st.sampled_from([2.0, 8.0, 10.0]), min_size=slots, max_size=slots)),
        swaps=draw(st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=steps, max_size=steps)),
        p_max_kw=draw(st.sampled_from([6.0, 40.0])),
        wear_cost_per_mwh=draw(st.sampled_from([0.0, 20.0])),
    )
    return problem_of(
        [station],
        steps=steps,
        export_limit_kw=draw(st.sampled_from([3.0, 50.0])),
        import_price_per_mwh=prices(-90),
        export_price_per_mwh=prices(-90),
        options={"mip_gap": 0.0},
    )


@settings(max_examples=60)
@given(document=two_way())
def test_the_order_of_slots_costs_nothing(document: Document) -> None:
    """Negative prices and lossy discharging included: where burning pays, no order but the first turn is
    assumed."""
    expected = optimum(document)
    assert expected is not None
    unserved, cost = expected
    answer = solve(document)
    assert answer["status"] == "optimal"
    assert sum(s["amount_kwh"] for s in answer["shortfalls"]) == pytest.approx(unserved, abs=1e-6)
    assert answer["objective"]["energy"] + answer["objective"]["wear"] == pytest.approx(cost, abs=1e-6)


def test_a_battery_that_becomes_full_in_a_step_leaves_in_the_next() -> None:
    station = swap_station(slots=1, e_start_kwh=3.6, swaps=[1.0, 1.0, 0.0, 1.0])
    # 6.4 kWh are missing, and an hour brings 8 · 0.8 = 6.4; after the swap 8 are, and need two hours
    answer = solve(problem_of([station]))
    assert answer["assets"]["rack"]["swaps_served"] == [0.0, 1.0, 0.0, 1.0]
    (short,) = answer["shortfalls"]
    assert (short["kind"], short["amount_swaps"], short["amount_kwh"]) == ("unmet_swap", 1.0, 8.0)


def test_slots_keep_their_places_in_the_answer() -> None:
    station = swap_station(slots=3, e_start_kwh=[2.0, 10.0, 6.0], swaps=[1.0, 0.0, 0.0, 0.0])
    answer = solve(problem_of([station]))
    assert answer["assets"]["rack"]["slot_swaps"][0] == [0.0, 1.0, 0.0]


def test_uncontrolled_racks_charge_at_once() -> None:
    document = problem_of([swap_station(p_max_kw=9.0, swaps=[1.0, 1.0, 0.0, 0.0])])
    schedule = uncontrolled(DispatchProblem.from_document(document))
    rack = schedule.assets["rack"]
    assert rack.p_kw.tolist() == pytest.approx([9.0, 9.0, 7.0, 0.0])
    assert rack.series["swaps_served"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert rack.series["e_kwh"].tolist() == pytest.approx([15.2, 14.4, 20.0, 20.0])


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"slots": 0}, "slots", "greater"),
        ({"slots": 2.5}, "slots", "integer"),
        ({"e_start_kwh": [6.0]}, "e_start_kwh", "slots is 2"),
        ({"e_start_kwh": [6.0, 11.0]}, "e_start_kwh[1]", "outside"),
        ({"e_start_kwh": 1.0}, "e_start_kwh", "outside"),
        (
            {"battery": {"e_full_kwh": 2.0, "e_empty_kwh": 2.0, "charge_max_kw": 1}},
            "battery.e_empty_kwh",
            "not",
        ),
        ({"swaps": [0.5, 0.0, 0.0, 0.0]}, "swaps", "whole"),
        ({"swaps": [1.0]}, "swaps", "time.steps is 4"),
        ({"p_max_kw": -1.0}, "p_max_kw", "negative"),
    ],
)
def test_contradictions_are_refused_by_field(change: Document, path: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(problem_of([swap_station(**change)]))
    (fault,) = [f for f in refused.value.faults if f.path == f"assets[0].{path}"]
    assert words in fault.message
