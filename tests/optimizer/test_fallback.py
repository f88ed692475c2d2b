"""The safe rule: it needs no solver, respects every limit it can, and says what it could not."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from optimizer.fallback import RULE, fallback
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
from tests.optimizer.milp.random_problem import Place, random_problem
from tests.optimizer.milp.rules import islands, phases, signals

STEPS = 8


def safe(document: Document, **shares: Any) -> Document:
    """The answer of the rule, checked against the problem."""
    answer = fallback(DispatchProblem.from_document(document), **shares).document()
    check_answer(document, answer)
    assert answer["status"] == "fallback"
    assert answer["best_bound"] is None
    assert answer["gap"] is None
    assert any(RULE in notice for notice in answer["notices"])
    return answer


def test_an_ev_charges_at_once_until_its_need_and_storage_is_idle() -> None:
    vehicle = ev([session(1, 6, discharge_max_kw=10.0, e_departure_min_kwh=35.0)])
    answer = safe(problem_of([vehicle, battery(e_start_kwh=5.0)], steps=8))
    assert answer["assets"]["ev1"]["p_kw"] == [0, 10, 10, 5, 0, 0, 0, 0]
    assert answer["assets"]["b1"]["p_kw"] == [0] * 8
    assert answer["shortfalls"] == []


def test_the_one_that_leaves_first_charges_first() -> None:
    late = ev([session(0, 6, e_departure_min_kwh=30.0)], "a_late")
    early = ev([session(0, 2, e_departure_min_kwh=30.0)], "b_early")
    answer = safe(problem_of([late, early, load(2.0)], steps=6, import_limit_kw=12.0))
    assert answer["assets"]["b_early"]["p_kw"] == [10, 10, 0, 0, 0, 0]
    assert answer["assets"]["a_late"]["p_kw"] == [0, 0, 10, 10, 0, 0]
    first = ev([session(0, 6, e_departure_min_kwh=30.0)], "a_late", priority=2.0)
    answer = safe(problem_of([first, early, load(2.0)], steps=6, import_limit_kw=12.0))
    assert answer["assets"]["a_late"]["p_kw"] == [10, 10, 0, 0, 0, 0]
    assert [(s["asset"], s["amount_kwh"]) for s in answer["shortfalls"]] == [("b_early", 20.0)]


def test_a_power_between_nothing_and_the_least_is_not_granted() -> None:
    vehicles = [ev([session(0, 4, charge_min_kw=6.0, e_departure_min_kwh=30.0)], name) for name in "ab"]
    answer = safe(problem_of(vehicles, steps=4, import_limit_kw=13.0))
    assert answer["assets"]["a"]["p_kw"] == [10, 10, 0, 0]
    assert answer["assets"]["b"]["p_kw"] == [0, 0, 10, 10]


def test_a_battery_charges_only_for_its_last_energy() -> None:
    answer = safe(problem_of([battery(e_end_min_kwh=15.0)], steps=4))
    assert answer["assets"]["b1"]["p_kw"] == [10, 5, 0, 0]
    too_late = problem_of([battery(e_end_min_kwh=20.0, charge_max_kw=2.0)], steps=4)
    notices = fallback(DispatchProblem.from_document(too_late)).notices
    assert any("'b1' falls to 8 kWh, below its e_end_min_kwh of 20" in notice for notice in notices)


def test_generation_is_curtailed_and_load_is_shed_only_where_a_limit_asks_for_it() -> None:
    connections = [
        {"id": "poc", "import_limit_kw": 8.0},
        {"id": "roof", "parent": "poc", "export_limit_kw": 4.0},
    ]
    assets = [
        renewable([6.0, 6.0, 0.0, 0.0], connection="roof"),
        load([0.0, 1.0, 10.0, 20.0], shed_limit_fraction=0.25, shed_price_per_mwh=500.0),
    ]
    answer = safe(problem_of(assets, connections=connections))
    assert answer["assets"]["pv"]["curtailed_kw"] == [2, 2, 0, 0]
    assert answer["assets"]["base"]["shed_kw"] == [0, 0, 2, 5]
    assert [(s["kind"], s["at"], s["amount_kwh"]) for s in answer["shortfalls"]] == [
        ("import_limit", at(3), 7.0)
    ]


def test_an_export_that_cannot_be_curtailed_is_said() -> None:
    document = problem_of([renewable(6.0, curtailable=False)], export_limit_kw=4.0)
    notices = fallback(DispatchProblem.from_document(document)).notices
    assert any("'poc' exports up to 2 kW above its limit, in 4 steps" in notice for notice in notices)


def test_a_coming_drive_counts_as_a_need() -> None:
    vehicle = ev([session(0, 3, e_departure_min_kwh=12.0)], trips=[trip(3, 5, 25.0)])
    answer = safe(problem_of([vehicle], steps=6))
    assert sum(answer["assets"]["ev1"]["p_kw"]) == pytest.approx(15.0)
    assert answer["shortfalls"] == []


def test_shares_ask_for_less_where_a_grid_cannot_carry_it() -> None:
    assets = [ev([session(0, 4, e_departure_min_kwh=30.0)]), renewable(6.0)]
    assets.append(load(4.0, shed_limit_fraction=0.5, shed_price_per_mwh=100.0))
    half = np.array([0.5, 1.0, 1.0, 1.0])
    answer = safe(problem_of(assets), charging_share=half, feeding_share=half, shedding_share=1.0 - half)
    assert answer["assets"]["ev1"]["p_kw"] == [5, 10, 5, 0]
    assert answer["assets"]["pv"]["p_kw"] == [3, 6, 6, 6]
    assert answer["assets"]["base"]["p_kw"] == [3, 4, 4, 4]


def test_a_deadline_that_leaves_no_time_gives_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build alone takes longer than what is left."""
    problem = DispatchProblem.from_document(problem_of([load(1.0)], options={"deadline": "PT2S"}))
    ahead = iter(float(3 * call) for call in range(100))
    monkeypatch.setattr("optimizer.dispatcher.clock.monotonic", lambda: next(ahead))
    assert dispatch(problem).status == "fallback"


def test_a_deadline_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(problem_of([load(1.0)], options={"deadline": "PT1.5S"}))
    assert [fault.path for fault in refused.value.faults] == ["options.deadline"]


@st.composite
def sites(draw: st.DrawFn) -> Document:
    """Nested connections with limits; EVs, batteries, loads and generation below them."""
    power = st.integers(0, 30).map(float)
    series = st.lists(power, min_size=STEPS, max_size=STEPS)
    names = ["poc", "hub", "row"]
    limits = st.one_of(st.none(), power, series)
    connections = [
        {
            "id": name,
            "import_limit_kw": draw(limits),
            **({"parent": parent} if parent else {"import_price_per_mwh": 100.0}),
        }
        for name, parent in zip(names, [None, "poc", "hub"], strict=True)
    ]
    where = st.sampled_from(names)
    assets: list[Document] = [
        load(draw(series), connection=draw(where), shed_limit_fraction=0.5, shed_price_per_mwh=1e3),
        renewable(draw(series), connection=draw(where), marginal_cost_per_mwh=5.0),
        battery(
            connection=draw(where),
            charge_max_kw=20.0,
            charge_min_kw=draw(st.sampled_from([0.0, 3.0])),
            e_start_kwh=2.0,
            self_discharge_per_hour=draw(st.sampled_from([0.0, 0.01])),
        ),
    ]
    for number in range(draw(st.integers(1, 5))):
        arrival = draw(st.integers(0, 12)) / 4
        stay = draw(st.integers(1, 12)) / 4
        again = arrival + stay + draw(st.integers(0, 8)) / 4
        need = draw(st.one_of(st.none(), st.integers(10, 50).map(float)))
        least = draw(st.sampled_from([0.0, 4.0]))
        more = {"e_departure_min_kwh": need, "charge_min_kw": least, "discharge_max_kw": 5.0}
        more["priority"] = draw(st.sampled_from([None, 3.0]))
        assets.append(
            ev(
                [
                    session(arrival, arrival + stay, **more),
                    session(again + 1, again + 3, charge_min_kw=least),
                ],
                f"ev{number}",
                connection=draw(where),
                priority=draw(st.sampled_from([1.0, 2.0])),
                charge_efficiency=draw(st.sampled_from([1.0, 0.9])),
                trips=[trip(arrival + stay, again, draw(st.integers(0, 45).map(float)))],
            )
        )
    return problem_of(assets, steps=STEPS, connections=connections)


@settings(max_examples=80)
@given(document=sites(), export_limit=st.one_of(st.none(), st.integers(0, 20).map(float)))
def test_the_rule_respects_every_limit_it_can(document: Document, export_limit: float | None) -> None:
    """`safe` recomputes balances, energies, needs and limits; import overruns are inflexible load."""
    document["connections"][1]["export_limit_kw"] = export_limit
    answer = safe(document)
    shed, left = (answer["assets"]["base"][name] for name in ("shed_kw", "p_kw"))
    for shortfall in answer["shortfalls"]:
        if shortfall["kind"] != "import_limit":
            continue
        step = int(float(shortfall["at"][11:13]))
        below = {"poc": {"poc", "hub", "row"}, "hub": {"hub", "row"}, "row": {"row"}}[shortfall["connection"]]
        for asset in document["assets"]:
            if asset["connection"] in below and asset["type"] in ("ev", "battery"):
                assert answer["assets"][asset["id"]]["p_kw"][step] <= 1e-6
        if document["assets"][0]["connection"] in below:
            assert shed[step] == pytest.approx(left[step], abs=1e-6)


def test_a_signal_and_the_phases_leave_to_chargers_what_they_leave() -> None:
    """9 kW by the signal, then no phase 5 kW above another: 5 on L1, what is left on L2."""
    stay = [session(0, 2, e_departure_min_kwh=20.0)]
    cars = [ev(stay, f"ev{k}", phases=phase) for k, phase in enumerate(("L1", "L1", "L2"))]
    limit = {"start": at(0), "end": at(1), "limit_kw": 9.0}
    document = problem_of([*cars, load(3.0)], steps=3, unbalance_limit_kw=5.0, grid_signals=[limit])
    assets = safe(document)["assets"]
    assert [assets[f"ev{k}"]["p_kw"] for k in range(3)] == [[5, 5, 0], [0, 0, 0], [4, 5, 0]]


def test_what_one_phase_draws_makes_room_on_another() -> None:
    """One more kW on the others, one more on the first: each phase comes to 10."""
    stay = [session(0, 1, e_departure_min_kwh=20.0)]
    cars = [ev(stay, f"ev{k}", phases=phase) for k, phase in enumerate(("L1", "L2", "L3"))]
    assets = safe(problem_of(cars, steps=1, unbalance_limit_kw=5.0))["assets"]
    assert [assets[f"ev{k}"]["p_kw"] for k in range(3)] == [[10], [10], [10]]


def test_loads_are_shed_on_the_phase_that_is_too_full_alone() -> None:
    terms = {"shed_limit_fraction": 1.0, "shed_price_per_mwh": 1.0}
    loads = [load(9.0, "one", phases="L1", **terms), load(4.0, "two", phases="L2", **terms)]
    answer = safe(problem_of(loads, steps=2, phase_import_limit_kw=6.0))
    assert answer["assets"]["one"]["shed_kw"] == pytest.approx([3.0, 3.0])
    assert answer["assets"]["two"]["shed_kw"] == [0.0, 0.0]
    stuck = problem_of([load(9.0, phases="L1")], steps=2, phase_import_limit_kw=6.0)
    told = fallback(DispatchProblem.from_document(stuck)).notices
    assert any("3 kW above its phase_import_limit_kw" in notice for notice in told)


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_chargers_break_no_limit(seed: int) -> None:
    """On phases, under signals, in islands: where only they draw, everything is kept."""
    random = Random(seed)
    document = random_problem(random, ("ev", "battery"))
    connections = tuple(connection["id"] for connection in document["connections"])
    place = Place(document["time"]["steps"], document["time"]["resolution"], connections)
    for rule in random.sample([phases, signals, islands], 2):
        rule.draw(random, document, place)
    for asset in document["assets"]:
        # what a battery loses by itself it may not be able to win back
        asset |= {"e_min_kwh": 0.0, "e_end_min_kwh": None} if asset["type"] == "battery" else {}
    safe(document)
