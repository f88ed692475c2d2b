"""What a linear program cannot say: one of two powers is zero, or a power is zero or at least so much.

Mostly prices say it already. Binaries enter only for the pairs that a linear answer breaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, IntArray
from optimizer.solver import Solver

if TYPE_CHECKING:
    from optimizer.model import Program

TOLERANCE = 1e-6
"""kW below which a power is the solver's rounding."""
EXACT_PAIRS = 300
"""Beyond this many broken pairs a branch and bound finds nothing in useful time: sides are chosen instead."""


class Exclusions:
    """Pairs of columns of which one must be zero, and semicontinuous columns, of one program."""

    def __init__(self, program: Program, solver: Solver) -> None:
        self._solver = solver
        self._upper = program.linear.upper
        self._pairs = program.exclusive
        self._exact = np.zeros(len(self._pairs), bool)
        self._stepped, self._stepped_min = program.semicontinuous
        self._stepped_exact = False
        self._closed = np.zeros(0, np.int64)

    @property
    def chosen(self) -> int:
        """For how many pairs a side was chosen instead of optimised."""
        return len(self._closed)

    def enforce(self, x: FloatArray, *, exact: bool) -> bool:
        """Rule out what `x` does wrong; False where it does nothing wrong.

        With `exact` (and not too many pairs) by binaries, else by closing the smaller side of each pair.
        """
        broken = (x[self._pairs] > TOLERANCE).all(axis=1)
        pairs = self._pairs[broken]
        if len(pairs) and exact and int((broken | self._exact).sum()) <= EXACT_PAIRS:
            self._exact |= broken
            upper = self._upper[pairs]
            binary = self._binaries(len(pairs))
            self._rows("exclusion", [(pairs[:, 0], 1.0), (binary, -upper[:, 0])], -np.inf, 0.0)
            self._rows("exclusion", [(pairs[:, 1], 1.0), (binary, upper[:, 1])], -np.inf, upper[:, 1])
        elif len(pairs):
            side = np.where(x[pairs[:, 0]] < x[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
            self._closed = np.concatenate([self._closed, side])
            self._solver.set_bounds(side, np.zeros(len(side)), np.zeros(len(side)))
        return self._step(x) or bool(len(pairs))

    def _step(self, x: FloatArray) -> bool:
        """Binaries for all semicontinuous columns once one of them takes a forbidden value."""
        power = x[self._stepped]
        forbidden = (power > TOLERANCE) & (power < self._stepped_min - TOLERANCE)
        if self._stepped_exact or not forbidden.any():
            return False
        self._stepped_exact = True
        binary = self._binaries(len(self._stepped))
        self._rows(
            "semicontinuous", [(self._stepped, 1.0), (binary, -self._upper[self._stepped])], -np.inf, 0.0
        )
        self._rows("semicontinuous", [(self._stepped, 1.0), (binary, -self._stepped_min)], 0.0, np.inf)
        return True

    def reopen(self) -> None:
        """Take back the choice of sides."""
        if len(self._closed):
            upper = self._upper[self._closed]
            self._solver.set_bounds(self._closed, np.zeros(len(upper)), upper)
            self._closed = np.zeros(0, np.int64)

    def _binaries(self, count: int) -> IntArray:
        return self._solver.add_columns("binary", np.zeros(count), np.ones(count), integer=True)

    def _rows(
        self,
        name: str,
        terms: list[tuple[IntArray, FloatArray | float]],
        lower: FloatArray | float,
        upper: FloatArray | float,
    ) -> None:
        """Rows lower ≤ Σ value · column ≤ upper, one for each position of the terms."""
        count = len(terms[0][0])
        rows = np.concatenate([np.arange(count)] * len(terms))
        columns = np.concatenate([columns for columns, _ in terms])
        values = np.concatenate([np.broadcast_to(value, count) for _, value in terms])
        self._solver.add_rows(
            name,
            sp.csr_array((values, (rows, columns)), shape=(count, self._solver.columns)),
            np.full(count, lower),
            np.full(count, upper),
        )
