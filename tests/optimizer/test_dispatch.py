"""Problems solved by hand: what each rule of the problem means in numbers."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray
from optimizer import Dispatcher, DispatchProblem, dispatch
from optimizer.solver import LinearProgram, Solution, Solver
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


def total(document: Document) -> float:
    return float(solve(document)["objective"]["total"])


def test_a_problem_without_assets_costs_nothing() -> None:
    answer = solve(problem_of([], steps=1))
    assert answer["status"] == "optimal"
    assert answer["objective"]["total"] == 0.0
    assert answer["connections"]["poc"]["import_kw"] == [0.0]


def test_a_battery_moves_energy_to_the_dear_hour() -> None:
    document = problem_of(
        [load([0.0, 8.0]), battery(charge_efficiency=0.8, discharge_efficiency=0.5)],
        steps=2,
        import_price_per_mwh=[10.0, 100.0],
    )
    answer = solve(document)
    # 10 kW for an hour store 8 kWh, which give 4 kWh back: 0.10 + 4 kWh at 0.1
    assert answer["assets"]["b1"]["p_kw"] == pytest.approx([10.0, -4.0])
    assert answer["assets"]["b1"]["e_kwh"] == pytest.approx([8.0, 0.0])
    assert answer["objective"]["total"] == pytest.approx(0.1 + 0.4)


def test_wear_counts_per_mwh_discharged() -> None:
    document = problem_of(
        [load([0.0, 8.0]), battery(wear_cost_per_mwh=30.0)],
        steps=2,
        import_price_per_mwh=[10.0, 100.0],
        export_price_per_mwh=0.0,
    )
    assert solve(document)["objective"]["wear"] == pytest.approx(8.0 * 30.0 / 1000)


def test_self_discharge_compounds_over_a_step() -> None:
    asset = battery(e_start_kwh=16.0, self_discharge_per_hour=0.5, discharge_max_kw=0.0, charge_max_kw=0.0)
    answer = solve(problem_of([asset], steps=2, resolution="PT30M"))
    assert answer["assets"]["b1"]["e_kwh"] == pytest.approx([16 * 0.5**0.5, 8.0])


@pytest.mark.parametrize("limit", ["charge_max_kw", "discharge_max_kw"])
def test_a_battery_without_power_idles(limit: str) -> None:
    asset = battery(e_start_kwh=20.0, **{limit: 0.0, "e_min_kwh": 20.0})
    assert solve(problem_of([asset, load(5.0)]))["assets"]["b1"]["p_kw"] == [0.0] * 4


def test_selling_above_the_purchase_price_is_bounded_and_exclusive() -> None:
    """Without limits the linear program would buy and sell for ever at once."""
    prices = {"import_price_per_mwh": 10.0, "export_price_per_mwh": 60.0}
    answer = solve(problem_of([load(5.0), renewable(3.0), battery(e_start_kwh=20.0)], **prices))
    assert answer["status"] == "optimal"
    # three hours of discharge sell 5 − 3 − 10 = −8 kW each, the fourth refills the battery with 12 kW
    assert answer["objective"]["total"] == pytest.approx(-3 * 8 * 0.06 + 12 * 0.01)


def test_negative_prices_do_not_burn_energy_in_a_battery() -> None:
    lossy = battery(charge_efficiency=0.5, discharge_efficiency=0.5)
    document = problem_of([lossy], steps=1, import_price_per_mwh=-100.0, export_price_per_mwh=-120.0)
    answer = solve(document)
    assert answer["assets"]["b1"]["p_kw"] == [10.0]
    assert answer["objective"]["total"] == pytest.approx(-1.0)


def test_an_ev_charges_in_the_cheap_hours_inside_its_session() -> None:
    document = problem_of(
        [ev([session(0.5, 3, e_departure_min_kwh=25.0)])], import_price_per_mwh=[10.0, 50.0, 20.0, 1.0]
    )
    # the first hour is covered by half: 5 kW there, 10 kW in the third
    assert solve(document)["assets"]["ev1"]["p_kw"] == pytest.approx([5.0, 0.0, 10.0, 0.0])


def test_a_need_that_cannot_be_met_is_a_shortfall_and_never_dropped_for_its_price() -> None:
    document = problem_of([ev([session(0, 2, e_departure_min_kwh=40.0)])], import_price_per_mwh=1e6)
    answer = solve(document)
    assert answer["status"] == "optimal"
    assert answer["assets"]["ev1"]["p_kw"] == pytest.approx([10.0, 10.0, 0.0, 0.0])
    (shortfall,) = answer["shortfalls"]
    assert shortfall == {
        "asset": "ev1",
        "kind": "departure_energy",
        "at": at(2),
        "amount_kwh": pytest.approx(10.0, abs=1e-6),
    }
    assert answer["objective"]["shortfall"] == pytest.approx(100.0, abs=1e-5)


def test_trip_energy_leaves_at_the_end_of_the_step_of_arrival() -> None:
    document = problem_of(
        [ev([session(0, 1, e_departure_min_kwh=20.0)], trips=[trip(1, 2.5, 15.0)], e_min_kwh=2.0)]
    )
    assert solve(document)["assets"]["ev1"]["e_kwh"] == pytest.approx([20.0, 20.0, 5.0, 5.0])


def test_an_unmet_trip_is_named() -> None:
    answer = solve(problem_of([ev([], trips=[trip(1, 2, 15.0)], e_min_kwh=2.0)]))
    assert answer["assets"]["ev1"]["e_kwh"] == pytest.approx([10.0, 10.0, 2.0, 2.0])
    assert [(s["kind"], s["at"]) for s in answer["shortfalls"]] == [("trip_energy", at(2))]
    assert answer["shortfalls"][0]["amount_kwh"] == pytest.approx(7.0)


def test_a_departure_and_the_trip_after_it_may_share_a_step() -> None:
    """The need is due before the trip's energy leaves."""
    asset = ev([session(0, 0.5, e_departure_min_kwh=15.0)], trips=[trip(0.5, 0.75, 15.0)])
    answer = solve(problem_of([asset], steps=1))
    assert answer["shortfalls"] == []
    assert answer["assets"]["ev1"]["e_kwh"] == pytest.approx([0.0], abs=1e-9)


def test_a_session_beyond_the_horizon_binds_only_as_far_as_it_must() -> None:
    document = problem_of([ev([session(2, 6, e_departure_min_kwh=45.0)])])
    answer = solve(document)
    # 45 kWh by hour 6, 20 of them still possible after hour 4: 25 at the end of the horizon
    assert answer["assets"]["ev1"]["e_kwh"][-1] == pytest.approx(25.0)
    assert any("clipped" in notice for notice in answer["notices"])


def test_sessions_and_trips_outside_the_horizon_are_left_out_and_listed() -> None:
    asset = ev([session(-5, -2), session(8, 9)], trips=[trip(-2, -1, 50.0), trip(3, 4, 50.0)])
    answer = solve(problem_of([asset]))
    assert answer["assets"]["ev1"]["e_kwh"] == [10.0] * 4
    assert sum("left out" in notice for notice in answer["notices"]) == 4


def test_charge_min_is_nothing_or_at_least_that() -> None:
    document = problem_of(
        [ev([session(0, 4, charge_min_kw=6.0, e_departure_min_kwh=19.0)])],
        import_price_per_mwh=[10.0, 20.0, 30.0, 5.0],
        import_limit_kw=[10.0, 10.0, 10.0, 4.0],
    )
    answer = solve(document)
    assert answer["assets"]["ev1"]["p_kw"] == pytest.approx([9.0, 0.0, 0.0, 0.0])
    assert "prices come from the linear problem with its integers fixed" in answer["notices"]


def test_an_overrun_of_the_import_limit_is_drawn_and_named() -> None:
    answer = solve(problem_of([load([5.0, 30.0, 5.0, 5.0]), battery(e_start_kwh=4.0)], import_limit_kw=10.0))
    # the battery fills to 9 kWh in the first hour and serves them in the second
    assert answer["connections"]["poc"]["import_kw"][1] == pytest.approx(21.0)
    assert answer["shortfalls"] == [
        {"connection": "poc", "kind": "import_limit", "at": at(1), "amount_kwh": pytest.approx(11.0)}
    ]


def test_peak_counts_the_highest_mean_of_its_interval_above_what_was_seen() -> None:
    document = problem_of(
        [load([4.0, 8.0, 10.0, 10.0])],
        resolution="PT15M",
        peak_interval="PT30M",
        peak_import_price_per_kw=2.0,
        peak_import_so_far_kw=7.0,
    )
    assert solve(document)["objective"]["peak"] == pytest.approx(6.0)


def test_shedding_and_curtailment_have_their_prices() -> None:
    shed = solve(problem_of([load(10.0, shed_limit_fraction=0.3, shed_price_per_mwh=40.0)], steps=1))
    assert shed["assets"]["base"]["p_kw"] == pytest.approx([7.0])
    assert shed["objective"]["shed"] == pytest.approx(0.12)
    spill = solve(problem_of([renewable(10.0, curtailment_price_per_mwh=5.0)], steps=1, export_limit_kw=4.0))
    assert spill["assets"]["pv"]["curtailed_kw"] == pytest.approx([6.0])
    assert spill["objective"]["curtailment"] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("objective", "carbon"),
    [
        ({"carbon_price_per_t": 100.0}, 100 * 1e-6 * 400 * 5),
        ({"carbon_price_per_t": 100.0, "carbon_signal": "marginal"}, 100 * 1e-6 * 700 * 5),
    ],
)
def test_carbon_signal(objective: Document, carbon: float) -> None:
    document = problem_of(
        [load(5.0)], steps=1, carbon_g_per_kwh=400.0, marginal_carbon_g_per_kwh=700.0, objective=objective
    )
    assert solve(document)["objective"]["carbon"] == pytest.approx(carbon)


@pytest.mark.parametrize(("credit", "carbon"), [("none", 0.0), ("average", -100 * 1e-6 * 400 * 5)])
def test_exports_earn_no_carbon_credit_unless_told(credit: str, carbon: float) -> None:
    objective = {"carbon_price_per_t": 100.0, "export_carbon_credit": credit}
    document = problem_of([renewable(5.0)], steps=1, carbon_g_per_kwh=400.0, objective=objective)
    assert solve(document)["objective"]["carbon"] == pytest.approx(carbon)


@pytest.mark.parametrize(
    ("assets", "more", "expected"),
    [
        (
            [battery(e_end_min_kwh=20.0, charge_max_kw=2.0)],
            {},
            {"assets": ["b1"], "limit": "e_end_min_kwh", "relaxation": 12.0, "unit": "kWh"},
        ),
        (
            [load(5.0), battery(e_end_min_kwh=20.0)],
            {"import_limit_kw": 6.0},
            {
                "assets": ["b1"],
                "connection": "poc",
                "limit": "import_limit_kw",
                "relaxation": 4.0,
                "unit": "kW",
            },
        ),
        (
            [renewable([0.0, 30.0, 0.0, 0.0], curtailable=False)],
            {"export_limit_kw": 10.0},
            {"assets": ["pv"], "limit": "export_limit_kw", "relaxation": 20.0, "start": at(1), "end": at(2)},
        ),
    ],
)
def test_hard_conflicts_are_named(assets: list[Document], more: Document, expected: Document) -> None:
    answer = solve(problem_of(assets, **more))
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    for key, value in expected.items():
        assert conflict[key] == (pytest.approx(value) if key == "relaxation" else value)


def test_a_child_connection_limits_what_flows_through_its_parent() -> None:
    hub = ev([session(0, 4, e_departure_min_kwh=30.0)], connection="hub")
    connections: Any = [
        {"id": "poc", "import_price_per_mwh": [10.0, 20.0, 30.0, 40.0], "export_price_per_mwh": 0.0},
        {"id": "hub", "parent": "poc", "import_limit_kw": 6.0},
    ]
    answer = solve(problem_of([hub, load(1.0)], connections=connections))
    assert answer["connections"]["hub"]["import_kw"] == pytest.approx([6.0, 6.0, 6.0, 2.0])
    assert answer["connections"]["poc"]["import_kw"] == pytest.approx([7.0, 7.0, 7.0, 3.0])
    price = answer["connections"]["hub"]["price_per_mwh"]
    assert price["energy"] == pytest.approx([10.0, 20.0, 30.0, 40.0])
    assert price["congestion"] == pytest.approx([30.0, 20.0, 10.0, 0.0])


def test_prices_agree_with_finite_differences() -> None:
    """A kWh more of load in each hour costs the price of that hour."""
    demand = [3.0, 9.0, 4.0, 5.0]
    more = {"peak_import_price_per_kw": 0.3, "peak_import_so_far_kw": 2.0, "carbon_g_per_kwh": 400.0}
    more |= {"import_price_per_mwh": [31.0, 97.0, 53.0, 71.0], "objective": {"carbon_price_per_t": 80.0}}
    store = battery(charge_max_kw=2.0, charge_efficiency=0.9, discharge_efficiency=0.9, e_start_kwh=1.0)
    answer = solve(problem_of([load(demand), store], **more))
    for step in range(4):
        raised = [value + 1e-3 * (k == step) for k, value in enumerate(demand)]
        rise = (total(problem_of([load(raised), store], **more)) - answer["objective"]["total"]) / 1e-6
        price = answer["connections"]["poc"]["price_per_mwh"]["total"][step]
        assert price == pytest.approx(rise, rel=1e-4)


def test_unserved_energy_price_does_not_drive_decisions() -> None:
    asset = ev([session(0, 2, e_departure_min_kwh=40.0)])
    answers = [
        solve(problem_of([asset], objective={"unserved_energy_price_per_kwh": price}))
        for price in (0.0, 50.0)
    ]
    assert answers[0]["assets"] == answers[1]["assets"]
    assert answers[0]["objective"]["shortfall"] == 0.0


def test_deadline_without_a_schedule() -> None:
    with pytest.raises(DeadlineError):
        Dispatcher(DispatchProblem.from_document(problem_of([load(1.0)]))).solve(deadline_seconds=0.0)


def whole_chargers(**options: Any) -> Document:
    """Chargers that give nearly the same power or none: a peak whose bound takes longer than one waits."""
    needs = [24.0 + k / 2 for k in range(60)]
    power = {"charge_min_kw": 6.0, "charge_max_kw": 7.0}
    return problem_of(
        [
            ev([session(k % 8 / 2, 18 + k % 5, **power, e_departure_min_kwh=need)], f"ev{k}")
            for k, need in enumerate(needs)
        ],
        steps=96,
        resolution="PT15M",
        import_price_per_mwh=[60.0 + 7.0 * (step % 11) for step in range(96)],
        peak_import_price_per_kw=5.0,
        options={"mip_gap": 0.0, **options},
    )


def test_a_solve_stops_where_it_is_told_to() -> None:
    from energy.domain.errors import CancelledError

    dispatcher = Dispatcher(DispatchProblem.from_document(whole_chargers()))
    timer = threading.Timer(1.0, dispatcher.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        dispatcher.solve(deadline_seconds=60.0)
    with pytest.raises(CancelledError):
        dispatcher.solve()
    timer.join()


def test_a_schedule_at_the_deadline_carries_its_gap() -> None:
    for deadline in ("PT5S", "PT20S"):  # a busy machine may not come to a bound within the first
        answer = solve(whole_chargers(deadline=deadline))
        if answer["best_bound"] is not None:
            break
    assert answer["status"] == "feasible"
    assert answer["best_bound"] < answer["objective"]["total"]
    assert answer["gap"] > 0.0
    assert any("deadline" in notice for notice in answer["notices"])
    assert answer["shortfalls"] == []


def test_a_run_starts_from_the_integers_it_is_given() -> None:
    """Without time it finds nothing else: a knapsack, its first 80 of 200 things packed."""
    weights = np.random.default_rng(3).integers(1000, 9999, (1, 200)).astype(float)
    room, packed = np.array([weights.sum() / 2]), np.repeat([1.0, 0.0], [80, 120])
    program = LinearProgram(
        sp.csc_array(weights),
        -weights[0],
        np.zeros(200),
        np.ones(200),
        np.array([-np.inf]),
        room,
        np.arange(200),
    )
    assert Solver(program, mip_gap=0.0).run(0.0).status == "no_solution"
    solver = Solver(program, mip_gap=0.0)
    solver.start_from(packed)
    found = solver.run(0.0)
    assert found.x is not None
    assert found.objective <= -weights[0] @ packed


def two_powers() -> Solver:
    """max x + 2 y with x + y ≤ 3 and both between 0 and 2: 5."""
    program = LinearProgram(
        sp.csc_array(np.ones((1, 2))), np.array([-1.0, -2.0]), np.zeros(2), np.full(2, 2.0),
        np.array([-np.inf]), np.array([3.0]),
    )  # fmt: skip
    return Solver(program, mip_gap=0.0)


@pytest.mark.parametrize("seen", [(False,), (True, False), (True, True, False)])
def test_a_solution_whose_rows_have_drifted_is_solved_anew(
    seen: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(seen)
    monkeypatch.setattr(Solver, "_has_drifted", lambda _: next(answers))
    assert two_powers().run().objective == -5.0
    assert not list(answers)


def test_rows_that_are_not_what_the_columns_make_of_them_are_seen() -> None:
    """HiGHS solves what it was given; beside it stands a matrix that is 2e-6 off in one entry."""
    solver = two_powers()
    assert solver.run().status == "optimal"
    solver._blocks[0].data[1] += 2e-6
    with pytest.raises(SolverError, match="does not keep its rows"):
        solver.run()


LOW = {"e_departure_min_kwh": 55.0, "charge_min_kw": 6.0, "priority": 1e-3}


def short_of_power(**more: Any) -> Document:
    """Two EVs of little priority that a limit keeps from their needs, charged in whole steps, and a battery
    that earns when they have left."""
    cars = [ev([session(0, 4, **LOW)], f"ev{k}", charge_efficiency=0.9, e_start_kwh=35.0) for k in (1, 2)]
    prices, limit = [300.0, -20.0, 120.0, 80.0, 10.0, 60.0], [7.0, 14.0, 5.0, 8.0, 9.0, 0.0]
    return problem_of([*cars, battery()], steps=6, import_price_per_mwh=prices, import_limit_kw=limit, **more)


@pytest.mark.parametrize("when", ["the deadline", "no solution"])
@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_found_before_a_stage_fails_is_the_answer(
    stage: int, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shortfalls at a price, least shortfalls, least cost: the last that ends with one is it."""
    problem = DispatchProblem.from_document(short_of_power())
    best = Dispatcher(problem).solve(explain=False)
    dispatcher, minimise, stages = Dispatcher(problem), Stages.minimise, iter(range(1, 9))

    def ending(self: Stages, cost: FloatArray, **how: Any) -> Solution:
        solution = minimise(self, cost, **how)
        if next(stages) < stage:
            return solution
        if when == "the deadline":
            self.until = 0.0
            raise DeadlineError("too late")
        return Solution("infeasible", None, None, np.inf, np.inf)

    monkeypatch.setattr(Stages, "minimise", ending)
    found = dispatcher.solve(deadline_seconds=60.0, explain=False)
    assert found.status == "feasible"
    assert found.best_bound is not None
    assert found.best_bound <= found.objective["total"] + 1e-9
    short, least = (sum(s.amount_kwh for s in each.shortfalls) for each in (found, best))
    assert short >= least - 1e-6
    if stage == 3:
        assert short == pytest.approx(least, abs=1e-6)
        # the bound is one of cost with the least shortfall
        assert found.best_bound <= best.objective["total"] + 1e-9
    assert any(notice.startswith("the deadline passed") for notice in found.notices) == (
        when == "the deadline"
    )


def test_what_a_tight_hold_misses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where HiGHS, held to the least shortfall, calls optimal what is not."""
    problem = DispatchProblem.from_document(short_of_power())
    best = Dispatcher(problem).solve(explain=False)
    dispatcher, minimise, missed = Dispatcher(problem), Stages.minimise, []

    def missing(self: Stages, cost: FloatArray, **how: Any) -> Solution:
        near = how.get("near")
        if near is None or how.get("loose"):
            return minimise(self, cost, **how)
        missed.append(float(cost[: len(near)] @ near))
        return Solution("optimal", near, None, missed[0], missed[0])

    monkeypatch.setattr(Stages, "minimise", missing)
    found = dispatcher.solve(explain=False)
    assert best.status == found.status == "optimal"
    assert (
        missed[0] * problem.time.hours / 1000 > best.objective["total"] - best.objective["shortfall"] + 1e-3
    )
    for part in ("total", "shortfall"):
        assert found.objective[part] == pytest.approx(best.objective[part], abs=1e-4)
    # what is unserved within the tolerance is valued in both
    assert found.best_bound is not None
    assert found.best_bound <= best.objective["total"] + 1e-4


def test_needs_of_little_priority_are_held_as_closely_as_others() -> None:
    """Tolerances are of energy, not of energy times priority."""
    document = short_of_power()
    heavy = copy.deepcopy(document)
    for car in heavy["assets"][:2]:
        car["sessions"][0]["priority"] = 1.0
    light, other = solve(document), solve(heavy)
    assert [s["amount_kwh"] for s in light["shortfalls"]]
    assert sum(s["amount_kwh"] for s in light["shortfalls"]) == pytest.approx(
        sum(s["amount_kwh"] for s in other["shortfalls"]), abs=3e-6
    )
    car = ev([session(0, 4, e_departure_min_kwh=10.0009, priority=1e-3)])
    answer = solve(problem_of([car], import_price_per_mwh=300.0))
    assert answer["shortfalls"] == []


def test_a_schedule_shows_no_noise_of_the_solver() -> None:
    """Thirds and sevenths everywhere: no value is a rounding error, none is beyond its bounds."""
    prices = [60.0 + 7.0 * (step * step % 11) for step in range(48)]
    document = problem_of(
        [
            load([10.0 / 3.0 + step / 7.0 for step in range(48)]),
            renewable([max(0.0, 30.0 / 7.0 * (step % 24 - 8)) for step in range(48)]),
            battery(e_start_kwh=20.0 / 3.0, charge_efficiency=0.93, discharge_efficiency=0.91),
            ev([session(1 / 3, 40.2, e_departure_min_kwh=100.0 / 3.0, discharge_max_kw=7.0)]),
        ],
        steps=48,
        import_price_per_mwh=prices,
        export_limit_kw=5.0,
    )
    schedule = dispatch(DispatchProblem.from_document(document))
    for asset in schedule.assets.values():
        for values in (asset.p_kw, *asset.series.values()):
            assert not np.any((values != 0.0) & (np.abs(values) < 1e-9))
            assert not np.signbit(values[values == 0.0]).any()
    b1, ev1 = (schedule.assets[key].series["e_kwh"] for key in ("b1", "ev1"))
    assert b1.min() >= 0.0
    assert b1.max() <= 20.0
    assert ev1.min() >= 0.0


def test_a_shortfall_is_what_is_missing_without_a_margin() -> None:
    answer = solve(problem_of([ev([session(0, 2, charge_max_kw=10.0, e_departure_min_kwh=45.0)])]))
    assert answer["shortfalls"][0]["amount_kwh"] == 45.0 - answer["assets"]["ev1"]["e_kwh"][1]
    assert answer["assets"]["ev1"]["p_kw"][:2] == [10.0, 10.0]


def test_a_session_that_lasts_no_time_is_left_out_with_a_notice() -> None:
    schedule = dispatch(DispatchProblem.from_document(problem_of([ev([session(1, 1)])])))
    assert not schedule.assets["ev1"].p_kw.any()
    assert any("has no duration" in notice for notice in schedule.notices)


def test_the_bound_of_a_linear_problem_is_its_optimum() -> None:
    schedule = dispatch(DispatchProblem.from_document(problem_of([load(1.0), battery(e_start_kwh=5.0)])))
    assert schedule.best_bound == schedule.objective["total"]
    assert schedule.gap == 0.0
