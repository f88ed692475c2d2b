"""Power at the terminals of a grid, as rows over the columns of a program.

The power at a terminal is a sum of asset columns and a constant: terminals get no columns of their own (few
have more than one or two assets behind them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, IntArray, Terminal
from optimizer.assets.base import AssetRows
from optimizer.program import Program
from optimizer.reactive import ReactiveRows
from optimizer.solver import Solver


@dataclass(frozen=True)
class Moved:
    """Rows whose bounds a kW drawn at a terminal moves by `per_kw`, shape (rows, terminals)."""

    rows: IntArray
    step: IntArray
    terminals: tuple[Terminal, ...]
    per_kw: FloatArray


class TerminalRows:
    """What terminals draw in one program, kW."""

    def __init__(self, program: Program, solver: Solver, steps: int) -> None:
        self._program, self._solver, self.steps = program, solver, steps
        self._power: dict[tuple[Terminal, ...], tuple[sp.csr_array, FloatArray]] = {}

    @property
    def unity_buses(self) -> list[int]:
        """The buses with a terminal at unity power factor that was asked for."""
        return [terminal.bus for terminals in self._power for terminal in terminals if terminal.at_unity]

    def drawn(
        self, coefficients: FloatArray, step: IntArray, terminals: tuple[Terminal, ...]
    ) -> tuple[sp.csr_array, FloatArray]:
        """Σ coefficient × kW drawn at terminals in a step, `coefficients` of shape (rows, terminals): as rows
        over all columns there are, and what no column changes, shape (rows,)."""
        power, constant = self._of(terminals)
        count = len(step)
        position = np.arange(len(terminals))[None, :] * self.steps + step[:, None]
        chosen = sp.csr_array(
            (coefficients.ravel(), position.ravel(), np.arange(count + 1) * len(terminals)),
            shape=(count, power.shape[0]),
        )
        fixed = np.einsum("rk,rk->r", coefficients, constant.T[step])
        return self.widened(sp.csr_array(chosen @ power)), fixed

    def reach_mw(self, terminals: tuple[Terminal, ...]) -> tuple[FloatArray, FloatArray]:
        """The least and the most that the bounds of columns let terminals draw, shape (steps, terminals)."""
        power, constant = self._of(terminals)
        count, linear = power.shape[1], self._program.linear
        up, down = power.maximum(0), power.minimum(0)
        shape = (len(terminals), self.steps)
        least = (up @ linear.lower[:count] + down @ linear.upper[:count]).reshape(shape) + constant
        most = (up @ linear.upper[:count] + down @ linear.lower[:count]).reshape(shape) + constant
        return least.T / 1000, most.T / 1000

    def widened(self, rows: sp.csr_array) -> sp.csr_array:
        """`rows` over all columns that the program has by now."""
        shape = (rows.shape[0], self._solver.columns)
        return sp.csr_array((rows.data, rows.indices, rows.indptr), shape=shape)

    def single(self, columns: IntArray, value: float) -> sp.csr_array:
        """One row per given column, with that value."""
        count = len(columns)
        return sp.csr_array(
            (np.full(count, value), columns, np.arange(count + 1)), shape=(count, self._solver.columns)
        )

    def _of(self, terminals: tuple[Terminal, ...]) -> tuple[sp.csr_array, FloatArray]:
        """kW drawn at terminal k in step t: row k·steps + t of the matrix times the columns, plus the
        constant [k, t]."""
        if terminals not in self._power:
            number = {terminal: k for k, terminal in enumerate(terminals)}
            every: list[AssetRows | ReactiveRows] = [*self._program.assets, self._program.reactive]
            parts = [
                (number[part.terminal] * self.steps + part.steps, part.columns, part.coefficients)
                for rows in every
                for part in rows.terminal_powers()
            ]
            row, column, value = (
                np.concatenate([np.zeros(0, kind), *(part[k] for part in parts)])
                for k, kind in enumerate((np.int64, np.int64, np.float64))
            )
            constant = np.zeros((len(terminals), self.steps))
            for rows in self._program.assets:
                for terminal, p_kw in rows.constant_powers():
                    constant[number[terminal]] += p_kw
            shape = (len(terminals) * self.steps, len(self._program.linear.cost))
            self._power[terminals] = sp.csr_array((value, (row, column)), shape=shape), constant
        return self._power[terminals]
