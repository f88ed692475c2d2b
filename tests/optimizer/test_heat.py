"""Combined heat and power, and heat pumps: by hand, and against independent formulations."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from optimizer.fallback import fallback
from optimizer.rolling import Previous, replan
from tests.optimizer.builders import Document, at, check_answer, load, problem_of, solve
from tests.optimizer.test_against_milp import Formulation
from tests.optimizer.units import (
    HOURS,
    chp,
    commits,
    each_step,
    flexible_load,
    need_of,
    power_before,
    ramp_limits,
    room_c,
    shares,
    shiftable_load,
    states_allowed,
)


class Heat(Formulation):
    """A linear program of one asset with heat behind a connection that buys no cheaper than it sells."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.time, self.connection = document["time"], document["connections"][0]
        self.steps, self.hours = self.time["steps"], HOURS[self.time["resolution"]]
        self.carbon = document["objective"]["carbon_price_per_t"] / 1e6
        self.short: dict[int, float] = {}
        self.cost: dict[int, float] = {}

    def balance(self, base: Document, drawn: dict[int, float], t: int) -> None:
        buy, sell = (self.column((way, t), 0, np.inf) for way in ("buy", "sell"))
        for key, way, sign in ((buy, "import", 1), (sell, "export", -1)):
            price = each_step(self.connection[f"{way}_price_per_mwh"], self.steps)[t]
            self.cost[key] = sign * price * self.hours / 1000
        self.cost[buy] += self.carbon * self.hours * self.connection["carbon_g_per_kwh"]
        demand = each_step(base["p_kw"], self.steps)[t]
        self.row({buy: 1, sell: -1, **{k: -v for k, v in drawn.items()}}, demand, demand)

    def heat(
        self, terms: dict[int, float], demand: float, store: Any, dump: bool, t: int, worth: float
    ) -> None:
        unmet, waste = (
            self.column(("unmet", t), 0, demand),
            self.column(("waste", t), 0, np.inf if dump else 0),
        )
        self.short[unmet] = self.hours * worth
        row = {key: -self.hours * value for key, value in terms.items()}
        row |= {unmet: -self.hours, waste: self.hours}
        given_kwh = -self.hours * demand
        if store is not None:
            low = store["e_end_min_kwh"] if t == self.steps - 1 else store["e_min_kwh"]
            level = self.column(("level", t), max(low, store["e_min_kwh"]), store["e_max_kwh"])
            kept = (1 - store["loss_per_hour"]) ** self.hours
            row[level] = 1.0
            if t:
                row[self.columns["level", t - 1]] = -kept
            else:
                given_kwh += kept * store["e_start_kwh"]
        self.row(row, given_kwh, given_kwh)


def best_chp(document: Document) -> tuple[float, float] | None:
    """Least unmet heat, and least cost at it, over every sequence of on-states."""
    base, asset = document["assets"]
    steps, hours = document["time"]["steps"], HOURS[document["time"]["resolution"]]
    found, programs = [], []
    for on in product((0, 1), repeat=steps) if commits(asset) else [(1,) * steps]:
        if commits(asset) and not states_allowed(asset, list(on), hours):
            continue
        f = Heat(document)
        least, most, fuel = (
            each_step(asset[k], steps) for k in ("p_min_kw", "p_max_kw", "marginal_cost_per_mwh")
        )
        limits, boiler = ramp_limits(asset, list(on), hours), asset["boiler"]
        demand = each_step(asset["heat_demand_kw"], steps)
        for t in range(steps):
            p = f.column(("p", t), least[t] * on[t], most[t] * on[t])
            f.cost[p] = (fuel[t] / 1000 + f.carbon * asset["carbon_g_per_kwh"]) * hours
            burn = f.column(("boiler", t), 0, boiler["p_max_kw"])
            fuel_price = each_step(boiler["fuel_cost_per_mwh"], steps)[t] / 1000
            f.cost[burn] = (fuel_price + f.carbon * boiler["carbon_g_per_kwh"]) * hours / boiler["efficiency"]
            if t:
                f.row({p: 1, f.columns["p", t - 1]: -1}, *limits[t])
            elif power_before(asset) is not None:
                f.row({p: 1}, *(limit + power_before(asset) for limit in limits[t]))
            made = {p: asset["heat_per_power"], burn: 1.0}
            f.heat(made, demand[t], asset["heat_store"], asset["heat_dump"], t, asset["priority"])
            f.balance(base, {p: -1.0}, t)
        unmet = f.minimise(f.short)
        if unmet is not None:
            changes = np.diff([int(asset["on_at_start"]), *on])
            extra = (changes > 0).sum() * asset["start_cost"] if commits(asset) else 0.0
            programs.append((unmet, extra, f))
    if not programs:
        return None
    least_unmet = min(unmet for unmet, _, _ in programs)
    for unmet, extra, f in programs:
        if unmet <= least_unmet + 1e-6:
            f.row(f.short, -np.inf, least_unmet + 1e-7)
            cost = f.minimise(f.cost)
            found.append(np.inf if cost is None else cost + extra)
    return least_unmet, min(found)


def series(draw: Any, low: int, high: int, steps: int) -> list[float]:
    return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))


@st.composite
def stores(draw: Any) -> Document | None:
    if draw(st.booleans()):
        return None
    return {
        "e_min_kwh": draw(st.sampled_from([0.0, 5.0])),
        "e_max_kwh": draw(st.sampled_from([15.0, 60.0])),
        "e_start_kwh": draw(st.sampled_from([6.0, 15.0])),
        "e_end_min_kwh": draw(st.sampled_from([0.0, 8.0])),
        "loss_per_hour": draw(st.sampled_from([0.0, 0.05])),
    }


def priced(draw: Any, assets: list[Document], steps: int, resolution: str) -> Document:
    sell = series(draw, -50, 120, steps)
    return problem_of(
        assets,
        steps=steps,
        resolution=resolution,
        import_price_per_mwh=[price + 20.0 for price in sell],
        export_price_per_mwh=sell,
        carbon_g_per_kwh=300.0,
        objective={"carbon_price_per_t": draw(st.sampled_from([0.0, 80.0]))},
        options={"mip_gap": 0.0},
    )


@st.composite
def plants(draw: Any) -> Document:
    steps, resolution = draw(st.integers(1, 4)), draw(st.sampled_from(["PT1H", "PT30M"]))
    plant = chp(
        p_min_kw=draw(st.sampled_from([0.0, 20.0])),
        p_max_kw=draw(st.sampled_from([30.0, 50.0])),
        marginal_cost_per_mwh=series(draw, 20, 120, steps),
        start_cost=draw(st.sampled_from([0.0, 1.0])),
        min_up=draw(st.sampled_from(["PT0S", "PT2H"])),
        min_down=draw(st.sampled_from(["PT0S", "PT1H"])),
        ramp_kw_per_h=draw(st.sampled_from([None, 20.0])),
        carbon_g_per_kwh=400.0,
        on_at_start=draw(st.booleans()),
        time_in_state=draw(st.sampled_from([None, "PT1H"])),
        heat_per_power=draw(st.sampled_from([0.8, 1.5])),
        heat_demand_kw=series(draw, 0, 90, steps),
        heat_store=draw(stores()),
        boiler={
            "p_max_kw": draw(st.sampled_from([0.0, 15.0])),
            "efficiency": 0.8,
            "fuel_cost_per_mwh": series(draw, 10, 60, steps),
            "carbon_g_per_kwh": 200.0,
        },
        heat_dump=draw(st.booleans()),
        priority=draw(st.sampled_from([1.0, 2.0])),
    )
    return priced(draw, [load(series(draw, 0, 40, steps)), plant], steps, resolution)


def agrees(document: Document, expected: tuple[float, float] | None) -> None:
    """The answer is infeasible with conflicts, or as good as `expected`."""
    answer = solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert answer["conflicts"]
        return
    assert answer["status"] == "optimal"
    weight = document["assets"][1]["priority"]
    unserved = sum(weight * shortfall["amount_kwh"] for shortfall in answer["shortfalls"])
    assert unserved == pytest.approx(expected[0], abs=1e-5)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(expected[1], abs=1e-5)


@settings(max_examples=60)
@given(document=plants())
def test_no_heat_and_power_is_cheaper(document: Document) -> None:
    agrees(document, best_chp(document))


def best_pump(document: Document) -> tuple[float, float] | None:
    """Least shortfall of windows, heat and comfort, and least cost at it."""
    base, asset = document["assets"]
    f, heat, room, worth = Heat(document), asset["heat"], asset["room"], asset["priority"]
    least, most = (each_step(asset[name], f.steps) for name in ("p_min_kw", "p_max_kw"))
    powers = [f.column(("p", t), least[t], most[t]) for t in range(f.steps)]
    warmth = [f.column(("room", t), 0, np.inf) for t in range(f.steps)]
    for t in range(f.steps):
        made = {powers[t]: each_step(heat["cop"], f.steps)[t], warmth[t]: -1.0}
        demand = each_step(heat["heat_demand_kw"], f.steps)[t]
        f.heat(made, demand, heat["store"], heat["dump"], t, worth)
        f.balance(base, {powers[t]: 1.0}, t)
    for window in asset["energy_windows"]:
        terms = {powers[t]: share * f.hours for t, share in enumerate(shares(window, f.time)) if share}
        missing = f.column(("window", id(window)), 0, np.inf)
        f.short[missing] = worth
        f.row({**terms, missing: 1.0}, need_of(window, asset, f.time), np.inf)
        f.row(terms, -np.inf, np.inf if window["e_max_kwh"] is None else window["e_max_kwh"])
    if room is None:
        for column in warmth:
            f.row({column: 1.0}, 0, 0)
    else:
        unheated = room_c(room, np.zeros(f.steps), f.hours)
        per_kw = [room_c(room, np.eye(f.steps)[k], f.hours) - unheated for k in range(f.steps)]
        for t in range(f.steps):
            terms = {warmth[k]: per_kw[k][t] for k in range(t + 1)}
            low, high = (each_step(room[name], f.steps)[t] for name in ("temp_min_c", "temp_max_c"))
            for sign, bound in ((1, low), (-1, high)):
                beyond = f.column(("beyond", sign, t), 0, np.inf)
                f.short[beyond] = worth * f.hours * room["loss_kw_per_k"]
                signed = {column: sign * value for column, value in terms.items()}
                f.row({**signed, beyond: 1.0}, sign * (bound - unheated[t]), np.inf)
    unmet = f.minimise(f.short)
    if unmet is None:
        return None
    f.row(f.short, -np.inf, unmet + 1e-8)
    cost = f.minimise(f.cost)
    assert cost is not None
    return unmet, cost


@st.composite
def pumps(draw: Any) -> Document:
    steps, resolution = draw(st.integers(1, 5)), draw(st.sampled_from(["PT1H", "PT30M"]))
    hours = HOURS[resolution]
    windows = []
    for _ in range(draw(st.integers(0, 2))):
        first = draw(st.integers(-4, 4 * steps - 1)) / 4
        last = first + draw(st.integers(1, 4 * steps)) / 4
        need = draw(st.integers(0, 12).map(float))
        most = draw(st.sampled_from([None, 15.0, 40.0]))
        windows.append(
            {"start": at(first * hours), "end": at(last * hours), "e_min_kwh": need, "e_max_kwh": most}
        )
    low = draw(st.sampled_from([17.0, 20.0]))
    room = {
        "capacity_kwh_per_k": draw(st.sampled_from([0.5, 4.0])),
        "loss_kw_per_k": draw(st.sampled_from([0.2, 0.6])),
        "temp_start_c": draw(st.sampled_from([18.0, 22.0])),
        "temp_min_c": low,
        "temp_max_c": [low + value for value in series(draw, 1, 5, steps)],
        "outdoor_c": series(draw, -10, 30, steps),
        "gains_kw": 0.4,
    }
    pump = flexible_load(
        p_min_kw=draw(st.sampled_from([0.0, 0.0, 1.0])),
        p_max_kw=series(draw, 2, 8, steps),
        energy_windows=windows,
        heat={
            "cop": [value / 10 for value in series(draw, 20, 45, steps)],
            "heat_demand_kw": series(draw, 0, 12, steps),
            "store": draw(stores()),
            "dump": draw(st.booleans()),
        },
        room=draw(st.sampled_from([None, room])),
        priority=draw(st.sampled_from([1.0, 2.0])),
    )
    return priced(draw, [load(series(draw, 0, 10, steps)), pump], steps, resolution)


@settings(max_examples=80)
@given(document=pumps())
def test_no_flexible_load_is_cheaper(document: Document) -> None:
    agrees(document, best_pump(document))


@settings(max_examples=60)
@given(document=st.one_of(plants(), pumps()))
def test_without_control_they_keep_their_limits(document: Document) -> None:
    """The checker runs on the uncontrolled answer with the needs it leaves unmet."""
    problem = DispatchProblem.from_document(document)
    schedule = problem.uncontrolled()
    asset = problem.assets[1] if problem.assets[0].id == "base" else problem.assets[0]
    own = schedule.assets[asset.id]
    if list(asset.broken(own, problem.time)):
        return
    answer = schedule.document()
    answer["shortfalls"] = [shortfall.document() for shortfall in asset.unmet(own, problem.time)]
    unserved = 10.0 * sum(shortfall["amount_kwh"] for shortfall in answer["shortfalls"])
    answer["objective"]["shortfall"] = unserved
    answer["objective"]["total"] += unserved
    check_answer(document, answer)


def test_the_safe_rule_trims_a_flexible_load_to_the_import_limit() -> None:
    window = {"start": at(0), "end": at(4), "e_min_kwh": 20.0}
    document = problem_of([load(6.0), flexible_load(energy_windows=[window])], import_limit_kw=8.0)
    answer = fallback(DispatchProblem.from_document(document)).document()
    check_answer(document, answer)
    assert answer["assets"]["flex"]["p_kw"] == pytest.approx([2.0, 2.0, 0.0, 0.0])
    (shortfall,) = answer["shortfalls"]
    assert (shortfall["kind"], shortfall["amount_kwh"]) == ("energy_window", pytest.approx(16.0))


def test_the_room_follows_its_differential_equation() -> None:
    room = {
        "capacity_kwh_per_k": 3.0,
        "loss_kw_per_k": 0.7,
        "temp_start_c": 16.0,
        "temp_min_c": 20.0,
        "temp_max_c": 23.0,
        "outdoor_c": [0.0, -5.0, 3.0, 8.0],
        "gains_kw": [0.0, 1.0, 0.5, 0.0],
    }
    answer = solve(problem_of([flexible_load(p_max_kw=3.0, heat={"cop": 3.0}, room=room)]))
    found, temperature = answer["assets"]["flex"], 16.0
    for step in range(4):
        power = found["room_heat_kw"][step] + room["gains_kw"][step]
        outdoor = room["outdoor_c"][step]
        run = solve_ivp(
            lambda _, t, power=power, outdoor=outdoor: (power - 0.7 * (t - outdoor)) / 3.0,
            (0, 1),
            [temperature],
            rtol=1e-10,
            atol=1e-10,
        )
        temperature = float(run.y[0, -1])
        assert found["room_c"][step] == pytest.approx(temperature, abs=1e-6)
    # it starts cold and cannot warm up in one step
    assert answer["shortfalls"][0]["kind"] == "comfort"


def test_heat_that_must_not_be_dumped_names_the_plant() -> None:
    plant = chp(min_up="PT3H", on_at_start=True, time_in_state="PT1H", heat_demand_kw=10.0, heat_dump=False)
    answer = solve(problem_of([load(50.0), plant]))
    assert answer["status"] == "infeasible"
    (conflict,) = answer["conflicts"]
    assert (conflict["assets"], conflict["limit"], conflict["unit"]) == (["chp1"], "heat_dump", "kW")
    assert conflict["relaxation"] == pytest.approx(14.0)
    plant["heat_dump"] = True
    assert solve(problem_of([load(50.0), plant]))["assets"]["chp1"]["dumped_heat_kw"][0] >= 14.0 - 1e-6


STORE = {"e_max_kwh": 10.0, "e_start_kwh": 5.0}
ROOM = {
    "capacity_kwh_per_k": 3.0,
    "loss_kw_per_k": 0.7,
    "temp_start_c": 20.0,
    "temp_min_c": 19.0,
    "temp_max_c": 23.0,
    "outdoor_c": 0.0,
}
WINDOW = {"start": at(0), "end": at(2), "e_min_kwh": 5.0}


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        (chp(heat_store={**STORE, "e_start_kwh": 11.0}), "heat_store.e_start_kwh"),
        (chp(heat_store={**STORE, "e_end_min_kwh": 11.0}), "heat_store.e_end_min_kwh"),
        (chp(heat_per_power=0.0), "heat_per_power"),
        (chp(heat_demand_kw=[1.0, -1.0, 1.0, 1.0]), "heat_demand_kw"),
        (chp(boiler={"p_max_kw": 5.0, "efficiency": 1.5}), "boiler.efficiency"),
        (chp(boiler={"p_max_kw": 5.0, "fuel_cost_per_mwh": [1.0, 2.0]}), "boiler.fuel_cost_per_mwh"),
        (flexible_load(p_min_kw=20.0), "p_min_kw"),
        (flexible_load(energy_windows=[{**WINDOW, "end": at(0)}]), "energy_windows[0].end"),
        (flexible_load(energy_windows=[{**WINDOW, "e_max_kwh": 4.0}]), "energy_windows[0].e_min_kwh"),
        (
            flexible_load(p_min_kw=4.0, energy_windows=[{**WINDOW, "e_max_kwh": 6.0}]),
            "energy_windows[0].e_max_kwh",
        ),
        (flexible_load(room=ROOM), "heat"),
        (flexible_load(heat={"cop": [3.0, 3.0]}), "heat.cop"),
        (flexible_load(heat={"cop": 3.0}, room={**ROOM, "temp_min_c": 24.0}), "room.temp_min_c"),
        (flexible_load(heat={"cop": 3.0}, room={**ROOM, "outdoor_c": 275.0}), "room.outdoor_c"),
        (flexible_load(heat={"cop": 3.0}, room={**ROOM, "loss_kw_per_k": 0.0}), "room.loss_kw_per_k"),
    ],
)
def test_contradictions_are_refused(asset: Document, path: str) -> None:
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(problem_of([asset]))
    assert [fault.path for fault in caught.value.faults] == [f"assets[0].{path}"]


def test_a_plan_that_goes_on_keeps_what_heats_and_runs() -> None:
    heated = {"cop": 3.0, "store": {**STORE, "e_max_kwh": 20.0}}
    document = problem_of(
        [
            load(20.0),
            chp(p_max_kw=40.0, heat_store={**STORE, "e_max_kwh": 40.0}, boiler={"p_max_kw": 10.0}),
            flexible_load(heat=heated, room={**ROOM, "temp_max_c": 26.0}),
            shiftable_load([4.0, 2.0], at(0), at(4)),
        ],
        import_price_per_mwh=[50.0, 200.0, 60.0, 180.0],
    )
    before = dispatch(DispatchProblem.from_document(document))
    document["connections"][0]["import_price_per_mwh"] = [200.0, 50.0, 180.0, 60.0]
    document["options"] = {"change_threshold": 1e3}
    previous = Previous(before.input_hash, before.time, before.assets)
    after = replan(DispatchProblem.from_document(document), previous, dispatch)
    for key, schedule in before.assets.items():
        assert after.assets[key].p_kw == pytest.approx(schedule.p_kw, abs=1e-6), key
    # what was promised goes before what would be cheaper now
    anew = dispatch(DispatchProblem.from_document(document))
    assert anew.objective["total"] < after.objective["total"] - 1e-3


def test_before_the_forecast_is_known_one_power_is_set() -> None:
    document = problem_of(
        [
            load(5.0),
            chp(p_max_kw=40.0, boiler={"p_max_kw": 10.0, "fuel_cost_per_mwh": 40.0}),
            flexible_load(heat={"cop": 3.0}, room=ROOM),
        ],
        import_price_per_mwh=[100.0, 100.0, 100.0, 100.0],
        scenarios=[
            {
                "id": name,
                "probability": 0.5,
                "series": {
                    "connections.poc.import_price_per_mwh": [100.0, price, price, price],
                    "assets.chp1.heat_demand_kw": [30.0, 30.0, demand, demand],
                },
            }
            for name, price, demand in (("cheap", 20.0, 10.0), ("dear", 400.0, 60.0))
        ],
    )
    answer = dispatch(DispatchProblem.from_document(document)).document()
    assert answer["status"] == "optimal"
    cheap, dear = (answer["scenarios"][name]["assets"] for name in ("cheap", "dear"))
    for key, name in (("chp1", "p_kw"), ("chp1", "on"), ("chp1", "boiler_heat_kw"), ("flex", "p_kw")):
        assert cheap[key][name][0] == pytest.approx(dear[key][name][0], abs=1e-6)
    assert cheap["flex"]["p_kw"][1:] != pytest.approx(dear["flex"]["p_kw"][1:], abs=1e-3)
