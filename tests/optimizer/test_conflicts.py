"""Conflicts: in closed form, of shared limits, and that applying them helps, and nothing less does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import assume, given, settings

from optimizer import DispatchProblem, dispatch
from optimizer.dispatcher import Dispatcher
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
from tests.optimizer.milp.random_problem import problems


def applied(document: Document, conflicts: list[Document], share: float = 1.0) -> Document:
    """The problem with every named limit eased by `share` of its relaxation, and a little for rounding."""
    eased = copy.deepcopy(document)
    of = {asset["id"]: asset for asset in eased["assets"]}
    for conflict in conflicts:
        amount, name = share * conflict["relaxation"], conflict["limit"]
        if share == 1.0:
            amount += 1e-6
        if name in ("import_limit_kw", "export_limit_kw"):
            (target,) = (c for c in eased["connections"] if c["id"] == conflict["connection"])
            limit = target[name]
            target[name] = [value + amount for value in limit] if isinstance(limit, list) else limit + amount
            continue
        asset = of[conflict["assets"][0]]
        if name == "charge_max_kw":
            stays = (s for s in asset["sessions"] if s["arrival"] == conflict["start"])
            for stay in stays:
                stay["charge_max_kw"] += amount
        elif name == "energy_kwh":
            for drive in asset["trips"]:
                if drive["arrival"] == conflict["end"]:
                    drive["energy_kwh"] = max(0.0, drive["energy_kwh"] - amount)
        elif name in ("e_end_min_kwh", "e_min_kwh"):
            asset[name] = max(0.0, asset[name] - amount)
        else:
            raise AssertionError(name)
    return eased


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
    (conflict,) = answer["conflicts"]
    assert named(conflict) == (["b1"], "import_limit_kw", 3.0 + 3.0, "kW") or named(conflict) == (
        ["b1"],
        "e_end_min_kwh",
        4.0,
        "kWh",
    )
    assert solve(applied(document, [conflict]))["status"] == "optimal"
    assert solve(applied(document, [conflict], 0.99))["status"] == "infeasible"


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


def test_no_shortfall_no_conflict() -> None:
    answer = solve(problem_of([load(5.0), renewable(3.0), ev([session(0, 4, e_departure_min_kwh=20.0)])]))
    assert answer["conflicts"] == []


@settings(max_examples=150, deadline=None)
@given(document=problems(("load", "renewable", "battery", "ev")))
def test_applying_the_relaxations_leaves_no_conflict(document: Document) -> None:
    answer = dispatch(DispatchProblem.from_document(document)).document()
    assert bool(answer["conflicts"]) == (answer["status"] == "infeasible" or bool(answer["shortfalls"]))
    assume(answer["conflicts"])
    eased = solve(applied(document, answer["conflicts"]))
    if answer["status"] == "infeasible":
        assert eased["status"] != "infeasible"
    else:
        assert short_kwh(eased) == pytest.approx(0.0, abs=1e-4)
    if len(answer["conflicts"]) == 1 and answer["conflicts"][0]["relaxation"] > 1e-2:
        less = solve(applied(document, answer["conflicts"], 0.99))
        assert less["status"] == "infeasible" or short_kwh(less) > 1e-6
