"""Linear grid limits and losses as rows over the columns of a program.

Limits bound sums of coefficient × power drawn at a terminal. The power at a terminal is a sum of asset
columns and a constant, so each limit becomes one row over asset columns; terminals get no columns of
their own (few have more than one or two assets behind them). Each kind of limit has one slack per step.

Of thousands of limits a handful bind. They wait in a pool and enter the program only when a solution
breaks them, the worst of each step first; what is left outside holds anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, GridLimits, IntArray, Losses, Terminal
from optimizer.solver import Solver

if TYPE_CHECKING:
    from optimizer.assets.base import AssetRows
    from optimizer.model import Program
    from optimizer.reactive import ReactiveRows

UNITS = {"vm_pu": 1000.0, "loading_percent": 1.0}
"""Rows are in thousandths of pu and in percent, which keeps coefficients per kW near one."""
PARTS = {"vm_pu": "voltage", "loading_percent": "congestion"}
"""The part of a price that a kind of limit makes."""
BROKEN = 1e-6
"""A slack below this, in those units, is the solver's rounding."""
ENDLESS = 10.0
"""Losses are at most so many times all that could flow."""
OUTBID = 5.0
"""How far slack is priced above the needs and the energy that it could buy."""
BURNT_KW = 1e-4
"""A square above its largest tangent by more than this is energy that the program burns."""
USEFUL = 1e-2
"""A row whose coefficients are below this share of its kind's largest is steered by nothing here."""


@dataclass(frozen=True)
class GridSlack:
    """How far linear limits of one kind are broken in one step, in pu or percent."""

    kind: str
    step: int
    amount: float


BREAKING = 1e-5
"""A waiting limit that a solution breaks by more than this, in those units, enters the program."""
WORST = 3
"""So many limits of one kind, step and side enter at a time."""


@dataclass
class _Waiting:
    """One-sided limits, matrix · x + slack ≥ lower, and the row of each in the program, −1 while it waits.

    They are rows `of` of `limits`, times `scale`: below zero for upper limits, and per kW. `first` is the
    number of limits that were added before those; `fixed` is what no column changes.
    """

    matrix: sp.csr_array
    lower: FloatArray
    fixed: FloatArray
    slack: IntArray
    group: IntArray
    row: IntArray
    limits: GridLimits
    first: int
    of: IntArray
    scale: FloatArray


@dataclass
class _Bent:
    """Losses of one step that are the largest of their tangents, newest last.

    Attributes:
        column, total, flow: the columns of these losses, of all losses of the step, and of the flow that
            they are the square of.
        least_kw: the least that they can be.
        rows, lower: the tangents and their bounds, kW.
    """

    column: int
    total: int
    flow: int = -1
    least_kw: float = 0.0
    rows: list[int] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    equal: bool = False


@dataclass(frozen=True)
class _Moved:
    """Rows whose bounds a kW drawn at a terminal moves by `per_kw`, shape (rows, terminals)."""

    rows: IntArray
    step: IntArray
    terminals: tuple[Terminal, ...]
    per_kw: FloatArray


class GridRows:
    """All grid limits that were added to one program."""

    def __init__(self, program: Program, solver: Solver, steps: int) -> None:
        self._program, self._solver, self._steps = program, solver, steps
        self._slack: dict[tuple[str, int], int] = {}
        self._price: dict[str, float] = {}
        self._pool: list[_Waiting] = []
        self._added = 0
        self._squares: dict[int, list[_Bent]] = {}
        self._rest: dict[int, _Bent] = {}
        self._flows: list[_Moved] = []
        self._rests: list[_Moved] = []
        self._power: dict[tuple[Terminal, ...], tuple[sp.csr_array, FloatArray]] = {}

    @property
    def some(self) -> bool:
        """Whether anything was added."""
        return bool(self._slack or self._rest)

    @property
    def lossy_steps(self) -> list[int]:
        """The steps that have a loss linearisation."""
        return sorted(self._rest)

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

    def add(self, limits: GridLimits, dearest: float) -> None:
        """Add the rows of `limits`; their slack costs more than anything priced up to `dearest` can buy."""
        power, constant = self._terminal_power(limits.terminals)
        if len(limits):
            self._add_limits(limits, power, constant, dearest)
        if limits.losses:
            self._add_losses(limits.losses, limits.terminals, power, constant)

    def _add_limits(
        self, limits: GridLimits, power: sp.csr_array, constant: FloatArray, dearest: float
    ) -> None:
        keys = list(zip(limits.quantity, limits.step.tolist(), strict=True))
        new = [key for key in dict.fromkeys(keys) if key not in self._slack]
        columns = self._solver.add_columns("grid_slack", np.zeros(len(new)), np.full(len(new), np.inf))
        self._slack.update(zip(new, columns.tolist(), strict=True))
        slack = np.array([self._slack[key] for key in keys])
        scale = np.array([UNITS[quantity] for quantity in limits.quantity])
        per_kw = limits.coefficients * scale[:, None] / 1000
        matrix = self._over_columns(per_kw, limits.step, power)
        fixed = limits.constant * scale + np.einsum("rk,rk->r", per_kw, constant.T[limits.step])
        self._price_slack(np.array(limits.quantity), matrix, dearest)
        for sign, bound in ((1.0, limits.lower), (-1.0, limits.upper)):
            rows = np.flatnonzero(np.isfinite(bound))
            unmoved = sign * fixed[rows]
            value = sign * bound[rows] * scale[rows] - unmoved
            group = np.unique(slack[rows], return_inverse=True)[1]
            nowhere = np.full(len(rows), -1)
            per = sign * scale[rows] / 1000
            self._pool.append(
                _Waiting(
                    sign * matrix[rows],
                    value,
                    unmoved,
                    slack[rows],
                    group,
                    nowhere,
                    limits,
                    self._added,
                    rows,
                    per,
                )
            )
        self._added += len(limits)

    def rebound(self, lower: FloatArray, upper: FloatArray) -> None:
        """Other bounds for all limits, in the order in which they were added; what had none gets none.

        Rows in the program stay in it, and the basis with them: to solve without them from scratch costs
        far more than what holds no more.
        """
        for waiting in self._pool:
            number = waiting.first + waiting.of
            bound = np.where(waiting.scale > 0, lower[number], upper[number])
            waiting.lower = 1000 * waiting.scale * bound - waiting.fixed
            inside = np.flatnonzero(waiting.row >= 0)
            self._solver.set_row_bounds(
                waiting.row[inside], waiting.lower[inside], np.full(len(inside), np.inf)
            )

    def enter_broken(self, x: FloatArray) -> bool:
        """Let the waiting limits that `x` breaks worst into the program. False where it breaks none."""
        some = False
        for waiting in self._pool:
            activity = waiting.matrix @ x[: waiting.matrix.shape[1]]
            beyond = np.where(waiting.row >= 0, 0.0, waiting.lower - activity - x[waiting.slack])
            rows = np.flatnonzero(beyond > BREAKING)
            rows = rows[np.lexsort((-beyond[rows], waiting.group[rows]))]
            group = waiting.group[rows]
            rank = np.arange(len(rows)) - np.searchsorted(group, group)
            rows = rows[rank < WORST]
            if len(rows):
                own = self._single(waiting.slack[rows], 1.0)
                matrix = self._widened(waiting.matrix[rows]) + own
                waiting.row[rows] = self._solver.add_rows(
                    "grid_limit", matrix, waiting.lower[rows], np.full(len(rows), np.inf)
                )
                some = True
        return some

    def _add_losses(
        self, losses: Losses, terminals: tuple[Terminal, ...], power: sp.csr_array, constant: FloatArray
    ) -> None:
        # finite, or a negative price would burn energy without end before it is noticed
        largest = 1000 * float(np.abs(losses.rest_constant).max(initial=0.0))
        most = ENDLESS * (self._program.connections.throughput_kw + largest)
        new = sorted(set(losses.step.tolist()) - set(self._squares))
        if new:
            self._open(new, losses, terminals, power, constant, most)
        if len(losses.step):
            self._add_tangents(losses)
        if len(losses.rest_step):
            self._add_rest(losses, terminals, power, constant, most)

    def _open(
        self,
        steps: list[int],
        losses: Losses,
        terminals: tuple[Terminal, ...],
        power: sp.csr_array,
        constant: FloatArray,
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
        drawn = np.einsum("rk,rk->r", per_kw, constant.T[step])
        inner = sp.csr_array(sp.kron(sp.eye_array(len(steps)), of_flows))
        shape = (len(step), self._solver.columns)
        among = sp.csr_array((-inner.data, flows[inner.indices], inner.indptr), shape=shape)
        matrix = self._over_columns(-per_kw, step, power) + self._single(flows, 1.0) + among
        rows = self._solver.add_rows("flow", matrix, drawn, drawn)
        self._flows.append(_Moved(rows, step, terminals, per_kw))
        total = self._program.connections.losses[step]
        bent = list(map(_Bent, squares.tolist(), total.tolist(), flows.tolist()))
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
        power: sp.csr_array,
        constant: FloatArray,
        most: float,
    ) -> None:
        """rest_kw[t] − rest_slope · flow_kw[t] − rest_coefficients · p_kw[t] ≥ rest_constant[t]."""
        steps = losses.rest_step
        self._open_rest(sorted(set(steps.tolist()) - set(self._rest)), most)
        drawn = np.einsum("rk,rk->r", losses.rest_coefficients, constant.T[steps])
        lower = 1000 * losses.rest_constant + drawn
        row, flow, column = self._of_squares(steps.tolist(), lambda bent: bent.flow)
        own = self._single(np.array([self._rest[step].column for step in steps.tolist()]), 1.0)
        bent = sp.csr_array((-losses.rest_slope[row, flow], (row, column)), shape=own.shape)
        rows = self._solver.add_rows(
            "loss_rest",
            self._over_columns(-losses.rest_coefficients, steps, power) + own + bent,
            lower,
            np.full(len(steps), np.inf),
        )
        self._rests.append(_Moved(rows, steps, terminals, losses.rest_coefficients))
        self._note([self._rest[step] for step in steps.tolist()], rows, lower)

    def _open_rest(self, steps: list[int], most: float) -> None:
        """losses_kw[t] − rest_kw[t] − Σ square_kw[t, k] = 0."""
        if not steps:
            return
        count = len(steps)
        columns = self._solver.add_columns("loss_rest_kw", np.full(count, -most), np.full(count, most))
        total = self._program.connections.losses[steps]
        bent = (_Bent(*pair, least_kw=-most) for pair in zip(columns.tolist(), total.tolist(), strict=True))
        self._rest.update(zip(steps, bent, strict=True))
        self._solver.set_bounds(total, np.zeros(count), np.full(count, np.inf))
        row, _, column = self._of_squares(steps, lambda bent: bent.column)
        own = self._single(total, 1.0) - self._single(columns, 1.0)
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

    def _note(self, every: list[_Bent], rows: IntArray, lower: FloatArray) -> None:
        """Take note of new tangents; what holds as an equation holds at the newest from now on."""
        for bent, row, bound in zip(every, rows.tolist(), lower.tolist(), strict=True):
            bent.rows.append(row)
            bent.lower.append(bound)
        for bent in every:
            if bent.equal:
                self._hold(bent, len(bent.rows) - 1)

    def hold_burnt_losses(self, x: FloatArray) -> bool:
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

    def _hold(self, bent: _Bent, tangent: int) -> None:
        bent.equal = True
        rows = np.array(bent.rows)
        lower, upper = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        lower[tangent] = upper[tangent] = bent.lower[tangent]
        self._solver.set_row_bounds(rows, lower, upper)
        # far from its point a tangent may be negative; as an equation it must not forbid that
        free = np.full(2, np.inf)
        self._solver.set_bounds(np.array([bent.column, bent.total]), -free, free)

    def prices(self, dual: FloatArray, x: FloatArray) -> dict[int, dict[str, FloatArray]]:
        """What losses and limits add to the price of a MWh drawn at unity power factor, by bus and part.

        A kW more at a terminal moves the bound of every row by the row's coefficient; the row's dual says
        what that costs. Limits that `x` breaks have no price but that of their slack: it is scarcity.
        """
        found: dict[int, dict[str, FloatArray]] = {
            terminal.bus: {} for terminals in self._power for terminal in terminals if terminal.at_unity
        }
        for waiting in self._pool:
            some = np.flatnonzero(waiting.row >= 0)
            price = -dual[waiting.row[some]] * waiting.scale[some]
            some, price = some[price != 0], price[price != 0]
            rows, limits = waiting.of[some], waiting.limits
            step = limits.step[rows]
            scarce = x[waiting.slack[some]] > BROKEN
            part = np.where(scarce, "scarcity", [PARTS[limits.quantity[row]] for row in rows.tolist()])
            for name in dict.fromkeys(part.tolist()):
                mine = part == name
                per_kw = price[mine, None] * limits.coefficients[rows[mine]]
                self._book(found, name, limits.terminals, step[mine], per_kw)
        for moved in (*self._flows, *self._rests):
            per_kw = dual[moved.rows][:, None] * moved.per_kw
            self._book(found, "losses", moved.terminals, moved.step, per_kw)
        return found

    def moved(self) -> dict[int, sp.csr_array]:
        """What a kW more drawn at unity power factor moves the bounds of rows by, shape (steps, rows), by
        bus; the price at the bus is this times the duals."""
        entries = [
            _Moved(waiting.row[some], waiting.limits.step[rows], waiting.limits.terminals, per_kw)
            for waiting in self._pool
            for some in [np.flatnonzero(waiting.row >= 0)]
            for rows in [waiting.of[some]]
            for per_kw in [-waiting.scale[some, None] * waiting.limits.coefficients[rows]]
        ]
        entries += [*self._flows, *self._rests]
        found: dict[int, list[tuple[FloatArray, IntArray, IntArray]]] = {
            terminal.bus: [] for terminals in self._power for terminal in terminals if terminal.at_unity
        }
        for entry in entries:
            for position, terminal in enumerate(entry.terminals):
                if terminal.at_unity:
                    found[terminal.bus].append((entry.per_kw[:, position], entry.step, entry.rows))
        shape, none = (self._steps, self._solver.rows), np.zeros(0, np.int64)
        moved = {}
        for bus, parts in found.items():
            value, step, row = map(np.concatenate, zip((np.zeros(0), none, none), *parts, strict=True))
            moved[bus] = sp.csr_array((value, (step, row)), shape=shape)
        return moved

    def binding(self, dual: FloatArray) -> Iterator[tuple[int, str, str, dict[int, float]]]:
        """Step, kind and element of every limit that binds, and what it adds per MWh drawn at each bus."""
        for waiting in self._pool:
            some = np.flatnonzero(waiting.row >= 0)
            price = -dual[waiting.row[some]] * waiting.scale[some]
            for row, per_kw in zip(waiting.of[some].tolist(), price.tolist(), strict=True):
                if per_kw:
                    limits = waiting.limits
                    added = {
                        terminal.bus: per_kw * float(limits.coefficients[row, k])
                        for k, terminal in enumerate(limits.terminals)
                        if terminal.at_unity
                    }
                    element = f"{limits.element[row].table} {limits.element[row].index}"
                    yield int(limits.step[row]), limits.quantity[row], element, added

    def _book(
        self,
        found: dict[int, dict[str, FloatArray]],
        part: str,
        terminals: tuple[Terminal, ...],
        step: IntArray,
        per_kw: FloatArray,
    ) -> None:
        """Add prices, shape (rows, terminals), to those of the buses of terminals at unity."""
        for position, terminal in enumerate(terminals):
            if terminal.at_unity:
                series = found[terminal.bus].setdefault(part, np.zeros(self._steps))
                np.add.at(series, step, per_kw[:, position])

    def slack_costs(self) -> FloatArray:
        """The price of every column as slack: zero but for the slacks."""
        costs = np.zeros(self._solver.columns)
        for (kind, _), column in self._slack.items():
            costs[column] = self._price[kind]
        return costs

    def slacks(self, x: FloatArray) -> tuple[GridSlack, ...]:
        """The limits that `x` breaks."""
        return tuple(
            GridSlack(kind, step, float(x[column]) / UNITS[kind])
            for (kind, step), column in sorted(self._slack.items())
            if x[column] > BROKEN
        )

    def _price_slack(self, kinds: np.ndarray, matrix: sp.csr_array, dearest: float) -> None:
        """A unit of slack buys at most 1 / coefficient kW through the weakest row that is of any use."""
        largest = abs(matrix).max(axis=1).toarray().ravel()
        for kind in set(kinds.tolist()):
            mine = largest[kinds == kind]
            useful = mine[mine > USEFUL * mine.max()]
            price = OUTBID * dearest / float(useful.min()) if len(useful) else dearest
            self._price[kind] = max(self._price.get(kind, 0.0), price)

    def _terminal_power(self, terminals: tuple[Terminal, ...]) -> tuple[sp.csr_array, FloatArray]:
        """kW drawn at terminal k in step t: row k·steps + t of the matrix times the columns, plus the
        constant [k, t]."""
        if terminals not in self._power:
            number = {terminal: k for k, terminal in enumerate(terminals)}
            every: list[AssetRows | ReactiveRows] = [*self._program.assets, self._program.reactive]
            parts = [
                (number[part.terminal] * self._steps + part.steps, part.columns, part.coefficients)
                for rows in every
                for part in rows.terminal_powers()
            ]
            row, column, value = (
                np.concatenate([np.zeros(0, kind), *(part[k] for part in parts)])
                for k, kind in enumerate((np.int64, np.int64, np.float64))
            )
            constant = np.zeros((len(terminals), self._steps))
            for rows in self._program.assets:
                for terminal, p_kw in rows.constant_powers():
                    constant[number[terminal]] += p_kw
            shape = (len(terminals) * self._steps, len(self._program.linear.cost))
            self._power[terminals] = sp.csr_array((value, (row, column)), shape=shape), constant
        return self._power[terminals]

    def reach_mw(self, terminals: tuple[Terminal, ...]) -> tuple[FloatArray, FloatArray]:
        """The least and the most that the bounds of columns let terminals draw, shape (steps, terminals)."""
        power, constant = self._terminal_power(terminals)
        count, linear = power.shape[1], self._program.linear
        up, down = power.maximum(0), power.minimum(0)
        shape = (len(terminals), self._steps)
        least = (up @ linear.lower[:count] + down @ linear.upper[:count]).reshape(shape) + constant
        most = (up @ linear.upper[:count] + down @ linear.lower[:count]).reshape(shape) + constant
        return least.T / 1000, most.T / 1000

    def _over_columns(self, coefficients: FloatArray, step: IntArray, power: sp.csr_array) -> sp.csr_array:
        """Rows over terminals, shape (rows, terminals), as rows over all columns there are."""
        count, terminals = coefficients.shape
        position = np.arange(terminals)[None, :] * self._steps + step[:, None]
        chosen = sp.csr_array(
            (coefficients.ravel(), position.ravel(), np.arange(count + 1) * terminals),
            shape=(count, power.shape[0]),
        )
        return self._widened(sp.csr_array(chosen @ power))

    def _widened(self, rows: sp.csr_array) -> sp.csr_array:
        """`rows` over all columns that the program has by now."""
        shape = (rows.shape[0], self._solver.columns)
        return sp.csr_array((rows.data, rows.indices, rows.indptr), shape=shape)

    def _single(self, columns: IntArray, value: float) -> sp.csr_array:
        """One row per given column, with that value."""
        count = len(columns)
        return sp.csr_array(
            (np.full(count, value), columns, np.arange(count + 1)), shape=(count, self._solver.columns)
        )


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
