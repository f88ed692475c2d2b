"""Linear grid limits and losses in the dispatcher, with grids small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from energy.domain.errors import SolverError
from energy.domain.network import ElementId, GridLimits, Losses, Terminal
from optimizer import Dispatcher, DispatchProblem, settle
from optimizer.solver import Solver
from tests.optimizer.builders import battery, ev, load, problem_of, renewable, session


def dispatcher_of(assets: list[Any], **more: Any) -> Dispatcher:
    document = problem_of([{**asset, "bus": 3} for asset in assets], network={"grid": "x"}, **more)
    return Dispatcher(DispatchProblem.from_document(document))


def limits(
    step: int, quantity: Any, coefficient: float, constant: float, lower: float, upper: float
) -> GridLimits:
    """One limit on the power drawn at bus 3."""
    some = np.array
    return GridLimits(
        (Terminal(3),),
        some([step]),
        (ElementId("line", 0),),
        (quantity,),
        some([[coefficient]]),
        some([constant]),
        some([lower]),
        some([upper]),
        Losses.none(1),
    )


def losses(step: int, coefficient: float, constant: float) -> GridLimits:
    """One linearisation of the losses over the power drawn at bus 3, MW."""
    linear = Losses.linear(np.array([step]), np.array([constant]), np.array([[coefficient]]))
    return replace(GridLimits.none([Terminal(3)]), losses=linear)


def test_a_loading_limit_moves_charging() -> None:
    dispatcher = dispatcher_of(
        [ev([session(0, 2, e_departure_min_kwh=22.0)])], steps=2, import_price_per_mwh=[10.0, 20.0]
    )
    assert dispatcher.solve().assets["ev1"].p_kw == pytest.approx([10.0, 2.0])
    # 100 % at 6 kW drawn
    dispatcher.add(limits(0, "loading_percent", 100.0 / 0.006, 0.0, -100.0, 100.0))
    schedule = dispatcher.solve()
    assert schedule.assets["ev1"].p_kw == pytest.approx([6.0, 6.0])
    assert dispatcher.grid_slack == ()


def test_a_need_that_the_grid_cannot_serve_is_explained_by_the_limit_in_its_way() -> None:
    dispatcher = dispatcher_of([ev([session(0, 2, e_departure_min_kwh=22.0)])], steps=2)
    for step in range(2):
        dispatcher.add(limits(step, "loading_percent", 100.0 / 0.004, 0.0, -100.0, 100.0))
    (conflict,) = dispatcher.solve().conflicts
    assert (conflict.limit, conflict.relaxation) == ("departure_energy", pytest.approx(4.0))
    assert "whatever its connections could carry, within the limits of the grid at line 0 (loading)" in (
        conflict.message
    )


def test_a_voltage_limit_curtails_what_injects() -> None:
    dispatcher = dispatcher_of([renewable(8.0)], steps=1)
    # 1.00 pu without power, 0.01 pu more per kW injected, of which no more than 0.05
    dispatcher.add(limits(0, "vm_pu", -10.0, 1.0, 0.9, 1.05))
    assert dispatcher.solve().assets["pv"].series["curtailed_kw"] == pytest.approx([3.0])


def test_limits_accumulate() -> None:
    dispatcher = dispatcher_of([renewable(8.0)], steps=1)
    for upper, injected in ((1.06, 6.0), (1.03, 3.0), (1.05, 3.0)):
        dispatcher.add(limits(0, "vm_pu", -10.0, 1.0, 0.9, upper))
        assert dispatcher.solve().assets["pv"].p_kw == pytest.approx([injected])


def test_limits_can_be_taken_back_and_moved_without_a_new_program() -> None:
    dispatcher = dispatcher_of([renewable(8.0)], steps=1)
    for upper in (1.03, 1.06):
        dispatcher.add(limits(0, "vm_pu", -10.0, 1.0, 0.9, upper))
    assert dispatcher.solve().assets["pv"].p_kw == pytest.approx([3.0])
    free = np.inf
    for upper, injected in (([free, 1.06], 6.0), ([free, free], 8.0), ([1.02, 1.06], 2.0)):
        dispatcher.rebound(np.full(2, 0.9), np.array(upper))
        schedule = dispatcher.solve()
        assert schedule.assets["pv"].p_kw == pytest.approx([injected])
        assert dispatcher.grid_slack == ()


def test_a_limit_beyond_reach_is_broken_as_little_as_possible_and_told() -> None:
    dispatcher = dispatcher_of([ev([session(0, 1)]), load(5.0)], steps=1)
    dispatcher.add(limits(0, "loading_percent", 1000.0, 130.0, -100.0, 100.0))
    schedule = dispatcher.solve()
    assert schedule.status == "optimal"
    (slack,) = dispatcher.grid_slack
    assert (slack.kind, slack.step) == ("loading_percent", 0)
    assert slack.amount == pytest.approx(30.0)
    assert any("loading_percent limits are broken in 1 steps" in notice for notice in schedule.notices)


def test_grid_limits_come_before_needs() -> None:
    dispatcher = dispatcher_of([ev([session(0, 1, e_departure_min_kwh=20.0)])], steps=1)
    dispatcher.add(limits(0, "loading_percent", 100.0 / 0.006, 0.0, -100.0, 100.0))
    schedule = dispatcher.solve()
    assert schedule.assets["ev1"].p_kw == pytest.approx([6.0])
    assert schedule.shortfalls[0].amount_kwh == pytest.approx(4.0)
    assert dispatcher.grid_slack == ()


def test_no_saving_breaks_a_grid_limit() -> None:
    """The last kWh of a need costs a hundred in the store, far more than limits are broken for."""
    store = battery(charge_efficiency=0.01, charge_max_kw=1000.0)
    dispatcher = dispatcher_of([ev([session(1, 2, e_departure_min_kwh=20.0)]), store], steps=2)
    dispatcher.add(limits(1, "loading_percent", 100.0 / 0.006, 0.0, -100.0, 100.0))
    schedule = dispatcher.solve()
    assert schedule.shortfalls == ()
    assert dispatcher.grid_slack == ()
    assert schedule.assets["b1"].p_kw == pytest.approx([400.0, -4.0])


def test_a_limit_that_yields_is_broken_for_needs_alone() -> None:
    dispatcher = dispatcher_of(
        [ev([session(0, 1, e_departure_min_kwh=14.0)])], steps=1, import_price_per_mwh=-50.0
    )
    for upper in (100.0, 101.0):
        dispatcher.add(limits(0, "loading_percent", 1000.0, 130.0, -100.0, upper))
    schedule = dispatcher.solve()
    assert schedule.assets["ev1"].p_kw == pytest.approx([0.0])
    assert schedule.shortfalls[0].amount_kwh == pytest.approx(4.0)
    dispatcher.let_yield(np.array([True, True]))
    schedule = dispatcher.solve()
    assert schedule.assets["ev1"].p_kw == pytest.approx([4.0])
    assert schedule.shortfalls == ()
    assert [slack.amount for slack in dispatcher.grid_slack] == [pytest.approx(34.0)]


def test_the_root_buys_the_losses() -> None:
    dispatcher = dispatcher_of([load(5.0), ev([session(0, 1, e_departure_min_kwh=16.0)])], steps=1)
    dispatcher.add(losses(0, 0.1, 0.0002))
    schedule = dispatcher.solve()
    assert schedule.connections["poc"].import_kw == pytest.approx([5.0 + 6.0 + 0.2 + 0.6])


@pytest.mark.parametrize("p_kw", [0.0, 5.0])
def test_losses_pass_a_meter_that_sells_dearer_than_it_buys(p_kw: float) -> None:
    dispatcher = dispatcher_of([load(p_kw)], steps=1, import_price_per_mwh=10.0)
    dispatcher.add(losses(0, 0.1, 0.003))
    schedule = dispatcher.solve()
    assert schedule.status == "optimal"
    assert schedule.connections["poc"].import_kw == pytest.approx([p_kw + 3.0])


def test_negative_prices_do_not_burn_energy_in_losses() -> None:
    dispatcher = dispatcher_of(
        [load(5.0), battery()], steps=1, import_price_per_mwh=-50.0, export_price_per_mwh=-60.0
    )
    dispatcher.add(losses(0, 0.1, 0.0002))
    assert dispatcher.solve().connections["poc"].import_kw == pytest.approx([5.0 + 10.0 + 0.2 + 1.0])
    # once a step holds its losses, the newest linearisation counts
    dispatcher.add(losses(0, 0.2, 0.0001))
    assert dispatcher.solve().connections["poc"].import_kw == pytest.approx([5.0 + 10.0 + 0.1 + 2.0])


def test_another_aim_keeps_limits_and_losses_but_not_what_prices_made_of_them() -> None:
    """Emissions, 1 kg per kWh imported, make energy dear that is paid for being drawn."""
    dispatcher = dispatcher_of(
        [load(5.0), battery()],
        steps=1,
        import_price_per_mwh=-50.0,
        export_price_per_mwh=-60.0,
        carbon_g_per_kwh=1000.0,
    )
    dispatcher.add(losses(0, 0.1, 0.0002))
    dispatcher.solve()
    dispatcher.add(losses(0, 0.2, 0.0001))
    drawing = dispatcher.solve()
    assert dispatcher.pursue(emissions_first=True).objective.carbon_price_per_t > 0
    # the larger of the two linearisations again
    assert dispatcher.solve().connections["poc"].import_kw == pytest.approx([5.0 + 0.2])
    dispatcher.pursue(most_kg=10.0)
    assert dispatcher.solve().connections["poc"].import_kw == pytest.approx([10.0])
    dispatcher.pursue(most_kg=5.0)
    assert dispatcher.solve().status == "infeasible"
    dispatcher.pursue()
    again = dispatcher.solve().connections["poc"]
    assert again.import_kw == pytest.approx(drawing.connections["poc"].import_kw)
    # no emissions are spared by breaking a limit, here one that asks for 5 kW
    dispatcher.add(limits(0, "loading_percent", 1000.0, 0.0, 5.0, 100.0))
    dispatcher.pursue(emissions_first=True)
    assert dispatcher.solve().connections["poc"].import_kw == pytest.approx([5.0 + 5.0 + 1.1])
    assert dispatcher.grid_slack == ()


def test_settling_keeps_controls_and_counts_what_ac_says() -> None:
    document = problem_of(
        [load([5.0, 9.0]), renewable(2.0)], steps=2, import_limit_kw=8.0, peak_import_price_per_kw=1.0
    )
    problem = DispatchProblem.from_document(document)
    schedule = Dispatcher(problem).solve()
    settled = settle(problem, schedule, np.array([3.5, 9.0]), np.zeros(2))
    assert settled.assets == schedule.assets
    assert settled.objective["energy"] == pytest.approx(1.25)
    assert settled.objective["peak"] == pytest.approx(9.0)
    assert [(s.kind, s.amount_kwh) for s in settled.shortfalls] == [("import_limit", pytest.approx(1.0))]


def test_a_misspelt_option_of_highs_is_an_error() -> None:
    problem = DispatchProblem.from_document(problem_of([load(1.0)]))
    solver = Dispatcher(problem)._stages.solver
    assert isinstance(solver, Solver)
    with pytest.raises(SolverError, match="time_limti"):
        solver._option("time_limti", 5.0)


@pytest.mark.parametrize("need_kwh", [24.0, 30.0, 39.0])
def test_a_pool_of_redundant_limits_gives_the_optimum_of_those_that_bind(need_kwh: float) -> None:
    """Forty looser copies of each limit change nothing; child connections with those limits are the
    reference, with the need in reach and out of reach."""
    steps, cap_kw = 6, {"c1": [4.0, 5.0, 2.0, 3.0, 1.0, 2.5], "c2": [2.0, 1.0, 6.0, 2.0, 4.0, 0.5]}
    evs = [
        ev([session(0, 6, e_departure_min_kwh=need_kwh)], f"ev{k}", connection=f"c{k}", bus=k) for k in (1, 2)
    ]

    def problem(**more: Any) -> DispatchProblem:
        children = [
            {"id": key, "parent": "poc", **({"import_limit_kw": cap} if "network" not in more else {})}
            for key, cap in cap_kw.items()
        ]
        root = {"id": "poc", "import_price_per_mwh": [50.0, 20.0, 80.0, 30.0, 70.0, 10.0]}
        return DispatchProblem.from_document(
            problem_of(evs, steps=steps, connections=[root, *children], **more)
        )

    loosened = 1.0 + np.random.default_rng(1).permutation(41) / 40
    rows = [(t, k, loose) for t in range(steps) for k in range(2) for loose in loosened]
    per_mw = np.zeros((len(rows), 2))
    for row, (t, k, _) in enumerate(rows):
        per_mw[row, k] = 100_000.0 / cap_kw[f"c{k + 1}"][t]
    pool = GridLimits(
        (Terminal(1), Terminal(2)),
        np.array([t for t, _, _ in rows]),
        tuple(ElementId("line", k) for _, k, _ in rows),
        ("loading_percent",) * len(rows),
        per_mw,
        np.zeros(len(rows)),
        np.full(len(rows), -np.inf),
        np.array([100.0 * loose for _, _, loose in rows]),
        Losses.none(2),
    )
    dispatcher = Dispatcher(problem(network={"grid": "x"}))
    dispatcher.solve()
    dispatcher.add(pool)
    for _ in range(2):  # and once more from the program that the first solve left
        schedule = dispatcher.solve()
        reference = Dispatcher(problem()).solve()
        assert dispatcher.grid_slack == ()
        assert schedule.objective == pytest.approx(reference.objective, abs=1e-6)
        short = sum(shortfall.amount_kwh for shortfall in schedule.shortfalls)
        assert short == pytest.approx(sum(s.amount_kwh for s in reference.shortfalls), abs=1e-6)
        for k in (1, 2):
            assert np.all(schedule.assets[f"ev{k}"].p_kw <= np.array(cap_kw[f"c{k}"]) + 1e-4)


@pytest.mark.parametrize("need_kwh", [12.0, 60.0])
def test_a_dispatcher_goes_over_to_other_data_on_a_grid_and_starts_from_its_basis(need_kwh: float) -> None:
    """With the need in reach, and out of reach, where rows that hold the shortfall were added besides."""

    def problem(prices: list[float]) -> DispatchProblem:
        assets = [{**ev([session(0, 4, e_departure_min_kwh=need_kwh)]), "bus": 3}, {**load(2.0), "bus": 3}]
        root = {"id": "poc", "import_price_per_mwh": prices}
        return DispatchProblem.from_document(
            problem_of(assets, steps=4, connections=[root], network={"grid": "x"})
        )

    def add_rows(dispatcher: Dispatcher, percent_per_mw: float) -> None:
        for step in range(4):
            dispatcher.add(limits(step, "loading_percent", percent_per_mw, 0.0, -100.0, 100.0))
            dispatcher.add(losses(step, 0.1, 0.0002))

    first, other = problem([50.0, 20.0, 80.0, 30.0]), problem([30.0, 70.0, 10.0, 60.0])
    dispatcher = Dispatcher(first)
    dispatcher.solve()
    add_rows(dispatcher, 12_000.0)
    dispatcher.solve()
    assert dispatcher.update(other)
    cold = Dispatcher(other)
    for some in (dispatcher, cold):
        some.solve()
        add_rows(some, 15_000.0)
    warm, reference = dispatcher.solve(), cold.solve()
    assert warm.status == reference.status == "optimal"
    assert warm.objective == pytest.approx(reference.objective, abs=1e-6)
    short = [sum(s.amount_kwh for s in found.shortfalls) for found in (warm, reference)]
    assert short[0] == pytest.approx(short[1], abs=1e-6)
    assert (short[1] > 1.0) == (need_kwh == 60.0)
