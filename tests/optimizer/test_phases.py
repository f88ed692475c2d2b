"""Phases and unbalance: limits hold on every phase, and the answer says whether anybody asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from optimizer import DispatchProblem, uncontrolled
from tests.optimizer.builders import Document, at, battery, ev, load, problem_of, renewable, session, solve
from tests.optimizer.test_problem import faults


def charging(name: str, phases: str, need_kwh: float, **more: Any) -> Document:
    return ev([session(0, 2, e_departure_min_kwh=10.0 + need_kwh)], name, phases=phases, **more)


def test_single_phase_evs_wait_for_each_other() -> None:
    """In the cheap hour L1 alone draws 4.6 kW; with as much on L2 and L3 it draws all it wants."""
    prices = {"import_price_per_mwh": [10.0, 100.0], "unbalance_limit_kw": 4.6, "steps": 2}
    alone = solve(problem_of([charging("a", "L1", 9.0)], **prices))
    assert alone["assets"]["a"]["p_kw"] == pytest.approx([4.6, 4.4])
    assert alone["phase_unbalance"] == {
        "checked": True,
        "largest_kw": pytest.approx(4.6),
        "connection": "poc",
        "at": at(0),
    }
    others = [charging(name, phase, 9.0) for name, phase in (("b", "L2"), ("c", "L3"))]
    together = solve(problem_of([charging("a", "L1", 9.0), *others], **prices))
    assert together["assets"]["a"]["p_kw"] == pytest.approx([9.0, 0.0])
    assert together["phase_unbalance"]["largest_kw"] == pytest.approx(0.0, abs=1e-6)


def test_a_phase_limit_counts_what_children_and_three_phase_assets_draw() -> None:
    connections: Any = [
        {"id": "poc", "import_price_per_mwh": [10.0, 100.0], "phase_import_limit_kw": [8.0, 20.0]},
        {"id": "hub", "parent": "poc"},
    ]
    assets = [load(9.0), charging("a", "L1", 9.0, connection="hub")]
    answer = solve(problem_of(assets, steps=2, connections=connections))
    assert answer["assets"]["a"]["p_kw"] == pytest.approx([5.0, 4.0])
    # nobody limits the unbalance: it is told all the same
    assert answer["phase_unbalance"]["checked"] is False
    assert answer["phase_unbalance"]["largest_kw"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("asset", "more", "limit", "relaxation"),
    [
        (load(9.0, phases="L2"), {"phase_import_limit_kw": 7.0}, "phase_import_limit_kw", 2.0),
        (load(9.0, phases="L2"), {"unbalance_limit_kw": 4.6}, "unbalance_limit_kw", 4.4),
        (
            renewable(9.0, name="base", phases="L3", curtailable=False),
            {"unbalance_limit_kw": 4.6},
            "unbalance_limit_kw",
            4.4,
        ),
    ],
)
def test_a_limit_that_inflexible_power_breaks_is_a_conflict(
    asset: Document, more: Document, limit: str, relaxation: float
) -> None:
    answer = solve(problem_of([asset, battery(phases="L1", charge_max_kw=0.0)], steps=1, **more))
    (conflict,) = answer["conflicts"]
    assert (conflict["limit"], conflict["unit"]) == (limit, "kW")
    assert conflict["relaxation"] == pytest.approx(relaxation)
    assert "base" in conflict["assets"]
    relaxed = {key: value + conflict["relaxation"] for key, value in more.items()}
    assert solve(problem_of([asset], steps=1, **relaxed))["status"] == "optimal"


@settings(max_examples=40)
@given(
    phases=st.lists(st.sampled_from(["L1", "L2", "L3", "L123"]), min_size=1, max_size=5),
    needs=st.lists(st.integers(1, 15).map(float), min_size=5, max_size=5),
    prices=st.lists(st.integers(-20, 90).map(float), min_size=3, max_size=3),
    unbalance=st.sampled_from([0.5, 3.0, 4.6]),
    most=st.sampled_from([4.0, 9.0, 30.0]),
)
def test_same_optimum_as_a_linear_program_per_phase(
    phases: list[str], needs: list[float], prices: list[float], unbalance: float, most: float
) -> None:
    """EVs that may charge but need not, at prices of which some are negative: an LP over their powers."""
    assets = [
        ev([session(0, 3, charge_max_kw=7.0)], f"ev{k}", phases=on, e_max_kwh=10.0 + needs[k])
        for k, on in enumerate(phases)
    ]
    answer = solve(
        problem_of(
            assets,
            steps=3,
            import_price_per_mwh=prices,
            export_price_per_mwh=-100.0,
            unbalance_limit_kw=unbalance,
            phase_import_limit_kw=most,
        )
    )
    share = np.array(
        [[1 / 3 if on == "L123" else float(on == phase) for on in phases] for phase in ("L1", "L2", "L3")]
    )
    rows = np.vstack([share, *(share[[a]] - share[[b]] for a in range(3) for b in range(3) if a != b)])
    limits = np.array([most] * 3 + [unbalance] * 6)
    energy = np.kron(np.eye(len(phases)), np.ones((1, 3)))
    every = np.vstack([np.kron(rows, np.eye(3)), energy])
    found = linprog(
        np.tile(prices, len(phases)) / 1e3,
        A_ub=every,
        b_ub=np.concatenate([np.repeat(limits, 3), needs[: len(phases)]]),
        bounds=(0.0, 7.0),
    )
    assert answer["objective"]["total"] == pytest.approx(found.fun, abs=1e-6)


def test_assets_on_one_phase_change_nothing_where_nobody_limits_phases() -> None:
    plain, single = (
        solve(problem_of([load(3.0), battery(e_start_kwh=8.0, phases=phases)])) for phases in ("L123", "L2")
    )
    assert plain["assets"] == single["assets"]


def test_a_grid_is_said_to_be_checked_balanced_only() -> None:
    problem = DispatchProblem.from_document(problem_of([load(1.0)], network={"grid": "x"}, bus=0))
    assert any("phase unbalance in the grid itself is not checked" in notice for notice in problem.notices)


def test_an_unchecked_rule_tells_the_limits_it_breaks() -> None:
    document = problem_of([charging("a", "L1", 9.0)], steps=2, unbalance_limit_kw=4.6)
    schedule = uncontrolled(DispatchProblem.from_document(document))
    assert any("4.4 kW above its unbalance_limit_kw, in 1 steps" in notice for notice in schedule.notices)


def test_wrong_phases_are_refused() -> None:
    found = faults(problem_of([load(1.0, phases="L4")], unbalance_limit_kw=-1.0, phase_import_limit_kw=[1.0]))
    assert found.keys() == {
        "assets[0].phases",
        "connections[0].unbalance_limit_kw",
        "connections[0].phase_import_limit_kw",
    }
