"""The frontier: its ends are single optima, it never turns back, and every point is a schedule."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from tests.optimizer.builders import (
    Document,
    battery,
    check_answer,
    ev,
    load,
    problem_of,
    renewable,
    series,
    session,
    weighted,
)
from tests.optimizer.milp.formulation import HOURS
from tests.optimizer.milp.random_problem import problems

NEAR = 1e-5


def solved(document: Document) -> Document:
    return dispatch(DispatchProblem.from_document(document)).document()


def emissions(document: Document, answer: Document) -> float:
    """kg of root imports at the carbon signal, less the export credit; nothing else emits here."""
    root, flow = document["connections"][0], answer["connections"]["poc"]
    objective, steps = document.get("objective", {}), document["time"]["steps"]
    average = series(root["carbon_g_per_kwh"], steps)
    marginal = objective.get("carbon_signal") == "marginal"
    signal = series(root["marginal_carbon_g_per_kwh"], steps) if marginal else average
    credit = average if objective.get("export_carbon_credit") == "average" else 0 * average
    grams = signal @ flow["import_kw"] - credit @ flow["export_kw"]
    return float(grams) * HOURS[document["time"]["resolution"]] / 1000


def cost(point: Document) -> float:
    parts = point["objective"]
    return float(parts["total"] - parts["carbon"] - parts["shortfall"])


def priced(document: Document, carbon_price_per_t: float) -> Document:
    """The answer at another price of carbon, without a frontier."""
    objective = {**document.get("objective", {}), "carbon_price_per_t": carbon_price_per_t}
    return solved({**document, "objective": objective, "frontier": None})


def check_frontier(document: Document, answer: Document) -> None:
    points = answer["frontier"]
    assert 1 <= len(points) <= document["frontier"]
    unpriced = {"price_per_mwh": dict.fromkeys(("total", "energy"), [0.0] * document["time"]["steps"])}
    for point in points:
        flows = {key: {**flow, **unpriced} for key, flow in point["connections"].items()}
        check_answer(document, {**point, "connections": flows})
        assert point["cost"] == pytest.approx(cost(point), abs=1e-9)
        assert point["emissions_kg"] == pytest.approx(emissions(document, point), abs=1e-9)
        assert weighted(document, point) == pytest.approx(weighted(document, answer), abs=NEAR)
    for cheaper, cleaner in pairwise(points):
        assert cleaner["cost"] > cheaper["cost"]
        assert cleaner["emissions_kg"] < cheaper["emissions_kg"]
    assert points[0]["cost"] == pytest.approx(cost(priced(document, 0.0)), abs=NEAR)
    cleanest = emissions(document, priced(document, 1e7))
    assert points[-1]["emissions_kg"] == pytest.approx(cleanest, abs=NEAR)


@st.composite
def with_frontier(draw: Any) -> Document:
    document: Document = draw(problems(("load", "renewable", "battery", "ev")))
    steps = document["time"]["steps"]
    intensity = st.integers(0, 900).map(float)
    document["connections"][0]["carbon_g_per_kwh"] = draw(st.lists(intensity, min_size=steps, max_size=steps))
    return {**document, "frontier": draw(st.integers(2, 6))}


@settings(max_examples=30)
@given(document=with_frontier())
def test_every_frontier(document: Document) -> None:
    answer = solved(document)
    if answer["status"] == "infeasible":
        assert "frontier" not in answer
    else:
        check_frontier(document, answer)


@settings(max_examples=25)
@given(
    price=st.lists(st.integers(20, 200).map(float), min_size=4, max_size=4),
    carbon=st.lists(st.integers(0, 900).map(float), min_size=4, max_size=4),
    wear=st.sampled_from([0.0, 11.0]),
)
def test_of_a_linear_problem_is_convex_and_its_duals_are_carbon_prices(
    price: list[float], carbon: list[float], wear: float
) -> None:
    assets = [
        load([3.0, 5.0, 9.0, 2.0]),
        renewable([4.0, 12.0, 0.0, 0.0]),
        battery(charge_efficiency=0.9, discharge_efficiency=0.9, wear_cost_per_mwh=wear),
        ev([session(0, 3, e_departure_min_kwh=22.0)], charge_efficiency=0.9),
    ]
    # exports earn less than any import costs, so that no binary is needed
    document = problem_of(
        assets, import_price_per_mwh=price, export_price_per_mwh=5.0, carbon_g_per_kwh=carbon, frontier=5
    )
    points = solved(document)["frontier"]
    slopes = [(b["cost"] - a["cost"]) / (a["emissions_kg"] - b["emissions_kg"]) for a, b in pairwise(points)]
    assert all(later >= earlier * (1 - 1e-5) for earlier, later in pairwise(slopes))
    for point in points:
        tax = point["abatement_cost_per_t"]
        best = priced(document, tax)["objective"]
        taxed = point["cost"] + tax * point["emissions_kg"] / 1000
        assert taxed == pytest.approx(best["total"] - best["shortfall"], rel=1e-6, abs=NEAR)


def test_the_cleanest_end_is_that_of_brute_force() -> None:
    """Two steps, a lossless battery in steps of 1 kW: every plan tried."""
    demand, carbon = np.array([4.0, 9.0, 6.0]), np.array([500.0, 200.0, 650.0])
    document = problem_of(
        [load(demand.tolist()), battery(charge_max_kw=3.0, discharge_max_kw=3.0, e_start_kwh=2.0)],
        steps=3,
        import_price_per_mwh=[80.0, 120.0, 60.0],
        export_price_per_mwh=0.0,
        carbon_g_per_kwh=carbon.tolist(),
        frontier=2,
    )
    least = min(
        float(carbon @ np.clip(demand + plan, 0, None)) / 1000
        for plan in map(np.array, product(range(-3, 4), repeat=3))
        if (2.0 + np.cumsum(plan) >= 0).all() and (2.0 + np.cumsum(plan) <= 20).all()
    )
    assert solved(document)["frontier"][-1]["emissions_kg"] == pytest.approx(least, abs=1e-9)


def test_export_credit_and_marginal_signal_count() -> None:
    """Selling all PV is credited; the battery is emptied where the credit is highest."""
    document = problem_of(
        [renewable([10.0, 10.0]), battery(e_start_kwh=10.0)],
        steps=2,
        import_price_per_mwh=100.0,
        export_price_per_mwh=[50.0, 20.0],
        carbon_g_per_kwh=[100.0, 300.0],
        marginal_carbon_g_per_kwh=[900.0, 800.0],
        objective={"carbon_signal": "marginal", "export_carbon_credit": "average"},
        frontier=2,
    )
    cheapest, cleanest = solved(document)["frontier"]
    assert cheapest["assets"]["b1"]["p_kw"] == pytest.approx([-10.0, 0.0])
    assert cheapest["emissions_kg"] == pytest.approx(-(20 * 0.1 + 10 * 0.3))
    assert cleanest["emissions_kg"] == pytest.approx(-(10 * 0.1 + 20 * 0.3))
    assert cleanest["assets"]["b1"]["p_kw"] == pytest.approx([0.0, -10.0])


def test_what_assets_emit_themselves_counts() -> None:
    """A generator at 60 per MWh and 800 g/kWh against a grid at 100 and 300."""
    document = problem_of(
        [
            load([10.0, 10.0]),
            {
                "type": "generator",
                "id": "g",
                "connection": "poc",
                "p_max_kw": 10.0,
                "marginal_cost_per_mwh": 60.0,
                "carbon_g_per_kwh": 800.0,
            },
        ],
        steps=2,
        export_price_per_mwh=0.0,
        carbon_g_per_kwh=300.0,
        objective={"carbon_price_per_t": 50.0},
        frontier=3,
    )
    answer = solved(document)
    assert [point["emissions_kg"] for point in answer["frontier"]] == pytest.approx([16.0, 11.0, 6.0])
    assert [point["cost"] for point in answer["frontier"]] == pytest.approx([1.2, 1.6, 2.0])
    # 40 per MWh for half a t per MWh
    assert answer["frontier"][1]["abatement_cost_per_t"] == pytest.approx(80.0)
    assert answer["objective"]["carbon"] == pytest.approx(0.8)


def test_where_nothing_can_be_gained_it_is_one_point() -> None:
    document = problem_of([load([5.0, 6.0])], steps=2, carbon_g_per_kwh=400.0, frontier=9)
    (point,) = solved(document)["frontier"]
    assert point["emissions_kg"] == pytest.approx(4.4)
    assert point["abatement_cost_per_t"] == 0.0


def test_needs_intensities_and_stands_alone() -> None:
    scenarios = [{"id": "a", "probability": 1.0, "series": {}}]
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(problem_of([load(1.0)], frontier=3, scenarios=scenarios))
    paths = {fault.path for fault in refused.value.faults}
    assert {"connections[0].carbon_g_per_kwh", "frontier"} <= paths
    for count in (1, 51, 2.5, True):
        with pytest.raises(InputError, match="frontier"):
            DispatchProblem.from_document(problem_of([load(1.0)], carbon_g_per_kwh=1.0, frontier=count))
