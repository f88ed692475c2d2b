"""Losses of a grid as rows over the columns of a program: flows, tangents of their squares, and a rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, IntArray, Losses, Terminal
from optimizer.program import Program
from optimizer.solver import Solver
from optimizer.terminal_rows import Moved, TerminalRows

ENDLESS = 10.0
"""Losses are at most so many times all that could flow."""
BURNT_KW = 1e-4
"""A square above its largest tangent by more than this is energy that the program burns."""


@dataclass
class _Bent:
    """Losses of one step that are the largest of their tangents, newest last.

    Attributes:
        column, total, flow: the columns of these losses, of all losses of the step, and of the flow that
            they are the square of.
        least_kw, most_kw: the least and the most that they can be.
        rows, lower: the tangents and their bounds, kW.
    """

    column: int
    total: int
    flow: int = -1
    least_kw: float = 0.0
    most_kw: float = np.inf
    rows: list[int] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    equal: bool = False


class LossRows:
    """All losses that were added to one program."""

    def __init__(self, program: Program, solver: Solver, terminals: TerminalRows) -> None:
        self._program, self._solver, self._terminals = program, solver, terminals
        self._squares: dict[int, list[_Bent]] = {}
        self._rest: dict[int, _Bent] = {}
        self._flows: list[Moved] = []
        self._rests: list[Moved] = []

    @property
    def steps(self) -> list[int]:
        """The steps that have losses."""
        return sorted(self._rest)

    @property
    def moved(self) -> list[Moved]:
        """The rows that power at terminals moves."""
        return [*self._flows, *self._rests]

    @property
    def bending(self) -> IntArray:
        """The rows of flows and of the tangents of their squares, whose kinks no square has."""
        tangents = [bent.rows for bent in chain.from_iterable(self._squares.values())]
        return np.concatenate(
            [np.zeros(0, np.int64), *map(np.array, tangents), *(moved.rows for moved in self._flows)]
        )

    @property
    def _bent(self) -> Iterator[_Bent]:
        yield from chain.from_iterable(self._squares.values())
        yield from self._rest.values()

    def add(self, losses: Losses, terminals: tuple[Terminal, ...]) -> None:
        """Add losses over the power at these terminals."""
        # finite, or a negative price would burn energy without end before it is noticed
        largest = 1000 * float(np.abs(losses.rest_constant).max(initial=0.0))
        most = ENDLESS * (self._program.connections.throughput_kw + largest)
        self._let_through(sorted(set(losses.rest_step.tolist()) - set(self._rest)), 2 * largest)
        new = sorted(set(losses.step.tolist()) - set(self._squares))
        if new:
            self._open(new, losses, terminals, most)
        if len(losses.step):
            self._add_tangents(losses)
        if len(losses.rest_step):
            self._add_rest(losses, terminals, most)

    def _let_through(self, steps: list[int], idle_kw: float) -> None:
        """Room in what the root can import for what a grid loses that carries nothing."""
        upper, columns = self._program.linear.upper, self._program.connections.root_imports[steps]
        upper[columns] += idle_kw
        self._solver.set_bounds(columns, self._program.linear.lower[columns], upper[columns])

    def _open(
        self,
        steps: list[int],
        losses: Losses,
        terminals: tuple[Terminal, ...],
        most: float,
    ) -> None:
        """Columns for the flows of steps and their squares, and flow_kw[t, k] − directions[k] · p_kw[t] = 0,
        where what makes up another flow is taken from there."""
        late = sorted(set(steps) & set(self._rest))
        if late:
            raise ValueError(f"flows of step {late[0]} come after the first losses of the step")
        kinds = len(losses.directions)
        step, flow = np.repeat(steps, kinds), np.tile(np.arange(kinds), len(steps))
        free = np.full(len(step), np.inf)
        flows = self._solver.add_columns("flow_kw", -free, free)
        squares = self._solver.add_columns("square_kw", np.zeros(len(step)), np.full(len(step), most))
        of_flows, of_terminals = _nested(losses.directions)
        per_kw = of_terminals[flow]
        matrix, drawn = self._terminals.drawn(-per_kw, step, terminals)
        inner = sp.csr_array(sp.kron(sp.eye_array(len(steps)), of_flows))
        shape = (len(step), self._solver.columns)
        among = sp.csr_array((-inner.data, flows[inner.indices], inner.indptr), shape=shape)
        own = self._terminals.single(flows, 1.0)
        rows = self._solver.add_rows("flow", matrix + own + among, -drawn, -drawn)
        self._flows.append(Moved(rows, step, terminals, per_kw))
        total = self._program.connections.losses[step]
        bent = [
            _Bent(*columns, most_kw=most)
            for columns in zip(squares.tolist(), total.tolist(), flows.tolist(), strict=True)
        ]
        self._squares.update((each, bent[kinds * k : kinds * (k + 1)]) for k, each in enumerate(steps))

    def _add_tangents(self, losses: Losses) -> None:
        """square_kw[t, k] − slope · flow_kw[t, k] ≥ constant; MW per MW is kW per kW."""
        squares = [
            self._squares[step][flow]
            for step, flow in zip(losses.step.tolist(), losses.flow.tolist(), strict=True)
        ]
        count, lower = len(squares), 1000 * losses.constant
        columns = np.array([[square.column, square.flow] for square in squares])
        entries = np.column_stack([np.ones(count), -losses.slope])
        matrix = sp.csr_array(
            (entries.ravel(), columns.ravel(), 2 * np.arange(count + 1)), shape=(count, self._solver.columns)
        )
        rows = self._solver.add_rows("square", matrix, lower, np.full(count, np.inf))
        self._note(squares, rows, lower)

    def _add_rest(
        self,
        losses: Losses,
        terminals: tuple[Terminal, ...],
        most: float,
    ) -> None:
        """rest_kw[t] − rest_slope · flow_kw[t] − rest_coefficients · p_kw[t] ≥ rest_constant[t]."""
        steps = losses.rest_step
        self._open_rest(sorted(set(steps.tolist()) - set(self._rest)), most)
        matrix, drawn = self._terminals.drawn(-losses.rest_coefficients, steps, terminals)
        lower = 1000 * losses.rest_constant - drawn
        row, flow, column = self._of_squares(steps.tolist(), lambda bent: bent.flow)
        own = self._terminals.single(np.array([self._rest[step].column for step in steps.tolist()]), 1.0)
        bent = sp.csr_array((-losses.rest_slope[row, flow], (row, column)), shape=own.shape)
        rows = self._solver.add_rows("loss_rest", matrix + own + bent, lower, np.full(len(steps), np.inf))
        self._rests.append(Moved(rows, steps, terminals, losses.rest_coefficients))
        self._note([self._rest[step] for step in steps.tolist()], rows, lower)

    def _open_rest(self, steps: list[int], most: float) -> None:
        """losses_kw[t] − rest_kw[t] − Σ square_kw[t, k] = 0."""
        if not steps:
            return
        count = len(steps)
        columns = self._solver.add_columns("loss_rest_kw", np.full(count, -most), np.full(count, most))
        total = self._program.connections.losses[steps]
        pairs = zip(columns.tolist(), total.tolist(), strict=True)
        bent = (_Bent(*pair, least_kw=-most, most_kw=most) for pair in pairs)
        self._rest.update(zip(steps, bent, strict=True))
        self._solver.set_bounds(total, np.zeros(count), np.full(count, np.inf))
        row, _, column = self._of_squares(steps, lambda bent: bent.column)
        own = self._terminals.single(total, 1.0) - self._terminals.single(columns, 1.0)
        parts = sp.csr_array((-np.ones(len(row)), (row, column)), shape=own.shape)
        zero = np.zeros(count)
        self._solver.add_rows("losses", own + parts, zero, zero)

    def _of_squares(self, steps: list[int], column: Callable[[_Bent], int]) -> IntArray:
        """Position in `steps`, flow, and a column of every square of these steps, shape (3, squares)."""
        found = [
            (row, flow, column(bent))
            for row, step in enumerate(steps)
            for flow, bent in enumerate(self._squares.get(step, []))
        ]
        return np.array(found, np.int64).reshape(-1, 3).T

    def renew(self, steps: IntArray) -> None:
        """Let the rests of `steps` hold no more, before new ones are added there: a rest is not convex, and
        the largest of several says too much."""
        rests = [self._rest[step] for step in steps.tolist() if step in self._rest]
        rows = np.array([row for bent in rests for row in bent.rows], np.int64)
        free = np.full(len(rows), np.inf)
        self._solver.set_row_bounds(rows, -free, free)
        for bent in rests:
            bent.rows.clear()
            bent.lower.clear()

    def _note(self, every: list[_Bent], rows: IntArray, lower: FloatArray) -> None:
        """Take note of new tangents; what holds as an equation holds at the newest from now on."""
        for bent, row, bound in zip(every, rows.tolist(), lower.tolist(), strict=True):
            bent.rows.append(row)
            bent.lower.append(bound)
        for bent in every:
            if bent.equal:
                self._hold(bent, len(bent.rows) - 1)

    def hold_burnt(self, x: FloatArray) -> bool:
        """Where energy has a negative price the inequality burns it: there the tangent that is highest now
        holds as an equation, and any newer one after it. False where `x` burns nothing."""
        held, activity = False, self._solver.row_values()
        for bent in self._bent:
            if not bent.equal:
                beyond = activity[bent.rows] - np.array(bent.lower)
                # what is zero burns nothing, however negative its tangents are there
                if min(beyond.min(), x[bent.column] - bent.least_kw, x[bent.total]) > BURNT_KW:
                    self._hold(bent, int(np.argmin(beyond)))
                    held = True
        return held

    def release_burnt(self) -> None:
        """Let what holds as an equation be an inequality again: at other prices it may burn nothing."""
        for bent in self._bent:
            if bent.equal:
                bent.equal = False
                rows = np.array(bent.rows)
                self._solver.set_row_bounds(rows, np.array(bent.lower), np.full(len(rows), np.inf))
                self._solver.set_bounds(
                    np.array([bent.column, bent.total]),
                    np.array([bent.least_kw, 0.0]),
                    np.array([bent.most_kw, np.inf]),
                )

    def _hold(self, bent: _Bent, tangent: int) -> None:
        bent.equal = True
        rows = np.array(bent.rows)
        lower, upper = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        lower[tangent] = upper[tangent] = bent.lower[tangent]
        self._solver.set_row_bounds(rows, lower, upper)
        # far from its point a tangent may be negative; as an equation it must not forbid that
        free = np.full(2, np.inf)
        self._solver.set_bounds(np.array([bent.column, bent.total]), -free, free)


def _nested(directions: FloatArray) -> tuple[sp.csr_array, FloatArray]:
    """Flows as sums of other flows, shape (flows, flows), and of what terminals add to these."""
    over, own = sp.lil_array((len(directions),) * 2), directions.copy()
    smallest_first = np.argsort((directions != 0).sum(axis=1), kind="stable")
    for position, flow in enumerate(smallest_first.tolist()):
        for part in reversed(smallest_first[:position].tolist()):
            inside = directions[part] != 0
            ratio = own[flow, inside] / directions[part, inside]
            if ratio[0] != 0 and (ratio == ratio[0]).all():
                over[flow, part] = ratio[0]
                own[flow, inside] = 0.0
    return sp.csr_array(over), own
