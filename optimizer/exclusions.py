"""What a linear program cannot say: one of two powers is zero, a power is zero or at least so much, or it
is zero unless an energy is high enough.

Mostly prices say it already. Binaries enter only for the pairs that a linear answer breaks. With what is
nearest to that answer the branch and bound starts: of a pair the larger power, every power there is.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from energy.domain.network import BoolArray, FloatArray, IntArray
from optimizer.program import Program
from optimizer.solver import Solver

TOLERANCE = 1e-6
"""kW below which a power is the solver's rounding."""
KWH_TOLERANCE = 1e-5
"""kWh below a reserve that are the solver's rounding, summed over a horizon."""
EXACT_PAIRS = 300
"""Beyond this many broken pairs a branch and bound finds nothing in useful time: sides are chosen instead."""


class Exclusions:
    """Pairs of columns of which one must be zero, semicontinuous columns and reserves, of one program."""

    def __init__(self, program: Program, solver: Solver) -> None:
        self._solver = solver
        self._lower, self._upper = program.linear.lower, program.linear.upper
        self._pairs = program.exclusive
        self._exact = np.zeros(len(self._pairs), bool)
        self._of_flows = np.isin(self._pairs[:, 0], program.imports)
        self._flow_rows: list[tuple[IntArray, FloatArray]] = []
        self._heeds_flows = True
        self._stepped, self._stepped_min = program.semicontinuous
        self._stepped_exact = False
        self._reserves, self._reserved_kwh = program.reserves
        self._reserve_exact = np.zeros(len(self._reserves), bool)
        self._closed = np.zeros(0, np.int64)
        self._nearest: list[FloatArray] = []

    def completed(self, x: FloatArray) -> FloatArray:
        """`x`, which was broken, with a value for every binary that entered because of that."""
        nearest, self._nearest = self._nearest, []
        return np.concatenate([x, *nearest])

    @property
    def chosen(self) -> int:
        """For how many pairs a side was chosen instead of optimised."""
        return len(self._closed)

    def enforce(self, x: FloatArray, *, exact_up_to: float) -> bool:
        """Rule out what `x` does wrong; False where it does nothing wrong.

        Up to so many pairs by binaries, beyond by closing the smaller side of each pair.
        """
        paired, reserved = self._pair(x, exact_up_to), self._reserve(x, exact_up_to)
        return self._step(x) or paired or reserved

    def _pair(self, x: FloatArray, exact_up_to: float) -> bool:
        broken = (x[self._pairs] > TOLERANCE).all(axis=1) & ~self._exact
        broken &= self._heeds_flows | ~self._of_flows
        pairs = self._pairs[broken]
        if len(pairs) and int((broken | self._exact).sum()) <= exact_up_to:
            self._exact |= broken
            upper = self._upper[pairs]
            binary = self._binaries(x[pairs[:, 0]] >= x[pairs[:, 1]])
            one, other = (
                self._rows("exclusion", [(pairs[:, 0], 1.0), (binary, -upper[:, 0])], -np.inf, 0.0),
                self._rows("exclusion", [(pairs[:, 1], 1.0), (binary, upper[:, 1])], -np.inf, upper[:, 1]),
            )
            flows = self._of_flows[broken]
            self._flow_rows.append((one[flows], np.zeros(int(flows.sum()))))
            self._flow_rows.append((other[flows], upper[flows, 1]))
        elif len(pairs):
            self._close(np.where(x[pairs[:, 0]] < x[pairs[:, 1]], pairs[:, 0], pairs[:, 1]))
        return bool(len(pairs))

    def _reserve(self, x: FloatArray, exact_up_to: float) -> bool:
        """power ≤ upper · binary and energy ≥ lowest + (reserve − lowest) · binary, where `x` breaks it."""
        power, energy = self._reserves.T
        broken = (x[power] > TOLERANCE) & (x[energy] < self._reserved_kwh - KWH_TOLERANCE)
        broken &= ~self._reserve_exact
        power, energy, count = power[broken], energy[broken], int(broken.sum())
        if count and int((broken | self._reserve_exact).sum()) <= exact_up_to:
            self._reserve_exact |= broken
            binary, lowest = self._binaries(np.zeros(count, bool)), self._lower[energy]
            rise = self._reserved_kwh[broken] - lowest
            self._rows("discharge_reserve", [(power, 1.0), (binary, -self._upper[power])], -np.inf, 0.0)
            self._rows("discharge_reserve", [(energy, 1.0), (binary, -rise)], lowest, np.inf)
        elif count:
            self._close(power)
        return bool(count)

    def _close(self, columns: IntArray) -> None:
        self._closed = np.concatenate([self._closed, columns])
        self._solver.set_bounds(columns, np.zeros(len(columns)), np.zeros(len(columns)))

    def _step(self, x: FloatArray) -> bool:
        """Binaries for all semicontinuous columns once one of them takes a forbidden value."""
        power = x[self._stepped]
        forbidden = (power > TOLERANCE) & (power < self._stepped_min - TOLERANCE)
        if self._stepped_exact or not forbidden.any():
            return False
        self._stepped_exact = True
        binary = self._binaries(power > TOLERANCE)
        self._rows(
            "semicontinuous", [(self._stepped, 1.0), (binary, -self._upper[self._stepped])], -np.inf, 0.0
        )
        self._rows("semicontinuous", [(self._stepped, 1.0), (binary, -self._stepped_min)], 0.0, np.inf)
        return True

    def heed_flows(self, heeds: bool) -> None:
        """Whether the flows of a connection exclude each other. What they could carry does not depend on
        it (both ways at once are a net flow), and their largest powers are those of the stated limits."""
        self._heeds_flows = heeds
        for rows, upper in self._flow_rows:
            self._solver.set_row_bounds(
                rows, np.full(len(rows), -np.inf), upper if heeds else np.full(len(rows), np.inf)
            )

    def reopen(self) -> None:
        """Take back the choice of sides."""
        if len(self._closed):
            upper = self._upper[self._closed]
            self._solver.set_bounds(self._closed, np.zeros(len(upper)), upper)
            self._closed = np.zeros(0, np.int64)

    def _binaries(self, nearest: BoolArray) -> IntArray:
        count = len(nearest)
        self._nearest.append(nearest.astype(float))
        return self._solver.add_columns("binary", np.zeros(count), np.ones(count), integer=True)

    def _rows(
        self,
        name: str,
        terms: list[tuple[IntArray, FloatArray | float]],
        lower: FloatArray | float,
        upper: FloatArray | float,
    ) -> IntArray:
        """Rows lower ≤ Σ value · column ≤ upper, one for each position of the terms; their numbers."""
        count = len(terms[0][0])
        rows = np.concatenate([np.arange(count)] * len(terms))
        columns = np.concatenate([columns for columns, _ in terms])
        values = np.concatenate([np.broadcast_to(value, count) for _, value in terms])
        return self._solver.add_rows(
            name,
            sp.csr_array((values, (rows, columns)), shape=(count, self._solver.columns)),
            np.full(count, lower),
            np.full(count, upper),
        )
