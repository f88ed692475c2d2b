"""Batteries and EVs beyond linear: least powers, V2G with consent and reserve, priorities.

Random problems are compared with an independent formulation in SciPy's `milp`, every choice a binary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from optimizer import DispatchProblem
from tests.optimizer.builders import Document, at, battery, ev, load, problem_of, session, solve, trip
from tests.optimizer.test_problem import faults


class Reference:
    """Stores and a load behind one limited connection, as a mixed-integer program of its own.

    Per step: buy, sell, and per store charge, discharge, energy and two binaries; per need a shortfall.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.steps = document["time"]["steps"]
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.cost: list[float] = []
        self.weight: list[float] = []
        self.integer: list[int] = []
        self.rows: list[tuple[dict[int, float], float, float]] = []
        connection = document["connections"][0]
        demand = np.broadcast_to(document["assets"][0]["p_kw"], self.steps)
        draws: list[dict[int, float]] = [{} for _ in range(self.steps)]
        for store in document["assets"][1:]:
            self._store(store, draws)
        for t in range(self.steps):
            buy = self._column(0, connection["import_limit_kw"], connection["import_price_per_mwh"][t] / 1e3)
            sell = self._column(0, 1e3, -connection["export_price_per_mwh"][t] / 1e3)
            which = self._column(0, 1, integer=1)
            self.rows.append(({buy: 1, which: -connection["import_limit_kw"]}, -np.inf, 0))
            self.rows.append(({sell: 1, which: 1e3}, -np.inf, 1e3))
            net = {buy: 1.0, sell: -1.0, **{column: -value for column, value in draws[t].items()}}
            self.rows.append((net, demand[t], demand[t]))

    def _column(
        self, lower: float, upper: float, cost: float = 0, weight: float = 0, integer: int = 0
    ) -> int:
        for store, value in zip(
            (self.lower, self.upper, self.cost, self.weight, self.integer),
            (lower, upper, cost, weight, integer),
            strict=True,
        ):
            store.append(value)
        return len(self.lower) - 1

    def _store(self, store: Document, draws: list[dict[int, float]]) -> None:
        consents = store.get("v2g_consent", True)
        drives = {int(t["arrival"][11:13]): t["energy_kwh"] for t in store.get("trips", ())}
        before: int | None = None
        for t in range(self.steps):
            stay: Document = store if store["type"] == "battery" else {}
            for each in store.get("sessions", ()):
                if each["arrival"] <= at(t) and at(t + 1) <= each["departure"]:
                    stay = each
            back = stay.get("discharge_max_kw", 0.0) * (consents and stay.get("v2g_consent", True))
            c = self._column(0, stay.get("charge_max_kw", 0.0))
            d = self._column(0, back, store["wear_cost_per_mwh"] / 1e3)
            low = max(store["e_min_kwh"], store.get("e_end_min_kwh", 0) if t == self.steps - 1 else 0)
            e = self._column(low, store["e_max_kwh"])
            charging, giving = self._column(0, 1, integer=1), self._column(0, 1, integer=1)
            self.rows.append(({charging: 1, giving: 1}, 0, 1))
            for power, on, way in ((c, charging, "charge"), (d, giving, "discharge")):
                self.rows.append(({power: 1, on: -self.upper[power]}, -np.inf, 0))
                self.rows.append(({power: 1, on: -stay.get(f"{way}_min_kw", 0)}, 0, np.inf))
            self.rows.append(({e: 1, giving: -store.get("v2g_reserve_kwh", 0)}, 0, np.inf))
            drive = drives.get(t, 0.0)
            short = self._column(0, drive, weight=store.get("priority", 1.0))
            terms = {
                e: 1.0,
                c: -store["charge_efficiency"],
                d: 1 / store["discharge_efficiency"],
                short: -1.0,
            }
            start = store["e_start_kwh"] if before is None else 0.0
            self.rows.append(
                ({**terms, **({} if before is None else {before: -1.0})}, start - drive, start - drive)
            )
            draws[t].update({c: 1.0, d: -1.0})
            before = e
            if stay.get("e_departure_min_kwh") and stay["departure"] == at(t + 1):
                priority = stay.get("priority") or store.get("priority", 1.0)
                unmet = self._column(0, np.inf, weight=priority)
                self.rows.append(({e: 1.0, unmet: 1.0}, stay["e_departure_min_kwh"], np.inf))

    def _minimise(self, objective: list[float]) -> float | None:
        matrix = np.zeros((len(self.rows), len(self.lower)))
        for number, (terms, _, _) in enumerate(self.rows):
            for column, value in terms.items():
                matrix[number, column] += value
        found = milp(
            objective,
            constraints=LinearConstraint(matrix, [r[1] for r in self.rows], [r[2] for r in self.rows]),
            bounds=Bounds(self.lower, self.upper),
            integrality=self.integer,
            options={"mip_rel_gap": 1e-9},
        )
        return None if found.x is None else float(found.fun)

    def optimum(self) -> tuple[float, float] | None:
        """Least weighted shortfall, and least cost at it; None where infeasible."""
        least = self._minimise(self.weight)
        if least is None:
            return None
        self.rows.append((dict(enumerate(self.weight)), -np.inf, least + 1e-7))
        cost = self._minimise(self.cost)
        assert cost is not None
        return least, cost


@st.composite
def stores(draw: Any) -> Document:
    steps = draw(st.integers(2, 5))

    def some(low: int, high: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))

    def powers() -> Document:
        return {
            "charge_max_kw": 10.0,
            "discharge_max_kw": draw(st.sampled_from([4.0, 8.0])),
            "charge_min_kw": draw(st.sampled_from([0.0, 3.0, 7.0])),
            "discharge_min_kw": draw(st.sampled_from([0.0, 2.0, 4.0])),
        }

    def losses() -> Document:
        return {
            "e_min_kwh": draw(st.sampled_from([0.0, 2.0])),
            "charge_efficiency": draw(st.sampled_from([0.8, 1.0])),
            "discharge_efficiency": draw(st.sampled_from([0.8, 1.0])),
            "wear_cost_per_mwh": draw(st.sampled_from([0.0, 20.0])),
        }

    assets = [load(some(0, 6))]
    if draw(st.booleans()):
        start = draw(st.sampled_from([2.0, 10.0]))
        end = draw(st.sampled_from([0.0, 8.0]))
        assets.append(battery(e_start_kwh=start, e_end_min_kwh=end, **powers(), **losses()))
    for number in range(draw(st.integers(0, 2))):
        home = draw(st.integers(1, steps))
        stays = [(0, home), (home + 1, steps)][: 2 if home + 1 < steps else 1]
        assets.append(
            ev(
                [
                    session(
                        *stay,
                        **powers(),
                        e_departure_min_kwh=draw(st.sampled_from([0.0, 15.0, 28.0])),
                        priority=draw(st.sampled_from([None, 0.5, 4.0])),
                        v2g_consent=draw(st.sampled_from([True, True, False])),
                    )
                    for stay in stays
                ],
                f"ev{number}",
                priority=draw(st.sampled_from([1.0, 3.0])),
                v2g_consent=draw(st.sampled_from([True, True, False])),
                v2g_reserve_kwh=draw(st.sampled_from([0.0, 9.0, 14.0])),
                trips=[trip(home, home + 0.75, 6.0)] if len(stays) == 2 else [],
                **losses(),
            )
        )
    return problem_of(
        assets,
        steps=steps,
        import_limit_kw=draw(st.sampled_from([6.0, 12.0, 40.0])),
        import_price_per_mwh=some(-60, 150),
        export_price_per_mwh=some(-60, 150),
        options={"mip_gap": 0.0},
    )


@settings(max_examples=60)
@given(document=stores())
def test_same_optimum_as_with_every_choice_a_binary(document: Document) -> None:
    expected, answer = Reference(document).optimum(), solve(document)
    if expected is None:
        assert answer["status"] == "infeasible"
        assert answer["conflicts"]
        return
    assert answer["status"] == "optimal"
    assert weighted(document, answer) == pytest.approx(expected[0], abs=1e-5)
    cost = answer["objective"]["total"] - answer["objective"]["shortfall"]
    assert cost == pytest.approx(expected[1], abs=1e-5)


def weighted(document: Document, answer: Document) -> float:
    """The shortfalls of EVs, each times the priority of its session, or of its EV."""
    assets = {asset["id"]: asset for asset in document["assets"]}
    total = 0.0
    for shortfall in answer["shortfalls"]:
        asset = assets[shortfall["asset"]]
        own = [
            stay.get("priority")
            for stay in asset.get("sessions", ())
            if shortfall["kind"] == "departure_energy" and stay["departure"] == shortfall["at"]
        ]
        priority = next((value for value in own if value is not None), asset.get("priority", 1.0))
        total += priority * shortfall["amount_kwh"]
    return total


def test_no_consent_is_no_discharge_and_is_told() -> None:
    dear = {"import_price_per_mwh": [10.0, 900.0], "export_price_per_mwh": 800.0, "steps": 2}
    giving = ev([session(0, 2, discharge_max_kw=10.0)])
    assert min(solve(problem_of([giving], **dear))["assets"]["ev1"]["p_kw"]) < 0
    for refusing in (
        {**giving, "v2g_consent": False},
        ev([session(0, 2, discharge_max_kw=10.0, v2g_consent=False)]),
    ):
        answer = solve(problem_of([refusing], **dear))
        assert min(answer["assets"]["ev1"]["p_kw"]) >= 0.0
        assert "asset 'ev1': no V2G in 1 of its sessions, without v2g_consent" in answer["notices"]


def test_a_trip_of_higher_priority_is_served_first() -> None:
    """8 kWh for two trips of 8 kWh: the EV of priority 5 drives all of its way."""
    answer = solve(
        problem_of(
            [
                ev([session(0, 1)], name, e_start_kwh=0.0, priority=priority, trips=[trip(1, 1.5, 8.0)])
                for name, priority in (("a", 1.0), ("b", 5.0))
            ],
            steps=2,
            import_limit_kw=8.0,
        )
    )
    assert [(s["asset"], s["kind"], s["amount_kwh"]) for s in answer["shortfalls"]] == [
        ("a", "trip_energy", pytest.approx(8.0))
    ]


def test_what_contradicts_itself_is_refused() -> None:
    found = faults(
        problem_of(
            [
                battery(charge_min_kw=11.0, discharge_min_kw=12.0),
                ev([session(0, 1, discharge_max_kw=2.0, discharge_min_kw=3.0)], v2g_reserve_kwh=61.0),
                ev([session(0, 1, priority=0.0)], "ev2", v2g_consent="no"),
            ]
        )
    )
    assert found.keys() == {
        "assets[0].charge_min_kw",
        "assets[0].discharge_min_kw",
        "assets[1].sessions[0].discharge_min_kw",
        "assets[1].v2g_reserve_kwh",
        "assets[2].sessions[0].priority",
        "assets[2].v2g_consent",
    }


def test_a_reserve_that_many_evs_would_break_is_kept_and_the_gap_told() -> None:
    """Beyond `EXACT_PAIRS` steps are closed for discharge instead; the bound stays that of the relaxation."""
    evs = [
        ev([session(0, 24, discharge_max_kw=5.0, e_departure_min_kwh=30.0)], f"ev{k}", v2g_reserve_kwh=25.0)
        for k in range(40)
    ]
    prices = [300.0 if step < 12 else 20.0 for step in range(24)]
    answer = solve(
        problem_of(evs, steps=24, import_price_per_mwh=prices, export_price_per_mwh=[p - 1 for p in prices])
    )
    assert answer["status"] == "feasible"
    assert answer["best_bound"] < answer["objective"]["total"]
    assert any("chosen, not optimised" in notice for notice in answer["notices"])


def test_the_normalised_problem_keeps_the_new_fields() -> None:
    document = problem_of(
        [battery(charge_min_kw=1.0), ev([session(0, 1, priority=2.0)], v2g_reserve_kwh=5.0)]
    )
    problem = DispatchProblem.from_document(document)
    assert DispatchProblem.from_document(problem.document()).input_hash == problem.input_hash
