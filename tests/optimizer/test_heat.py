"""Combined heat and power, and heat pumps: by hand, and against independent formulations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch, uncontrolled
from optimizer.fallback import fallback
from optimizer.rolling import Previous, replan
from tests.optimizer.builders import Document, at, check_answer, load, problem_of, solve
from tests.optimizer.milp.formulation import optimum
from tests.optimizer.units import (
    HOURS,
    chp,
    flexible_load,
    shiftable_load,
)


def series(draw: Any, low: int, high: int, steps: int) -> list[float]:
    return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))


@st.composite
def stores(draw: Any) -> Document | None:
    if draw(st.booleans()):
        return None
    return {
        "e_min_kwh": draw(st.sampled_from([0.0, 5.0])),
        "e_max_kwh": draw(st.sampled_from([15.0, 60.0])),
        "e_start_kwh": draw(st.sampled_from([6.0, 15.0])),
        "e_end_min_kwh": draw(st.sampled_from([0.0, 8.0])),
        "loss_per_hour": draw(st.sampled_from([0.0, 0.05])),
    }


def priced(draw: Any, assets: list[Document], steps: int, resolution: str) -> Document:
    sell = series(draw, -50, 120, steps)
    return problem_of(
        assets,
        steps=steps,
        resolution=resolution,
        import_price_per_mwh=[price + 20.0 for price in sell],
        export_price_per_mwh=sell,
        carbon_g_per_kwh=300.0,
        objective={"carbon_price_per_t": draw(st.sampled_from([0.0, 80.0]))},
        options={"mip_gap": 0.0},
    )


@st.composite
def plants(draw: Any) -> Document:
    steps, resolution = draw(st.integers(1, 4)), draw(st.sampled_from(["PT1H", "PT30M"]))
    plant = chp(
        p_min_kw=draw(st.sampled_from([0.0, 20.0])),
        p_max_kw=draw(st.sampled_from([30.0, 50.0])),
        marginal_cost_per_mwh=series(draw, 20, 120, steps),
        start_cost=draw(st.sampled_from([0.0, 1.0])),
        min_up=draw(st.sampled_from(["PT0S", "PT2H"])),
        min_down=draw(st.sampled_from(["PT0S", "PT1H"])),
        ramp_kw_per_h=draw(st.sampled_from([None, 20.0])),
        carbon_g_per_kwh=400.0,
        on_at_start=draw(st.booleans()),
        time_in_state=draw(st.sampled_from([None, "PT1H"])),
        heat_per_power=draw(st.sampled_from([0.8, 1.5])),
        heat_demand_kw=series(draw, 0, 90, steps),
        heat_store=draw(stores()),
        boiler={
            "p_max_kw": draw(st.sampled_from([0.0, 15.0])),
            "efficiency": 0.8,
            "fuel_cost_per_mwh": series(draw, 10, 60, steps),
            "carbon_g_per_kwh": 200.0,
        },
        heat_dump=draw(st.booleans()),
        priority=draw(st.sampled_from([1.0, 2.0])),
    )
    return priced(draw, [load(series(draw, 0, 40, steps)), plant], steps, resolution)


def agrees(document: Document, expected: tuple[float, float] | None) -> None:
    """The answer is infeasible with conflicts, or as good as `expected`."""
    answer = solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert answer["conflicts"]
        return
    assert answer["status"] == "optimal"
    weight = document["assets"][1]["priority"]
    unserved = sum(weight * shortfall["amount_kwh"] for shortfall in answer["shortfalls"])
    assert unserved == pytest.approx(expected[0], abs=1e-5)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(expected[1], abs=1e-5)


@settings(max_examples=40)
@given(document=plants())
def test_no_heat_and_power_is_cheaper(document: Document) -> None:
    agrees(document, optimum(document))


@st.composite
def pumps(draw: Any) -> Document:
    steps, resolution = draw(st.integers(1, 5)), draw(st.sampled_from(["PT1H", "PT30M"]))
    hours = HOURS[resolution]
    windows = []
    for _ in range(draw(st.integers(0, 2))):
        first = draw(st.integers(-4, 4 * steps - 1)) / 4
        last = first + draw(st.integers(1, 4 * steps)) / 4
        need = draw(st.integers(0, 12).map(float))
        most = draw(st.sampled_from([None, 15.0, 40.0]))
        windows.append(
            {"start": at(first * hours), "end": at(last * hours), "e_min_kwh": need, "e_max_kwh": most}
        )
    low = draw(st.sampled_from([17.0, 20.0]))
    room = {
        "capacity_kwh_per_k": draw(st.sampled_from([0.5, 4.0])),
        "loss_kw_per_k": draw(st.sampled_from([0.2, 0.6])),
        "temp_start_c": draw(st.sampled_from([18.0, 22.0])),
        "temp_min_c": low,
        "temp_max_c": [low + value for value in series(draw, 1, 5, steps)],
        "outdoor_c": series(draw, -10, 30, steps),
        "gains_kw": 0.4,
    }
    pump = flexible_load(
        p_min_kw=draw(st.sampled_from([0.0, 0.0, 1.0])),
        p_max_kw=series(draw, 2, 8, steps),
        energy_windows=windows,
        heat={
            "cop": [value / 10 for value in series(draw, 20, 45, steps)],
            "heat_demand_kw": series(draw, 0, 12, steps),
            "store": draw(stores()),
            "dump": draw(st.booleans()),
        },
        room=draw(st.sampled_from([None, room])),
        priority=draw(st.sampled_from([1.0, 2.0])),
    )
    return priced(draw, [load(series(draw, 0, 10, steps)), pump], steps, resolution)


@settings(max_examples=50)
@given(document=pumps())
def test_no_flexible_load_is_cheaper(document: Document) -> None:
    agrees(document, optimum(document))


@settings(max_examples=40)
@given(document=st.one_of(plants(), pumps()))
def test_without_control_they_keep_their_limits(document: Document) -> None:
    """The checker runs on the uncontrolled answer with the needs it leaves unmet."""
    problem = DispatchProblem.from_document(document)
    schedule = uncontrolled(problem)
    asset = problem.assets[1] if problem.assets[0].id == "base" else problem.assets[0]
    own = schedule.assets[asset.id]
    if list(asset.broken(own, problem.time)):
        return
    answer = schedule.document()
    answer["shortfalls"] = [shortfall.document() for shortfall in asset.unmet(own, problem.time)]
    unserved = 10.0 * sum(shortfall["amount_kwh"] for shortfall in answer["shortfalls"])
    answer["objective"]["shortfall"] = unserved
    answer["objective"]["total"] += unserved
    check_answer(document, answer)


def test_the_safe_rule_trims_a_flexible_load_to_the_import_limit() -> None:
    window = {"start": at(0), "end": at(4), "e_min_kwh": 20.0}
    document = problem_of([load(6.0), flexible_load(energy_windows=[window])], import_limit_kw=8.0)
    answer = fallback(DispatchProblem.from_document(document)).document()
    check_answer(document, answer)
    assert answer["assets"]["flex"]["p_kw"] == pytest.approx([2.0, 2.0, 0.0, 0.0])
    (shortfall,) = answer["shortfalls"]
    assert (shortfall["kind"], shortfall["amount_kwh"]) == ("energy_window", pytest.approx(16.0))


def test_the_room_follows_its_differential_equation() -> None:
    room = {
        "capacity_kwh_per_k": 3.0,
        "loss_kw_per_k": 0.7,
        "temp_start_c": 16.0,
        "temp_min_c": 20.0,
        "temp_max_c": 23.0,
        "outdoor_c": [0.0, -5.0, 3.0, 8.0],
        "gains_kw": [0.0, 1.0, 0.5, 0.0],
    }
    answer = solve(problem_of([flexible_load(p_max_kw=3.0, heat={"cop": 3.0}, room=room)]))
    found, temperature = answer["assets"]["flex"], 16.0
    for step in range(4):
        power = found["room_heat_kw"][step] + room["gains_kw"][step]
        outdoor = room["outdoor_c"][step]
        run = solve_ivp(
            lambda _, t, power=power, outdoor=outdoor: (power - 0.7 * (t - outdoor)) / 3.0,
            (0, 1),
            [temperature],
            rtol=1e-10,
            atol=1e-10,
        )
        temperature = float(run.y[0, -1])
        assert found["room_c"][step] == pytest.approx(temperature, abs=1e-6)
    # it starts cold and cannot warm up in one step
    assert answer["shortfalls"][0]["kind"] == "comfort"


def test_heat_that_must_not_be_dumped_names_the_plant() -> None:
    plant = chp(min_up="PT3H", on_at_start=True, time_in_state="PT1H", heat_demand_kw=10.0, heat_dump=False)
    answer = solve(problem_of([load(50.0), plant]))
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    assert (conflict["assets"], conflict["limit"], conflict["unit"]) == (["chp1"], "heat_dump", "kW")
    assert conflict["relaxation"] == pytest.approx(14.0)
    plant["heat_dump"] = True
    assert solve(problem_of([load(50.0), plant]))["assets"]["chp1"]["dumped_heat_kw"][0] >= 14.0 - 1e-6


STORE = {"e_max_kwh": 10.0, "e_start_kwh": 5.0}
ROOM = {
    "capacity_kwh_per_k": 3.0,
    "loss_kw_per_k": 0.7,
    "temp_start_c": 20.0,
    "temp_min_c": 19.0,
    "temp_max_c": 23.0,
    "outdoor_c": 0.0,
}
WINDOW = {"start": at(0), "end": at(2), "e_min_kwh": 5.0}


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        (chp(heat_store={**STORE, "e_start_kwh": 11.0}), "heat_store.e_start_kwh"),
        (chp(heat_store={**STORE, "e_end_min_kwh": 11.0}), "heat_store.e_end_min_kwh"),
        (chp(heat_per_power=0.0), "heat_per_power"),
        (chp(heat_demand_kw=[1.0, -1.0, 1.0, 1.0]), "heat_demand_kw"),
        (chp(boiler={"p_max_kw": 5.0, "efficiency": 1.5}), "boiler.efficiency"),
        (chp(boiler={"p_max_kw": 5.0, "fuel_cost_per_mwh": [1.0, 2.0]}), "boiler.fuel_cost_per_mwh"),
        (flexible_load(p_min_kw=20.0), "p_min_kw"),
        (flexible_load(energy_windows=[{**WINDOW, "end": at(0)}]), "energy_windows[0].end"),
        (flexible_load(energy_windows=[{**WINDOW, "e_max_kwh": 4.0}]), "energy_windows[0].e_min_kwh"),
        (
            flexible_load(p_min_kw=4.0, energy_windows=[{**WINDOW, "e_max_kwh": 6.0}]),
            "energy_windows[0].e_max_kwh",
        ),
        (flexible_load(room=ROOM), "heat"),
        (flexible_load(heat={"cop": [3.0, 3.0]}), "heat.cop"),
        (flexible_load(heat={"cop": 3.0}, room={**ROOM, "temp_min_c": 24.0}), "room.temp_min_c"),
        (flexible_load(heat={"cop": 3.0}, room={**ROOM, "outdoor_c": 275.0}), "room.outdoor_c"),
        (flexible_load(heat={"cop": 3.0}, room={**ROOM, "loss_kw_per_k": 0.0}), "room.loss_kw_per_k"),
    ],
)
def test_contradictions_are_refused(asset: Document, path: str) -> None:
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(problem_of([asset]))
    assert [fault.path for fault in caught.value.faults] == [f"assets[0].{path}"]


def test_a_plan_that_goes_on_keeps_what_heats_and_runs() -> None:
    heated = {"cop": 3.0, "store": {**STORE, "e_max_kwh": 20.0}}
    document = problem_of(
        [
            load(20.0),
            chp(p_max_kw=40.0, heat_store={**STORE, "e_max_kwh": 40.0}, boiler={"p_max_kw": 10.0}),
            flexible_load(heat=heated, room={**ROOM, "temp_max_c": 26.0}),
            shiftable_load([4.0, 2.0], at(0), at(4)),
        ],
        import_price_per_mwh=[50.0, 200.0, 60.0, 180.0],
    )
    before = dispatch(DispatchProblem.from_document(document))
    document["connections"][0]["import_price_per_mwh"] = [200.0, 50.0, 180.0, 60.0]
    document["options"] = {"change_threshold": 1e3}
    previous = Previous(before.input_hash, before.time, before.assets)
    after = replan(DispatchProblem.from_document(document), previous, dispatch)
    for key, schedule in before.assets.items():
        assert after.assets[key].p_kw == pytest.approx(schedule.p_kw, abs=1e-6), key
    # what was promised goes before what would be cheaper now
    anew = dispatch(DispatchProblem.from_document(document))
    assert anew.objective["total"] < after.objective["total"] - 1e-3


def test_before_the_forecast_is_known_one_power_is_set() -> None:
    document = problem_of(
        [
            load(5.0),
            chp(p_max_kw=40.0, boiler={"p_max_kw": 10.0, "fuel_cost_per_mwh": 40.0}),
            flexible_load(heat={"cop": 3.0}, room=ROOM),
        ],
        import_price_per_mwh=[100.0, 100.0, 100.0, 100.0],
        scenarios=[
            {
                "id": name,
                "probability": 0.5,
                "series": {
                    "connections.poc.import_price_per_mwh": [100.0, price, price, price],
                    "assets.chp1.heat_demand_kw": [30.0, 30.0, demand, demand],
                },
            }
            for name, price, demand in (("cheap", 20.0, 10.0), ("dear", 400.0, 60.0))
        ],
    )
    answer = dispatch(DispatchProblem.from_document(document)).document()
    assert answer["status"] == "optimal"
    cheap, dear = (answer["scenarios"][name]["assets"] for name in ("cheap", "dear"))
    for key, name in (("chp1", "p_kw"), ("chp1", "on"), ("chp1", "boiler_heat_kw"), ("flex", "p_kw")):
        assert cheap[key][name][0] == pytest.approx(dear[key][name][0], abs=1e-6)
    assert cheap["flex"]["p_kw"][1:] != pytest.approx(dear["flex"]["p_kw"][1:], abs=1e-3)
