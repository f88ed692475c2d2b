"""The frontier on a grid: ends are single optima, and pandapower's own power flow agrees with every point."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import DeadlineError
from energy.domain.network import SECURE_LOADING_PERCENT, SECURE_VM_PU
from energy.domain.progress import silent
from energy.domain.schedule import FrontierPoint
from energy.service.dispatch import dispatch_document
from energy.service.documents import ScheduleDocument
from energy.service.grid_frontier import Aim, Candidate, frontier_on_grid

Document = dict[str, Any]
VM_PU = (0.94, 1.03)
NEAR = 2e-2
"""How far, as a share of what is paid and earned or emitted, two searches of the AC loop may end apart on a
problem as small as this."""


def lv_feeder() -> Any:
    """A trunk that carries some 29 kW, and two branches."""
    net = pp.create_empty_network()
    station, fork, near, far = (
        pp.create_bus(net, 0.4, name=name) for name in ("station", "fork", "near", "far")
    )
    pp.create_ext_grid(net, station)
    for start, end, km, rated_ka in (
        (station, fork, 0.15, 0.042),
        (fork, near, 0.1, 0.1),
        (fork, far, 0.3, 0.1),
    ):
        pp.create_line_from_parameters(net, start, end, km, 0.32, 0.08, 200.0, rated_ka)
    return net


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("grid") / "feeder.json")
    pp.to_json(lv_feeder(), path)
    return path


def problem(grid: str, price: list[float], carbon: list[float], **more: Any) -> Document:
    """Two cars that want more than the trunk carries in one step, a battery, and PV."""
    start, end = "2022-06-21T10:00:00Z", "2022-06-21T14:00:00Z"
    stay = {"arrival": start, "departure": end, "charge_max_kw": 22.0, "e_departure_min_kwh": 40.0}
    car: Document = {"type": "ev", "connection": "poc", "e_max_kwh": 60.0, "e_start_kwh": 10.0}
    return {
        "schema": "wattshed.dispatch/1",
        "time": {"start": start, "resolution": "PT1H", "steps": 4},
        "connections": [
            {
                "id": "poc",
                "import_price_per_mwh": price,
                "export_price_per_mwh": [each - 30.0 for each in price],
                "carbon_g_per_kwh": carbon,
            }
        ],
        "assets": [
            {"type": "load", "id": "houses", "connection": "poc", "bus": "near", "p_kw": 4.0, "q_kvar": 1.0},
            {
                "type": "renewable",
                "id": "pv",
                "connection": "poc",
                "bus": "far",
                "available_kw": [0.0, 30.0, 8.0, 0.0],
            },
            {"id": "ev1", "bus": "near", "sessions": [stay], **car},
            {"id": "ev2", "bus": "far", "sessions": [stay], **car},
            {
                "type": "battery",
                "id": "store",
                "connection": "poc",
                "bus": "far",
                "charge_max_kw": 8.0,
                "discharge_max_kw": 8.0,
                "e_max_kwh": 16.0,
                "e_start_kwh": 8.0,
                "e_end_min_kwh": 8.0,
                "charge_efficiency": 0.95,
                "discharge_efficiency": 0.95,
            },
        ],
        "network": {"grid": grid, "vm_min_pu": VM_PU[0], "vm_max_pu": VM_PU[1]},
        **more,
    }


TRADE = ([60.0, 80.0, 70.0, 120.0], [600.0, 450.0, 300.0, 150.0])
"""What is cheap is dirty."""


def check_with_pandapower(document: Document, point: Document) -> None:
    """Every step of a secure point is within limits, and its root draws what `runpp` says."""
    net, root = lv_feeder(), point["connections"]["poc"]
    bus_of = dict(zip(net.bus["name"], net.bus.index, strict=True))
    load_of = {asset["id"]: pp.create_load(net, bus_of[asset["bus"]], 0.0) for asset in document["assets"]}
    for step in range(document["time"]["steps"]):
        for asset in document["assets"]:
            sign = -1 if asset["type"] == "renewable" else 1
            load = load_of[asset["id"]]
            net.load.loc[load, "p_mw"] = sign * point["assets"][asset["id"]]["p_kw"][step] / 1000
            net.load.loc[load, "q_mvar"] = asset.get("q_kvar", 0.0) / 1000
        pp.runpp(net, tolerance_mva=1e-12)
        imported = root["import_kw"][step] - root["export_kw"][step]
        assert imported == pytest.approx(1000 * net.res_ext_grid.p_mw.at[0], abs=1e-5)
        assert net.res_line.loading_percent.max() <= 100.0 + SECURE_LOADING_PERCENT
        vm_pu = net.res_bus.vm_pu[1:]
        assert vm_pu.max() <= VM_PU[1] + SECURE_VM_PU
        assert vm_pu.min() >= VM_PU[0] - SECURE_VM_PU


def emissions(document: Document, answer: Document) -> float:
    carbon = np.array(document["connections"][0]["carbon_g_per_kwh"])
    return float(carbon @ answer["connections"]["poc"]["import_kw"]) / 1000


def cost(answer: Document) -> float:
    parts = answer["objective"]
    return float(parts["total"] - parts["carbon"] - parts["shortfall"])


def at_carbon_price(document: Document, price_per_t: float) -> Document:
    alone = {key: value for key, value in document.items() if key != "frontier"}
    return dispatch_document({**alone, "objective": {"carbon_price_per_t": price_per_t}})


def turnover(document: Document, answer: Document) -> float:
    """What is paid and what is earned, in sum."""
    root, flow = document["connections"][0], answer["connections"]["poc"]
    paid = np.abs(root["import_price_per_mwh"]) @ flow["import_kw"]
    return float(paid + np.abs(root["export_price_per_mwh"]) @ flow["export_kw"]) / 1000


def check_frontier(document: Document, answer: Document) -> None:
    ScheduleDocument.model_validate(answer)
    points = answer["frontier"]
    assert 1 <= len(points) <= document["frontier"]
    for point in points:
        assert point["ac"]["secure"]
        check_with_pandapower(document, point)
        assert point["cost"] == pytest.approx(cost(point))
        assert point["emissions_kg"] == pytest.approx(emissions(document, point))
        assert point["shortfalls"] == answer["shortfalls"] == []
    for cheaper, cleaner in pairwise(points):
        assert cleaner["cost"] > cheaper["cost"]
        assert cleaner["emissions_kg"] < cheaper["emissions_kg"]
        spent, saved = cleaner["cost"] - cheaper["cost"], cheaper["emissions_kg"] - cleaner["emissions_kg"]
        assert cleaner["abatement_cost_per_t"] == pytest.approx(1000 * spent / saved)
    cheapest, between, cleanest = (at_carbon_price(document, price) for price in (0.0, 150.0, 1e6))
    # a search alone ends with what its margins cost it; that one is among those of the frontier
    assert points[0]["cost"] <= cost(cheapest) + 1e-9
    assert points[0]["cost"] >= cost(cheapest) - NEAR * turnover(document, cheapest)
    least = emissions(document, cleanest)
    assert points[-1]["emissions_kg"] == pytest.approx(least, abs=NEAR * max(1.0, least))
    # at no price of carbon is a point better than the best
    best = cost(between) + 0.15 * emissions(document, between)
    taxed = min(point["cost"] + 0.15 * point["emissions_kg"] for point in points)
    assert taxed >= best - NEAR * turnover(document, between)


def test_where_the_trunk_is_full_it_costs_more_to_be_clean(grid: str) -> None:
    document = problem(grid, *TRADE, frontier=5)
    answer = dispatch_document(document)
    check_frontier(document, answer)
    points = answer["frontier"]
    assert len(points) == 5
    limits = np.linspace(points[0]["emissions_kg"], points[-1]["emissions_kg"], 5)
    assert [point["emissions_kg"] for point in points] == pytest.approx(limits.tolist(), rel=2e-3)
    # the trunk is what keeps the cars from the cleanest hour
    assert points[-1]["ac"]["loading_max_percent"] == pytest.approx(100.0, abs=SECURE_LOADING_PERCENT)
    unlimited = dispatch_document({**document, "network": None})["frontier"]
    assert unlimited[-1]["emissions_kg"] < points[-1]["emissions_kg"] - 1.0


def test_the_schedule_proper_is_that_of_the_problem_without_a_frontier(grid: str) -> None:
    objective = {"carbon_price_per_t": 100.0}
    document = problem(grid, *TRADE, objective=objective, options={"marginal_emissions": True})
    alone, beside = dispatch_document(document), dispatch_document({**document, "frontier": 3})
    points = beside.pop("frontier")
    for answer in (alone, beside):
        for name in ("build_seconds", "solve_seconds", "input_hash"):
            del answer[name]
    assert beside == alone
    assert points[0]["cost"] < cost(alone) < points[-1]["cost"]
    carbon = [100.0 * point["emissions_kg"] / 1000 for point in points]
    assert [point["objective"]["carbon"] for point in points] == pytest.approx(carbon)


@settings(max_examples=8)
@given(
    price=st.lists(st.integers(-60, 200).map(float), min_size=4, max_size=4),
    carbon=st.lists(st.integers(0, 900).map(float), min_size=4, max_size=4),
    count=st.integers(2, 5),
)
def test_every_frontier(grid: str, price: list[float], carbon: list[float], count: int) -> None:
    document = problem(grid, price, carbon, frontier=count)
    check_frontier(document, dispatch_document(document))


def test_points_that_nobody_can_secure_say_so(grid: str) -> None:
    document = problem(grid, *TRADE, frontier=3)
    document["assets"][0]["p_kw"] = 45.0
    answer = dispatch_document(document)
    assert not answer["ac"]["secure"]
    points = answer["frontier"]
    assert all(point["ac"]["violations"] for point in points)
    assert (
        f"{len(points)} of {len(points)} points of the frontier are not secure: see their ac"
        in (answer["notices"])
    )


def point_of(cost: float, emissions_kg: float, secure: bool = True) -> Candidate:
    ac = {"secure": secure}
    point = FrontierPoint(emissions_kg, cost, 0.0, {}, {}, {}, (), ac)
    return Candidate(point, 0.0 if secure else 1.0, 0.0)


def answers(found: Callable[[Aim], Candidate | None], count: int) -> tuple[list[tuple[float, float]], Any]:
    points, notices = frontier_on_grid(count, point_of(10.0, 100.0), lambda aim, _: found(aim), silent)
    return [(point.cost, point.emissions_kg) for point in points], notices


def test_at_the_deadline_there_are_the_points_found_so_far_and_what_they_leave_out_lies_evenly() -> None:
    asked: list[float] = []

    def until_the_fifth(aim: Aim) -> Candidate:
        if len(asked) == 5:
            raise DeadlineError("late")
        asked.append(aim.most_kg)
        if aim.emissions_first:
            return point_of(30.0, 20.0)
        return point_of(10.0 if np.isinf(aim.most_kg) else 30.0 - aim.most_kg / 10, min(aim.most_kg, 100.0))

    points, notices = answers(until_the_fifth, 9)
    assert asked[2:] == [60.0, 80.0, 40.0]
    assert [emitted for _, emitted in points] == [100.0, 80.0, 60.0, 40.0, 20.0]
    assert notices == ("the deadline passed: the frontier has fewer than its 9 points",)


def test_what_breaks_limits_displaces_nothing_that_keeps_them() -> None:
    for middling, kept, noticed in (
        (9.0, [(10.0, 100.0), (30.0, 20.0)], ()),
        (
            12.0,
            [(10.0, 100.0), (12.0, 60.0), (30.0, 20.0)],
            ("1 of 3 points of the frontier are not secure: see their ac",),
        ),
    ):

        def found(aim: Aim, cost: float = middling) -> Candidate:
            if aim.emissions_first:
                return point_of(30.0, 20.0)
            return point_of(10.0, 100.0) if np.isinf(aim.most_kg) else point_of(cost, aim.most_kg, False)

        assert answers(found, 3) == (kept, noticed)


def test_an_aim_without_an_answer_has_no_point() -> None:
    assert answers(lambda _: None, 4) == ([(10.0, 100.0)], ())
    only_ends = {True: point_of(30.0, 20.0), False: None}
    assert answers(lambda aim: only_ends[aim.emissions_first], 4) == ([(10.0, 100.0), (30.0, 20.0)], ())
