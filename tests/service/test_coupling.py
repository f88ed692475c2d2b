"""Dispatch on a grid: what is called secure is secure under AC, and what cannot be is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from energy.domain.errors import DeadlineError
from energy.domain.network import SECURE_LOADING_PERCENT, SECURE_VM_PU, OperatingLimits
from energy.domain.schedule import AssetSchedule, Schedule
from energy.service.coupling import dispatch_on_grid
from energy.service.cuts import Cuts
from energy.service.dispatch import dispatch_document
from energy.service.documents import ScheduleDocument
from grid_models.sources import load_grid
from grid_models.twin import Twin
from optimizer import Dispatcher, DispatchProblem, uncontrolled

STEPS = 24
HOURS = np.arange(STEPS)
SUN = np.clip(np.sin((HOURS - 6) / 12 * np.pi), 0, None)
EVENING = np.exp(-(((HOURS - 19) / 2.5) ** 2))


grid_of = cache(load_grid)


def lv_problem(
    code: str, *, pv: float = 8.0, load: float = 1.0, ev: bool = True, **market: Any
) -> dict[str, Any]:
    """A SimBench LV grid with PV and (every second house) an EV; hours of a summer day."""
    grid = grid_of(f"simbench:{code}")
    price = 60 + 60 * EVENING - 40 * SUN
    assets: list[dict[str, Any]] = []
    for number, row in grid.net.load.iterrows():
        kw, at = 1000 * row.p_mw, {"connection": "poc", "bus": int(row.bus)}
        shape = load * (0.4 + 0.6 * EVENING)
        q_kvar = (1000 * row.q_mvar * shape).tolist()
        assets.append(
            {"type": "load", "id": f"load{number}", **at, "p_kw": (kw * shape).tolist(), "q_kvar": q_kvar}
        )
        assets.append(
            {"type": "renewable", "id": f"pv{number}", **at, "available_kw": (kw * pv * SUN).tolist()}
        )
        if ev and int(number) % 2:
            session = {
                "arrival": "2016-06-21T17:00:00Z",
                "departure": "2016-06-21T23:30:00Z",
                "charge_max_kw": 11,
                "discharge_max_kw": 11,
                "e_departure_min_kwh": 40,
            }
            battery = {"e_min_kwh": 5, "e_max_kwh": 60, "e_start_kwh": 30, "wear_cost_per_mwh": 20.0}
            efficiency = {"charge_efficiency": 0.92, "discharge_efficiency": 0.92}
            assets.append(
                {"type": "ev", "id": f"ev{number}", **at, **battery, **efficiency, "sessions": [session]}
            )
    connection = {
        "id": "poc",
        "import_price_per_mwh": price.tolist(),
        "export_price_per_mwh": (price - 20).tolist(),
        **market,
    }
    return {
        "schema": "wattshed.dispatch/1",
        "time": {"start": "2016-06-21T00:00:00Z", "resolution": "PT1H", "steps": STEPS},
        "connections": [connection],
        "assets": assets,
        "network": {"grid": f"simbench:{code}", "vm_min_pu": 0.95, "vm_max_pu": 1.05},
    }


def ac_of(document: dict[str, Any], schedule: dict[str, Any]) -> tuple[Twin, Any]:
    """The schedule's powers, solved by a twin of its own."""
    network = document["network"]
    limits = OperatingLimits(network["vm_min_pu"], network["vm_max_pu"])
    twin = Twin(grid_of(network["grid"]), limits=limits)
    problem = DispatchProblem.from_document(document).resolve_buses(twin.bus_index)
    baseline = uncontrolled(problem)
    assets = {key: AssetSchedule(np.array(value["p_kw"])) for key, value in schedule["assets"].items()}
    return twin, twin.solve(problem.nodal_power(replace(baseline, assets=assets)))


@pytest.mark.parametrize("code", ["1-LV-rural1--0-sw", "1-LV-semiurb4--0-sw"])
def test_a_secure_schedule_is_secure_under_ac_and_counts_its_losses(code: str) -> None:
    document = lv_problem(code)
    schedule = dispatch_document(document)
    ScheduleDocument.model_validate(schedule)
    _, state = ac_of(document, schedule)
    ac = schedule["ac"]
    assert ac["secure"]
    assert ac["violations"] == []
    assert np.nanmax(state.vm_pu) <= 1.05 + SECURE_VM_PU
    assert np.nanmax(state.loading_percent) <= 100 + SECURE_LOADING_PERCENT
    assert ac["losses_kwh"] == pytest.approx(state.losses_mw.sum() * 1000)
    root = schedule["connections"]["poc"]
    np.testing.assert_allclose(
        np.subtract(root["import_kw"], root["export_kw"]), 1000 * state.slack_p_mw.sum(axis=1), atol=1e-6
    )
    price = np.array(document["connections"][0]["import_price_per_mwh"])
    energy = (np.array(root["import_kw"]) @ price - np.array(root["export_kw"]) @ (price - 20)) / 1000
    assert schedule["objective"]["energy"] == pytest.approx(energy)
    assert schedule["bound_kind"] == "linear"
    assert schedule["best_bound"] <= schedule["objective"]["total"] * (1 + 1e-9)
    gap = schedule["objective"]["total"] - schedule["best_bound"]
    assert gap < 0.02 * sum(abs(v) for k, v in schedule["objective"].items() if k != "total")


def test_a_violation_that_nobody_can_fix_is_named_and_costs_nobody_a_need() -> None:
    document = lv_problem("1-LV-rural1--0-sw", pv=0.0, load=16.0)
    schedule = dispatch_document(document)
    ac = schedule["ac"]
    assert not ac["secure"]
    assert schedule["status"] != "infeasible"
    assert ac["violations"]
    assert all(violation["remedy"] for violation in ac["violations"])
    assert any("would clear it" in violation["remedy"] for violation in ac["violations"])
    assert schedule["shortfalls"] == []


def test_a_remedy_clears_its_violation() -> None:
    document = lv_problem("1-LV-rural1--0-sw", pv=0.0, load=9.0, ev=False)
    schedule = dispatch_document(document)
    clear = [v for v in schedule["ac"]["violations"] if v["remedy"].endswith("would clear it")]
    mildest = min(
        (v for v in clear if " less at bus " in v["remedy"]), key=lambda v: abs(v["value"] - v["limit"])
    )
    amount, _, _, _, _, bus, *_ = mildest["remedy"].split()
    twin, _ = ac_of(document, schedule)
    problem = DispatchProblem.from_document(document).resolve_buses(twin.bus_index)
    power = problem.nodal_power(uncontrolled(problem))
    step = problem.time.step_at(datetime.fromisoformat(mildest["time"]))
    power.p_mw[step, int(np.flatnonzero(power.buses == int(bus))[0])] -= 1.1 * float(amount)
    element = (mildest["element"]["table"], mildest["element"]["index"])
    left = [v.element for v in twin.solve(power).violations if problem.time.step_at(v.time) == step]
    assert element not in [(e.table, e.index) for e in left]


def test_negative_prices_burn_no_energy_in_losses() -> None:
    price = (-80 - 40 * SUN).tolist()
    document = lv_problem(
        "1-LV-rural1--0-sw", pv=2.0, import_price_per_mwh=price, export_price_per_mwh=[p - 20 for p in price]
    )
    schedule = dispatch_document(document)
    _, state = ac_of(document, schedule)
    assert schedule["ac"]["secure"]
    root = schedule["connections"]["poc"]
    np.testing.assert_allclose(
        np.subtract(root["import_kw"], root["export_kw"]), 1000 * state.slack_p_mw.sum(axis=1), atol=1e-6
    )


def test_where_selling_is_dearer_the_best_directions_are_found() -> None:
    """As good as the best of all ways to allow one direction alone in the steps where it matters."""
    document = lv_problem("1-LV-rural1--2-sw", load=0.3, pv=3.0, ev=False)
    store = {"type": "battery", "connection": "poc", "e_max_kwh": 90.0, "e_start_kwh": 30.0}
    powers = {"e_end_min_kwh": 30.0, "charge_max_kw": 30.0, "discharge_max_kw": 30.0}
    for number in (0, 3):
        bus = next(asset["bus"] for asset in document["assets"] if asset["id"] == f"load{number}")
        document["assets"].append({**store, **powers, "id": f"store{number}", "bus": bus})
    connection, steps = document["connections"][0], (4, 18, 20)
    for step in steps:
        connection["export_price_per_mwh"][step] = connection["import_price_per_mwh"][step] + 30.0
    best = np.inf
    for ways in product((0, 1), repeat=len(steps)):
        limits = np.full((2, STEPS), 160.0)
        limits[list(ways), list(steps)] = 0.0
        one_way = dict(zip(("import_limit_kw", "export_limit_kw"), limits.tolist(), strict=True))
        schedule = dispatch_document({**document, "connections": [{**connection, **one_way}]})
        if not schedule["shortfalls"] and schedule["ac"]["secure"]:
            best = min(best, schedule["objective"]["total"])
    connection |= {"import_limit_kw": 160.0, "export_limit_kw": 160.0}
    schedule = dispatch_document(document)
    assert schedule["status"] == "optimal"
    assert schedule["objective"]["total"] == pytest.approx(best, abs=0.01)


def test_two_runs_differ_in_their_timings_alone() -> None:
    document = lv_problem("1-LV-rural1--0-sw")
    first, second = dispatch_document(document), dispatch_document(document)
    for answer in (first, second):
        del answer["build_seconds"], answer["solve_seconds"]
    assert first == second


def test_a_deadline_before_the_first_schedule_gives_the_safe_rule_that_ac_has_seen() -> None:
    """Charging at six brings this grid down; the rule charges less, and stays within its limits."""
    code = "1-LV-rural1--0-sw"
    document = lv_problem(code, pv=8.0)
    twin = Twin(grid_of(f"simbench:{code}"), limits=OperatingLimits(0.95, 1.05))
    problem = DispatchProblem.from_document(document).resolve_buses(twin.bus_index)
    assert not twin.solve(problem.nodal_power(uncontrolled(problem))).secure
    told: list[Schedule] = []
    schedule, state = dispatch_on_grid(problem, twin, deadline=1e-9, for_now=told.append)
    assert schedule.status == "fallback"
    assert schedule.best_bound is None
    assert [s.document() for s in told] == [schedule.document()]
    assert schedule.ac is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("energy.service.coupling._Loop._remaining", lambda _: 1e9 if not told[1:] else -1.0)
        schedule, state = dispatch_on_grid(problem, twin, deadline=60.0, for_now=told.append)
    assert schedule.status == "fallback"
    assert state.secure
    assert schedule.ac is not None
    assert schedule.ac["secure"]
    assert any(
        values.series["curtailed_kw"].any() for key, values in schedule.assets.items() if key[:2] == "pv"
    )


def test_the_safe_rule_is_the_answer_where_it_alone_is_secure_when_time_is_up() -> None:
    document = lv_problem("1-LV-rural1--0-sw", pv=8.0)
    twin = Twin(grid_of("simbench:1-LV-rural1--0-sw"), limits=OperatingLimits(0.95, 1.05))
    problem = DispatchProblem.from_document(document).resolve_buses(twin.bus_index)
    propose, told = Cuts.propose, list[Schedule]()

    def once(self: Cuts, remaining: Callable[[], float | None]) -> Schedule:
        if told[1:]:
            raise DeadlineError("time is up")
        # as a linear problem without its limits: what it proposes is not secure
        self.dispatcher = Dispatcher(problem)
        return propose(self, remaining)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cuts, "propose", once)
        patch.setattr(Cuts, "_add", lambda *_: False)
        schedule, state = dispatch_on_grid(problem, twin, deadline=60.0, for_now=told.append)
    assert [each.status for each in told] == ["fallback", "fallback"]
    assert schedule.status == "fallback"
    assert state.secure
    assert schedule.document()["assets"] == told[0].document()["assets"]
