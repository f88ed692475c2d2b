"""Generators: by hand, against every possible commitment, and what holds for all of them."""

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
from tests.optimizer.builders import Document, check_answer, load, problem_of, solve
from tests.optimizer.units import (
    HOURS,
    commits,
    each_step,
    generator,
    power_before,
    ramp_limits,
    states_allowed,
)


def cheapest(document: Document) -> float | None:
    """The least cost over every sequence of on-states of one generator; None where there is none.

    One load, one generator, one connection that buys no cheaper than it sells.
    """
    base, asset = document["assets"]
    steps, connection = document["time"]["steps"], document["connections"][0]
    hours, demand = HOURS[document["time"]["resolution"]], each_step(base["p_kw"], steps)
    carbon = document["objective"]["carbon_price_per_t"] / 1000
    least, most, fuel = (
        each_step(asset.get(k), steps) for k in ("p_min_kw", "p_max_kw", "marginal_cost_per_mwh")
    )
    buy, sell = (each_step(connection[f"{way}_price_per_mwh"], steps) for way in ("import", "export"))
    buy = buy + carbon * connection["carbon_g_per_kwh"]
    price = np.concatenate([fuel + carbon * asset["carbon_g_per_kwh"], buy, -sell]) * hours / 1000
    balance = np.hstack([np.eye(steps), np.eye(steps), -np.eye(steps)])
    found = []
    for on in product((0, 1), repeat=steps) if commits(asset) else [(1,) * steps]:
        if commits(asset) and not states_allowed(asset, list(on), hours):
            continue
        rows, limits = [], []
        before = power_before(asset)
        for t, (down, up) in enumerate(ramp_limits(asset, list(on), hours)):
            change = np.zeros(3 * steps)
            change[t] = 1.0
            at = 0.0
            if t:
                change[t - 1] = -1.0
            elif before is None:
                continue
            else:
                at = before
            for sign, limit in ((1, up), (-1, -down)):
                if np.isfinite(limit):
                    rows.append(sign * change)
                    limits.append(limit + sign * at)
        bounds = [(least[t] * on[t], most[t] * on[t]) for t in range(steps)]
        bounds += [(0, connection["import_limit_kw"])] * steps + [(0, connection["export_limit_kw"])] * steps
        result = linprog(
            price, rows or None, limits or None, balance, demand, bounds, options={"presolve": False}
        )
        if result.status == 0:
            changes = np.diff([int(asset.get("on_at_start", False)), *on])
            starts = (changes > 0).sum() * asset["start_cost"] + (changes < 0).sum() * asset["stop_cost"]
            idle = sum(on) * hours * asset["no_load_cost_per_h"]
            found.append(result.fun + (starts + idle if commits(asset) else 0.0))
    return min(found, default=None)


@st.composite
def problems(draw: Any) -> Document:
    steps = draw(st.integers(1, 5))
    resolution = draw(st.sampled_from(["PT1H", "PT30M"]))

    def some(low: int, high: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))

    times = st.sampled_from(["PT0S", "PT1H", "PT2H", "PT3H"])
    ramp = st.sampled_from([None, 15.0, 40.0])
    on = draw(st.booleans())
    most = some(40, 100)
    sell = some(-50, 80)
    unit = generator(
        p_min_kw=draw(st.sampled_from([0.0, 20.0, [0.5 * value for value in most]])),
        p_max_kw=most,
        marginal_cost_per_mwh=some(-20, 150),
        no_load_cost_per_h=draw(st.sampled_from([0.0, 0.7])),
        start_cost=draw(st.sampled_from([0.0, 2.0])),
        stop_cost=draw(st.sampled_from([0.0, 1.0])),
        min_up=draw(times),
        min_down=draw(times),
        ramp_kw_per_h=draw(ramp),
        ramp_down_kw_per_h=draw(ramp),
        start_ramp_kw=draw(st.sampled_from([None, 60.0])),
        stop_ramp_kw=draw(st.sampled_from([None, 55.0])),
        carbon_g_per_kwh=draw(st.sampled_from([0.0, 500.0])),
        on_at_start=on,
        p_start_kw=draw(st.sampled_from([None, 50.0])) if on else None,
        time_in_state=draw(st.sampled_from([None, "PT0S", "PT1H", "PT2H"])),
    )
    return problem_of(
        [load(some(0, 60)), unit],
        steps=steps,
        resolution=resolution,
        import_limit_kw=draw(st.sampled_from([60.0, 100.0])),
        export_limit_kw=draw(st.sampled_from([0.0, 30.0, 100.0])),
        import_price_per_mwh=[price + 20.0 for price in sell],
        export_price_per_mwh=sell,
        carbon_g_per_kwh=300.0,
        objective={"carbon_price_per_t": draw(st.sampled_from([0.0, 80.0]))},
        options={"mip_gap": 0.0},
    )


def faults_of(document: Document) -> list[str]:
    """The fields that a problem is refused for."""
    try:
        DispatchProblem.from_document(document)
    except InputError as error:
        return [fault.path for fault in error.faults]
    return []


@settings(max_examples=60)
@given(document=problems())
def test_no_commitment_is_cheaper(document: Document) -> None:
    faults = faults_of(document)
    if faults:
        # what is refused has no schedule, whatever the connection takes
        assert faults in (["assets[1].p_start_kw"], ["assets[1].on_at_start"])
        document["connections"][0] |= {"import_limit_kw": 1e6, "export_limit_kw": 1e6}
        assert cheapest(document) is None
        return
    expected, answer = cheapest(document), solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert {conflict["limit"] for conflict in answer["conflicts"]} == {"export_limit_kw"}
        assert answer["conflicts"][0]["assets"] == ["g1"]
        return
    assert answer["status"] == "optimal"
    assert answer["objective"]["total"] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=60)
@given(document=problems())
def test_without_control_it_keeps_its_limits(document: Document) -> None:
    """The checker of the unit's limits runs on the uncontrolled answer, connections apart."""
    document["connections"][0] |= {"import_limit_kw": 1e6, "export_limit_kw": 1e6}
    if faults_of(document):
        return
    answer = uncontrolled(DispatchProblem.from_document(document)).document()
    check_answer(document, answer)
    if not document["assets"][1]["on_at_start"] and commits(document["assets"][1]):
        assert not any(answer["assets"]["g1"]["p_kw"])


def test_a_start_costs_once() -> None:
    unit = generator(start_cost=3.0, stop_cost=1.0, p_min_kw=0.0)
    dear, cheap = [200.0, 200.0, 10.0, 200.0], 10.0
    answer = solve(problem_of([load(50.0), unit], import_price_per_mwh=dear, export_price_per_mwh=cheap))
    # staying on at no load through the cheap hour is cheaper than a second start
    assert answer["assets"]["g1"]["p_kw"] == pytest.approx([50.0, 50.0, 0.0, 50.0])
    assert answer["assets"]["g1"]["on"] == [1.0, 1.0, 1.0, 1.0]
    assert answer["objective"]["start"] == pytest.approx(3.0)


def test_its_own_carbon_is_priced() -> None:
    unit = generator(marginal_cost_per_mwh=60.0, carbon_g_per_kwh=900.0)
    document = problem_of(
        [load(50.0), unit],
        import_price_per_mwh=100.0,
        carbon_g_per_kwh=0.0,
        objective={"carbon_price_per_t": 50.0},
    )
    assert not any(solve(document)["assets"]["g1"]["p_kw"])
    document["objective"]["carbon_price_per_t"] = 40.0
    answer = solve(document)
    assert answer["assets"]["g1"]["p_kw"] == pytest.approx([50.0] * 4)
    assert answer["objective"]["carbon"] == pytest.approx(4 * 0.05 * 0.9 * 40)


def test_must_run_against_an_export_limit_names_the_generator() -> None:
    unit = generator(min_up="PT3H", on_at_start=True, time_in_state="PT1H")
    answer = solve(problem_of([load(5.0), unit], export_limit_kw=10.0))
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    assert conflict["assets"] == ["g1"]
    assert conflict["limit"] == "export_limit_kw"
    assert conflict["relaxation"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"p_min_kw": 120.0}, "assets[0].p_min_kw"),
        ({"p_max_kw": [100.0, 10.0, 100.0, 100.0]}, "assets[0].p_min_kw"),
        ({"p_max_kw": [100.0, 100.0]}, "assets[0].p_max_kw"),
        ({"start_ramp_kw": 10.0}, "assets[0].start_ramp_kw"),
        ({"stop_ramp_kw": 10.0}, "assets[0].stop_ramp_kw"),
        ({"p_start_kw": 10.0}, "assets[0].p_start_kw"),
        ({"min_up": "3 hours"}, "assets[0].min_up"),
        ({"start_cost": -1.0}, "assets[0].start_cost"),
        ({"marginal_cost_per_mwh": [1.0, float("nan"), 1.0, 1.0]}, "assets[0].marginal_cost_per_mwh"),
        (
            {"on_at_start": True, "p_start_kw": 300.0, "ramp_kw_per_h": 30.0, "stop_ramp_kw": 50.0},
            "assets[0].p_start_kw",
        ),
    ],
)
def test_contradictions_are_refused(more: Document, path: str) -> None:
    assert faults_of(problem_of([generator(**more)])) == [path]
