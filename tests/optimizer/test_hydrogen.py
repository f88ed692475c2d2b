"""Hydrogen stations: by hand, and random ones against an independent formulation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, uncontrolled
from tests.optimizer.builders import Document, battery, load, problem_of, solve
from tests.optimizer.milp.formulation import optimum
from tests.optimizer.stations import hydrogen_station


@st.composite
def stations(draw: Any) -> Document:
    steps = draw(st.integers(1, 5))

    def machine(most: list[float], kwh_per_kg: float) -> Document:
        p_max = draw(st.sampled_from(most))
        return {
            "p_min_kw": draw(st.sampled_from([0.0, 0.25, 1.0])) * p_max,
            "p_max_kw": p_max,
            "kwh_per_kg": kwh_per_kg,
            "start_cost": draw(st.sampled_from([0.0, 0.0, 1.5])),
            "on_at_start": False,
        }

    def prices() -> list[float]:
        return draw(st.lists(st.integers(-60, 300).map(float), min_size=steps, max_size=steps))

    asset = hydrogen_station(
        electrolyser=machine([50.0, 100.0], 50.0),
        fuel_cell=draw(st.just(None)) if draw(st.booleans()) else machine([20.0, 60.0], 20.0),
        tank={
            "start_kg": draw(st.sampled_from([1.0, 2.0, 4.0])),
            "min_kg": draw(st.sampled_from([0.0, 1.0])),
            "max_kg": draw(st.sampled_from([4.0, 8.0])),
            "end_min_kg": draw(st.sampled_from([None, 2.0, 4.0])),
        },
        demand_kg=draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 2.5]), min_size=steps, max_size=steps)),
    )
    if asset["fuel_cell"] is None:
        del asset["fuel_cell"]
    if draw(st.booleans()):
        name = draw(st.sampled_from(["electrolyser", "fuel_cell"]))
        if name in asset:
            asset[name]["on_at_start"] = True
    return problem_of(
        [load([float(k % 3) * 4 for k in range(steps)]), asset],
        steps=steps,
        import_limit_kw=draw(st.sampled_from([30.0, 200.0])),
        export_limit_kw=draw(st.sampled_from([0.0, 15.0, 200.0])),
        import_price_per_mwh=prices(),
        export_price_per_mwh=prices(),
        options={"mip_gap": 0.0},
    )


@settings(max_examples=60)
@given(document=stations())
def test_same_optimum_as_the_independent_formulation(document: Document) -> None:
    expected = optimum(document)
    answer = solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert {"tank.end_min_kg", "import_limit_kw"} & {c["limit"] for c in answer["conflicts"]}
        return
    assert answer["status"] == "optimal"
    unserved = sum(s["amount_kwh"] for s in answer["shortfalls"])
    assert unserved == pytest.approx(expected[0], abs=1e-6, rel=1e-6)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(expected[1], abs=1e-6)


def test_an_electrolyser_above_the_limit_may_stand_still() -> None:
    """Presolve of HiGHS calls this infeasible."""
    station = hydrogen_station(
        electrolyser={"p_min_kw": 50.0, "p_max_kw": 50.0, "kwh_per_kg": 50.0},
        fuel_cell={"p_min_kw": 0.0, "p_max_kw": 20.0, "kwh_per_kg": 20.0},
        tank={"start_kg": 2.0, "min_kg": 0.0, "max_kg": 4.0, "end_min_kg": 2.0},
    )
    answer = solve(
        problem_of(
            [load([0.0, 4.0]), station],
            steps=2,
            import_limit_kw=30.0,
            export_limit_kw=200.0,
            import_price_per_mwh=0.0,
            export_price_per_mwh=0.0,
        )
    )
    assert answer["status"] == "optimal"
    assert answer["assets"]["h2"]["electrolyser_kw"] == [0.0, 0.0]


def test_a_start_is_avoided_where_waiting_on_is_cheaper() -> None:
    machine = {"p_min_kw": 50.0, "p_max_kw": 100.0, "kwh_per_kg": 50.0, "start_cost": 3.0}
    station = hydrogen_station(
        electrolyser=machine, fuel_cell=None, tank={"start_kg": 0.0, "max_kg": 10.0, "end_min_kg": 5.0}
    )
    answer = solve(problem_of([station], import_price_per_mwh=[10.0, 40.0, 10.0, 90.0]))
    # 5 kg are 250 kWh: two cheap hours hold 200; 50 kWh more at 40, on throughout, one start
    assert answer["assets"]["h2"]["electrolyser_kw"] == pytest.approx([100.0, 50.0, 100.0, 0.0])
    assert answer["objective"]["start"] == 3.0
    running = {**station, "electrolyser": {**machine, "on_at_start": True}}
    assert solve(problem_of([running]))["objective"]["start"] == 0.0


def test_hydrogen_goes_to_vehicles_before_it_earns_money() -> None:
    station = hydrogen_station(
        electrolyser={"p_max_kw": 0.0, "kwh_per_kg": 50.0}, demand_kg=[0.0, 0.0, 0.0, 3.0]
    )
    answer = solve(problem_of([station], import_price_per_mwh=900.0, export_price_per_mwh=900.0))
    assert not any(answer["assets"]["h2"]["fuel_cell_kw"])
    (short,) = answer["shortfalls"]
    assert (short["kind"], short["amount_kg"], short["amount_kwh"]) == ("hydrogen_demand", 1.0, 50.0)


def test_priority_decides_who_goes_short() -> None:
    """One kWh for the hydrogen of a station of priority 2 counts for two of a battery-less load's."""
    stations = [
        hydrogen_station(
            name,
            electrolyser={"p_max_kw": 100.0, "kwh_per_kg": 50.0},
            fuel_cell=None,
            tank={"start_kg": 0.0, "max_kg": 5.0},
            demand_kg=[2.0],
            priority=priority,
        )
        for name, priority in (("a", 1.0), ("b", 2.0))
    ]
    answer = solve(problem_of(stations, steps=1, import_limit_kw=100.0))
    assert [(s["asset"], round(s["amount_kg"], 6)) for s in answer["shortfalls"]] == [("a", 2.0)]


def test_a_tank_that_cannot_be_filled_is_a_conflict() -> None:
    station = hydrogen_station(tank={"start_kg": 0.0, "max_kg": 10.0, "end_min_kg": 9.0})
    answer = solve(problem_of([station, battery()]))
    (conflict,) = answer["conflicts"]
    assert (conflict["assets"], conflict["limit"], conflict["unit"]) == (["h2"], "tank.end_min_kg", "kg")
    assert conflict["relaxation"] == pytest.approx(1.0)


def test_an_uncontrolled_station_refills_what_vehicles_took() -> None:
    document = problem_of([hydrogen_station(demand_kg=[0.0, 1.0, 5.0, 0.0])])
    schedule = uncontrolled(DispatchProblem.from_document(document))
    series = schedule.assets["h2"].series
    assert schedule.assets["h2"].p_kw.tolist() == [0.0, 50.0, 100.0, 100.0]
    assert series["unmet_kg"].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert series["tank_kg"].tolist() == [3.0, 3.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (
            {"electrolyser": {"p_min_kw": 9, "p_max_kw": 8, "kwh_per_kg": 50}},
            "electrolyser.p_min_kw",
            "above",
        ),
        ({"fuel_cell": {"p_max_kw": 8, "kwh_per_kg": 60}}, "fuel_cell.kwh_per_kg", "energy from nothing"),
        ({"fuel_cell": {"p_max_kw": 8, "kwh_per_kg": 0}}, "fuel_cell.kwh_per_kg", "greater"),
        ({"tank": {"start_kg": 5, "max_kg": 4}}, "tank.start_kg", "above max_kg"),
        ({"tank": {"start_kg": 1, "min_kg": 2, "max_kg": 4}}, "tank.start_kg", "below min_kg"),
        ({"tank": {"start_kg": 3, "min_kg": 5, "max_kg": 4}}, "tank.min_kg", "swap"),
        ({"tank": {"start_kg": 3, "max_kg": 4, "end_min_kg": 5}}, "tank.end_min_kg", "lower it"),
        ({"tank": {"start_kg": 3, "max_kg": 4, "end_kg": 5}}, "tank.end_kg", "end_min_kg"),
        ({"demand_kg": [1.0]}, "demand_kg", "time.steps is 4"),
        ({"demand_kg": -1.0}, "demand_kg", "negative"),
    ],
)
def test_contradictions_are_refused_by_field(change: Document, path: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(problem_of([hydrogen_station(**change)]))
    (fault,) = [f for f in refused.value.faults if f.path == f"assets[0].{path}"]
    assert words in fault.message


def test_both_machines_cannot_be_on_before_the_start() -> None:
    on = {"p_max_kw": 8, "kwh_per_kg": 40, "on_at_start": True}
    with pytest.raises(InputError, match="never run together"):
        DispatchProblem.from_document(problem_of([hydrogen_station(electrolyser=on, fuel_cell=on)]))
