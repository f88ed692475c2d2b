"""Islands: by hand, random ones against an independent formulation, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from optimizer.fallback import fallback
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
    solve,
)
from tests.optimizer.milp.formulation import optimum
from tests.optimizer.stations import hydrogen_station

MARKET = {"import_price_per_mwh": 100.0, "export_price_per_mwh": 20.0}


def island_of(*assets: Document, steps: int = 4, **island: Any) -> Document:
    """A district ``poc`` under a city, from hour 1 on its own for two hours unless told otherwise."""
    district = {
        "id": "poc",
        "parent": "city",
        "island": True,
        "island_from": at(1),
        "island_duration": "PT2H",
        **island,
    }
    return problem_of(list(assets), steps=steps, connections=[{"id": "city", **MARKET}, district])


def unserved(answer: Document, name: str) -> list[float]:
    return [round(value, 6) for value in answer["assets"][name]["unserved_kw"]]


def test_nothing_flows_while_a_district_runs_on_its_own() -> None:
    answer = solve(island_of(load(5.0), renewable(9.0)))
    assert answer["connections"]["poc"]["import_kw"] == [0.0] * 4
    assert answer["connections"]["poc"]["export_kw"] == [4.0, 0.0, 0.0, 4.0]
    assert answer["assets"]["pv"]["curtailed_kw"] == [0.0, 4.0, 4.0, 0.0]
    assert unserved(answer, "base") == [0.0] * 4


def test_the_lowest_priority_is_shed_first() -> None:
    document = island_of(
        load(4.0, "lights", priority=1.0),
        load(3.0, "pumps", priority=2.0),
        load(2.0, "hospital", priority=9.0),
        renewable([0.0, 4.0, 1.0, 0.0]),
    )
    answer = solve(document)
    assert unserved(answer, "lights") == [0.0, 4.0, 4.0, 0.0]
    assert unserved(answer, "pumps") == [0.0, 1.0, 3.0, 0.0]
    assert unserved(answer, "hospital") == [0.0, 0.0, 1.0, 0.0]
    assert answer["objective"]["shortfall"] == pytest.approx(10.0 * 13.0)
    assert {s["kind"] for s in answer["shortfalls"]} == {"unserved_load"}


def test_a_battery_is_filled_before_and_spread_over_the_announced_time() -> None:
    answer = solve(island_of(load([6.0, 6.0, 6.0, 6.0]), battery(e_max_kwh=9.0)))
    assert answer["assets"]["b1"]["e_kwh"][0] == pytest.approx(9.0)
    assert sum(unserved(answer, "base")) == pytest.approx(3.0)


def test_what_may_be_shed_at_a_price_goes_first_and_is_no_shortfall() -> None:
    document = island_of(load(8.0, shed_limit_fraction=0.25, shed_price_per_mwh=900.0), renewable(4.0))
    answer = solve(document)
    assert answer["assets"]["base"]["shed_kw"] == [0.0, 2.0, 2.0, 0.0]
    assert unserved(answer, "base") == [0.0, 2.0, 2.0, 0.0]


def test_a_whole_city_can_be_an_island() -> None:
    document = problem_of([load(3.0)], island=True)
    answer = solve(document)
    assert unserved(answer, "base") == [3.0] * 4
    assert answer["objective"]["energy"] == 0.0


def test_a_step_touched_by_the_island_is_in_it() -> None:
    answer = solve(island_of(load(3.0), island_from=at(0.5), island_duration="PT1H"))
    assert unserved(answer, "base") == [3.0, 3.0, 0.0, 0.0]


def test_the_return_has_no_jump() -> None:
    document = island_of(load(10.0), steps=7, island_return_ramp_kw_per_h=4.0)
    answer = solve(document)
    assert answer["connections"]["poc"]["import_kw"] == [10.0, 0.0, 0.0, 4.0, 8.0, 10.0, 10.0]
    assert unserved(answer, "base") == [0.0, 10.0, 10.0, 6.0, 2.0, 0.0, 0.0]


def test_an_island_that_ended_before_the_horizon_still_returns_slowly() -> None:
    document = island_of(
        load(10.0), island_from=at(-3), island_duration="PT2H", island_return_ramp_kw_per_h=3.0
    )
    assert solve(document)["connections"]["poc"]["import_kw"] == [6.0, 9.0, 10.0, 10.0]


def test_overruns_elsewhere_stay_what_they_are() -> None:
    """An import limit above an island is overrun by what lies outside it only; in it, load is shed."""
    document = island_of(load(6.0), load(8.0, "outside", connection="city"), import_limit_kw=4.0)
    document["connections"][0]["import_limit_kw"] = 9.0
    answer = solve(document)
    assert answer["connections"]["city"]["import_kw"] == [14.0, 8.0, 8.0, 14.0]
    assert unserved(answer, "base") == [0.0, 6.0, 6.0, 0.0]
    assert {s["kind"] for s in answer["shortfalls"] if s["at"] in (at(1), at(2))} == {"unserved_load"}


def test_energy_is_kept_for_the_time_after_the_horizon() -> None:
    """Four more hours like those known: a critical load needs 2 kW throughout, 12 kWh in six hours."""
    document = island_of(
        load(2.0, "hospital", priority=3.0),
        load(3.0, "shops"),
        battery(e_start_kwh=15.0, e_max_kwh=15.0, discharge_efficiency=0.8),
        steps=3,
        island_duration="PT6H",
    )
    answer = solve(document)
    # 12 kWh can be fed: all of it goes to the hospital, six hours long
    assert answer["assets"]["hospital"]["p_kw"] == [2.0, 2.0, 2.0]
    assert answer["assets"]["b1"]["e_kwh"] == pytest.approx([15.0, 12.5, 10.0])
    assert unserved(answer, "shops") == [0.0, 3.0, 3.0]
    rest = [s for s in answer["shortfalls"] if s["at"] == at(3)]
    assert [(s["asset"], round(s["amount_kwh"], 6)) for s in rest] == [("shops", 12.0)]
    assert any("outlasts the horizon by PT4H" in notice for notice in answer["notices"])


def test_without_an_announced_end_nothing_is_kept_beyond_the_horizon() -> None:
    document = island_of(load(2.0), battery(e_start_kwh=15.0, e_max_kwh=15.0), steps=3, island_duration=None)
    assert unserved(solve(document), "base") == [0.0, 0.0, 0.0]
    assert not solve(document)["notices"]


def test_a_tank_is_kept_too_and_what_the_sun_will_give_is_counted() -> None:
    station = hydrogen_station(tank={"start_kg": 4.0, "max_kg": 4.0, "min_kg": 1.0})
    document = island_of(load(10.0), renewable(6.0), station, steps=2, island_duration="PT11H")
    # one hour lacks 4 kW now, ten more lack 40 kWh; 3 kg give 60, the fuel cell runs with 10 kW at least
    answer = solve(document)
    assert not answer["shortfalls"]
    assert any("40 kWh" in notice for notice in answer["notices"])


def test_the_last_day_repeats_where_one_is_known() -> None:
    demand = [0.0] * 12 + [5.0] * 12 + [1.0] * 3 + [3.0] * 3
    document = island_of(load(demand), steps=30, island_from=at(29), island_duration="PT4H")
    # three hours more: the first three after the last 24 hours began, which draw nothing
    rest = [s for s in solve(document)["shortfalls"] if s["at"] == at(30)]
    assert not rest
    document["connections"][1]["island_duration"] = "PT12H"
    rest = [s for s in solve(document)["shortfalls"] if s["at"] == at(30)]
    assert [s["amount_kwh"] for s in rest] == [pytest.approx(5 * 5.0)]


def test_the_needs_of_vehicles_compete_by_priority() -> None:
    vehicle = ev([session(1, 3, e_departure_min_kwh=14.0)], priority=5.0)
    answer = solve(island_of(load(4.0), vehicle, renewable([0.0, 4.0, 4.0, 0.0])))
    assert sum(unserved(answer, "base")) == pytest.approx(4.0)
    assert {s["kind"] for s in answer["shortfalls"]} == {"unserved_load"}


def test_must_run_generation_that_nothing_absorbs_is_a_conflict() -> None:
    document = island_of(
        renewable(8.0, curtailable=False), load(3.0), battery(e_max_kwh=2.0), renewable(1.0, "roof")
    )
    answer = solve(document)
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    assert (conflict["assets"], conflict["connection"], conflict["limit"]) == (["pv"], "poc", "island")
    # two hours of 5 kW, of which the battery takes 2 kWh
    assert conflict["relaxation"] == pytest.approx(4.0)
    assert (conflict["start"], conflict["end"]) == (at(1), at(3))


def test_a_return_too_slow_for_must_run_generation_is_a_conflict() -> None:
    document = island_of(renewable([0.0, 0.0, 0.0, 8.0], curtailable=False), island_return_ramp_kw_per_h=2.0)
    (conflict,) = solve(document)["conflicts"]
    assert (conflict["limit"], conflict["relaxation"]) == ("island_return_ramp_kw_per_h", pytest.approx(6.0))


def test_an_energy_that_only_the_outside_could_give_is_a_conflict() -> None:
    document = island_of(battery(e_end_min_kwh=15.0), steps=2, island_from=None, island_duration=None)
    conflicts = solve(document)["conflicts"]
    assert {c["limit"] for c in conflicts} <= {"island", "e_end_min_kwh"}
    assert conflicts[0]["assets"] == ["b1"]


def test_the_price_in_an_island_is_its_own() -> None:
    answer = solve(island_of(load(5.0), renewable(9.0, marginal_cost_per_mwh=7.0)))
    price = answer["connections"]["poc"]["price_per_mwh"]
    assert price["total"] == pytest.approx([20.0, 7.0, 7.0, 20.0])
    assert price["energy"] == price["total"]


def test_the_safe_rule_sheds_by_priority_too() -> None:
    document = island_of(
        load(4.0, "lights"),
        load(2.0, "hospital", priority=9.0),
        renewable([0.0, 3.0, 1.0, 0.0]),
        ev([session(1, 3, e_departure_min_kwh=20.0)]),
    )
    answer = fallback(DispatchProblem.from_document(document)).document()
    check_answer(document, answer)
    assert unserved(answer, "lights") == [0.0, 3.0, 4.0, 0.0]
    assert unserved(answer, "hospital") == [0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"island_duration": "PT0H"}, "island_duration", "positive"),
        ({"island_duration": "P1000D"}, "island_duration", "366 days"),
        ({"island_duration": 3}, "island_duration", "ISO 8601"),
        ({"island_from": "2022-08-29T00:00:00"}, "island_from", "time zone"),
        ({"island_return_ramp_kw_per_h": 0.0}, "island_return_ramp_kw_per_h", "greater"),
        ({"island_return_ramp_kw_per_h": 1e308}, "island_return_ramp_kw_per_h", "beyond"),
        ({"island": 1}, "island", "bool"),
        ({"island": False, "island_duration": None}, "island_from", "island is false"),
    ],
)
def test_what_contradicts_itself_is_refused(change: Document, path: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(island_of(load(1.0), **change))
    (fault,) = refused.value.faults
    assert fault.path == f"connections[1].{path}"
    assert words in fault.message


def test_an_island_on_a_grid_is_refused() -> None:
    document = problem_of([load(1.0, bus=0)], island=True, network={"grid": "pandapower:case33bw"})
    with pytest.raises(InputError, match="dispatch the island without network"):
        DispatchProblem.from_document(document)


@pytest.mark.parametrize("start", [-50, 40])
def test_an_island_outside_the_horizon_is_told(start: int) -> None:
    answer = solve(island_of(load(1.0), island_from=at(start)))
    assert answer["connections"]["poc"]["import_kw"] == [1.0] * 4
    assert answer["notices"] == ["connection 'poc': its island is outside the horizon"]


@st.composite
def islands(draw: Any) -> Document:
    steps = draw(st.integers(2, 6))

    def some(low: int, high: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))

    assets = [
        load(some(0, 9), f"load{number}", priority=draw(st.sampled_from([0.5, 1.0, 4.0])))
        for number in range(draw(st.integers(1, 3)))
    ]
    assets.append(renewable(some(0, 12)))
    if draw(st.booleans()):
        assets.append(
            battery(
                e_start_kwh=draw(st.sampled_from([0.0, 6.0, 20.0])),
                charge_efficiency=draw(st.sampled_from([0.8, 1.0])),
                discharge_efficiency=draw(st.sampled_from([0.8, 1.0])),
                discharge_max_kw=draw(st.sampled_from([3.0, 10.0])),
            )
        )
    return island_of(
        *assets,
        steps=steps,
        island_from=draw(st.sampled_from([None, at(-2), at(1), at(1.5), at(4)])),
        island_duration=draw(st.sampled_from([None, "PT1H", "PT3H", "PT9H"])),
        island_return_ramp_kw_per_h=draw(st.sampled_from([None, 1.0, 4.0])),
        import_limit_kw=draw(st.sampled_from([8.0, 100.0])),
    )


@settings(max_examples=60)
@given(document=islands())
def test_as_little_unserved_as_the_independent_formulation(document: Document) -> None:
    answer = solve(document)
    assert answer["status"] == "optimal"
    priority = {asset["id"]: asset.get("priority", 1.0) for asset in document["assets"]}
    weighted = sum(s["amount_kwh"] * priority.get(s.get("asset"), 1.0) for s in answer["shortfalls"])
    best = optimum(document)
    assert best is not None
    assert weighted == pytest.approx(best[0], abs=1e-4)


@settings(max_examples=60)
@given(document=islands())
def test_nobody_is_shed_for_somebody_of_lower_priority(document: Document) -> None:
    answer = dispatch(DispatchProblem.from_document(document)).document()
    loads = [asset for asset in document["assets"] if asset["type"] == "load"]
    for high in loads:
        for low in loads:
            if high["priority"] > low["priority"]:
                short = np.array(answer["assets"][high["id"]].get("unserved_kw", 0.0)) > 1e-6
                served = np.array(answer["assets"][low["id"]]["p_kw"]) > 1e-6
                assert not (short & served).any()


def test_nothing_in_an_island_can_be_called_from_outside() -> None:
    document = island_of(load(4.0, shed_limit_fraction=0.5, shed_price_per_mwh=100.0), renewable(9.0))
    offered = {"direction": "up", "end": at(4), "max_kw": 5.0, "price_per_mw_h": 1000.0}
    for start, sold, kw, short in ((0, None, 0.0, 0.0), (0, 2.0, 0.0, 2.0), (3, None, 2.0, 0.0)):
        offer = {"id": "o", "connection": "city", "start": at(start), "committed_kw": sold, **offered}
        answer = solve({**document, "offers": [offer]})
        assert answer["offers"]["o"]["kw"] == pytest.approx(kw)
        assert sum(s["amount_kw"] for s in answer["shortfalls"]) == pytest.approx(short)


def test_curtailment_in_an_island_is_shared_like_any_other() -> None:
    outside = renewable(8.0, "field", connection="city", district="b", marginal_cost_per_mwh=1.0)
    document = island_of(
        load(2.0), load(2.0, "out", connection="city"), renewable(8.0, district="a"), outside
    )
    answer = solve({**document, "objective": {"fairness": {"curtailment": 5.0}}})
    # in the island 12 of 32 kWh have nowhere to go; as much is curtailed outside
    assert answer["fairness"]["curtailment"]["shares"] == pytest.approx({"a": 12 / 32, "b": 12 / 32})


def test_under_scenarios_the_store_is_filled_before_the_island_in_each() -> None:
    document = island_of(load(5.0), battery(e_max_kwh=9.0), renewable(0.0), import_limit_kw=20.0)
    document["connections"][1]["breach_probability"] = 1.0
    sun = {"assets.pv.available_kw": [0.0, 5.0, 5.0, 0.0]}
    document["scenarios"] = [
        {"id": "dark", "probability": 0.5, "series": {}},
        {"id": "sun", "probability": 0.5, "series": sun},
    ]
    found = dispatch(DispatchProblem.from_document(document)).document()["scenarios"]
    for name, kwh in (("dark", 1.0), ("sun", 0.0)):
        assert sum(s["amount_kwh"] for s in found[name]["shortfalls"]) == pytest.approx(kwh, abs=1e-4)
        assert found[name]["connections"]["poc"]["import_kw"][1:3] == [0.0, 0.0]


def test_no_point_of_a_frontier_sheds_more() -> None:
    document = island_of(load(5.0), battery(e_max_kwh=6.0), steps=4)
    document["connections"][0] |= {
        "carbon_g_per_kwh": [900.0, 0.0, 0.0, 100.0],
        "import_price_per_mwh": [10.0, 100.0, 100.0, 300.0],
    }
    answer = solve({**document, "frontier": 3})
    for point in answer["frontier"]:
        assert sum(s["amount_kwh"] for s in point["shortfalls"]) == pytest.approx(4.0)
        assert point["connections"]["poc"]["import_kw"][1:3] == [0.0, 0.0]
