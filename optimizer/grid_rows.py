"""Linear grid limits and losses as rows over the columns of a program.

Limits bound sums of coefficient × power drawn at a terminal. The power at a terminal is a sum of asset
columns and a constant, so each limit becomes one row over asset columns; terminals get no columns of
their own (few have more than one or two assets behind them). Each kind of limit has one slack per step.

Of thousands of limits a handful bind. They wait in a pool and enter the program only when a solution
breaks them, the worst of each step first; what is left outside holds anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, GridLimits, IntArray, Terminal
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
"""Losses above their largest linearisation by more than this are energy that the program burns."""
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
class _Linearisations:
    """The loss rows of one part in one step with their lower bounds, newest last."""

    column: int
    rows: list[int] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    equal: bool = False


class GridRows:
    """All grid limits that were added to one program."""

    def __init__(self, program: Program, solver: Solver, steps: int) -> None:
        self._program, self._solver, self._steps = program, solver, steps
        self._slack: dict[tuple[str, int], int] = {}
        self._price: dict[str, float] = {}
        self._pool: list[_Waiting] = []
        self._added = 0
        self._losses: dict[tuple[int, int], _Linearisations] = {}
        self._loss_rows: list[tuple[IntArray, GridLimits]] = []
        self._power: dict[tuple[Terminal, ...], tuple[sp.csr_array, FloatArray]] = {}

    @property
    def some(self) -> bool:
        """Whether anything was added."""
        return bool(self._slack or self._losses)

    @property
    def lossy_steps(self) -> list[int]:
        """The steps that have a loss linearisation."""
        return sorted({step for step, _ in self._losses})

    def add(self, limits: GridLimits, dearest: float) -> None:
        """Add the rows of `limits`; their slack costs more than anything priced up to `dearest` can buy."""
        power, constant = self._terminal_power(limits.terminals)
        if len(limits):
            self._add_limits(limits, power, constant, dearest)
        if len(limits.loss_step):
            self._add_losses(limits, power, constant)

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

    def _add_losses(self, limits: GridLimits, power: sp.csr_array, constant: FloatArray) -> None:
        """part_kw[t, k] − coefficients · p_kw ≥ constant; MW per MW is kW per kW."""
        steps = limits.loss_step
        matrix = self._over_columns(-limits.loss_coefficients, steps, power)
        lower = limits.loss_constant * 1000 + np.einsum(
            "rk,rk->r", limits.loss_coefficients, constant.T[steps]
        )
        # finite, or a negative price would burn energy without end before it is noticed
        most = ENDLESS * (self._program.connections.throughput_kw + float(np.abs(lower).max()))
        keys = list(zip(steps.tolist(), limits.loss_part.tolist(), strict=True))
        self._open(list(dict.fromkeys(keys)), most)
        columns = np.array([self._losses[key].column for key in keys])
        rows = self._solver.add_rows(
            "losses",
            self._widened(matrix) + self._single(columns, 1.0),
            lower,
            np.full(len(steps), np.inf),
        )
        self._loss_rows.append((rows, limits))
        for key, row, bound in zip(keys, rows.tolist(), lower.tolist(), strict=True):
            self._losses[key].rows.append(row)
            self._losses[key].lower.append(bound)
        for key in dict.fromkeys(keys):
            if self._losses[key].equal:
                self._hold(key)

    def _open(self, keys: list[tuple[int, int]], most: float) -> None:
        """Columns for the parts of steps that have none yet, and losses_kw[t] − Σ part_kw[t, k] = 0."""
        opened = set(self.lossy_steps)
        for step, part in keys:
            if step in opened and (step, part) not in self._losses:
                raise ValueError(
                    f"part {part} of the losses of step {step} comes after the step's first limits"
                )
        new = [key for key in keys if key not in self._losses]
        if not new:
            return
        count = len(new)
        columns = self._solver.add_columns("loss_part_kw", np.zeros(count), np.full(count, most))
        self._losses.update(
            (key, _Linearisations(column)) for key, column in zip(new, columns.tolist(), strict=True)
        )
        steps = np.array([step for step, _ in new])
        lossy, row = np.unique(steps, return_inverse=True)
        total = self._program.connections.losses[lossy]
        self._solver.set_bounds(total, np.zeros(len(lossy)), np.full(len(lossy), np.inf))
        parts = sp.csr_array((-np.ones(count), (row, columns)), shape=(len(lossy), self._solver.columns))
        zero = np.zeros(len(lossy))
        self._solver.add_rows("loss_parts", self._single(total, 1.0) + parts, zero, zero)

    def hold_burnt_losses(self, x: FloatArray) -> bool:
        """Where energy has a negative price the inequality burns it: there the newest linearisation holds
        as an equation from now on. False where `x` burns nothing."""
        held, activity = False, self._solver.row_values()
        for key, losses in self._losses.items():
            if not losses.equal:
                beyond = activity[losses.rows] - np.array(losses.lower)
                # a part at zero burns nothing, however negative its linearisations are there
                if min(beyond.min(), x[losses.column]) > BURNT_KW:
                    self._hold(key)
                    held = True
        return held

    def _hold(self, key: tuple[int, int]) -> None:
        losses = self._losses[key]
        losses.equal = True
        rows = np.array(losses.rows)
        lower, upper = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        lower[-1] = upper[-1] = losses.lower[-1]
        self._solver.set_row_bounds(rows, lower, upper)
        # far from its point a linearisation may be negative; as an equation it must not forbid that
        columns = np.array([losses.column, self._program.connections.losses[key[0]]])
        free = np.full(2, np.inf)
        self._solver.set_bounds(columns, -free, free)

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
                self._book(found, name, limits, step[mine], per_kw)
        for loss_rows, limits in self._loss_rows:
            per_kw = dual[loss_rows][:, None] * limits.loss_coefficients
            self._book(found, "losses", limits, limits.loss_step, per_kw)
        return found

    def moved(self) -> dict[int, sp.csr_array]:
        """What a kW more drawn at unity power factor moves the bounds of rows by, shape (steps, rows), by
        bus; the price at the bus is this times the duals."""
        entries = [
            (waiting.row[some], waiting.limits, waiting.limits.step[rows], per_kw)
            for waiting in self._pool
            for some in [np.flatnonzero(waiting.row >= 0)]
            for rows in [waiting.of[some]]
            for per_kw in [-waiting.scale[some, None] * waiting.limits.coefficients[rows]]
        ]
        entries += [
            (rows, limits, limits.loss_step, limits.loss_coefficients) for rows, limits in self._loss_rows
        ]
        found: dict[int, list[tuple[FloatArray, IntArray, IntArray]]] = {
            terminal.bus: [] for terminals in self._power for terminal in terminals if terminal.at_unity
        }
        for rows, limits, step, per_kw in entries:
            for position, terminal in enumerate(limits.terminals):
                if terminal.at_unity:
                    found[terminal.bus].append((per_kw[:, position], step, rows))
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
        limits: GridLimits,
        step: IntArray,
        per_kw: FloatArray,
    ) -> None:
        """Add prices, shape (rows, terminals), to those of the buses of terminals at unity."""
        for position, terminal in enumerate(limits.terminals):
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
