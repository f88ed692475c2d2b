"""Flexibility offers: capacity that is held, and delivered when it is called."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from tests.optimizer.builders import (
    Document,
    at,
    battery,
    ev,
    load,
    problem_of,
    renewable,
    session,
    solve,
    trip,
)
from tests.optimizer.uncertainty import check_scenarios
from tests.optimizer.units import generator


def offer(direction: str = "up", name: str = "o1", *, first: int = 0, last: int = 4, **more: Any) -> Document:
    return {
        "id": name,
        "connection": "poc",
        "direction": direction,
        "start": at(first),
        "end": at(last),
        "price_per_mw_h": 20.0,
        "max_kw": 50.0,
        **more,
    }


def held(answer: Document, name: str = "o1") -> float:
    return float(answer["offers"][name]["kw"])


def test_energy_bounds_what_a_battery_holds() -> None:
    """8 kWh at 0.8 give 6.4 kWh: 6.4 kW for an hour, 3.2 kW for two."""
    store = battery(e_start_kwh=8.0, discharge_efficiency=0.8, wear_cost_per_mwh=1e3)
    for duration, kw in (("PT1H", 6.4), ("PT2H", 3.2), ("PT90M", 6.4 / 1.5)):
        problem = problem_of([store], import_limit_kw=0.0, offers=[offer(duration=duration)])
        answer = solve(problem)
        assert held(answer) == pytest.approx(kw)
        assert answer["offers"]["o1"]["revenue"] == pytest.approx(kw * 4 * 20 / 1000)
        assert answer["objective"]["flexibility"] == pytest.approx(-kw * 4 * 20 / 1000)
        assert answer["offers"]["o1"]["by_asset"]["b1"] == pytest.approx([kw] * 4)


def test_power_and_limits_bound_both_directions() -> None:
    """Nothing planned: 10 kW each way, but the connection takes 7 kW more and gives back 4."""
    document = problem_of(
        [battery(e_start_kwh=10.0, wear_cost_per_mwh=1e3)],
        import_limit_kw=7.0,
        export_limit_kw=4.0,
        offers=[offer("up", duration="PT30M"), offer("down", "o2", duration="PT30M")],
    )
    answer = solve(document)
    assert held(answer) == pytest.approx(4.0)
    assert held(answer, "o2") == pytest.approx(7.0)


def test_a_limit_that_is_broken_anyway_leaves_nothing_to_sell_and_is_named() -> None:
    provider = battery(e_start_kwh=10.0, wear_cost_per_mwh=1e3)
    overrun = problem_of(
        [load([12.0, 1.0, 1.0, 1.0]), provider], import_limit_kw=10.0, offers=[offer("down", duration="PT1H")]
    )
    answer = solve(overrun)
    assert answer["status"] == "optimal"
    assert held(answer) == 0.0
    # a store cannot take in what must be fed, for it is full
    full = battery(e_start_kwh=20.0)
    fed = problem_of(
        [renewable([12.0, 1.0, 1.0, 1.0], curtailable=False), full], export_limit_kw=10.0, offers=[offer()]
    )
    answer = solve(fed)
    assert answer["status"] == "infeasible"
    assert [conflict["limit"] for conflict in answer["conflicts"]] == ["export_limit_kw"]


def test_headroom_is_not_sold_twice() -> None:
    document = problem_of(
        [battery(e_start_kwh=20.0, wear_cost_per_mwh=1e3)],
        import_limit_kw=0.0,
        offers=[offer(), offer(name="o2", first=2, price_per_mw_h=30.0)],
    )
    answer = solve(document)
    assert held(answer) + held(answer, "o2") == pytest.approx(10.0)
    # 4 h at 20 are worth more than 2 h at 30
    assert held(answer) == pytest.approx(10.0)


def test_a_charging_ev_offers_what_it_can_miss_and_still_depart() -> None:
    """It needs 10 kWh by the end of four hours. Whatever an hour's call takes must be charged on top."""
    stay = session(0, 4, e_departure_min_kwh=20.0)
    document = problem_of(
        [ev([stay])], import_price_per_mwh=10.0, export_price_per_mwh=0.0, offers=[offer(price_per_mw_h=30.0)]
    )
    answer = solve(document)
    kw = held(answer)
    assert kw == pytest.approx(10.0)
    assert answer["assets"]["ev1"]["e_kwh"][-1] == pytest.approx(50.0)


def test_loads_are_shed_and_the_sun_is_curtailed_on_call() -> None:
    document = problem_of(
        [
            load([5.0, 6.0, 7.0, 8.0], shed_limit_fraction=0.5, shed_price_per_mwh=900.0),
            renewable([4.0, 3.0, 9.0, 9.0]),
        ],
        offers=[offer(), offer("down", "o2", first=2)],
    )
    answer = solve(document)
    assert held(answer) == pytest.approx(2.5)
    assert held(answer, "o2") == pytest.approx(9.0)


def test_an_offer_does_not_keep_a_car_with_a_reserve_from_feeding() -> None:
    """It holds nothing by discharging, for that may leave too little in it; it still earns 10 kWh x 150."""
    car = ev([session(0, 4, discharge_max_kw=10.0)], e_start_kwh=30.0, v2g_reserve_kwh=20.0)
    market = {"import_price_per_mwh": 200.0, "export_price_per_mwh": [10.0, 150.0, 10.0, 10.0]}
    answer = solve(problem_of([car], **market, offers=[offer(price_per_mw_h=0.1)]))
    assert answer["connections"]["poc"]["export_kw"] == pytest.approx([0.0, 10.0, 0.0, 0.0])
    assert held(answer) == pytest.approx(0.0)


def test_a_conflict_is_named_beside_offers() -> None:
    """On the way back from an island must-run generation presses on the ramp, and on every reserve."""
    connection = {
        "id": "poc",
        "island": True,
        "island_duration": "PT1H",
        "island_return_ramp_kw_per_h": 2.0,
        "export_price_per_mwh": 50.0,
    }
    sun = renewable([0.0, 9.0, 3.0, 3.0], curtailable=False)
    answer = solve(problem_of([sun], connections=[connection], offers=[offer(first=1)]))
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    assert conflict["limit"] == "island_return_ramp_kw_per_h"
    assert conflict["relaxation"] == pytest.approx(7.0)


def test_what_is_sold_under_scenarios_is_deliverable_in_each() -> None:
    """Sun of 6 or 2 kW may be curtailed: 2 kW can be held, whatever comes."""
    document = problem_of([renewable(0.0)], export_price_per_mwh=10.0, offers=[offer("down")])
    document["scenarios"] = [
        {"id": name, "probability": 0.5, "series": {"assets.pv.available_kw": kw}}
        for name, kw in (("sun", 6.0), ("cloud", 2.0))
    ]
    answer = dispatch(DispatchProblem.from_document(document)).document()
    check_scenarios(document, answer)
    assert held(answer) == pytest.approx(2.0)
    for found in answer["scenarios"].values():
        assert found["offers"]["o1"]["kw"] == pytest.approx(2.0)
    assert answer["objective"]["flexibility"] == pytest.approx(-2 * 4 * 20 / 1000)
    # known beforehand, 6 kW would be sold under the sun: 2 kW more in the mean
    known = answer["scenario_value"]["perfect_information"]
    assert known == pytest.approx(2 * 4 * 20 / 1000)


def test_no_offers_where_a_limit_may_be_exceeded() -> None:
    document = problem_of(
        [renewable(1.0)], export_limit_kw=1.0, breach_probability=0.5, offers=[offer("down")]
    )
    document["scenarios"] = [{"id": "a", "probability": 1.0, "series": {}}]
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(document)
    assert [fault.path for fault in caught.value.faults] == ["connections[0].breach_probability"]


def test_a_generator_holds_what_its_ramps_reach() -> None:
    """It covers 8 kW and could give 20, but no more than 3 kW above or below the step beside."""
    unit = {"p_min_kw": 5.0, "p_max_kw": 20.0, "on_at_start": True, "p_start_kw": 8.0, "ramp_kw_per_h": 3.0}
    market = {"import_price_per_mwh": 90.0, "export_price_per_mwh": 0.0, "steps": 3}
    for direction in ("up", "down"):
        reserve = offer(direction, last=3, price_per_mw_h=1.0)
        answer = solve(problem_of([generator("g", **unit), load(8.0)], **market, offers=[reserve]))
        assert held(answer) == pytest.approx(3.0)
        assert answer["offers"]["o1"]["by_asset"]["g"] == pytest.approx([3.0] * 3)
    dear = generator("g", **unit | {"ramp_kw_per_h": None, "marginal_cost_per_mwh": 500.0})
    assert held(solve(problem_of([dear, load(8.0)], **market, offers=[reserve]))) == 0.0


def test_nothing_or_at_least_the_minimum() -> None:
    store = battery(e_start_kwh=6.0, wear_cost_per_mwh=1e3)
    for least, kw in ((6.0, 6.0), (6.5, 0.0)):
        document = problem_of([store], import_limit_kw=0.0, offers=[offer(min_kw=least)])
        assert held(solve(document)) == pytest.approx(kw)


def test_what_is_sold_already_is_held_or_short() -> None:
    store = battery(e_start_kwh=6.0)
    market = {"import_limit_kw": 0.0, "export_price_per_mwh": 500.0}
    answer = solve(problem_of([store], **market, offers=[offer(committed_kw=5.0, price_per_mw_h=0.0)]))
    assert held(answer) == pytest.approx(5.0)
    assert answer["shortfalls"] == []
    answer = solve(problem_of([store], **market, offers=[offer(committed_kw=8.0)]))
    (short,) = answer["shortfalls"]
    assert short["kind"] == "committed_reserve"
    assert short["amount_kw"] == pytest.approx(2.0)
    assert short["amount_kwh"] == pytest.approx(8.0)


def test_only_named_providers_below_the_connection() -> None:
    connections = [
        {"id": "poc", "import_price_per_mwh": 100.0, "export_price_per_mwh": 0.0},
        {"id": "hub", "parent": "poc", "export_limit_kw": 3.0},
    ]
    stores = [
        battery("a", connection="hub", e_start_kwh=20.0, wear_cost_per_mwh=1e3),
        battery("b", e_start_kwh=20.0, wear_cost_per_mwh=1e3),
    ]
    at_hub = solve(problem_of(stores, connections=connections, offers=[offer(connection="hub")]))
    assert at_hub["offers"]["o1"]["by_asset"].keys() == {"a"}
    assert held(at_hub) == pytest.approx(3.0)
    both = solve(problem_of(stores, connections=connections, offers=[offer()]))
    assert held(both) == pytest.approx(13.0)
    one = solve(problem_of(stores, connections=connections, offers=[offer(providers=["b"])]))
    assert held(one) == pytest.approx(10.0)


def test_what_offers_have_wrong() -> None:
    wrong = [
        offer(first=3, last=1),
        offer(name="o1", connection="pox"),
        offer(name="o2", start=at(0.5), duration="PT0S", min_kw=60.0),
        offer(name="o3", min_kw=5.0, committed_kw=2.0, providers=["nobody"]),
    ]
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(problem_of([battery()], offers=wrong))
    assert {fault.path for fault in caught.value.faults} == {
        "offers[0].end",
        "offers[1].id",
        "offers[1].connection",
        "offers[2].start",
        "offers[2].duration",
        "offers[2].min_kw",
        "offers[3].committed_kw",
        "offers[3].providers[0]",
    }


def called(document: Document, answer: Document, sold: Document, step: int) -> Document:
    """The rest of the horizon from `step` on, where the offer is called in full: stores have what the plan
    left them, and the connection draws what was planned, less (up) or more (down) what is held."""
    steps = document["time"]["steps"] - step
    problem = copy.deepcopy(document)
    del problem["offers"]
    problem["time"] = {**document["time"], "start": at(step), "steps": steps}
    for asset in problem["assets"]:
        if "e_start_kwh" in asset and step:
            asset["e_start_kwh"] = answer["assets"][asset["id"]]["e_kwh"][step - 1]
        if "available_kw" in asset:
            asset["available_kw"] = asset["available_kw"][step:]
    poc = problem["connections"][0]
    prices = {key: poc.pop(key)[step:] for key in ("import_price_per_mwh", "export_price_per_mwh")}
    flow = answer["connections"]["poc"]
    net = (np.array(flow["import_kw"]) - np.array(flow["export_kw"]))[step:]
    hours = min(int(sold["duration"][2]), int(sold["end"][11:13]) - step)
    kw = answer["offers"][sold["id"]]["kw"] * (-1 if sold["direction"] == "up" else 1)
    least, most = np.full(steps, -1e3), np.full(steps, 1e3)
    least[:hours], most[:hours] = net[:hours] + kw - 1e-5, net[:hours] + kw + 1e-5
    # a meter above, beside so much generation that cannot be curtailed, holds the power between the two
    problem["connections"] = [
        {"id": "meter", "export_limit_kw": 0.0, "import_limit_kw": (most - least).tolist(), **prices},
        {**poc, "parent": "meter"},
    ]
    shift = renewable((least + 2e3).tolist(), "shift", connection="meter", curtailable=False)
    problem["assets"] += [shift, load(2e3, "ballast", connection="meter")]
    return problem


def unmet(answer: Document, since: str) -> float:
    return sum(s["amount_kwh"] for s in answer["shortfalls"] if s["at"] > since)


@st.composite
def sold(draw: Any) -> Document:
    steps, some = 5, st.integers(0, 10).map(float)
    efficiency = st.sampled_from([0.8, 0.9, 1.0])
    prices = draw(st.lists(st.integers(10, 200).map(float), min_size=steps, max_size=steps))
    assets: list[Document] = [load(draw(some), shed_limit_fraction=0.3, shed_price_per_mwh=400.0)]
    assets.append(renewable(draw(st.lists(some, min_size=steps, max_size=steps))))
    assets.append(
        battery(
            charge_max_kw=draw(some),
            discharge_max_kw=draw(some),
            e_start_kwh=draw(st.sampled_from([1.0, 7.0, 20.0])),
            charge_efficiency=draw(efficiency),
            discharge_efficiency=draw(efficiency),
            self_discharge_per_hour=draw(st.sampled_from([0.0, 0.02])),
        )
    )
    stays = [
        session(
            *stay,
            discharge_max_kw=draw(st.sampled_from([0.0, 6.0])),
            e_departure_min_kwh=draw(st.sampled_from([0.0, 14.0])),
        )
        for stay in draw(st.sampled_from([[(0, 3)], [(0.5, 2), (3, 5)], [(1, 5)]]))
    ]
    assets.append(
        ev(
            stays,
            charge_efficiency=draw(efficiency),
            discharge_efficiency=draw(efficiency),
            trips=[trip(2, 3, 5.0)] if len(stays) == 2 else [],
        )
    )
    ways = draw(st.sampled_from([("up",), ("down",), ("up", "down"), ("up", "up")]))
    return problem_of(
        assets,
        steps=steps,
        import_price_per_mwh=prices,
        export_price_per_mwh=[price / 2 for price in prices],
        import_limit_kw=draw(st.sampled_from([25.0, 60.0])),
        export_limit_kw=draw(st.sampled_from([5.0, 60.0])),
        offers=[
            offer(
                way,
                f"o{k}",
                first=draw(st.integers(0, 2)),
                last=draw(st.integers(3, 5)),
                price_per_mw_h=draw(st.sampled_from([5.0, 80.0])),
                duration=draw(st.sampled_from(["PT1H", "PT2H"])),
            )
            for k, way in enumerate(ways)
        ],
    )


@settings(max_examples=40)
@given(document=sold(), share=st.floats(0, 0.99))
def test_every_accepted_offer_is_delivered_when_called(document: Document, share: float) -> None:
    """With the schedules fixed before the call, and no more unmet after it than planned."""
    answer = solve(document)
    for each in document["offers"]:
        first, last = (int(each[key][11:13]) for key in ("start", "end"))
        step = first + int(share * (last - first))
        problem = DispatchProblem.from_document(called(document, answer, each, step))
        after = dispatch(problem).document()
        assert after["status"] == "optimal", (each["id"], step)
        assert unmet(after, at(step)) <= unmet(answer, at(step)) + 1e-3
        assert not [s for s in after["shortfalls"] if s["kind"] == "import_limit"]
