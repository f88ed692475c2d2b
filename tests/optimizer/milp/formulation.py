"""A problem without scenarios as assets write it into a program, and its connections."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tests.optimizer.builders import START, Document, series
from tests.optimizer.islands import exchange_kw
from tests.optimizer.milp.program import Program, Terms
from tests.optimizer.milp.rules import fairness, islands, offers, phases, signals, tariffs
from tests.optimizer.places import inherited, lineage

HOURS = {"PT1H": 1.0, "PT30M": 0.5, "PT15M": 0.25}
FREE_KW = 1e4
"""A power that no problem here reaches: what an unlimited connection's binaries are scaled with."""
RULES = (signals, phases, islands, offers, fairness)
"""What holds over all assets; each writes its rows once they are there."""


class Formulation:
    """One problem document in a program. Powers are kW, energies kWh, costs in the currency.

    Attributes:
        steps, hours: of the time grid.
        weight: its probability: what costs and shortfalls count for.
        carbon_price_per_kg: what an asset's own emissions cost.
        drawn, constant: what each asset draws per step: coefficients of columns, and kW.
        flows: per connection and step the columns of what it imports and exports.
        sheds: per connection whether load may go unserved in a step, for the sake of an island.
        lifted: per connection whose limits may be exceeded the binary that says that they are.
        unmet, fed: per asset the columns of needs that are short, and of what is fed of what is available.
        kept: per asset what it holds at the end: see `islands`.
        providers: the assets that may hold reserve: see `offers`.
        held: the column of each offer's capacity.
    """

    def __init__(self, document: Document, program: Program | None = None, weight: float = 1.0) -> None:
        self.document, self.weight = document, weight
        self.program = program or Program()
        self.steps: int = document["time"]["steps"]
        self.hours = HOURS[document["time"]["resolution"]]
        self.connections = {c["id"]: c for c in document["connections"]}
        objective = document.get("objective", {})
        self.carbon_price_per_kg = objective.get("carbon_price_per_t", 0.0) / 1000
        assets = [asset["id"] for asset in document["assets"]]
        self.drawn: dict[str, list[Terms]] = {key: [{} for _ in range(self.steps)] for key in assets}
        self.constant = {key: np.zeros(self.steps) for key in assets}
        self.controls: list[tuple[int, int]] = []
        self.flows: dict[str, list[tuple[int, int]]] = {}
        self.exchange = {key: exchange_kw(document, c) for key, c in self.connections.items()}
        self.sheds = islands.sheds(self)
        self.lifted: dict[str, int] = {}
        self.unmet: dict[str, Terms] = {}
        self.fed: dict[str, list[int]] = {}
        self.kept: dict[str, islands.Kept] = {}
        self.held: dict[str, int] = {}
        self.providers: list[offers.Provider] = []
        self._inflexible = {key: np.zeros(self.steps) for key in self.connections}

    def column(
        self, lower: float, upper: float, *, cost: float = 0.0, short: float = 0.0, integer: bool = False
    ) -> int:
        """A variable; `cost` and `short` (weighted kWh unserved) are per unit of it."""
        return self.program.column(lower, upper, cost * self.weight, short * self.weight, integer)

    def binary(self, *, cost: float = 0.0) -> int:
        return self.column(0, 1, cost=cost, integer=True)

    def row(self, terms: Terms, lower: float, upper: float) -> None:
        """lower ≤ Σ coefficient · column ≤ upper."""
        self.program.row(terms, lower, upper)

    def constant_cost(self, cost: float) -> None:
        """What no column changes."""
        self.program.constant_cost += cost * self.weight

    def upper(self, column: int) -> float:
        return self.program.upper(column)

    def either(self, some: list[int], others: list[int]) -> None:
        """All of `some` or all of `others` are zero; each needs a finite upper bound."""
        z = self.binary()
        for column in some:
            self.row({column: 1, z: -self.upper(column)}, -np.inf, 0)
        for column in others:
            self.row({column: 1, z: self.upper(column)}, -np.inf, self.upper(column))

    def zero_or_at_least(self, column: int, least: float) -> None:
        z = self.binary()
        self.row({column: 1, z: -self.upper(column)}, -np.inf, 0)
        self.row({column: 1, z: -least}, 0, np.inf)

    def draw(self, asset: Document, step: int, column: int, coefficient: float, control: bool = True) -> None:
        """The column draws `coefficient` kW per unit in that step; somebody sets it beforehand, if it is a
        `control`."""
        terms = self.drawn[asset["id"]][step]
        terms[column] = terms.get(column, 0.0) + coefficient
        if control:
            self.control(step, column)

    def control(self, step: int, column: int) -> None:
        """The column is set in that step before it is known which scenario comes true."""
        self.controls.append((step, column))

    def draw_constant(self, asset: Document, p_kw: np.ndarray, *, inflexible: bool) -> None:
        """A series drawn; `inflexible` where nothing about it can give way."""
        self.constant[asset["id"]] += p_kw
        if inflexible:
            self.must_draw(asset, p_kw)

    def must_draw(self, asset: Document, p_kw: np.ndarray) -> None:
        """What the columns that it draws cannot go below."""
        self._inflexible[asset["connection"]] += p_kw

    def step_of(self, instant: str) -> float:
        """An instant in steps after the start."""
        return (datetime.fromisoformat(instant) - START) / timedelta(hours=self.hours)

    def stated(self, asset: Document, name: str) -> Any:
        """What an asset says of itself, else the nearest connection at or above it; None if none does."""
        return inherited(self.document, asset, name)

    def below(self, key: str) -> list[Document]:
        """The assets at or below a connection."""
        return [a for a in self.document["assets"] if key in lineage(self.document, a["connection"])]

    def net(self, key: str, step: int) -> tuple[Terms, float]:
        """What the assets at or below a connection draw."""
        terms: Terms = {}
        for asset in self.below(key):
            for column, coefficient in self.drawn[asset["id"]][step].items():
                terms[column] = terms.get(column, 0.0) + coefficient
        return terms, float(sum(self.constant[asset["id"]][step] for asset in self.below(key)))

    def inflexible(self, key: str) -> np.ndarray:
        """What nothing can change of the power through a connection; an island lets none of it through."""
        children = (c["id"] for c in self.document["connections"] if c.get("parent") == key)
        total = self._inflexible[key] + sum(self.inflexible(child) for child in children)
        return np.clip(total, -self.exchange[key], self.exchange[key])

    def write(self) -> None:
        """Everything that the document states."""
        from tests.optimizer.milp import ASSETS

        for connection in self.document["connections"]:
            if connection.get("breach_probability"):
                self.lifted[connection["id"]] = self.binary()
        for asset in self.document["assets"]:
            ASSETS[asset["type"]].formulate(self, asset)
        for connection in self.document["connections"]:
            self._connect(connection)
        for rule in RULES:
            rule.formulate(self)

    def limit(self, connection: Document, name: str) -> np.ndarray:
        """A limit as a series, infinite where there is none."""
        stated = connection.get(name)
        return np.full(self.steps, np.inf) if stated is None else series(stated, self.steps)

    def _connect(self, connection: Document) -> None:
        """The balance, limits, peak and bill of a connection."""
        steps, hours, key = self.steps, self.hours, connection["id"]
        objective = self.document.get("objective", {})
        root = connection.get("parent") is None
        average = series(connection.get("carbon_g_per_kwh"), steps)
        signal = average
        if objective.get("carbon_signal") == "marginal":
            signal = series(connection.get("marginal_carbon_g_per_kwh"), steps)
        credit = average if objective.get("export_carbon_credit") == "average" else 0 * average
        per_kwh = self.carbon_price_per_kg / 1000
        buy_price = tariffs.prices(self, connection, "import") / 1000 + signal * per_kwh
        sell_price = tariffs.prices(self, connection, "export") / 1000 + credit * per_kwh
        limits = [self.limit(connection, f"{way}_limit_kw") for way in ("import", "export")]
        inflexible, exchange, lift = self.inflexible(key), self.exchange[key], self.lifted.get(key)
        imports = []
        for t in range(steps):
            excess = max(0.0, float(inflexible[t] - limits[0][t])) if np.isfinite(limits[0][t]) else 0.0
            if self.sheds[key][t]:
                excess = 0.0
            most = [limits[0][t] + excess, limits[1][t]]
            if lift is not None:
                most = [np.inf, np.inf]
            buy, sell = (
                self.column(0, min(FREE_KW, bound, exchange[t]), cost=cost * hours if root else 0.0)
                for bound, cost in zip(most, (float(buy_price[t]), -float(sell_price[t])), strict=True)
            )
            if excess > 0:
                over = self.column(0, excess, short=hours)
                self._limited({buy: 1, over: -1}, float(limits[0][t]), lift)
            elif lift is not None:
                self._limited({buy: 1}, float(limits[0][t]), lift)
            if lift is not None:
                self._limited({sell: 1}, float(limits[1][t]), lift)
            self.either([buy], [sell])
            terms, drawn = self.net(key, t)
            self.row({buy: 1.0, sell: -1.0, **{k: -v for k, v in terms.items()}}, drawn, drawn)
            imports.append(buy)
            self.flows.setdefault(key, []).append((buy, sell))
        if connection.get("import_blocks"):
            tariffs.blocks(self, connection, imports)
        if connection.get("peak_import_price_per_kw"):
            so_far = connection.get("peak_import_so_far_kw", 0.0)
            above = self.column(0, np.inf, cost=connection["peak_import_price_per_kw"])
            length = max(1, round(HOURS[connection.get("peak_interval", "PT15M")] / hours))
            for first in range(0, steps, length):
                window = imports[first : first + length]
                self.row({above: 1, **dict.fromkeys(window, -1 / len(window))}, -so_far, np.inf)

    def _limited(self, terms: Terms, limit: float, lift: int | None) -> None:
        if np.isfinite(limit):
            self.row(terms if lift is None else {**terms, lift: -FREE_KW}, -np.inf, limit)


def optimum(document: Document) -> tuple[float, float] | None:
    """Least unserved kWh of a problem, weighted by priority, and its least cost at that; both expected,
    where the problem has scenarios."""
    from tests.optimizer.milp.rules import scenarios

    if document.get("scenarios"):
        return scenarios.optimum(document)
    f = Formulation(document)
    f.write()
    return f.program.solve()
