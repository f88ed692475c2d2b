"""Linear grid limits and losses as rows over the columns of a program.

Limits bound sums of coefficient × power drawn at a terminal, so each becomes one row over asset columns.
Each kind of limit has one slack per step, and another one for the limits that yield to needs.

Of thousands of limits a handful bind. They wait in a pool and enter the program only when a solution
breaks them, the worst of each step first; what is left outside holds anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from energy.domain.network import BoolArray, FloatArray, GridLimits, IntArray, Terminal
from optimizer.loss_rows import LossRows
from optimizer.program import Program
from optimizer.solver import Solver
from optimizer.terminal_rows import Moved, TerminalRows

UNITS = {"vm_pu": 1000.0, "loading_percent": 1.0}
"""Rows are in thousandths of pu and in percent, which keeps coefficients per kW near one."""
PARTS = {"vm_pu": "voltage", "loading_percent": "congestion"}
"""The part of a price that a kind of limit makes."""
BROKEN = 5e-5
"""A slack below this, in those units, is the solver's rounding."""
OUTBID = 5.0
"""How far slack is priced above the needs and the energy that it could buy."""
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
HELD = 2 * BREAKING
"""So much more than the least slack may be used once it is held: what may have waited, and rounding."""
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


class GridRows:
    """All grid limits that were added to one program."""

    def __init__(self, program: Program, solver: Solver, steps: int) -> None:
        self._program, self._solver, self._steps = program, solver, steps
        self._slack: dict[tuple[str, int], int] = {}
        self._yielding: dict[tuple[str, int], int] = {}
        self._weakest: dict[str, float] = {}
        self._pool: list[_Waiting] = []
        self._added = 0
        self._terminals = TerminalRows(program, solver, steps)
        self._losses = LossRows(program, solver, self._terminals)

    @property
    def some(self) -> bool:
        """Whether anything was added."""
        return bool(self._slack or self._losses.steps)

    @property
    def lossy_steps(self) -> list[int]:
        """The steps that have a loss linearisation."""
        return self._losses.steps

    def add(self, limits: GridLimits) -> None:
        """Add the rows of `limits`."""
        if len(limits):
            self._add_limits(limits)
        if limits.losses:
            self._losses.add(limits.losses, limits.terminals)

    def renew_losses(self, steps: IntArray) -> None:
        """See `LossRows.renew`."""
        self._losses.renew(steps)

    def reach_mw(self, terminals: tuple[Terminal, ...]) -> tuple[FloatArray, FloatArray]:
        """The least and the most that the bounds of columns let terminals draw, shape (steps, terminals)."""
        return self._terminals.reach_mw(terminals)

    def hold_burnt_losses(self, x: FloatArray) -> bool:
        """See `LossRows.hold_burnt`."""
        return self._losses.hold_burnt(x)

    def release_burnt_losses(self) -> None:
        """See `LossRows.release_burnt`."""
        self._losses.release_burnt()

    @property
    def bending(self) -> IntArray:
        """See `LossRows.bending`."""
        return self._losses.bending

    def _add_limits(self, limits: GridLimits) -> None:
        keys = list(zip(limits.quantity, limits.step.tolist(), strict=True))
        slack = self._slack_of(keys, self._slack)
        scale = np.array([UNITS[quantity] for quantity in limits.quantity])
        per_kw = limits.coefficients * scale[:, None] / 1000
        matrix, drawn = self._terminals.drawn(per_kw, limits.step, limits.terminals)
        fixed = limits.constant * scale + drawn
        self._note_weakest(np.array(limits.quantity), matrix)
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

    def _slack_of(self, keys: Sequence[tuple[str, int]], columns: dict[tuple[str, int], int]) -> IntArray:
        """The slack of each kind and step, made where there is none."""
        new = [key for key in dict.fromkeys(keys) if key not in columns]
        made = self._solver.add_columns("grid_slack", np.zeros(len(new)), np.full(len(new), np.inf))
        columns.update(zip(new, made.tolist(), strict=True))
        return np.array([columns[key] for key in keys], np.int64)

    def let_yield(self, limits: BoolArray) -> None:
        """Let `limits`, shape (limits,) in the order in which they were added, yield to needs: they are
        broken as little as these allow, and not to save anything else. No limit beyond them yields."""
        limits = np.concatenate([limits, np.zeros(self._added - len(limits), bool)])
        for waiting in self._pool:
            rows = np.flatnonzero(limits[waiting.first + waiting.of])
            number = waiting.of[rows]
            keys = [(waiting.limits.quantity[k], int(waiting.limits.step[k])) for k in number.tolist()]
            slack = self._slack_of(keys, self._yielding)
            changed = rows[waiting.slack[rows] != slack]
            waiting.slack[rows] = slack
            # a row keeps the slack with which it entered: those inside enter anew
            inside = changed[waiting.row[changed] >= 0]
            free = np.full(len(inside), np.inf)
            self._solver.set_row_bounds(waiting.row[inside], -free, free)
            waiting.row[inside] = -1

    def hold_slack(self, x: FloatArray) -> None:
        """Let no limit that does not yield be broken by more than in `x`, until they are released."""
        columns = np.array(list(self._slack.values()), np.int64)
        self._solver.set_bounds(columns, np.zeros(len(columns)), np.maximum(x[columns], 0.0) + HELD)

    def release_slack(self) -> None:
        """Let limits be broken again by as much as it takes."""
        columns = np.array(list(self._slack.values()), np.int64)
        self._solver.set_bounds(columns, np.zeros(len(columns)), np.full(len(columns), np.inf))

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
                own = self._terminals.single(waiting.slack[rows], 1.0)
                matrix = self._terminals.widened(waiting.matrix[rows]) + own
                waiting.row[rows] = self._solver.add_rows(
                    "grid_limit", matrix, waiting.lower[rows], np.full(len(rows), np.inf)
                )
                some = True
        return some

    def prices(self, dual: FloatArray, x: FloatArray) -> dict[int, dict[str, FloatArray]]:
        """What losses and limits add to the price of a MWh drawn at unity power factor, by bus and part.

        A kW more at a terminal moves the bound of every row by the row's coefficient; the row's dual says
        what that costs. Limits that `x` breaks have no price but that of their slack: it is scarcity.
        """
        found: dict[int, dict[str, FloatArray]] = {bus: {} for bus in self._terminals.unity_buses}
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
        for moved in self._losses.moved:
            per_kw = dual[moved.rows][:, None] * moved.per_kw
            self._book(found, "losses", moved.terminals, moved.step, per_kw)
        return found

    def moved(self) -> dict[int, sp.csr_array]:
        """What a kW more drawn at unity power factor moves the bounds of rows by, shape (steps, rows), by
        bus; the price at the bus is this times the duals."""
        entries = [
            Moved(waiting.row[some], waiting.limits.step[rows], waiting.limits.terminals, per_kw)
            for waiting in self._pool
            for some in [np.flatnonzero(waiting.row >= 0)]
            for rows in [waiting.of[some]]
            for per_kw in [-waiting.scale[some, None] * waiting.limits.coefficients[rows]]
        ]
        entries += self._losses.moved
        found: dict[int, list[tuple[FloatArray, IntArray, IntArray]]] = {
            bus: [] for bus in self._terminals.unity_buses
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

    def slack_costs(self, dearest: float, *, of_needs: bool = False) -> FloatArray:
        """The price of every column as slack: zero but for the slacks, which cost more than anything priced
        up to `dearest` that they can buy; `of_needs` also for those of the limits that yield to needs. A unit
        buys at most 1 / coefficient kW through the weakest row."""
        costs = np.zeros(self._solver.columns)
        for columns in (self._slack,) if of_needs else (self._slack, self._yielding):
            for (kind, _), column in columns.items():
                costs[column] = OUTBID * dearest / self._weakest[kind]
        return costs

    @property
    def slack_columns(self) -> dict[str, IntArray]:
        """The slacks of each kind of limit, in all steps."""
        found: dict[str, list[int]] = {}
        for (kind, _), column in (*self._slack.items(), *self._yielding.items()):
            found.setdefault(kind, []).append(column)
        return {kind: np.array(columns) for kind, columns in found.items()}

    def slacks(self, x: FloatArray) -> tuple[GridSlack, ...]:
        """The limits that `x` breaks."""
        return tuple(
            GridSlack(kind, step, float(x[column]) / UNITS[kind])
            for (kind, step), column in sorted([*self._slack.items(), *self._yielding.items()])
            if column < len(x) and x[column] > BROKEN
        )

    def _note_weakest(self, kinds: np.ndarray, matrix: sp.csr_array) -> None:
        """Take note of the smallest coefficient of rows that are of any use."""
        largest = abs(matrix).max(axis=1).toarray().ravel()
        for kind in set(kinds.tolist()):
            mine = largest[kinds == kind]
            useful = mine[mine > USEFUL * mine.max()]
            weakest = float(useful.min()) if len(useful) else OUTBID
            self._weakest[kind] = min(self._weakest.get(kind, np.inf), weakest)
