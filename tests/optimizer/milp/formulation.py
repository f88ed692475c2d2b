"""A mixed-integer program that assets write themselves into row by row, and its connections."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from tests.optimizer.builders import START, Document, series

Terms = dict[int, float]
HOURS = {"PT1H": 1.0, "PT30M": 0.5, "PT15M": 0.25}
FREE_KW = 1e4
"""A power that no problem here reaches: what an unlimited connection's binaries are scaled with."""


class Formulation:
    """The program of one problem document. Powers are kW, energies kWh, costs in the currency.

    Attributes:
        steps, hours: of the time grid.
        carbon_price_per_kg: what an asset's own emissions cost.
        constant_cost: what no column changes.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.steps: int = document["time"]["steps"]
        self.hours = HOURS[document["time"]["resolution"]]
        objective = document.get("objective", {})
        self.carbon_price_per_kg = objective.get("carbon_price_per_t", 0.0) / 1000
        self.constant_cost = 0.0
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._integer: list[int] = []
        self._rows: list[tuple[Terms, float, float]] = []
        self._cost: Terms = {}
        self._short: Terms = {}
        self._draws: dict[str, list[Terms]] = {
            c["id"]: [{} for _ in range(self.steps)] for c in document["connections"]
        }
        self._constant = {c["id"]: np.zeros(self.steps) for c in document["connections"]}
        self._inflexible = {c["id"]: np.zeros(self.steps) for c in document["connections"]}

    def column(
        self, lower: float, upper: float, *, cost: float = 0.0, short: float = 0.0, integer: bool = False
    ) -> int:
        """A variable; `cost` and `short` (weighted kWh unserved) are per unit of it."""
        number = len(self._lower)
        self._lower.append(lower)
        self._upper.append(upper)
        self._integer.append(int(integer))
        self._cost[number], self._short[number] = cost, short
        return number

    def binary(self, *, cost: float = 0.0) -> int:
        return self.column(0, 1, cost=cost, integer=True)

    def row(self, terms: Terms, lower: float, upper: float) -> None:
        """lower ≤ Σ coefficient · column ≤ upper."""
        self._rows.append((terms, lower, upper))

    def upper(self, column: int) -> float:
        return self._upper[column]

    def either(self, some: list[int], others: list[int]) -> None:
        """All of `some` or all of `others` are zero; each needs a finite upper bound."""
        z = self.binary()
        for column in some:
            self.row({column: 1, z: -self._upper[column]}, -np.inf, 0)
        for column in others:
            self.row({column: 1, z: self._upper[column]}, -np.inf, self._upper[column])

    def zero_or_at_least(self, column: int, least: float) -> None:
        z = self.binary()
        self.row({column: 1, z: -self._upper[column]}, -np.inf, 0)
        self.row({column: 1, z: -least}, 0, np.inf)

    def draw(self, connection: str, step: int, column: int, coefficient: float) -> None:
        """The column draws `coefficient` kW per unit at the connection in that step."""
        terms = self._draws[connection][step]
        terms[column] = terms.get(column, 0.0) + coefficient

    def draw_constant(self, connection: str, p_kw: np.ndarray, *, inflexible: bool) -> None:
        """A series drawn; `inflexible` where nothing about it can give way."""
        self._constant[connection] += p_kw
        if inflexible:
            self._inflexible[connection] += p_kw

    def step_of(self, instant: str) -> float:
        """An instant in steps after the start."""
        return (datetime.fromisoformat(instant) - START) / timedelta(hours=self.hours)

    def stated(self, asset: Document, name: str) -> Any:
        """What an asset says of itself, else the nearest connection at or above it; None if none does."""
        connections = {c["id"]: c for c in self.document["connections"]}
        place = asset
        while place.get(name) is None:
            above = place.get("connection", place.get("parent"))
            if above is None:
                return None
            place = connections[above]
        return place[name]

    def connect(self) -> None:
        """Balances, limits, peaks and bills of all connections; once, after all assets."""
        connections = {c["id"]: c for c in self.document["connections"]}
        inside = {key: self._below(key, connections) for key in connections}
        for key, connection in connections.items():
            self._connect(connection, inside[key])

    def _below(self, key: str, connections: dict[str, Document]) -> list[str]:
        """The connection itself and all below it."""
        below = [key]
        for other, connection in connections.items():
            if connection.get("parent") == key:
                below += self._below(other, connections)
        return below

    def _connect(self, connection: Document, inside: list[str]) -> None:
        steps, hours = self.steps, self.hours
        objective = self.document.get("objective", {})
        root = connection.get("parent") is None
        average = series(connection.get("carbon_g_per_kwh"), steps)
        signal = average
        if objective.get("carbon_signal") == "marginal":
            signal = series(connection.get("marginal_carbon_g_per_kwh"), steps)
        credit = average if objective.get("export_carbon_credit") == "average" else 0 * average
        per_kwh = self.carbon_price_per_kg / 1000
        buy_price = series(connection.get("import_price_per_mwh"), steps) / 1000 + signal * per_kwh
        sell_price = series(connection.get("export_price_per_mwh"), steps) / 1000 + credit * per_kwh
        limits = [
            np.full(steps, np.inf)
            if connection.get(f"{way}_limit_kw") is None
            else series(connection[f"{way}_limit_kw"], steps)
            for way in ("import", "export")
        ]
        inflexible = sum(self._inflexible[k] for k in inside)
        imports = []
        for t in range(steps):
            excess = max(0.0, float(inflexible[t] - limits[0][t])) if np.isfinite(limits[0][t]) else 0.0
            buy = self.column(
                0, min(FREE_KW, limits[0][t] + excess), cost=float(buy_price[t]) * hours if root else 0.0
            )
            sell = self.column(
                0, min(FREE_KW, limits[1][t]), cost=-float(sell_price[t]) * hours if root else 0.0
            )
            if excess > 0:
                over = self.column(0, excess, short=hours)
                self.row({buy: 1, over: -1}, -np.inf, float(limits[0][t]))
            self.either([buy], [sell])
            terms: Terms = {buy: 1.0, sell: -1.0}
            for k in inside:
                for column, coefficient in self._draws[k][t].items():
                    terms[column] = terms.get(column, 0.0) - coefficient
            drawn = float(sum(self._constant[k][t] for k in inside))
            self.row(terms, drawn, drawn)
            imports.append(buy)
        if connection.get("peak_import_price_per_kw"):
            so_far = connection.get("peak_import_so_far_kw", 0.0)
            above = self.column(0, np.inf, cost=connection["peak_import_price_per_kw"])
            length = max(1, round(HOURS[connection.get("peak_interval", "PT15M")] / hours))
            for first in range(0, steps, length):
                window = imports[first : first + length]
                self.row({above: 1, **dict.fromkeys(window, -1 / len(window))}, -so_far, np.inf)

    def solve(self) -> tuple[float, float] | None:
        """Least unserved kWh (weighted), and the least cost at it; None where infeasible."""
        least = self._minimise(self._short)
        if least is None:
            return None
        if any(self._short.values()):
            self.row({k: v for k, v in self._short.items() if v}, -np.inf, least + 1e-9 * max(1.0, least))
        cost = self._minimise(self._cost)
        assert cost is not None
        return least, cost + self.constant_cost

    def _minimise(self, cost: Terms) -> float | None:
        found = self._run(cost, self._lower, self._upper, self._integer)
        if found.x is None or not any(self._integer):
            return None if found.x is None else float(found.fun)
        # once more with the integers at whole values: without what integrality tolerances leak
        whole = [k for k, integer in enumerate(self._integer) if integer]
        lower, upper = list(self._lower), list(self._upper)
        for k in whole:
            lower[k] = upper[k] = float(np.round(found.x[k]))
        again = self._run(cost, lower, upper, [0] * len(lower))
        return float(found.fun if again.x is None else again.fun)

    def _run(self, cost: Terms, lower: list[float], upper: list[float], integer: list[int]) -> Any:
        entries = [(n, k, v) for n, (terms, _, _) in enumerate(self._rows) for k, v in terms.items()]
        rows, columns, values = zip(*entries, strict=True)
        matrix = csr_array((values, (rows, columns)), shape=(len(self._rows), len(lower)))
        return milp(
            [cost.get(k, 0.0) for k in range(len(lower))],
            constraints=LinearConstraint(matrix, [r[1] for r in self._rows], [r[2] for r in self._rows]),
            bounds=Bounds(lower, upper),
            integrality=integer,
            options={"mip_rel_gap": 0.0},
        )


def optimum(document: Document) -> tuple[float, float] | None:
    """Least unserved kWh of a problem, weighted by priority, and its least cost at that."""
    from tests.optimizer.milp import ASSETS

    f = Formulation(document)
    for asset in document["assets"]:
        ASSETS[asset["type"]].formulate(f, asset)
    f.connect()
    return f.solve()
