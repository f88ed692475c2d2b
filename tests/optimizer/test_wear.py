"""Wear by depth: what the answer recomputes from powers is what the program of segments pays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from optimizer.assets.battery import Battery
from optimizer.assets.wear import depth_wear
from tests.optimizer.builders import Document, at, battery, ev, load, problem_of, session, solve, trip
from tests.optimizer.test_problem import faults

CURVE = [{"depth": 0.2, "cost_per_mwh": 10.0}, {"depth": 1.0, "cost_per_mwh": 40.0}]


@st.composite
def curves(draw: Any) -> list[Document]:
    cuts = sorted(draw(st.sets(st.sampled_from([0.1, 0.25, 0.5, 0.8]), max_size=3)))
    costs = sorted(draw(st.lists(st.integers(0, 60).map(float), min_size=4, max_size=4)))
    return [{"depth": d, "cost_per_mwh": c} for d, c in zip([*cuts, 1.0], costs, strict=False)]


def segments_program(
    asset: Document, steps: int, hours: float, prices: Any = None, fixed: Any = None
) -> float:
    """The least cost of the paper's program: segments of the store, each with its own balance.

    Columns per step: charge and discharge of each segment, energy of each segment. With `fixed` powers the
    cost is that of wear alone, else of wear and of energy at `prices`.
    """
    curve, count = asset["wear_curve"], len(asset["wear_curve"])
    sizes = np.diff([0.0, *(s["depth"] for s in curve)]) * asset["e_max_kwh"]
    left, start = asset["e_start_kwh"], np.zeros(count)
    for k in range(count):
        start[k] = min(sizes[k], left)
        left -= start[k]
    into, out = asset["charge_efficiency"], asset["discharge_efficiency"]
    retained = (1 - asset["self_discharge_per_hour"]) ** hours
    width = 3 * count
    equal, rhs, cost = [], [], np.zeros(width * steps)
    above, limits = [], []
    for t in range(steps):
        c, d, e = (t * width + k * count for k in range(3))
        for k in range(count):
            row = np.zeros(width * steps)
            row[[e + k, c + k, d + k]] = 1.0, -into * hours, hours / out
            if t:
                row[e - width + k] = -retained
            equal.append(row)
            rhs.append(0.0 if t else retained * start[k])
            cost[d + k] = curve[k]["cost_per_mwh"] * hours / 1000
        for first, way, sign in ((c, "charge", 1.0), (d, "discharge", -1.0)):
            row = np.zeros(width * steps)
            row[first : first + count] = 1.0
            if fixed is not None:
                equal.append(row)
                rhs.append(max(sign * fixed[t], 0.0))
            else:
                above.append(row)
                limits.append(asset[f"{way}_max_kw"])
                cost[first : first + count] += sign * prices[t] * hours / 1000
    bounds = [(0.0, None)] * (2 * count) + [(0.0, size) for size in sizes]
    found = linprog(
        cost,
        A_ub=np.array(above) if above else None,
        b_ub=limits or None,
        A_eq=np.array(equal),
        b_eq=rhs,
        bounds=bounds * steps,
    )
    assert found.success, found.message
    return float(found.fun)


@settings(max_examples=50)
@given(
    curve=curves(),
    wanted=st.lists(st.integers(-12, 12).map(float), min_size=1, max_size=10),
    start=st.integers(0, 20).map(float),
    efficiency=st.sampled_from([0.7, 1.0]),
    decay=st.sampled_from([0.0, 0.1]),
    hours=st.sampled_from([0.25, 1.0]),
)
def test_cheapest_first_is_what_the_program_would_choose(
    curve: list[Document], wanted: list[float], start: float, efficiency: float, decay: float, hours: float
) -> None:
    asset = battery(
        e_start_kwh=start,
        charge_efficiency=efficiency,
        discharge_efficiency=efficiency,
        self_discharge_per_hour=decay,
        wear_curve=curve,
    )
    energy, p_kw = start, []
    for power in wanted:  # what the store can take and give of it
        energy *= (1 - decay) ** hours
        power = min(power, (20.0 - energy) / efficiency / hours)
        power = max(power, -energy * efficiency / hours)
        energy += hours * (power * efficiency if power > 0 else power / efficiency)
        p_kw.append(power)
    store = Battery.model_validate(asset)
    assert depth_wear(store, np.array(p_kw), hours) == pytest.approx(
        segments_program(asset, len(p_kw), hours, fixed=p_kw), abs=1e-9
    )


@settings(max_examples=60)
@given(
    curve=curves(),
    prices=st.lists(st.integers(5, 150).map(float), min_size=2, max_size=7),
    start=st.sampled_from([0.0, 7.0, 20.0]),
    efficiency=st.sampled_from([0.8, 1.0]),
    decay=st.sampled_from([0.0, 0.02]),
)
def test_same_optimum_as_the_program_of_segments(
    curve: list[Document], prices: list[float], start: float, efficiency: float, decay: float
) -> None:
    """Energy and wear together: the total the answer recomputes is the optimum of an independent program."""
    asset = battery(
        e_start_kwh=start,
        charge_efficiency=efficiency,
        discharge_efficiency=efficiency,
        self_discharge_per_hour=decay,
        wear_curve=curve,
    )
    answer = solve(
        problem_of([asset], steps=len(prices), import_price_per_mwh=prices, export_price_per_mwh=prices)
    )
    assert answer["objective"]["total"] == pytest.approx(
        segments_program(asset, len(prices), 1.0, prices=prices), abs=1e-6
    )


def test_a_shallow_cycle_pays_and_a_deep_one_does_not() -> None:
    """A spread of 30 per MWh is worth the first 4 kWh at 10, not those below at 40."""
    document = problem_of(
        [load(20.0), battery(e_start_kwh=20.0, e_end_min_kwh=20.0, wear_curve=CURVE)],
        steps=2,
        import_price_per_mwh=[100.0, 70.0],
    )
    answer = solve(document)
    assert answer["assets"]["b1"]["p_kw"] == pytest.approx([-4.0, 4.0])
    assert answer["objective"]["wear"] == pytest.approx(4.0 * 10.0 / 1000)


def test_one_price_at_every_depth_is_the_flat_cost() -> None:
    flat = [{"depth": 0.3, "cost_per_mwh": 25.0}, {"depth": 1.0, "cost_per_mwh": 25.0}]
    totals = [
        solve(
            problem_of(
                [load(8.0), battery(e_start_kwh=9.0, **wear)], import_price_per_mwh=[9.0, 80.0, 10.0, 99.0]
            )
        )["objective"]["total"]
        for wear in ({"wear_curve": flat}, {"wear_cost_per_mwh": 25.0})
    ]
    assert totals[0] == pytest.approx(totals[1])


@settings(max_examples=30)
@given(
    prices=st.lists(st.integers(5, 150).map(float), min_size=4, max_size=4),
    drive=st.sampled_from([0.0, 6.0, 25.0]),
    start=st.sampled_from([0.0, 12.0, 30.0]),
    efficiency=st.sampled_from([0.8, 1.0]),
    cost=st.sampled_from([0.0, 25.0]),
)
def test_one_price_at_every_depth_is_the_flat_cost_of_an_ev(
    prices: list[float], drive: float, start: float, efficiency: float, cost: float
) -> None:
    flat = [{"depth": 0.3, "cost_per_mwh": cost}, {"depth": 1.0, "cost_per_mwh": cost}]
    totals = []
    for wear in ({"wear_curve": flat}, {"wear_cost_per_mwh": cost}):
        vehicle = ev(
            [session(0, 2, discharge_max_kw=8.0), session(2.5, 4, discharge_max_kw=8.0)],
            e_max_kwh=30.0,
            e_start_kwh=start,
            charge_efficiency=efficiency,
            discharge_efficiency=efficiency,
            trips=[trip(2, 2.5, drive)],
            **wear,
        )
        document = problem_of([vehicle], import_price_per_mwh=prices, export_price_per_mwh=prices)
        totals.append(solve(document)["objective"]["total"])
    assert totals[0] == pytest.approx(totals[1], abs=1e-9)


@pytest.mark.parametrize("early", [True, False])
def test_v2g_pays_what_it_adds_to_a_drive_before_or_after_it(early: bool) -> None:
    """12 kWh driven and 8 given back empty a store of 20 whichever comes first: 8 at the first price, and
    the 16 kWh that are not in the first segment at 30 more."""
    stay = session(0, 1, discharge_max_kw=8.0) if early else session(2, 3, discharge_max_kw=8.0)
    vehicle = ev([stay], e_max_kwh=20.0, e_start_kwh=20.0, trips=[trip(1, 1.5, 12.0)], wear_curve=CURVE)
    answer = solve(problem_of([vehicle], steps=3, import_price_per_mwh=100.0, export_price_per_mwh=90.0))
    assert sum(answer["assets"]["ev1"]["p_kw"]) == pytest.approx(-8.0)
    assert answer["objective"]["wear"] == pytest.approx((8.0 * 10.0 + 16.0 * 30.0) / 1000)


def test_a_drive_out_of_reach_stays_a_shortfall() -> None:
    vehicle = ev([], e_max_kwh=20.0, e_start_kwh=18.0, trips=[trip(0, 0.5, 25.0)], wear_curve=CURVE)
    answer = solve(problem_of([vehicle], steps=2))
    assert [(s["kind"], s["at"]) for s in answer["shortfalls"]] == [("trip_energy", at(0.5))]
    assert answer["shortfalls"][0]["amount_kwh"] == pytest.approx(7.0)
    assert answer["objective"]["wear"] == pytest.approx(14.0 * 30.0 / 1000)


@pytest.mark.parametrize("store", [battery, partial(ev, [])])
@pytest.mark.parametrize(
    ("wear", "path"),
    [
        ({"wear_curve": CURVE, "wear_cost_per_mwh": 5.0}, "wear_curve"),
        ({"wear_curve": CURVE[:1]}, "wear_curve[0].depth"),
        ({"wear_curve": [CURVE[1], CURVE[0]]}, "wear_curve[1].depth"),
        ({"wear_curve": [CURVE[0], {"depth": 1.0, "cost_per_mwh": 5.0}]}, "wear_curve[1].cost_per_mwh"),
        ({"wear_curve": [{"depth": 1.0, "cost_per_mwh": -5.0}]}, "wear_curve[0].cost_per_mwh"),
        ({"wear_curve": [{"depth": 1.5, "cost_per_mwh": 5.0}]}, "wear_curve[0].depth"),
        ({"wear_curve": 5.0}, "wear_curve"),
    ],
)
def test_curves_that_are_none_are_refused(store: Callable[..., Document], wear: Document, path: str) -> None:
    assert f"assets[0].{path}" in faults(problem_of([store(**wear)]))
