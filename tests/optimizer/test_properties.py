"""What must hold for every problem; the checker of `builders` runs on each answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.time import TimeGrid, parse_duration
from optimizer import DispatchProblem, dispatch
from optimizer.assets.ev import ElectricVehicle
from optimizer.assets.fleet import STATED
from optimizer.assets.vehicle import FleetStays, numbers
from tests.optimizer.builders import START, Document, battery, ev, load, problem_of, session, solve
from tests.optimizer.milp.random_problem import problems

sessions = st.builds(
    lambda arrival, length, more: session(arrival / 60, (arrival + length) / 60, **more),
    st.integers(-120, 600),
    st.integers(0, 500),
    st.fixed_dictionaries(
        {"v2g_consent": st.booleans(), "discharge_max_kw": st.sampled_from([0.0, 7.0])},
        optional={"e_departure_min_kwh": st.integers(0, 60), "priority": st.sampled_from([0.5, 3.0])},
    ),
)
TIMINGS = {"build_seconds", "solve_seconds"}


def timeless(document: Document) -> str:
    answer = dispatch(DispatchProblem.from_document(document)).document()
    return json.dumps({key: value for key, value in answer.items() if key not in TIMINGS})


@settings(max_examples=30)
@given(document=problems(), random=st.randoms(use_true_random=False))
def test_the_order_of_assets_changes_no_byte(document: Document, random: Any) -> None:
    shuffled = {**document, "assets": random.sample(document["assets"], len(document["assets"]))}
    assert timeless(document) == timeless(shuffled)


@settings(max_examples=40)
@given(
    document=problems(("load", "renewable", "battery")),
    key=st.sampled_from(["import_limit_kw", "export_limit_kw"]),
    share=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_a_tighter_limit_is_never_cheaper(document: Document, key: str, share: float) -> None:
    """In total including shortfall, where unserved energy is dearer than any other."""
    document["objective"]["unserved_energy_price_per_kwh"] = 1e3
    tight = {**document, "connections": [{**document["connections"][0]}, *document["connections"][1:]]}
    limit = document["connections"][0].get(key, 100.0)
    tight["connections"][0][key] = (np.array(limit) * share).tolist()
    loose, bound = solve(document), solve(tight)
    if loose["status"] == "infeasible":
        assert bound["status"] == "infeasible"
    elif bound["status"] != "infeasible":
        assert bound["objective"]["total"] >= loose["objective"]["total"] - 1e-4


@given(
    fleet=st.lists(st.tuples(st.lists(sessions, max_size=3), st.booleans()), max_size=4),
    resolution=st.sampled_from(["PT1H", "PT7M"]),
)
def test_the_stays_of_a_fleet_are_those_of_its_evs(
    fleet: list[tuple[list[Document], bool]], resolution: str
) -> None:
    assets = [ev(stated, f"ev{k}", v2g_consent=consent) for k, (stated, consent) in enumerate(fleet)]
    time = TimeGrid(START, parse_duration(resolution), 8)
    evs = [ElectricVehicle.model_validate(asset) for asset in assets]
    every = [(number, stay) for number, one in enumerate(evs) for stay in one.stays(time)]
    found = FleetStays(evs, dict(zip(STATED, numbers(evs, *STATED), strict=True)), time)
    assert list(zip(found.ev, found.sessions, strict=True)) == [(n, stay.session) for n, stay in every]
    for name in ("begin", "end", "first", "last"):
        assert getattr(found, name).tolist() == [getattr(stay, name) for _, stay in every]
    assert found.need.tolist() == [stay.need_kwh for _, stay in every]
    assert found.priority.tolist() == [evs[n].priority_of(stay.session) for n, stay in every]
    assert found.discharge_max.tolist() == [evs[n].discharge_max_kw(stay.session) for n, stay in every]


@settings(max_examples=30)
@given(
    price=st.integers(1, 300).map(float),
    carbon=st.integers(0, 900).map(float),
    demand=st.lists(st.integers(0, 20).map(float), min_size=6, max_size=6),
    losses=st.booleans(),
)
def test_flat_prices_give_no_cycling(price: float, carbon: float, demand: list[float], losses: bool) -> None:
    cost = {"charge_efficiency": 0.95, "discharge_efficiency": 0.95} if losses else {"wear_cost_per_mwh": 1.0}
    assets = [
        load(demand),
        battery(e_start_kwh=10.0, e_end_min_kwh=10.0, **cost),
        ev([session(1, 5, discharge_max_kw=10.0, e_departure_min_kwh=10.0)], **cost),
    ]
    answer = solve(
        problem_of(
            assets,
            steps=6,
            import_price_per_mwh=price,
            export_price_per_mwh=price - 0.5,
            carbon_g_per_kwh=carbon,
            objective={"carbon_price_per_t": 50.0},
        )
    )
    for name in ("b1", "ev1"):
        assert max(map(abs, answer["assets"][name]["p_kw"])) < 1e-6
