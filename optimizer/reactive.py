"""Reactive power as a control: what inverters may draw or feed beside their active power.

An inverter carries an apparent power: p² + q² ≤ s². The program holds the regular polygon inside that
circle whose corners lie at full active and at full reactive power, so that an inverter of just the size of
its plant gives up no active power; up to 2 % of its reactive power is left unused between the corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import AssetRows, InverterPower, SparseBlock, TerminalPower
from optimizer.problem import DispatchProblem

SIDES = 16
"""Of the polygon; a multiple of four, or its corners leave the axes."""


class ReactiveRows:
    """Columns q_kvar[inverter, step] (``+`` draws) and what each inverter carries, beside a model's rows."""

    def __init__(self, problem: DispatchProblem, assets: Sequence[AssetRows]) -> None:
        self._steps, self._assets = problem.time.steps, assets
        self._of = {asset.id: asset for asset in problem.inverters}
        self._kva = {asset.id: asset.inverter_kva or 0.0 for asset in problem.inverters}
        self._offset = 0

    @cached_property
    def _inverters(self) -> list[InverterPower]:
        """In order of their ids; columns of fleets are known only once their blocks are placed."""
        if not self._kva:
            return []
        every = [power for rows in self._assets for power in rows.inverter_powers(self._kva)]
        return sorted(every, key=lambda power: power.asset)

    @cached_property
    def _first(self) -> IntArray:
        """The first column of each inverter, and the number of all, counted from the block's first."""
        widths = [len(power.steps) for power in self._inverters]
        return np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)

    def place(self, first_column: int) -> None:
        """Where the columns begin in the program."""
        self._offset = first_column

    def block(self) -> SparseBlock | None:
        """cos θ · p + sin θ · q ≤ cos(π / sides) · s for the middle θ of every side; None for no inverter."""
        count = int(self._first[-1])
        if not count:
            return None
        angle = (np.arange(SIDES) + 0.5) * 2 * np.pi / SIDES
        kva = np.concatenate([power.kva for power in self._inverters])
        constant = np.concatenate([power.constant_kw for power in self._inverters])
        side = np.arange(SIDES)
        rows = (np.arange(count)[:, None] * SIDES + side).ravel()
        active = [
            (first + power.position, power.columns, power.coefficients)
            for first, power in zip(self._first, self._inverters, strict=False)
        ]
        position, columns, coefficients = (np.concatenate([part[k] for part in active]) for k in range(3))
        limit = np.cos(np.pi / SIDES) * kva[:, None] - constant[:, None] * np.cos(angle)
        return SparseBlock(
            entries=[
                (rows, self._offset + np.repeat(np.arange(count), SIDES), np.tile(np.sin(angle), count)),
                (
                    (position[:, None] * SIDES + side).ravel(),
                    np.repeat(columns, SIDES),
                    (coefficients[:, None] * np.cos(angle)).ravel(),
                ),
            ],
            lower=[-kva],
            upper=[kva],
            cost=[np.zeros(count)],
            row_lower=[np.full(count * SIDES, -np.inf)],
            row_upper=[limit.ravel()],
            column_names=lambda: [f"q_kvar({label})" for label in self._labels()],
            row_names=lambda: [f"inverter({label},{k})" for label in self._labels() for k in range(SIDES)],
        )

    def terminal_powers(self) -> Iterator[TerminalPower]:
        """Which columns draw reactive power where."""
        for first, power in zip(self._first, self._inverters, strict=False):
            count = len(power.steps)
            columns = self._offset + first + np.arange(count)
            terminal = self._of[power.asset].reactive_terminal
            yield TerminalPower(terminal, power.steps, columns, np.ones(count))

    def series(self, x: FloatArray) -> Mapping[str, FloatArray]:
        """Reactive power drawn by each inverter, kvar, shape (steps,)."""
        found = {asset: np.zeros(self._steps) for asset in self._of}
        for first, power in zip(self._first, self._inverters, strict=False):
            start = self._offset + int(first)
            found[power.asset][power.steps] = x[start : start + len(power.steps)]
        return found

    def _labels(self) -> list[str]:
        return [f"{power.asset},{step}" for power in self._inverters for step in power.steps]
