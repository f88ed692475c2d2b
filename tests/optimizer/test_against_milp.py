"""Random small problems against an independent formulation: SciPy's `milp`, every exclusion a binary."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.optimizer.builders import (
    START,
    Document,
    battery,
    ev,
    load,
    problem_of,
    renewable,
    session,
    solve,
    trip,
)


class Formulation:
    """A mixed-integer program grown row by row; columns have names."""

    def __init__(self) -> None:
        self.columns: dict[Any, int] = {}
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.integer: list[int] = []
        self.rows: list[tuple[dict[int, float], float, float]] = []

    def column(self, name: Any, lower: float, upper: float, integer: bool = False) -> int:
        self.columns[name] = len(self.lower)
        self.lower.append(lower)
        self.upper.append(upper)
        self.integer.append(int(integer))
        return self.columns[name]

    def row(self, terms: dict[int, float], lower: float, upper: float) -> None:
        self.rows.append((terms, lower, upper))

    def either(self, name: Any, a: int, b: int) -> None:
        z = self.column(name, 0, 1, integer=True)
        self.row({a: 1, z: -self.upper[a]}, -np.inf, 0)
        self.row({b: 1, z: self.upper[b]}, -np.inf, self.upper[b])

    def minimise(self, cost: dict[int, float]) -> float | None:
        matrix = np.zeros((len(self.rows), len(self.lower)))
        for number, (terms, _, _) in enumerate(self.rows):
            for column, value in terms.items():
                matrix[number, column] += value
        objective = np.zeros(len(self.lower))
        for column, value in cost.items():
            objective[column] += value
        result = milp(
            objective,
            constraints=LinearConstraint(matrix, [r[1] for r in self.rows], [r[2] for r in self.rows]),
            bounds=Bounds(self.lower, self.upper),
            integrality=self.integer,
            options={"mip_rel_gap": 1e-9},
        )
        return None if result.x is None else float(result.fun)


def formulate(document: Document) -> tuple[float, float] | None:
    """Least unserved energy, and least cost at it; None where infeasible."""
    f = Formulation()
    steps, connection = document["time"]["steps"], document["connections"][0]
    objective = document["objective"]
    cost: dict[int, float] = {}
    short: dict[int, float] = {}
    balance: list[dict[int, float]] = [{} for _ in range(steps)]
    constant, inflexible = np.zeros(steps), np.zeros(steps)

    def store(asset: Document, charge_max: np.ndarray, discharge_max: np.ndarray, drives: Any) -> None:
        previous = None
        retained = 1 - asset.get("self_discharge_per_hour", 0.0)
        for t in range(steps):
            c = f.column((asset["id"], "c", t), 0, charge_max[t])
            d = f.column((asset["id"], "d", t), 0, discharge_max[t])
            low = asset.get("e_min_kwh", 0.0)
            if t == steps - 1:
                low = max(low, asset.get("e_end_min_kwh", 0.0))
            e = f.column((asset["id"], "e", t), low, asset["e_max_kwh"])
            f.either((asset["id"], "z", t), c, d)
            terms = {e: 1.0, c: -asset["charge_efficiency"], d: 1 / asset["discharge_efficiency"]}
            taken = 0.0
            for number, (step, energy) in enumerate(drives):
                if step == t:
                    s = f.column((asset["id"], "trip", number), 0, energy)
                    terms[s] = -1.0
                    short[s] = 1.0
                    taken += energy
            start = retained * asset["e_start_kwh"] if previous is None else 0.0
            if previous is not None:
                terms[previous] = -retained
            f.row(terms, start - taken, start - taken)
            balance[t][c], balance[t][d] = 1.0, -1.0
            cost[d] = asset["wear_cost_per_mwh"] / 1000
            previous = e

    for asset in document["assets"]:
        if asset["type"] == "load":
            demand = np.broadcast_to(asset["p_kw"], steps).astype(float)
            constant += demand
            inflexible += demand
            for t in range(steps):
                s = f.column((asset["id"], t), 0, asset["shed_limit_fraction"] * demand[t])
                balance[t][s] = -1.0
                cost[s] = (asset["shed_price_per_mwh"] or 0.0) / 1000
        elif asset["type"] == "renewable":
            available = np.broadcast_to(asset["available_kw"], steps).astype(float)
            constant -= available
            inflexible -= 0 if asset["curtailable"] else available
            for t in range(steps):
                s = f.column((asset["id"], t), 0, available[t] if asset["curtailable"] else 0.0)
                balance[t][s] = 1.0
                cost[s] = (asset["curtailment_price_per_mwh"] - asset["marginal_cost_per_mwh"]) / 1000
        elif asset["type"] == "battery":
            full = np.ones(steps)
            store(asset, full * asset["charge_max_kw"], full * asset["discharge_max_kw"], ())
        else:
            charge_max, discharge_max, needs = np.zeros(steps), np.zeros(steps), []
            for stay in asset["sessions"]:
                begin, end = hours_of(stay["arrival"]), hours_of(stay["departure"])
                for t in range(steps):
                    share = max(0.0, min(end, t + 1) - max(begin, t))
                    charge_max[t] += share * stay["charge_max_kw"]
                    discharge_max[t] += share * stay["discharge_max_kw"]
                needs.append((int(np.ceil(end)) - 1, stay["e_departure_min_kwh"]))
            store(
                asset,
                charge_max,
                discharge_max,
                [(int(hours_of(d["arrival"])), d["energy_kwh"]) for d in asset["trips"]],
            )
            for t, need in needs:
                s = f.column((asset["id"], "need", t), 0, np.inf)
                short[s] = 1.0
                f.row({f.columns[asset["id"], "e", t]: 1.0, s: 1.0}, need, np.inf)
    carbon = connection["carbon_g_per_kwh"] * objective["carbon_price_per_t"] * 1e-6
    peak = f.column("peak", 0, np.inf)
    cost[peak] = connection["peak_import_price_per_kw"]
    for t in range(steps):
        limit = connection["import_limit_kw"]
        excess = max(0.0, inflexible[t] - limit)
        buy = f.column(("import", t), 0, limit + excess)
        sell = f.column(("export", t), 0, connection["export_limit_kw"])
        over = f.column(("over", t), 0, excess)
        short[over] = 1.0
        f.either(("grid", t), buy, sell)
        f.row({buy: 1, over: -1}, -np.inf, limit)
        f.row({peak: 1, buy: -1}, -connection["peak_import_so_far_kw"], np.inf)
        f.row({buy: 1, sell: -1, **{k: -v for k, v in balance[t].items()}}, constant[t], constant[t])
        cost[buy] = connection["import_price_per_mwh"][t] / 1000 + carbon
        cost[sell] = -connection["export_price_per_mwh"][t] / 1000
    least = f.minimise(short)
    if least is None:
        return None
    f.row(short, -np.inf, least + 1e-7)
    total = f.minimise(cost)
    assert total is not None
    fuel = sum(
        np.broadcast_to(a["available_kw"], steps).sum() * a["marginal_cost_per_mwh"] / 1000
        for a in document["assets"]
        if a["type"] == "renewable"
    )
    return least, total + fuel


def hours_of(instant: str) -> float:
    return (datetime.fromisoformat(instant) - START) / timedelta(hours=1)


@st.composite
def problems(draw: Any) -> Document:
    steps = draw(st.integers(1, 5))
    whole = st.integers(0, 12).map(float)

    def some(low: int, high: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))

    assets = [
        load(some(0, 15), shed_limit_fraction=draw(st.sampled_from([0.0, 0.5])), shed_price_per_mwh=300.0)
    ]
    if draw(st.booleans()):
        assets.append(
            renewable(
                some(0, 20),
                curtailable=draw(st.booleans()),
                curtailment_price_per_mwh=draw(st.sampled_from([0.0, 7.0])),
                marginal_cost_per_mwh=draw(st.sampled_from([0.0, 3.0])),
            )
        )
    efficiency = st.sampled_from([0.8, 0.9, 1.0])
    if draw(st.booleans()):
        assets.append(
            battery(
                charge_max_kw=draw(whole),
                discharge_max_kw=draw(whole),
                e_min_kwh=draw(st.sampled_from([0.0, 2.0])),
                e_start_kwh=draw(st.sampled_from([2.0, 10.0, 20.0])),
                e_end_min_kwh=draw(st.sampled_from([0.0, 5.0, 18.0])),
                charge_efficiency=draw(efficiency),
                discharge_efficiency=draw(efficiency),
                self_discharge_per_hour=draw(st.sampled_from([0.0, 0.01])),
                wear_cost_per_mwh=draw(st.sampled_from([0.0, 11.0])),
            )
        )
    for number in range(draw(st.integers(0, 2))):
        cuts = sorted(draw(st.lists(st.integers(0, steps * 4), min_size=2, max_size=4, unique=True)))
        stays = [(cuts[k] / 4, cuts[k + 1] / 4) for k in range(0, len(cuts) - 1, 2)]
        # a step of its own for each session's end, so that needs and trips never meet in one step
        if len(stays) == 2 and np.ceil(stays[0][1]) >= stays[1][0]:
            stays = stays[:1]
        assets.append(
            ev(
                [
                    session(
                        *stay,
                        discharge_max_kw=draw(st.sampled_from([0.0, 8.0])),
                        e_departure_min_kwh=draw(st.sampled_from([0.0, 15.0, 30.0])),
                    )
                    for stay in stays
                ],
                f"ev{number}",
                e_min_kwh=draw(st.sampled_from([0.0, 5.0])),
                charge_efficiency=draw(efficiency),
                discharge_efficiency=draw(efficiency),
                wear_cost_per_mwh=draw(st.sampled_from([0.0, 20.0])),
                trips=[trip(stays[0][1], stays[1][0], draw(st.sampled_from([1.0, 9.0])))]
                if len(stays) == 2
                else [],
            )
        )
    return problem_of(
        assets,
        steps=steps,
        import_limit_kw=draw(st.sampled_from([5.0, 20.0, 60.0])),
        export_limit_kw=draw(st.sampled_from([0.0, 10.0, 60.0])),
        import_price_per_mwh=some(-60, 150),
        export_price_per_mwh=some(-60, 150),
        carbon_g_per_kwh=draw(st.sampled_from([0.0, 400.0])),
        peak_import_price_per_kw=draw(st.sampled_from([0.0, 0.5])),
        peak_import_so_far_kw=draw(st.sampled_from([0.0, 6.0])),
        objective={"carbon_price_per_t": draw(st.sampled_from([0.0, 100.0]))},
        options={"mip_gap": 0.0},
    )


@settings(max_examples=150)
@given(document=problems())
def test_same_optimum(document: Document) -> None:
    expected = formulate(document)
    answer = solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert answer["conflicts"]
        return
    assert answer["status"] == "optimal"
    unserved = sum(shortfall["amount_kwh"] for shortfall in answer["shortfalls"])
    assert unserved == pytest.approx(expected[0], abs=1e-5)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(expected[1], abs=1e-5)
    assert answer["best_bound"] <= answer["objective"]["total"] + 1e-9
