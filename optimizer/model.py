"""The model of a problem: readable Pyomo for connections and site assets, sparse rows for fleets.

Everything is in kW and kWh. Costs are prices per MWh of the power columns, so that the dual of a balance
row is a price per MWh; `Program.cost_scale` turns the objective into the problem's currency.

Pyomo states variables and constraints. Their bounds and prices stay in arrays, and its compiler lays the
columns out in the order of declaration: a column's number is known the moment it is declared.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from energy.domain.network import FloatArray, IntArray
from energy.domain.time import TimeGrid
from optimizer.solver import LinearProgram

if TYPE_CHECKING:
    from optimizer.assets.base import Asset, AssetRows
    from optimizer.connections import ConnectionRows
    from optimizer.problem import DispatchProblem


@dataclass(frozen=True)
class Columns:
    """One kind of variable: `variable[number, step]` in Pyomo, `index[number, step]` in the program."""

    variable: Any
    index: IntArray


class Site:
    """A model under construction: what asset types declare their variables and draws into."""

    def __init__(self, problem: DispatchProblem) -> None:
        self.problem = problem
        self.time: TimeGrid = problem.time
        self.model = pyo.ConcreteModel(name="dispatch")
        self._labels: list[tuple[str, Sequence[str], int]] = []
        self.order: list[Any] = []
        self._lower: list[FloatArray] = []
        self._upper: list[FloatArray] = []
        self._cost: list[FloatArray] = []
        steps = self.time.steps
        self.draws: dict[str, list[tuple[float, Columns, int]]] = defaultdict(list)
        self.drawn_kw = {key: np.zeros(steps) for key in problem.connections}
        self.inflexible_kw = {key: np.zeros(steps) for key in problem.connections}

    def columns(
        self,
        name: str,
        labels: Sequence[str],
        *,
        steps: int | None = None,
        lower: Any = 0.0,
        upper: Any = np.inf,
        price: Any = 0.0,
    ) -> Columns:
        """Declare one variable per label and step; bounds and price broadcast to (labels, steps)."""
        shape = (len(labels), self.time.steps if steps is None else steps)
        variable = pyo.Var(range(shape[0]), range(shape[1]))
        self.model.add_component(name, variable)
        first = len(self.order)
        self.order.extend(variable.values())
        self._labels.append((name, labels, shape[1]))
        for values, store in ((lower, self._lower), (upper, self._upper), (price, self._cost)):
            store.append(np.broadcast_to(np.asarray(values, float), shape).ravel())
        return Columns(variable, np.arange(first, len(self.order)).reshape(shape))

    def draw(self, connection: str, columns: Columns, number: int, coefficient: float) -> None:
        """Row `number` of `columns` draws `coefficient` kW per unit at the connection, in its step."""
        self.draws[connection].append((coefficient, columns, number))

    def draw_constant(self, connection: str, p_kw: FloatArray, *, flexible: bool) -> None:
        """A series drawn at the connection; `flexible` where some column may take it back."""
        self.drawn_kw[connection] += p_kw
        if not flexible:
            self.inflexible_kw[connection] += p_kw

    def names(self) -> list[str]:
        """A readable name for each column."""
        return [
            f"{name}({label},{step})"
            for name, labels, steps in self._labels
            for label in labels
            for step in range(steps)
        ]

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of all columns so far."""
        empty = np.zeros(0)
        return np.concatenate([empty, *self._lower]), np.concatenate([empty, *self._upper])

    def costs(self) -> FloatArray:
        """Prices of all columns so far."""
        return np.concatenate([np.zeros(0), *self._cost])


def linear(terms: Sequence[tuple[float, Any]]) -> Any:
    """Σ coefficient · variable, built without the cost of Pyomo's operators."""
    return LinearExpression(linear_coefs=[term[0] for term in terms], linear_vars=[term[1] for term in terms])


@dataclass
class Program:
    """A problem as a linear program, and what its columns and rows mean."""

    linear: LinearProgram
    connections: ConnectionRows
    assets: tuple[AssetRows, ...]
    names: Callable[[], list[str]]
    row_names: Callable[[], list[str]]
    cost_scale: float


def build(problem: DispatchProblem) -> Program:
    """The linear program of `problem`, without what only some steps need (exclusions, grid limits)."""
    from optimizer.connections import ConnectionRows

    with _no_collection():
        site = Site(problem)
        by_type: dict[type[Asset], list[Asset]] = defaultdict(list)
        for asset in problem.assets:
            by_type[type(asset)].append(asset)
        assets = tuple(
            kind.rows(site, members)
            for kind, members in sorted(by_type.items(), key=lambda kv: kv[0].__name__)
        )
        connections = ConnectionRows(site)
        return _compile(site, connections, assets)


def _compile(site: Site, connections: ConnectionRows, assets: tuple[AssetRows, ...]) -> Program:
    form = LinearStandardFormCompiler().write(site.model, mixed_form=True, column_order=site.order)
    count = len(site.order)
    # the compiler leaves out columns that stand in no row; here every column keeps its number
    number = {id(variable): k for k, variable in enumerate(site.order)}
    kept = np.fromiter((number[id(variable)] for variable in form.columns), np.int64, len(form.columns))
    entries = sp.coo_array(form.A)
    kind = np.fromiter((row.bound_type for row in form.rows), np.int8, len(form.rows))
    rhs = np.asarray(form.rhs, float)
    row_number = {row.constraint: number for number, row in enumerate(form.rows)}
    connections.place(row_number)

    triplets: list[tuple[Any, Any, Any]] = [(entries.row, kept[entries.col], entries.data)]
    lower, upper = site.bounds()
    parts = {
        "lower": [lower],
        "upper": [upper],
        "cost": [site.costs()],
        "row_lower": [np.where(kind <= 0, rhs, -np.inf)],
        "row_upper": [np.where(kind >= 0, rhs, np.inf)],
    }
    first, first_row = count, len(form.rows)
    sparse = [(rows, rows.sparse) for rows in assets if rows.sparse is not None]
    for rows, block in sparse:
        rows.place(first)
        row, column, value = block.entries
        triplets.append((row + first_row, column + first, value))
        row, column, value = block.links
        triplets.append((row + first_row, column, value))
        first, first_row = first + len(block.lower), first_row + len(block.row_lower)
        for name, store in parts.items():
            store.append(getattr(block, name))
    row, column, value = (np.concatenate([part[k] for part in triplets]) for k in range(3))
    matrix = sp.csc_array((value, (row, column)), shape=(first_row, first))
    program = LinearProgram(matrix, **{name: np.concatenate(store) for name, store in parts.items()})

    def names() -> list[str]:
        return [*site.names(), *(name for _, block in sparse for name in block.column_names())]

    def row_names() -> list[str]:
        stated = [row.constraint.name.replace("[", "(").replace("]", ")") for row in form.rows]
        return [*stated, *(name for _, block in sparse for name in block.row_names())]

    return Program(program, connections, assets, names, row_names, site.time.hours / 1000)


@contextmanager
def _no_collection() -> Iterator[None]:
    """The collector walks a growing model again and again, and finds nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
