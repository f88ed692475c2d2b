"""Re-planning: the past stays, commitments stay unless changing them pays, and what changed is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from energy.domain.errors import DeadlineError, InputError
from energy.domain.schedule import Schedule
from optimizer import Dispatcher, DispatchProblem, dispatch, uncontrolled
from optimizer.assets.base import divided
from optimizer.rolling import Previous, replan
from tests.optimizer.builders import (
    Document,
    at,
    battery,
    check_answer,
    ev,
    load,
    problem_of,
    renewable,
    session,
    trip,
)
from tests.optimizer.stations import hydrogen_station
from tests.optimizer.test_determinism import EXAMPLES
from tests.optimizer.test_fallback import sites
from tests.optimizer.units import chp, flexible_load, generator

PRICES = [50.0, 200.0, 60.0, 180.0, 70.0, 150.0]


def previous_of(schedule: Schedule) -> Previous:
    return Previous(schedule.input_hash, schedule.time, schedule.assets)


def follow(document: Document, schedule: Schedule) -> Document:
    answer = replan(DispatchProblem.from_document(document), previous_of(schedule), dispatch).document()
    check_answer(document, answer, tolerance=1e-4)
    return answer


def day(prices: Any = PRICES, **more: Any) -> Document:
    vehicle = ev([session(0, 6, e_departure_min_kwh=30.0, discharge_max_kw=5.0)], wear_cost_per_mwh=1.0)
    store = battery(e_start_kwh=5.0, e_end_min_kwh=5.0, wear_cost_per_mwh=1.0)
    return problem_of([vehicle, store, load(8.0)], steps=6, import_price_per_mwh=prices, **more)


def plan_of(document: Document) -> Schedule:
    return dispatch(DispatchProblem.from_document(document))


@settings(max_examples=30)
@given(document=sites())
def test_an_unchanged_problem_keeps_its_plan(document: Document) -> None:
    schedule = plan_of(document)
    assume(schedule.status == "optimal")
    answer = follow(document, schedule)
    assert answer["revision"]["changed"] == []
    assert answer["revision"]["kept_steps"] == answer["revision"]["overlap_steps"] == 8
    assert answer["revision"]["gain"] == pytest.approx(0.0, abs=1e-6)
    for key, value in schedule.assets.items():
        np.testing.assert_allclose(answer["assets"][key]["p_kw"], value.p_kw, atol=1e-5)


@pytest.mark.parametrize("later", [1, 2, 4])
def test_from_metered_states_with_the_end_fixed_the_plan_goes_on(later: int) -> None:
    before = plan_of(day())
    document = day(PRICES[later:])
    document["time"] |= {"start": at(later), "steps": 6 - later}
    for asset in document["assets"][:2]:
        asset["e_start_kwh"] = float(before.assets[asset["id"]].series["e_kwh"][later - 1])
    answer = replan(DispatchProblem.from_document(document), previous_of(before), dispatch).document()
    assert answer["revision"]["overlap_steps"] == answer["revision"]["kept_steps"] == 6 - later
    assert answer["revision"]["changed"] == []
    for key, value in before.assets.items():
        np.testing.assert_allclose(answer["assets"][key]["p_kw"], value.p_kw[later:], atol=1e-6)


def test_commitments_change_for_a_gain_above_the_threshold_alone() -> None:
    before = plan_of(day())
    dear_first = [200.0, 50.0, *PRICES[2:]]
    free = plan_of(day(dear_first))
    stubborn = follow(day(dear_first, options={"change_threshold": 1e3}), before)
    gain = stubborn["objective"]["total"] - free.objective["total"]
    assert gain > 0.1
    assert stubborn["revision"]["gain"] == pytest.approx(gain)
    assert stubborn["status"] == "feasible"
    assert stubborn["best_bound"] == pytest.approx(free.objective["total"])
    assert stubborn["revision"]["changed"] == []
    assert stubborn["assets"]["b1"]["p_kw"] == pytest.approx(before.assets["b1"].p_kw.tolist())
    moved = follow(day(dear_first, options={"change_threshold": 0.99 * gain}), before)
    assert moved["objective"]["total"] == pytest.approx(free.objective["total"])
    assert moved["revision"]["kept_steps"] == 0
    change = moved["revision"]["changed"][0]
    assert change["start"] == at(0)
    assert change["from_kw"] != pytest.approx(change["to_kw"], abs=1e-3)
    assert "cheaper; the threshold is" in change["why"]


def test_only_what_is_committed_is_kept() -> None:
    before = plan_of(day())
    answer = follow(
        day([200.0, 50.0, 150.0, *PRICES[3:]], options={"commit": "PT2H", "change_threshold": 1e3}), before
    )
    assert answer["revision"]["kept_steps"] == 2
    assert answer["assets"]["b1"]["p_kw"][:2] == pytest.approx(before.assets["b1"].p_kw[:2].tolist())
    assert all(change["start"] >= at(2) for change in answer["revision"]["changed"])
    nothing = follow(day([200.0, 50.0, *PRICES[2:]], options={"commit": "PT0S"}), before)
    assert nothing["revision"]["kept_steps"] == 0
    assert nothing["revision"]["gain"] is None


def test_a_need_is_worth_more_than_a_commitment() -> None:
    before = plan_of(day())
    document = day(options={"change_threshold": 1e6})
    document["assets"][0]["sessions"][0]["e_departure_min_kwh"] = 45.0
    answer = follow(document, before)
    assert answer["shortfalls"] == []
    assert "15 kWh more unserved" in answer["revision"]["changed"][0]["why"]


def test_what_cannot_be_kept_is_not() -> None:
    before = plan_of(day())
    document = day(options={"change_threshold": 1e6}, import_limit_kw=15.0)
    answer = follow(document, before)
    assert "no longer keeps every limit" in answer["revision"]["changed"][0]["why"]


def test_the_past_is_fixed_and_its_flows_are_free() -> None:
    """The plan drew 18 kW and more in the first hours; the limit that came since binds from now on."""
    before = plan_of(day())
    assert before.connections["poc"].import_kw[0] > 20.0
    document = day([10.0, 400.0, *PRICES[2:]], options={"now": at(1.5)}, import_limit_kw=18.0)
    answer = replan(DispatchProblem.from_document(document), previous_of(before), dispatch)
    assert answer.status == "optimal"
    assert answer.revision is not None
    assert answer.revision["past_steps"] == 2
    for key in ("ev1", "b1"):
        np.testing.assert_allclose(answer.assets[key].p_kw[:2], before.assets[key].p_kw[:2], atol=1e-6)
    assert answer.connections["poc"].import_kw[0] == pytest.approx(before.connections["poc"].import_kw[0])
    assert max(answer.connections["poc"].import_kw[2:]) <= 18.0 + 1e-6


def test_what_an_island_left_unserved_before_now_stays_unserved() -> None:
    island = {"island": True, "island_from": at(1), "island_duration": "PT2H"}
    before = plan_of(problem_of([load([4.0, 4.0, 4.0, 4.0])], **island))
    document = problem_of([load([4.0, 4.0, 4.0, 4.0])], options={"now": at(2)}, **island)
    answer = follow(document, before)
    assert answer["revision"]["changed"] == []
    assert answer["assets"]["base"]["p_kw"] == pytest.approx([4.0, 0.0, 0.0, 4.0])
    assert sum(short["amount_kwh"] for short in answer["shortfalls"]) == pytest.approx(8.0)


def test_a_drive_that_fell_short_before_now_stays_short() -> None:
    """The energies of the past are free: they must not lend a drive what the battery did not have."""
    car = ev(
        [session(0, 1, charge_max_kw=4.0), session(2, 4, charge_max_kw=4.0)],
        trips=[trip(1, 1.25, 6.0), trip(1.5, 1.75, 7.0)],
        e_start_kwh=6.0,
        e_min_kwh=5.0,
    )
    before = plan_of(problem_of([car]))
    document = problem_of([car], options={"now": at(2)})
    answer = follow(document, before)
    assert answer["revision"]["changed"] == []
    assert sum(short["amount_kwh"] for short in answer["shortfalls"]) == pytest.approx(8.0)
    assert answer["assets"]["ev1"]["e_kwh"] == pytest.approx([10.0, 5.0, 5.0, 5.0])


def test_two_stays_within_a_past_step_are_held_below_their_minima() -> None:
    """What was drawn in the step is known, which of the two stays drew it is not."""
    stays = [session(at, at + 1.5, charge_max_kw=8.0, charge_min_kw=6.0) for at in (0.0, 1.5)]
    stays[1]["e_departure_min_kwh"] = 9.0
    car = ev(stays, e_start_kwh=2.0)
    before = plan_of(problem_of([car], import_price_per_mwh=[90.0, 10.0, 90.0, 90.0]))
    assert 3.0 <= before.assets["ev1"].p_kw[1] <= 8.0
    known = replace(
        before, assets={"ev1": replace(before.assets["ev1"], p_kw=np.array([0.0, 4.0, 6.0, 0.0]))}
    )
    answer = follow(problem_of([car], options={"now": at(2)}), known)
    assert answer["status"] == "optimal"
    assert answer["assets"]["ev1"]["p_kw"][1] == pytest.approx(4.0)


def test_a_committed_step_of_two_stays_is_kept_with_the_minimum_of_each() -> None:
    """In the step that the stays share, each draws nothing or at least 3 kW: 4 kW are of one of them."""
    stays = [session(at, at + 1.5, charge_max_kw=8.0, charge_min_kw=6.0) for at in (0.0, 1.5)]
    stays[0]["e_departure_min_kwh"] = 6.0
    document = problem_of([ev(stays, e_start_kwh=2.0)], import_price_per_mwh=[90.0, 10.0, 90.0, 90.0])
    before = plan_of(document)
    assert before.assets["ev1"].p_kw == pytest.approx([0.0, 4.0, 0.0, 0.0])
    answer = follow(document | {"options": {"change_threshold": 1.0}}, before)
    assert answer["revision"]["kept_steps"] == 4
    assert answer["revision"]["changed"] == []


@given(
    least=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=4),
    room=st.lists(st.floats(0.0, 5.0), min_size=4, max_size=4),
    on=st.lists(st.booleans(), min_size=4, max_size=4),
    above=st.floats(0.0, 1.0),
)
def test_a_power_is_divided_within_minima_wherever_it_can_be(
    least: list[float], room: list[float], on: list[bool], above: float
) -> None:
    low = np.array(least)
    most = low + np.array(room[: len(low)])
    p_kw = float(((low + above * (most - low)) * np.array(on[: len(low)])).sum())
    parts = divided(p_kw, low, most)
    assert parts.sum() == pytest.approx(p_kw, abs=1e-5)
    assert ((parts == 0) | ((parts >= low - 1e-6) & (parts <= most + 1e-5))).all()


def metered(schedule: Schedule, asset: str, **series: Any) -> Schedule:
    """`schedule` with what was measured in place of what was planned."""
    own = schedule.assets[asset]
    found = {name: np.array(values, float) for name, values in series.items()}
    p_kw = found.pop("p_kw", own.p_kw)
    new = replace(own, p_kw=p_kw, series={**own.series, **found})
    return replace(schedule, assets={**schedule.assets, asset: new})


@pytest.mark.parametrize(
    "unit",
    [
        generator(),
        generator(start_cost=1.0, min_up="PT4H"),
        generator(ramp_kw_per_h=30.0, start_ramp_kw=50.0),
        chp(start_cost=1.0, heat_demand_kw=0.0),
    ],
    ids=["minimum", "start", "ramp", "chp"],
)
def test_a_unit_metered_below_its_minimum_right_before_now_goes_on(unit: Document) -> None:
    """10 kW of a unit that has at least 20: a fact, after which it keeps what it is committed to."""
    document = problem_of([load(50.0), unit], steps=6, import_price_per_mwh=100.0)
    before = plan_of(document)
    planned = before.assets[unit["id"]].p_kw
    assert planned == pytest.approx([50.0] * 6)
    known = metered(before, unit["id"], p_kw=[50.0, 10.0, *planned[2:]])
    asked = document | {"options": {"now": at(2)}}
    answer = replan(DispatchProblem.from_document(asked), previous_of(known), dispatch)
    assert answer.status == "optimal"
    # from 10 kW its ramp leads to 40
    later = [40.0, 50.0, 50.0, 50.0] if "ramp_kw_per_h" in unit else [50.0] * 4
    assert answer.assets[unit["id"]].p_kw == pytest.approx([50.0, 10.0, *later])
    assert answer.objective["start"] == pytest.approx(unit.get("start_cost", 0.0))
    assert answer.best_bound == pytest.approx(answer.objective["total"])


def test_heat_that_nobody_wanted_before_now_is_gone() -> None:
    """The plant made 60 kW of heat for a demand that came to 30, and none may be dumped: it was."""
    plant = chp(heat_dump=False, heat_demand_kw=60.0)
    before = plan_of(problem_of([load(50.0), plant], import_price_per_mwh=100.0))
    assert before.assets["chp1"].p_kw == pytest.approx([50.0] * 4)
    asked = problem_of(
        [load(50.0), chp(heat_dump=False, heat_demand_kw=[60.0, 30.0, 60.0, 60.0])],
        import_price_per_mwh=100.0,
        options={"now": at(2)},
    )
    answer = replan(DispatchProblem.from_document(asked), previous_of(before), dispatch)
    assert answer.status == "optimal"
    assert answer.assets["chp1"].p_kw == pytest.approx([50.0] * 4)
    assert answer.assets["chp1"].series["dumped_heat_kw"] == pytest.approx([0.0, 30.0, 0.0, 0.0])


@pytest.mark.parametrize("start_cost", [0.0, 1.0])
@pytest.mark.parametrize("cell_kw", [0.0, 5.0])
def test_machines_metered_below_their_minima_and_together_go_on(start_cost: float, cell_kw: float) -> None:
    station = hydrogen_station(demand_kg=[0.6] * 6)
    station["electrolyser"]["start_cost"] = start_cost
    document = problem_of([load(5.0), station], steps=6, import_price_per_mwh=100.0)
    before = plan_of(document)
    made, cell = (before.assets["h2"].series[name].copy() for name in ("electrolyser_kw", "fuel_cell_kw"))
    made[1], cell[1] = 10.0, cell_kw
    known = metered(before, "h2", p_kw=made - cell, electrolyser_kw=made, fuel_cell_kw=cell)
    answer = replan(
        DispatchProblem.from_document(document | {"options": {"now": at(2)}}), previous_of(known), dispatch
    )
    assert answer.status == "optimal"
    assert answer.shortfalls == ()
    assert answer.assets["h2"].p_kw[1] == pytest.approx(10.0 - cell_kw)
    later = answer.assets["h2"].series["electrolyser_kw"][2:]
    assert ((later == 0) | (later >= 20.0 - 1e-6)).all()


@settings(max_examples=60, deadline=None)
@given(
    p_kw=st.lists(st.sampled_from([0.0, 5.0, 20.0, 60.0, 100.0]), min_size=3, max_size=3),
    up=st.integers(1, 4),
    down=st.integers(1, 4),
    ramp_kw=st.sampled_from([None, 10.0, 40.0]),
    turn_kw=st.sampled_from([None, 20.0, 50.0]),
    state=st.sampled_from([{}, {"on_at_start": True, "p_start_kw": 40.0, "time_in_state": "PT1H"}]),
)
def test_no_past_of_a_unit_leaves_it_without_a_future(
    p_kw: list[float], up: int, down: int, ramp_kw: float | None, turn_kw: float | None, state: Document
) -> None:
    """Whatever minimum, ramp or minimum time was broken before now: it runs within its limits after."""
    turns = {"start_ramp_kw": turn_kw, "stop_ramp_kw": turn_kw}
    unit = generator(min_up=f"PT{up}H", min_down=f"PT{down}H", ramp_kw_per_h=ramp_kw, **turns, **state)
    document = problem_of([load(50.0), unit], steps=6, import_price_per_mwh=[50.0, 50.0, 50.0, 70, 50, 70])
    problem = DispatchProblem.from_document(document | {"options": {"now": at(3)}})
    known = metered(uncontrolled(problem), "g1", p_kw=[*p_kw, 0.0, 0.0, 0.0])
    answer = replan(problem, previous_of(known), dispatch)
    assert answer.status == "optimal"
    found = answer.assets["g1"].p_kw
    assert found[:3] == pytest.approx(p_kw)
    assert ((found[3:] == 0) | (found[3:] >= 20.0 - 1e-6)).all()
    assert answer.best_bound == pytest.approx(answer.objective["total"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "asset",
    [
        battery("a", e_max_kwh=60.0),
        ev([session(0, 4, charge_max_kw=10.0)], "a", e_max_kwh=60.0),
        flexible_load("a", p_min_kw=2.0),
        generator("a", p_min_kw=2.0, p_max_kw=10.0, on_at_start=True),
    ],
    ids=["battery", "ev", "flexible load", "generator"],
)
@given(p_kw=st.lists(st.sampled_from([0.0, 1.0, 10.0, 25.0]), min_size=2, max_size=2))
@settings(max_examples=8, deadline=None)
def test_what_was_metered_before_now_is_a_fact_whatever_the_limits(
    asset: Document, p_kw: list[float]
) -> None:
    problem = DispatchProblem.from_document(
        problem_of([load(5.0), asset], import_limit_kw=16.0, options={"now": at(2)})
    )
    known = metered(uncontrolled(problem), "a", p_kw=[*p_kw, 2.0, 2.0])
    answer = replan(problem, previous_of(known), dispatch)
    assert answer.status == "optimal"
    most = 10.0 if asset["type"] == "generator" else 25.0
    assert answer.assets["a"].p_kw[:2] == pytest.approx(np.minimum(p_kw, most))
    assert (answer.assets["a"].p_kw[2:] <= 10.0 + 1e-6).all()
    assert answer.best_bound == pytest.approx(answer.objective["total"], abs=1e-6)


def test_what_does_not_fit_the_problem_any_more_is_said_to_be_so() -> None:
    """A car was charged while it is not connected by now."""
    before = plan_of(problem_of([load(5.0), ev([session(0, 4, e_departure_min_kwh=30.0)], e_start_kwh=10.0)]))
    later = problem_of([load(5.0), ev([session(3, 4)], e_start_kwh=10.0)], options={"now": at(3)})
    answer = replan(
        DispatchProblem.from_document(later),
        previous_of(metered(before, "ev1", p_kw=[5.0, 5.0, 5.0, 5.0])),
        dispatch,
    )
    (past, future) = answer.revision["changed"]
    assert (past["start"], past["end"]) == (at(0), at(3))
    assert past["why"] == "what was done in these steps does not fit the problem"
    assert future["why"] != past["why"]


def test_what_was_discharged_is_held_below_the_reserve() -> None:
    """The battery was emptier than planned: what it gave is a fact, whatever was to stay in it."""
    stay = session(0, 4, discharge_max_kw=5.0, e_departure_min_kwh=20.0)
    car = ev([stay], e_start_kwh=20.0, v2g_reserve_kwh=14.0)
    prices = {"import_price_per_mwh": PRICES[:4], "export_price_per_mwh": [0.0, 190.0, 0.0, 0.0]}
    before = plan_of(problem_of([car], export_limit_kw=10.0, **prices))
    given = before.assets["ev1"].p_kw[1]
    assert given == pytest.approx(-5.0)
    document = problem_of(
        [car | {"e_start_kwh": 6.0}], options={"now": at(2)}, export_limit_kw=10.0, **prices
    )
    answer = replan(DispatchProblem.from_document(document), previous_of(before), dispatch)
    assert answer.status == "optimal"
    assert answer.assets["ev1"].p_kw[1] == pytest.approx(given)


def test_a_change_has_one_direction_and_the_reason_of_a_decision() -> None:
    """A store that swaps two hours changes twice; a station with a demand series follows no forecast."""
    stations = [battery(e_start_kwh=10.0, e_max_kwh=10.0), hydrogen_station(demand_kg=[0.0, 0.0, 0.0, 1.0])]
    before = plan_of(problem_of(stations, import_price_per_mwh=[100.0, 200.0, 20.0, 90.0]))
    answer = follow(problem_of(stations, import_price_per_mwh=[200.0, 20.0, 100.0, 90.0]), before)
    changed = answer["revision"]["changed"]
    assert {change["asset"] for change in changed} == {"b1", "h2"}
    for change in changed:
        assert abs(change["from_kw"] - change["to_kw"]) > 1e-3
        assert "cheaper; the threshold is 0" in change["why"]


def test_a_changed_forecast_and_new_and_gone_assets_are_said() -> None:
    before = plan_of(day())
    document = day()
    document["assets"][2] = load([8.0, 8.0, 9.0, 9.0, 8.0, 8.0])
    document["assets"] += [renewable(1.0)]
    del document["assets"][1]
    answer = follow(document, before)
    assert {
        "asset": "base",
        "start": at(2),
        "end": at(4),
        "from_kw": 8.0,
        "to_kw": 9.0,
        "why": "its forecast changed",
    } in answer["revision"]["changed"]
    assert "asset 'pv' is new: the previous schedule has none" in answer["notices"]
    assert "asset 'b1' of the previous schedule is gone" in answer["notices"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"time": {"start": at(0), "resolution": "PT15M", "steps": 6}}, "previous.time.resolution"),
        ({"time": {"start": at(0.5), "resolution": "PT1H", "steps": 6}}, "previous.time.start"),
        ({"time": {"start": at(6), "resolution": "PT1H", "steps": 6}}, "previous.time"),
        ({"options": {"now": at(7)}}, "options.now"),
        ({"assets": [load(1.0, "other")]}, "previous.assets"),
    ],
)
def test_what_does_not_fit_is_refused(change: Document, path: str) -> None:
    before = plan_of(day())
    with pytest.raises(InputError) as refused:
        replan(DispatchProblem.from_document({**day(), **change}), previous_of(before), dispatch)
    assert [fault.path for fault in refused.value.faults] == [path]
    late = replace(before, time=replace(before.time, start=before.time.instant(2)))
    with pytest.raises(InputError, match="does not cover"):
        replan(DispatchProblem.from_document(day(options={"now": at(1)})), previous_of(late), dispatch)


def test_a_dispatcher_goes_over_to_other_data_and_gives_the_same_optimum() -> None:
    first, other = (DispatchProblem.from_document(day(prices)) for prices in (PRICES, PRICES[::-1]))
    dispatcher = Dispatcher(first)
    dispatcher.solve()
    assert dispatcher.update(other)
    warm, cold = dispatcher.solve(), dispatch(other)
    assert warm.input_hash == cold.input_hash
    assert warm.objective["total"] == pytest.approx(cold.objective["total"], rel=1e-9)
    check_answer(day(PRICES[::-1]), warm.document())
    bigger = DispatchProblem.from_document(day(PRICES, import_limit_kw=30.0))
    assert dispatcher.update(bigger), "a limit that was not there is only another bound"
    fewer = day()
    del fewer["assets"][1]
    assert not dispatcher.update(DispatchProblem.from_document(fewer))
    assert dispatcher.solve().objective["total"] == pytest.approx(
        dispatch(DispatchProblem.from_document(fewer)).objective["total"]
    )


def test_at_the_deadline_what_is_committed_is_kept() -> None:
    before = plan_of(day())
    problem = DispatchProblem.from_document(day(PRICES[::-1]))

    def solve(wanted: DispatchProblem) -> Schedule:
        if wanted.pins is None:
            raise DeadlineError("no time for the free problem")
        return dispatch(wanted)

    answer = replan(problem, previous_of(before), solve)
    assert answer.status == "feasible"
    assert answer.best_bound is None
    assert answer.revision is not None
    assert answer.revision["kept_steps"] == 6
    assert answer.revision["changed"] == []


@pytest.mark.parametrize(
    "example", [path for path in EXAMPLES if path.stem != "scenarios"], ids=lambda p: p.stem
)
def test_every_type_of_asset_keeps_its_plan(example: Path) -> None:
    document = json.loads(example.read_text())
    document |= {"network": None, "frontier": None, "scenarios": [], "first_stage": None}
    problem = DispatchProblem.from_document(document)
    answer = replan(problem, previous_of(dispatch(problem)), dispatch)
    assert answer.revision is not None
    assert answer.revision["changed"] == []
    assert answer.revision["kept_steps"] == problem.time.steps
