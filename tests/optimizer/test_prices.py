"""Prices by part: they add up, and a kW more costs what they say."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from energy.domain.network import ElementId, FloatArray, GridLimits, Losses, Quantity, Terminal
from energy.domain.schedule import PRICE_PARTS, Schedule
from optimizer import Dispatcher, DispatchProblem
from tests.optimizer.builders import Document, battery, ev, load, problem_of, renewable, session
from tests.optimizer.milp.formulation import HOURS
from tests.optimizer.milp.random_problem import problems

STEP_KW = 1e-3


def added_up(price: Any) -> None:
    assert np.allclose(np.sum([price[part] for part in PRICE_PARTS], axis=0), price["total"], atol=1e-6)


def total(document: Document) -> float | None:
    """The cost of a problem; None where it is infeasible or leaves a shortfall."""
    schedule = unexplained(document)
    return None if short(schedule) else schedule.objective["total"]


def unexplained(document: Document) -> Schedule:
    return Dispatcher(DispatchProblem.from_document(document)).solve(explain=False)


def short(schedule: Schedule) -> bool:
    return schedule.status == "infeasible" or bool(schedule.shortfalls)


@settings(max_examples=50, deadline=None)
@given(document=problems(("load", "renewable", "battery", "ev")), data=st.data())
def test_a_kw_more_at_a_connection_costs_its_price(document: Document, data: st.DataObject) -> None:
    """Where the cost has one derivative: from the left and from the right alike."""
    document["connections"].append({"id": "yard", "parent": "poc", "import_limit_kw": 8.0})
    document["assets"].append(battery("b9", connection="yard", e_start_kwh=5.0))
    steps, key = document["time"]["steps"], data.draw(st.sampled_from(["poc", "yard"]))
    step = data.draw(st.integers(0, steps - 1))
    answer = unexplained(document)
    assume(not short(answer))
    for connection in answer.connections.values():
        added_up(connection.price_per_mwh)
    # with integers fixed, as prices of a mixed-integer problem are, a difference says something else
    assume(not any("integers fixed" in notice for notice in answer.notices))

    def moved(kw: float) -> float | None:
        p_kw = [kw * (k == step) for k in range(steps)]
        more = load(p_kw, "more", connection=key)
        return total({**document, "assets": [*document["assets"], more]})

    above, below = moved(STEP_KW), moved(-STEP_KW)
    assume(above is not None and below is not None)
    assert above is not None
    assert below is not None
    now = answer.objective["total"]
    per_mw = 1e3 / STEP_KW / HOURS[document["time"]["resolution"]]
    right, left = (per_mw * (above - now), per_mw * (now - below))
    assume(abs(right - left) < 1e-2)
    price = answer.connections[key].price_per_mwh["total"][step]
    assert price == pytest.approx(right, abs=2e-2)


def grid(constant_mw: FloatArray, *, buses: tuple[int, ...] = (3, 5), steps: int = 4) -> GridLimits:
    """A line to bus 3 that carries 9 kW, bus 5 behind it with a least voltage that 6 kW reach, and losses.

    `constant_mw` is what is drawn at the buses beside the terminals, shape (steps, buses).
    """
    terminals = tuple(Terminal(bus) for bus in buses)
    kinds: tuple[Quantity, ...] = ("loading_percent", "vm_pu")
    rows = [(t, kind) for t in range(steps) for kind in kinds]
    per_mw = {
        "loading_percent": np.array([100.0, 100.0]) / 0.009,
        "vm_pu": np.array([-2.0, -10.0]),
    }
    coefficients = np.array([per_mw[kind] for _, kind in rows])
    base = {"loading_percent": 0.0, "vm_pu": 1.0}
    constant = np.array([base[kind] + per_mw[kind] @ constant_mw[t] for t, kind in rows])
    losses = np.array([0.02, 0.06])
    return GridLimits(
        terminals,
        np.array([t for t, _ in rows]),
        tuple(ElementId("line" if kind == "loading_percent" else "bus", 5) for _, kind in rows),
        tuple(kind for _, kind in rows),
        coefficients,
        constant,
        np.array([-100.0 if kind == "loading_percent" else 0.94 for _, kind in rows]),
        np.array([100.0 if kind == "loading_percent" else 1.06 for _, kind in rows]),
        Losses.linear(np.arange(steps), constant_mw @ losses, np.tile(losses, (steps, 1))),
    )


def on_grid(prices: list[float], needs: tuple[float, float], more: FloatArray) -> tuple[Schedule, float]:
    """Two EVs behind the line and the voltage limit, and `more` kW of load at their buses, (steps, 2)."""
    assets = [
        ev([session(0, 4, e_departure_min_kwh=10.0 + need)], f"ev{bus}", bus=bus)
        for bus, need in zip((3, 5), needs, strict=True)
    ]
    assets += [load(more[:, k].tolist(), f"load{bus}", bus=bus) for k, bus in enumerate((3, 5))]
    document = problem_of(
        assets,
        network={"grid": "x"},
        import_price_per_mwh=prices,
        export_price_per_mwh=0.0,
        carbon_g_per_kwh=300.0,
        objective={"carbon_price_per_t": 50.0},
    )
    dispatcher = Dispatcher(DispatchProblem.from_document(document))
    dispatcher.add(grid(more / 1000))
    schedule = dispatcher.solve()
    return schedule, schedule.objective["total"]


@settings(max_examples=40, deadline=None)
@given(
    prices=st.lists(st.integers(5, 150).map(float), min_size=4, max_size=4, unique=True),
    needs=st.tuples(st.floats(1.0, 14.0), st.floats(1.0, 14.0)),
    bus=st.integers(0, 1),
    step=st.integers(0, 3),
)
def test_a_kw_more_at_a_bus_costs_its_price(
    prices: list[float], needs: tuple[float, float], bus: int, step: int
) -> None:
    none = np.zeros((4, 2))
    schedule, now = on_grid(prices, needs, none)
    assume(not schedule.shortfalls)
    added_up(schedule.buses[3])
    added_up(schedule.buses[5])
    change = none.copy()
    change[step, bus] = STEP_KW
    (above, cost_above), (below, cost_below) = on_grid(prices, needs, change), on_grid(prices, needs, -change)
    assume(not above.shortfalls and not below.shortfalls)
    right, left = 1e3 * (cost_above - now) / STEP_KW, 1e3 * (now - cost_below) / STEP_KW
    assume(abs(right - left) < 1e-2)
    price = schedule.buses[(3, 5)[bus]]
    assert price["total"][step] == pytest.approx(right, abs=2e-2)
    assert price["carbon"][step] == pytest.approx(15.0 if schedule.connections["poc"].import_kw[step] else 0)


def test_the_parts_of_a_bus_price_by_hand() -> None:
    """14 kWh behind the line of 9 kW: the cheap hour is full, the next one sets the price."""
    schedule, _ = on_grid([10.0, 40.0, 90.0, 91.0], (14.0, 0.0), np.zeros((4, 2)))
    assert schedule.assets["ev3"].p_kw == pytest.approx([9.0, 5.0, 0.0, 0.0])
    near = schedule.buses[3]
    # 2 % losses on energy and carbon
    assert near["energy"][:2] == pytest.approx([10.0, 40.0])
    assert near["carbon"][:2] == pytest.approx([15.0, 15.0])
    assert near["losses"][:2] == pytest.approx([0.02 * 25.0, 0.02 * 55.0])
    assert near["congestion"] == pytest.approx([1.02 * 30.0, 0.0, 0.0, 0.0])
    assert near["voltage"] == pytest.approx(np.zeros(4))
    far = schedule.buses[5]
    assert far["losses"][:2] == pytest.approx([0.06 * 25.0, 0.06 * 55.0])
    assert far["congestion"] == pytest.approx(near["congestion"])


def test_a_voltage_limit_has_a_price_where_it_binds() -> None:
    schedule, _ = on_grid([10.0, 40.0, 90.0, 91.0], (0.0, 8.0), np.zeros((4, 2)))
    assert schedule.assets["ev5"].p_kw == pytest.approx([6.0, 2.0, 0.0, 0.0])
    far, near = schedule.buses[5], schedule.buses[3]
    assert far["voltage"] == pytest.approx([1.06 * 30.0, 0.0, 0.0, 0.0])
    # a kW at bus 3 lowers the voltage at bus 5 by a fifth of what a kW there does
    assert near["voltage"] == pytest.approx([1.06 * 30.0 / 5, 0.0, 0.0, 0.0])


def test_a_limit_that_is_broken_anyway_makes_scarcity_not_congestion() -> None:
    schedule, _ = on_grid([10.0, 40.0, 90.0, 91.0], (0.0, 0.0), np.array([[12.0, 0.0]] + [[0.0, 0.0]] * 3))
    assert schedule.buses[3]["congestion"] == pytest.approx(np.zeros(4))
    assert schedule.buses[3]["scarcity"][0] > 100.0


def test_a_child_connection_with_a_bus_has_the_parts_of_its_grid() -> None:
    document = problem_of(
        [ev([session(0, 4, e_departure_min_kwh=24.0)], connection="hub")],
        network={"grid": "x"},
        connections=[
            {"id": "poc", "import_price_per_mwh": [10.0, 40.0, 90.0, 91.0]},
            {"id": "hub", "parent": "poc", "bus": 3},
        ],
    )
    problem = DispatchProblem.from_document(document).resolve_buses(int)
    dispatcher = Dispatcher(problem)
    dispatcher.add(replace(grid(np.zeros((4, 2)))))
    hub, root = (dispatcher.solve().connections[key].price_per_mwh for key in ("hub", "poc"))
    added_up(hub)
    assert hub["congestion"][0] == pytest.approx(1.02 * 30.0)
    assert root["congestion"] == pytest.approx(np.zeros(4))


def test_bus_prices_are_left_out_where_they_are_not_wanted() -> None:
    document = problem_of([renewable(4.0, bus=3), load(1.0, bus=4)], network={"grid": "x"})
    wanted = DispatchProblem.from_document(document)
    assert wanted.terminals == (Terminal(3), Terminal(4, flexible=False))
    unwanted = DispatchProblem.from_document({**copy.deepcopy(document), "options": {"bus_prices": False}})
    assert unwanted.terminals == (Terminal(3),)
