"""The one contact with HiGHS: every option, return code and model status is checked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Literal

import highspy
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from energy.domain.errors import CancelledError, SolverError
from energy.domain.network import BoolArray, FloatArray, IntArray

NAME = f"HiGHS {highspy.Highs().version()}"
NEGLIGIBLE = 1e-9
"""HiGHS drops matrix entries below this; they are dropped here first, so that it need not warn."""

FEASIBLE = 1e-7
"""How far HiGHS lets a value be beyond its bounds."""

DRIFT = 1e-6
"""How far a row may be from what the columns make of it, and a hundredth of it relative to its terms: the
simplex updates both from step to step, and can lose one on the way."""

_INTERRUPTS = (
    highspy.cb.HighsCallbackType.kCallbackSimplexInterrupt,
    highspy.cb.HighsCallbackType.kCallbackIpmInterrupt,
    highspy.cb.HighsCallbackType.kCallbackMipInterrupt,
)
_STATUS = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible_or_unbounded",
    highspy.HighsModelStatus.kUnbounded: "unbounded",
    highspy.HighsModelStatus.kTimeLimit: "time_limit",
    highspy.HighsModelStatus.kInterrupt: "interrupted",
}


def _asked(*question: Any) -> None:
    """HiGHS asks now and then whether to go on; its own events would take longer than its pivots."""
    *_, answer, stopped = question
    if stopped.is_set():
        answer.user_interrupt = True


@dataclass
class LinearProgram:
    """minimise cost · x  subject to  row_lower ≤ matrix x ≤ row_upper,  lower ≤ x ≤ upper.

    `integer` numbers the columns that take whole values only.
    """

    matrix: sp.csc_array
    cost: FloatArray
    lower: FloatArray
    upper: FloatArray
    row_lower: FloatArray
    row_upper: FloatArray
    integer: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Solution:
    """What a run gave. `x` is None where there is no feasible point; `dual` is None for integer problems.

    `dual` has one value per row: what the optimum rises by per unit of the row's bounds.
    """

    status: Literal["optimal", "feasible", "infeasible", "no_solution"]
    x: FloatArray | None
    dual: FloatArray | None
    objective: float
    bound: float


class Basis:
    """The optimal basis of the last run of a linear problem; of use until the next change or run."""

    def __init__(self, highs: highspy.Highs) -> None:
        self._highs = highs
        status, basic = highs.getBasicVariables()
        if status != highspy.HighsStatus.kOk:
            raise SolverError(f"HiGHS answered {status.name} to reading its basis")
        lp, solution = highs.getLp(), highs.getSolution()
        # HiGHS numbers rows from -1 downwards; here they follow the columns
        self._basic = np.where(basic < 0, lp.num_col_ - 1 - basic, basic)
        self._sign = np.where(basic < 0, -1.0, 1.0)
        self._rows: int = lp.num_row_
        self._columns: int = lp.num_col_
        self._lower, self._value, self._upper = (
            np.concatenate([columns, rows])[self._basic]
            for columns, rows in (
                (lp.col_lower_, lp.row_lower_),
                (solution.col_value, solution.row_value),
                (lp.col_upper_, lp.row_upper_),
            )
        )

    def rates(self, weights: FloatArray) -> FloatArray:
        """What weights · x rises by per unit of the bounds of each row, shape (rows,): as `Solution.dual`,
        for weights of columns that need not be their costs."""
        of_basic = np.concatenate([weights, np.zeros(self._rows)])[self._basic]
        return self._solved(self._highs.getBasisTransposeSolve(of_basic))

    def hold(self, rows: IntArray, moved: FloatArray, *, apart_from: IntArray) -> tuple[BoolArray, BoolArray]:
        """Whether it stays feasible, and so optimal, where the bounds of `rows` move by `moved`, shape
        (moves, rows), and where they move as far the other way; shape (moves,) each. What becomes of the rows
        `apart_from` does not count."""
        # a basic row stands for how far its bounds move away from its activity
        unit, per_unit = np.zeros(self._rows), []
        for row in rows.tolist():
            unit[row] = 1.0
            per_unit.append(self._solved(self._highs.getBasisSolve(unit)))
            unit[row] = 0.0
        some = np.unique(np.concatenate([np.zeros(0, np.int64), *map(np.flatnonzero, per_unit)]))
        some = some[~np.isin(self._basic[some], self._columns + apart_from)]
        taken = np.array([values[some] for values in per_unit]).reshape(len(rows), len(some))
        step, value = moved @ (taken * self._sign[some]), self._value[some]
        # what is beyond its bounds already is the run's own tolerance
        lower = np.minimum(self._lower[some], value) - FEASIBLE
        upper = np.maximum(self._upper[some], value) + FEASIBLE
        more, less = (((value + way >= lower) & (value + way <= upper)).all(axis=1) for way in (step, -step))
        return more, less

    @staticmethod
    def _solved(answer: tuple[highspy.HighsStatus, NDArray[np.float64]]) -> FloatArray:
        status, solution = answer
        if status != highspy.HighsStatus.kOk:
            raise SolverError(f"HiGHS answered {status.name} to solving with its basis")
        return np.array(solution)


class Solver:
    """One HiGHS instance with one problem, changed in place: a re-run starts from the last basis."""

    def __init__(self, program: LinearProgram, *, mip_gap: float) -> None:
        self._highs = highspy.Highs()
        # threads come first: set after a first solve in the process, HiGHS would return without solving
        for option, value in (
            ("threads", 1),
            ("output_flag", False),
            ("mip_rel_gap", mip_gap),
            ("mip_feasibility_tolerance", 1e-7),
        ):
            self._option(option, value)
        self._stopped = Event()
        # HiGHS keeps what it is given: the event, not this object, which would never be freed
        self._check(self._highs.setCallback(_asked, self._stopped), "setting a callback")
        for kind in _INTERRUPTS:
            self._check(self._highs.startCallback(kind), "starting a callback")
        matrix = program.matrix
        tiny = (matrix.data < NEGLIGIBLE) & (matrix.data > -NEGLIGIBLE)
        if tiny.any():
            matrix = matrix.copy()
            matrix.data[tiny] = 0.0
            matrix.eliminate_zeros()
        self.rows, self.columns = matrix.shape
        all_continuous = np.full(self.columns, highspy.HighsVarType.kContinuous.value, np.int32)
        # as arrays: a HighsLp is filled number by number
        self._check(
            self._highs.passModel(
                self.columns,
                self.rows,
                matrix.nnz,
                highspy.MatrixFormat.kColwise.value,
                highspy.ObjSense.kMinimize.value,
                0.0,
                program.cost,
                program.lower,
                program.upper,
                program.row_lower,
                program.row_upper,
                matrix.indptr,
                matrix.indices,
                matrix.data,
                all_continuous,
            ),
            "passing the program",
        )
        self._blocks: list[sp.csc_array | sp.csr_array] = [matrix]
        self._integer: dict[int, tuple[float, float]] = {}
        self._added_columns: list[str] = []
        self._added_rows: list[str] = []
        self._declare_integer(program.integer, program.lower[program.integer], program.upper[program.integer])

    @property
    def is_integer(self) -> bool:
        """Whether any column is integer."""
        return bool(self._integer)

    def _option(self, name: str, value: Any) -> None:
        self._check(self._highs.setOptionValue(name, value), f"option {name} = {value!r}")

    @staticmethod
    def _check(status: Any, doing: str) -> None:
        if status != highspy.HighsStatus.kOk:
            raise SolverError(f"HiGHS answered {status.name} to {doing}")

    def add_columns(
        self, name: str, lower: FloatArray, upper: FloatArray, *, integer: bool = False
    ) -> IntArray:
        """New columns without cost that stand in no row yet; returns their numbers."""
        count = len(lower)
        new = np.arange(self.columns, self.columns + count)
        none = np.zeros(0, np.int32)
        self._check(
            self._highs.addCols(
                count, np.zeros(count), lower, upper, 0, np.zeros(count, np.int32), none, np.zeros(0)
            ),
            "adding columns",
        )
        self.columns += count
        self._added_columns += [f"{name}({number})" for number in new]
        if integer:
            self._declare_integer(new, lower, upper)
        return new

    def _declare_integer(self, columns: IntArray, lower: FloatArray, upper: FloatArray) -> None:
        if len(columns):
            self._set_integer(columns, True)
            bounds = zip(lower.tolist(), upper.tolist(), strict=True)
            self._integer.update(zip(columns.tolist(), bounds, strict=True))

    def add_rows(self, name: str, matrix: sp.csr_array, lower: FloatArray, upper: FloatArray) -> IntArray:
        """New rows over all present columns; returns their numbers. The basis stays."""
        rows = sp.csr_array(matrix)
        rows.data[np.abs(rows.data) < NEGLIGIBLE] = 0.0
        rows.eliminate_zeros()
        count = rows.shape[0]
        new = np.arange(self.rows, self.rows + count)
        if count:
            self._check(
                self._highs.addRows(
                    count,
                    np.asarray(lower, float),
                    np.asarray(upper, float),
                    rows.nnz,
                    rows.indptr[:-1].astype(np.int32),
                    rows.indices.astype(np.int32),
                    rows.data,
                ),
                "adding rows",
            )
            self._blocks.append(rows)
        self.rows += count
        self._added_rows += [f"{name}({number})" for number in new]
        return new

    def set_mip_gap(self, gap: float) -> None:
        """How far, relative to the best bound, an integer answer may be from it."""
        self._option("mip_rel_gap", gap)

    def start_from(self, x: FloatArray) -> None:
        """Let the next run begin with the integers of `x`, as far as there is a solution with them."""
        columns = np.array(sorted(self._integer), np.int32)
        self._check(
            self._highs.setSolution(len(columns), columns, np.round(x[columns])), "passing a first solution"
        )

    def start_from_basis(self, before: Solver) -> bool:
        """Let the next run begin with the basis of the last run of `before`, whose first columns and rows
        are those of this problem. What it has beyond is left out, and HiGHS completes the basis; False where
        it has none, as after a branch and bound."""
        last = before._highs.getBasis()
        if not last.valid:
            return False
        basis = highspy.HighsBasis()
        basis.valid = basis.alien = True
        basis.col_status, basis.row_status = last.col_status[: self.columns], last.row_status[: self.rows]
        self._check(self._highs.setBasis(basis), "passing a basis")
        return True

    def set_cost(self, cost: FloatArray) -> None:
        """The cost of every column."""
        every = np.arange(self.columns, dtype=np.int32)
        self._check(self._highs.changeColsCost(self.columns, every, cost), "changing costs")

    def set_bounds(self, columns: IntArray, lower: FloatArray, upper: FloatArray) -> None:
        """New bounds of some columns."""
        self._check(
            self._highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper),
            "changing bounds",
        )

    def set_row_bounds(self, rows: IntArray, lower: FloatArray, upper: FloatArray) -> None:
        """New bounds of some rows."""
        self._check(
            self._highs.changeRowsBounds(len(rows), rows.astype(np.int32), lower, upper),
            "changing row bounds",
        )

    def _set_integer(self, columns: NDArray[Any], integer: bool) -> None:
        kind = highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous
        kinds = np.full(len(columns), kind.value, np.uint8)
        self._check(
            self._highs.changeColsIntegrality(len(columns), columns.astype(np.int32), kinds),
            "changing integrality",
        )

    def interrupt(self) -> None:
        """Stop the run under way, and every later one, with `CancelledError`; for another thread."""
        self._stopped.set()

    def run(self, seconds: float | None = None, *, feasible: bool = False) -> Solution:
        """Solve from the present basis, at most `seconds` long.

        A problem that is known to be `feasible` and is called infeasible is solved once more without
        presolve, which rounds bounds near the tolerances away. Raises `SolverError` for every outcome that
        is neither an answer, infeasible nor out of time.
        """
        self._option("time_limit", float("inf") if seconds is None else max(seconds, 0.0) + self._elapsed())
        status = self._run()
        if status == "infeasible_or_unbounded" or (feasible and status == "infeasible"):
            # presolve cannot tell the first two apart; the solve without it can
            self._check(self._highs.clearSolver(), "clearing the solver")
            self._option("presolve", "off")
            status = self._run()
            self._option("presolve", "choose")
        if status == "optimal" and self._has_drifted():
            status = self._run_anew()
        if status == "interrupted":
            raise CancelledError("the dispatch was cancelled")
        if status == "infeasible":
            return Solution("infeasible", None, None, np.inf, np.inf)
        info = self._highs.getInfo()
        found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        if status == "time_limit" and not found:
            return Solution("no_solution", None, None, np.inf, -np.inf)
        if status not in {"optimal", "time_limit"}:
            raise SolverError(f"HiGHS ended with {status}: every dispatch problem is bounded")
        solution = self._highs.getSolution()
        objective = info.objective_function_value
        bound = objective
        if self.is_integer:
            bound = info.mip_dual_bound
        elif status == "time_limit":
            bound = -np.inf
        return Solution(
            "optimal" if status == "optimal" else "feasible",
            np.array(solution.col_value),
            None if self.is_integer else np.array(solution.row_dual),
            objective,
            bound,
        )

    def run_with_integers_fixed(self, x: FloatArray, seconds: float | None = None) -> Solution:
        """The linear problem that is left with every integer at its value in `x`; for prices."""
        with self.integers_fixed(x):
            return self.run(seconds)

    @contextmanager
    def integers_fixed(self, x: FloatArray) -> Iterator[None]:
        """Every integer at its value in `x` for as long as the context lasts: runs are of linear problems."""
        if not self._integer:
            yield
            return
        integers, self._integer = self._integer, {}
        columns = np.array(sorted(integers))
        values = np.round(x[columns])
        self._set_integer(columns, False)
        self.set_bounds(columns, values, values)
        try:
            yield
        finally:
            self._integer = integers
            self._set_integer(columns, True)
            lower, upper = np.array([integers[column] for column in columns.tolist()]).T
            self.set_bounds(columns, lower, upper)

    @property
    def basis(self) -> Basis:
        """That of the last run, which was of a linear problem."""
        return Basis(self._highs)

    @contextmanager
    def rows_moved(self, by: FloatArray) -> Iterator[None]:
        """The bounds of rows moved by so much, shape (rows,), for as long as the context lasts; the basis
        is the present one again afterwards."""
        basis, lp = self._highs.getBasis(), self._highs.getLp()
        rows = np.flatnonzero(by)
        lower, upper = np.array(lp.row_lower_)[rows], np.array(lp.row_upper_)[rows]
        self.set_row_bounds(rows, lower + by[rows], upper + by[rows])
        try:
            yield
        finally:
            self.set_row_bounds(rows, lower, upper)
            self._check(self._highs.setBasis(basis), "restoring the basis")

    def row_values(self) -> FloatArray:
        """The activity of every row in the last solution."""
        return np.array(self._highs.getSolution().row_value)

    def _elapsed(self) -> float:
        # the time limit of a simplex run counts from the birth of the instance
        return float(self._highs.getRunTime())

    def _run(self) -> str:
        result = self._highs.run()
        status = self._highs.getModelStatus()
        if result == highspy.HighsStatus.kError or status not in _STATUS:
            # a lost basis is the common cause; once from scratch settles it
            self._check(self._highs.clearSolver(), "clearing the solver")
            result = self._highs.run()
            status = self._highs.getModelStatus()
        if result == highspy.HighsStatus.kError or status not in _STATUS:
            raise SolverError(f"HiGHS ended with {result.name}, {self._highs.modelStatusToString(status)}")
        return _STATUS[status]

    def _has_drifted(self) -> bool:
        """Whether rows of the last solution are not what its columns make of them."""
        solution = self._highs.getSolution()
        x, activity = np.array(solution.col_value), np.array(solution.row_value)
        gap = abs(np.concatenate([block @ x[: block.shape[1]] for block in self._blocks]) - activity)
        if gap.max(initial=0.0) <= DRIFT:
            return False
        terms = np.concatenate([abs(block) @ abs(x[: block.shape[1]]) for block in self._blocks])
        return bool((gap > DRIFT * np.maximum(1.0, terms / 100)).any())

    def _run_anew(self) -> str:
        """Solve with the same basis, factored anew, which mostly mends a drift, else from scratch."""
        for basis in (self._highs.getBasis(), None):
            self._check(self._highs.clearSolver(), "clearing the solver")
            if basis is not None and basis.valid:
                self._check(self._highs.setBasis(basis), "passing a basis")
            status = self._run()
            if status != "optimal" or not self._has_drifted():
                return status
        raise SolverError("HiGHS' optimum does not keep its rows: the numbers are too far apart")

    def write(self, path: Path, column_names: Sequence[str], row_names: Sequence[str]) -> None:
        """Write the problem as an LP file; the names are those of the columns and rows it began with."""
        lp, writer = self._highs.getLp(), highspy.Highs()
        if not self.is_integer:
            # where it says of every column that it is continuous, the file gets sections without a column
            lp.integrality_ = []
        self._check(writer.setOptionValue("output_flag", False), "option output_flag")
        self._check(writer.passModel(lp), "passing the program to be written")
        for number, name in enumerate([*column_names, *self._added_columns]):
            self._check(writer.passColName(number, name), f"naming column {name}")
        for number, name in enumerate([*row_names, *self._added_rows]):
            self._check(writer.passRowName(number, name), f"naming row {name}")
        self._check(writer.writeModel(str(path)), f"writing {path.name}")
