"""Conflicts: in closed form, of shared limits, and that applying them helps, and nothing less does."""

from __future__ import annotations

import importlib
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from energy.domain.network import FloatArray
from optimizer import DispatchProblem, dispatch
from optimizer.assets import ASSET_TYPES
from optimizer.conflicts import NOT_FOUND, NOT_LEAST
from optimizer.dispatcher import Dispatcher
from optimizer.solver import Solution
from optimizer.stages import Stages
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
from tests.optimizer.milp.random_problem import Place, problems, random_problem
from tests.optimizer.relaxations import WHOLE, applied
from tests.optimizer.stations import hydrogen_station, swap_station
from tests.optimizer.units import chp, flexible_load, shiftable_load


def short_kwh(answer: Document) -> float:
    return sum(shortfall["amount_kwh"] for shortfall in answer["shortfalls"])


def named(conflict: Document) -> tuple[Any, ...]:
    return conflict["assets"], conflict["limit"], pytest.approx(conflict["relaxation"]), conflict["unit"]


def test_a_departure_need_out_of_reach_is_named_before_anything_is_solved() -> None:
    document = problem_of(
        [ev([session(4, 7.5, charge_max_kw=11.0, e_departure_min_kwh=52.0)], "ev_17")], steps=8
    )
    (found,) = (
        DispatchProblem.from_document(document)
        .assets[0]
        .out_of_reach(DispatchProblem.from_document(document).time)
    )
    assert found.message == (
        "asset 'ev_17': needs 42.0 kWh by 07:30Z but can take at most 38.5 kWh (11 kW × 3.5 h). "
        "Move the departure, lower the target, or allow a shortfall."
    )
    answer = solve(document)
    assert answer["status"] == "optimal"
    assert short_kwh(answer) == pytest.approx(3.5)
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["ev_17"], "charge_max_kw", 1.0, "kW")
    assert (conflict["start"], conflict["end"], conflict["connection"]) == (at(4), at(7.5), "poc")
    assert short_kwh(solve(applied(document, answer["conflicts"]))) == 0.0
    assert short_kwh(solve(applied(document, answer["conflicts"], 0.99))) > 0.0


def test_a_drive_out_of_reach() -> None:
    car = ev([session(0, 1)], trips=[trip(1, 3, 25.0)], charge_efficiency=0.8, e_min_kwh=2.0)
    answer = solve(problem_of([car]))
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["ev1"], "energy_kwh", 9.0, "kWh")
    assert conflict["message"].startswith(
        "asset 'ev1': the drive from 01:00Z to 03:00Z needs 25.0 kWh but has at most 16.0 kWh."
    )


def test_a_session_beyond_the_horizon_counts_with_its_whole_length() -> None:
    document = problem_of([ev([session(2, 6, charge_max_kw=5.0, e_departure_min_kwh=38.0)])])
    answer = solve(document)
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["ev1"], "charge_max_kw", 2.0, "kW")
    assert short_kwh(solve(applied(document, [conflict]))) == 0.0


def test_an_end_energy_out_of_reach_in_words() -> None:
    document = problem_of(
        [battery(e_end_min_kwh=20.0, charge_max_kw=2.0, charge_efficiency=0.9, e_start_kwh=1.0)]
    )
    answer = solve(document)
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["b1"], "e_end_min_kwh", 11.8, "kWh")
    assert conflict["message"] == (
        "asset 'b1': needs 20.0 kWh at the end but can hold at most 8.2 kWh (from 1 kWh, 2 kW × 4 h × 0.9). "
        "Lower e_end_min_kwh, start fuller, or raise charge_max_kw."
    )
    assert solve(applied(document, [conflict]))["status"] == "optimal"
    assert solve(applied(document, [conflict], 0.99))["status"] == "infeasible"


def test_a_self_discharging_battery_below_its_least_energy() -> None:
    store = battery(e_min_kwh=10.0, e_start_kwh=10.0, charge_max_kw=0.0, self_discharge_per_hour=0.5)
    answer = solve(problem_of([store], steps=2))
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["b1"], "e_min_kwh", 7.5, "kWh")


def feeder(limit: Any) -> Document:
    cars = [
        ev([session(0, 4, e_departure_min_kwh=34.0)], f"ev{k}", connection="hub", priority=k) for k in (1, 2)
    ]
    connections = [
        {"id": "poc", "import_price_per_mwh": [10.0, 20.0, 30.0, 40.0], "import_limit_kw": 100.0},
        {"id": "hub", "parent": "poc", "import_limit_kw": limit},
    ]
    return problem_of([*cars, load(3.0)], connections=connections)


def test_a_shared_limit_is_named_with_its_window_and_who_competes() -> None:
    document = feeder([8.0, 8.0, 20.0, 8.0])
    answer = solve(document)
    assert answer["status"] == "optimal"
    assert short_kwh(answer) == pytest.approx(4.0)
    (conflict,) = answer["conflicts"]
    # 48 kWh in four hours, of which the third can carry all that two chargers take
    assert named(conflict) == (["ev1", "ev2"], "import_limit_kw", pytest.approx(4 / 3), "kW")
    assert conflict["connection"] == "hub"
    assert (conflict["start"], conflict["end"]) == (at(0), at(4))
    assert conflict["message"].startswith("connection 'hub': 1.333 kW more import between 00:00Z and 04:00Z")
    assert short_kwh(solve(applied(document, [conflict]))) == pytest.approx(0.0, abs=1e-5)
    assert short_kwh(solve(applied(document, [conflict], 0.99))) > 1e-3


def test_an_overrun_is_explained_by_the_limit_it_breaks() -> None:
    answer = solve(problem_of([load([5.0, 12.0, 5.0, 5.0])], import_limit_kw=10.0))
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["base"], "import_limit_kw", 2.0, "kW")
    assert (conflict["start"], conflict["end"]) == (at(1), at(2))


def test_own_and_shared_limits_together() -> None:
    document = problem_of([ev([session(0, 2, e_departure_min_kwh=40.0)])], import_limit_kw=8.0)
    answer = solve(document)
    assert [named(c) for c in answer["conflicts"]] == [
        (["ev1"], "charge_max_kw", 5.0, "kW"),
        (["ev1"], "import_limit_kw", 7.0, "kW"),
    ]
    assert short_kwh(solve(applied(document, answer["conflicts"]))) == 0.0


def test_a_limit_that_inflexible_load_exceeds_already() -> None:
    """Raised by less than the overrun it carries nothing more."""
    document = problem_of(
        [load([12.0, 4.0]), battery(e_end_min_kwh=9.0, charge_max_kw=6.0)], steps=2, import_limit_kw=9.0
    )
    answer = solve(document)
    assert answer["status"] == "infeasible"
    conflicts = answer["conflicts"]
    # 4 kWh less at the end, or a kW more in the second hour for each of the first of them: all cost the same
    assert {conflict["limit"] for conflict in conflicts} <= {"import_limit_kw", "e_end_min_kwh"}
    assert sum(conflict["relaxation"] for conflict in conflicts) == pytest.approx(4.0)
    assert solve(applied(document, conflicts))["status"] == "optimal"
    assert solve(applied(document, conflicts, 0.99))["status"] == "infeasible"


def test_a_need_that_only_a_least_power_forbids_is_named_as_such() -> None:
    car = ev([session(0, 1, charge_min_kw=10.0, e_departure_min_kwh=59.0)], e_start_kwh=55.0)
    (conflict,) = solve(problem_of([car]))["conflicts"]
    assert named(conflict) == (["ev1"], "departure_energy", 4.0, "kWh")


def test_a_dispatcher_solves_the_same_after_it_explained() -> None:
    dispatcher = Dispatcher(DispatchProblem.from_document(feeder(8.0)))
    first, second = (dispatcher.solve().document() for _ in range(2))
    assert first["conflicts"]
    assert first["objective"] == pytest.approx(second["objective"])
    assert first["conflicts"] == second["conflicts"]


@pytest.mark.parametrize(
    ("limit", "stated", "relaxation"),
    [
        # 20 kWh in four hours beside 3 kW of load on the same phase
        ("phase_import_limit_kw", 6.0, 2.0),
        ("unbalance_limit_kw", 4.6, 3.4),
        ("grid_signals", [{"start": at(0), "end": at(4), "limit_kw": 2.0}], 0.8),
    ],
)
def test_what_phases_and_signals_leave_is_named_where_it_is_too_little(
    limit: str, stated: Any, relaxation: float
) -> None:
    cars = [session(0, 4, charge_max_kw=7.4, e_departure_min_kwh=30.0)]
    car = ev(cars, phases="L1", statutory_min_kw=4.2)
    document = problem_of([load(3.0, phases="L1"), car], **{limit: stated})
    answer = solve(document)
    (conflict,) = answer["conflicts"]
    who = ["ev1"] if limit == "grid_signals" else ["base", "ev1"]
    assert named(conflict) == (who, limit, relaxation, "kW")
    assert (conflict["connection"], conflict["start"], conflict["end"]) == ("poc", at(0), at(4))
    assert short_kwh(solve(applied(document, [conflict]))) == pytest.approx(0.0, abs=1e-5)
    assert short_kwh(solve(applied(document, [conflict], 0.9))) > 1e-3


def test_a_committed_reserve_is_named_by_its_offer() -> None:
    offers = [
        {"id": key, "connection": "poc", "direction": "up", "start": at(first), "end": at(first + 1)}
        | {"max_kw": 10.0, "committed_kw": kw, "providers": ["b1"], "price_per_mw_h": 0.0}
        for key, first, kw in (("early", 0, 4.0), ("late", 2, 9.0))
    ]
    document = problem_of([battery(e_start_kwh=4.0, charge_max_kw=1.0)], offers=offers)
    answer = solve(document)
    (short,) = answer["shortfalls"]
    assert (short["offer"], short["amount_kw"]) == ("late", pytest.approx(2.0))
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["b1"], "committed_reserve", 2.0, "kW")
    assert (conflict["start"], conflict["end"]) == (at(2), at(3))
    assert conflict["message"].startswith(
        "offer 'late' at connection 'poc': from 02:00Z to 03:00Z 'b1' cannot hold 2 kW of the 9 kW committed"
    )
    assert solve(applied(document, [conflict]))["shortfalls"] == []


def test_load_shed_on_the_return_from_an_island_is_not_blamed_on_what_the_island_has() -> None:
    island = {"island": True, "island_duration": "PT1H", "island_return_ramp_kw_per_h": 10.0}
    first, second = solve(problem_of([load(15.0)], **island))["conflicts"]
    assert "is short of 15 kWh (up to 15 kW) with what its island has" in first["message"]
    assert "is short of 5 kWh (up to 5 kW) while 'poc' returns from an island" in second["message"]


def test_load_without_supply_for_hours_is_one_conflict_a_run() -> None:
    p_kw = [12.0] * 4 + [0.0] * 2 + [12.0, 4.0]
    document = problem_of([load(p_kw)], steps=8, resolution="PT15M", island=True)
    answer = solve(document)
    assert len(answer["shortfalls"]) == 6
    first, second = answer["conflicts"]
    assert named(first) == (["base"], "unserved_load", 12.0, "kWh")
    assert (first["start"], first["end"]) == (at(0), at(1))
    assert first["relaxation_by_step"] == pytest.approx([3.0] * 4)
    assert (second["start"], second["end"]) == (at(1.5), at(2))
    assert second["relaxation_by_step"] == pytest.approx([3.0, 1.0])
    assert second["message"] == (
        "asset 'base': from 01:30Z to 02:00Z its load is short of 4 kWh (up to 12 kW) with what its island "
        "has. Lower p_kw, or allow the shortfall."
    )
    assert solve(applied(document, answer["conflicts"]))["shortfalls"] == []


COLD = {"capacity_kwh_per_k": 3.0, "loss_kw_per_k": 0.7, "outdoor_c": [-5.0, -5.0, 15.0, 15.0]}
"""Two hours in which 9 kW of heat are not enough for 19 °C."""
ROOM = COLD | {"temp_start_c": 19.0, "temp_min_c": 19.0, "temp_max_c": 23.0, "gains_kw": [0.0, 0.0, 8.0, 0.0]}


@pytest.mark.parametrize(
    ("asset", "limit", "by_step", "lacks"),
    [
        (
            flexible_load(p_max_kw=3.0, heat={"cop": 3.0}, room=ROOM),
            "comfort",
            [2.319, 4.155],
            "its room is outside its comfort band by 6.474 K·h (up to 4.155 K) ",
        ),
        (
            chp(p_min_kw=5.0, p_max_kw=10.0, heat_per_power=1.0, heat_demand_kw=[16.0, 13.0, 10.0, 0.0]),
            "heat_demand",
            [6.0, 3.0],
            "its heat demand is short of 9 kWh (up to 6 kW) ",
        ),
        (
            hydrogen_station(demand_kg=[5.0, 5.0, 0.0, 0.0]),
            "hydrogen_demand",
            [1.0, 3.0],
            "its hydrogen demand is short of 4 kg ",
        ),
        (swap_station(swaps=[4, 4, 0, 0]), "unmet_swap", [3.0, 3.0], "it is short of 6 swaps "),
    ],
)
def test_a_need_of_steps_is_told_from_its_first_to_its_last(
    asset: Document, limit: str, by_step: list[float], lacks: str
) -> None:
    document = problem_of([asset])
    answer = solve(document)
    (conflict,) = answer["conflicts"]
    assert (conflict["limit"], conflict["start"], conflict["end"]) == (limit, at(0), at(2))
    assert conflict["relaxation_by_step"] == pytest.approx(by_step, abs=1e-3)
    assert conflict["relaxation"] == pytest.approx(sum(conflict["relaxation_by_step"]))
    assert f": from 00:00Z to 02:00Z {lacks}whatever its connections could carry. " in conflict["message"]
    assert short_kwh(solve(applied(document, [conflict]))) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("asset", "limit", "window"),
    [
        (ev([session(1, 2.5, charge_min_kw=10.0, e_departure_min_kwh=59.0)], e_start_kwh=58.0),
         "departure_energy", (1, 2.5)),
        (ev([session(-1, 2, e_departure_min_kwh=60.0)]), "charge_max_kw", (0, 2)),
        (ev([session(2, 6, charge_max_kw=5.0, e_departure_min_kwh=38.0)]), "charge_max_kw", (2, 4)),
        (ev([], trips=[trip(-2, 0, 15.0)]), "energy_kwh", (0, 1)),
        (ev([], trips=[trip(1.5, 1.5, 15.0)]), "energy_kwh", (1, 2)),
        (flexible_load(energy_windows=[{"start": at(1), "end": at(3), "e_min_kwh": 50.0}], p_max_kw=5.0),
         "energy_window", (1, 3)),
        (shiftable_load([5.0, 5.0], at(-1), at(1)), "unserved_run", (0, 1)),
        (battery(e_min_kwh=10.0, e_start_kwh=10.0, charge_max_kw=4.0, self_discharge_per_hour=0.5),
         "e_min_kwh", (0, 4)),
    ],
)  # fmt: skip
def test_a_need_that_is_due_is_told_over_the_time_in_which_it_could_be_met(
    asset: Document, limit: str, window: tuple[float, float]
) -> None:
    document = problem_of([asset])
    (conflict,) = solve(document)["conflicts"]
    assert (conflict["limit"], conflict["start"], conflict["end"]) == (limit, *map(at, window))
    assert "relaxation_by_step" not in conflict
    eased = solve(applied(document, [conflict]))
    assert (eased["status"], eased["shortfalls"]) == ("optimal", [])


def test_what_an_island_lacks_after_the_horizon_is_said_to_be_after_it() -> None:
    island = {"island": True, "island_duration": "PT8H"}
    after, *_ = solve(problem_of([load([0.0, 3.0, 0.0, 5.0])], **island))["conflicts"]
    assert named(after) == (["base"], "unserved_load", 8.0, "kWh")
    assert (after["start"], after["end"]) == (at(0), at(4))
    assert "relaxation_by_step" not in after
    assert "after 04:00Z, while its island goes on, its load is short of 8 kWh" in after["message"]


def test_a_hard_limit_is_told_only_where_it_must_be_exceeded() -> None:
    """The battery carries over what it can; in the other hours the wider limit is of no use."""
    store = battery(e_start_kwh=0.0, e_end_min_kwh=20.0, charge_max_kw=20.0)
    document = problem_of([load([2.0, 30.0, 2.0, 2.0]), store], phase_import_limit_kw=4.0)
    (conflict,) = solve(document)["conflicts"]
    assert named(conflict) == (["b1", "base"], "phase_import_limit_kw", 8 / 3, "kW")
    assert (conflict["start"], conflict["end"]) == (at(1), at(2))
    assert solve(applied(document, [conflict]))["status"] == "optimal"
    assert solve(applied(document, [conflict], 0.99))["status"] == "infeasible"


def test_a_limit_in_the_way_twice_is_told_hour_by_hour() -> None:
    document = problem_of([renewable([9.0, 0.0, 7.0, 0.0], curtailable=False)], export_limit_kw=5.0)
    (conflict,) = solve(document)["conflicts"]
    assert (conflict["start"], conflict["end"]) == (at(0), at(3))
    assert conflict["relaxation_by_step"] == pytest.approx([4.0, 0.0, 2.0])
    assert "from 00:00Z to 03:00Z 'pv' must exceed export_limit_kw by up to 4 kW" in conflict["message"]


def test_no_shortfall_no_conflict() -> None:
    answer = solve(problem_of([load(5.0), renewable(3.0), ev([session(0, 4, e_departure_min_kwh=20.0)])]))
    assert answer["conflicts"] == []


@settings(max_examples=50, deadline=None)
@given(document=problems(("load", "renewable", "battery", "ev")))
def test_applying_the_relaxations_leaves_no_conflict(document: Document) -> None:
    check_relaxations(document)


@settings(max_examples=40, deadline=None)
@given(document=problems(tuple(ASSET_TYPES)))
def test_applying_the_relaxations_of_any_asset_leaves_no_conflict(document: Document) -> None:
    check_relaxations(document)


RULED = ("phases", "signals", "offers", "islands")


@pytest.mark.parametrize("seed", range(24))
def test_applying_the_relaxations_under_any_rule_leaves_no_conflict(seed: int) -> None:
    random = Random(f"conflicts {seed}")
    document = random_problem(random, tuple(ASSET_TYPES))
    time = document["time"]
    place = Place(time["steps"], time["resolution"], tuple(c["id"] for c in document["connections"]))
    rule = RULED[seed % len(RULED)]
    importlib.import_module(f"tests.optimizer.milp.rules.{rule}").draw(random, document, place)
    check_relaxations(document)


def check_relaxations(document: Document) -> None:
    """Applied, what the answer names leaves a schedule without shortfall; a single one is the least."""
    answer = dispatch(DispatchProblem.from_document(document)).document()
    conflicts = answer["conflicts"]
    assert bool(conflicts) == (answer["status"] == "infeasible" or bool(answer["shortfalls"]))
    if not conflicts:
        return
    eased = dispatch(DispatchProblem.from_document(applied(document, conflicts))).document()
    if answer["status"] == "infeasible":
        assert eased["status"] != "infeasible"
    else:
        assert short_kwh(eased) == pytest.approx(0.0, abs=1e-4)
    if len(conflicts) == 1 and conflicts[0]["relaxation"] > 1e-2 and conflicts[0]["limit"] not in WHOLE:
        less = dispatch(DispatchProblem.from_document(applied(document, conflicts, 0.99))).document()
        assert less["status"] == "infeasible" or short_kwh(less) > 1e-6


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_where_a_stage_of_the_search_finds_nothing_what_is_named_still_helps(
    failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the solver's tolerances leave no solution of what an earlier stage found."""
    document = feeder([8.0, 8.0, 20.0, 8.0])
    minimise, stages = Stages.minimise, iter(range(1, 4))
    nothing = Solution("infeasible", None, None, np.inf, np.inf)

    def failing_once(self: Stages, cost: FloatArray, **how: Any) -> Solution:
        solution = minimise(self, cost, **how)
        return nothing if how.get("feasible") and next(stages) == failing else solution

    monkeypatch.setattr(Stages, "minimise", failing_once)
    answer = dispatch(DispatchProblem.from_document(document)).document()
    monkeypatch.undo()
    assert short_kwh(answer) == pytest.approx(4.0)
    assert (NOT_FOUND in answer["notices"]) == (failing == 1) == (answer["conflicts"] == [])
    assert (NOT_LEAST in answer["notices"]) == (failing == 2)
    if answer["conflicts"]:
        assert short_kwh(solve(applied(document, answer["conflicts"]))) == pytest.approx(0.0, abs=1e-5)


def test_integers_at_the_tolerance_of_the_solver_still_have_an_answer() -> None:
    """Held to what an earlier stage found, presolve calls this infeasible."""
    station = hydrogen_station(
        id="h2",
        electrolyser={"p_min_kw": 10.0, "p_max_kw": 20.0, "kwh_per_kg": 50.0},
        fuel_cell={"p_min_kw": 6.0, "p_max_kw": 12.0, "kwh_per_kg": 16.0, "start_cost": 0.3},
        tank={"start_kg": 0.2, "max_kg": 1.0, "end_min_kg": 0.4},
        demand_kg=0.1,
        connection="hub",
    )
    car = ev(
        [
            session(-0.125, 0.5, discharge_max_kw=8.0, e_departure_min_kwh=30.0),
            session(0.875, 1.0, e_departure_min_kwh=15.0),
        ],
        connection="feeder",
        e_max_kwh=30.0,
        charge_efficiency=0.8,
        v2g_reserve_kwh=12.0,
        trips=[trip(0.5, 0.875, 9.0), trip(1.0, 1.25, 1.0)],
    )
    connections = [
        {"id": "poc", "import_price_per_mwh": [114.0, -43.0], "import_limit_kw": [23.0, 37.0]},
        {"id": "hub", "parent": "poc", "import_limit_kw": 10.000001, "export_limit_kw": 10.0},
        {"id": "feeder", "parent": "poc", "export_limit_kw": 0.0},
    ]
    document = problem_of([car, station], steps=2, resolution="PT30M", connections=connections)
    answer = solve(document)
    assert {conflict["limit"] for conflict in answer["conflicts"]} == {"charge_max_kw", "import_limit_kw"}
    assert short_kwh(solve(applied(document, answer["conflicts"]))) == pytest.approx(0.0, abs=1e-5)
