"""A mixed-integer program that grows column by column and row by row, and its optimum by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

Terms = dict[int, float]


class Program:
    """First what is short is minimised and held, then cost.

    Attributes:
        constant_cost: what no column changes.
    """

    def __init__(self) -> None:
        self.constant_cost = 0.0
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._integer: list[int] = []
        self._rows: list[tuple[Terms, float, float]] = []
        self._cost: Terms = {}
        self._short: Terms = {}

    def column(self, lower: float, upper: float, cost: float, short: float, integer: bool) -> int:
        number = len(self._lower)
        self._lower.append(lower)
        self._upper.append(upper)
        self._integer.append(int(integer))
        self._cost[number], self._short[number] = cost, short
        return number

    def row(self, terms: Terms, lower: float, upper: float) -> None:
        """lower ≤ Σ coefficient · column ≤ upper."""
        self._rows.append((terms, lower, upper))

    def upper(self, column: int) -> float:
        return self._upper[column]

    def solve(self) -> tuple[float, float] | None:
        """Least unserved kWh (weighted), and the least cost at it; None where infeasible."""
        least = self._minimise(self._short)
        if least is None:
            return None
        if any(self._short.values()):
            # what weighs least is held as tightly as the rest
            scale = 1 / min(v for v in self._short.values() if v)
            held = {k: v * scale for k, v in self._short.items() if v}
            self.row(held, -np.inf, least * scale * (1 + 1e-12) + 1e-9)
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
            # presolve of HiGHS 1.12, which SciPy carries, calls some of these infeasible that are not
            options={"mip_rel_gap": 0.0, "presolve": False},
        )
