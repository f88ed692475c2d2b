"""The program of a problem: readable Pyomo for connections and site assets, sparse rows for fleets.

Everything is in kW and kWh. Costs are prices per MWh of the power columns, so that the dual of a balance
row is a price per MWh; `Program.cost_scale` turns the objective into the problem's currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from energy.domain.documents import expand
from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import Asset, AssetRows, Controllable, Entries, Phases, SparseBlock
from optimizer.collection import no_collection
from optimizer.connections import ConnectionRows
from optimizer.fairness import FairnessRows
from optimizer.islands import IslandRows
from optimizer.offer_rows import OfferRows
from optimizer.problem import DispatchProblem
from optimizer.reactive import ReactiveRows
from optimizer.rolling import pin
from optimizer.site import Origin, Site
from optimizer.solver import LinearProgram


@dataclass(frozen=True)
class Part:
    """One problem inside a program: what `connections` and `assets` number counts from its first column
    and row. `probability` weighs what it costs and leaves unserved."""

    problem: DispatchProblem
    connections: ConnectionRows
    assets: tuple[AssetRows, ...]
    reactive: ReactiveRows
    columns: slice
    rows: slice
    probability: float = 1.0

    def unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority, as coefficients on its columns."""
        coefficients = np.zeros(self.columns.stop - self.columns.start)
        coefficients[self.connections.overruns] = self.problem.time.hours
        for rows in self.assets:
            coefficients[rows.needs] = rows.need_weights
        return coefficients

    def emissions(self, *, at_margin: bool = False) -> FloatArray:
        """kg per unit of each column: what root imports carry, less export credit, and assets' own.

        `at_margin` counts what the grid above emits more: the marginal intensity of imports less exports.
        """
        problem, hours = self.problem, self.problem.time.hours
        coefficients = np.zeros(self.columns.stop - self.columns.start)
        for number, connection in enumerate(problem.connections.values()):
            if connection.parent is None:
                if at_margin:
                    marginal = connection.marginal_carbon_g_per_kwh
                    carried = credited = expand(marginal or 0.0, problem.time.steps)
                else:
                    carried, credited = problem.carbon_intensities(connection)
                coefficients[self.connections.imports[number]] = carried * hours / 1000
                coefficients[self.connections.exports[number]] = -credited * hours / 1000
        for rows in self.assets:
            columns, kg_per_kwh = rows.emitting
            np.add.at(coefficients, columns, kg_per_kwh * hours)
        return coefficients


@dataclass
class Program:
    """A linear program of one problem, or of several scenarios of one, and what its columns mean.

    Columns and rows beyond those of its parts tie the parts together. Of the columns `past` it is known what
    they did: no minimum and no reserve applies to them.
    """

    linear: LinearProgram
    parts: tuple[Part, ...]
    names: Callable[[], list[str]]
    row_names: Callable[[], list[str]]
    cost_scale: float
    past: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def connections(self) -> ConnectionRows:
        """The connections of a program of one part."""
        (part,) = self.parts
        return part.connections

    @property
    def assets(self) -> tuple[AssetRows, ...]:
        """The assets of a program of one part."""
        (part,) = self.parts
        return part.assets

    @property
    def reactive(self) -> ReactiveRows:
        """The steered inverters of a program of one part."""
        (part,) = self.parts
        return part.reactive

    def at_carbon_price(self, price_per_t: float) -> Program:
        """The same program, of one part, with another price of carbon."""
        (part,) = self.parts
        objective = part.problem.objective
        more = (price_per_t - objective.carbon_price_per_t) / 1000 / self.cost_scale
        problem = replace(
            part.problem, objective=objective.model_copy(update={"carbon_price_per_t": price_per_t})
        )
        linear = replace(self.linear, cost=self.linear.cost + more * part.emissions())
        return replace(self, linear=linear, parts=(replace(part, problem=problem),))

    @cached_property
    def exclusive(self) -> IntArray:
        """Pairs of columns of which one must be zero, shape (pairs, 2)."""
        return np.concatenate(
            [
                pairs + part.columns.start
                for part in self.parts
                for pairs in (part.connections.exclusive, *(rows.exclusive for rows in part.assets))
            ]
        )

    @cached_property
    def imports(self) -> IntArray:
        """The columns of power imported through a connection."""
        return np.concatenate([part.connections.imports.ravel() + part.columns.start for part in self.parts])

    @cached_property
    def semicontinuous(self) -> tuple[IntArray, FloatArray]:
        """Columns that are zero or at least so much."""
        stepped = [
            (rows.semicontinuous + part.columns.start, rows.semicontinuous_min)
            for part in self.parts
            for rows in part.assets
        ]
        columns = np.concatenate([np.zeros(0, np.int64), *(columns for columns, _ in stepped)])
        least = np.concatenate([np.zeros(0), *(least for _, least in stepped)])
        undone = ~np.isin(columns, self.past)
        return columns[undone], least[undone]

    @cached_property
    def reserves(self) -> tuple[IntArray, FloatArray]:
        """Pairs (power, energy), shape (pairs, 2), whose power is zero unless the energy is so much."""
        reserved = [
            (rows.reserves + part.columns.start, rows.reserved_kwh)
            for part in self.parts
            for rows in part.assets
        ]
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *(pairs for pairs, _ in reserved)])
        least = np.concatenate([np.zeros(0), *(least for _, least in reserved)])
        undone = ~np.isin(pairs[:, 0], self.past)
        return pairs[undone], least[undone]

    @cached_property
    def unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority and probability, as coefficients on the columns."""
        coefficients = np.zeros(len(self.linear.cost))
        for part in self.parts:
            coefficients[part.columns] = part.probability * part.unserved()
        return coefficients


def build(problem: DispatchProblem) -> Program:
    """The linear program of `problem`, without what only some steps need (exclusions, grid limits)."""
    with no_collection():
        site = Site(
            problem.time, problem.connections, problem.objective.carbon_price_per_t, problem.islands.sheds
        )
        groups: dict[tuple[type[Asset], Phases], list[Asset]] = defaultdict(list)
        for asset in problem.assets:
            groups[type(asset), asset.phases if problem.limits_phases else "L123"].append(asset)
        assets: tuple[AssetRows, ...] = tuple(
            _rows_of(site, kind, phases, members)
            for (kind, phases), members in sorted(
                groups.items(), key=lambda kv: (kv[0][0].__name__, kv[0][1])
            )
        )
        site.begin(Origin())
        connections = ConnectionRows(site, problem)
        extra: list[AssetRows] = []
        if problem.islands:
            extra.append(IslandRows(site, problem, assets, connections))
        if problem.offers:
            extra.append(OfferRows(problem, connections, assets))
        if problem.objective.fairness is not None:
            extra.append(FairnessRows(problem, assets))
        program = _compile(problem, site, connections, (*assets, *extra))
    if problem.pins is not None:
        pin(program, problem.pins)
    return program


def _rows_of(site: Site, kind: type[Asset], phases: Phases, members: Sequence[Asset]) -> AssetRows:
    site.begin(Origin(phases, issubclass(kind, Controllable)))
    return kind.rows(site, members)


def _compile(
    problem: DispatchProblem, site: Site, connections: ConnectionRows, assets: tuple[AssetRows, ...]
) -> Program:
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

    placed: list[tuple[Entries, int, int]] = [
        ((entries.row.astype(np.int64), kept[entries.col], entries.data), 0, 0)
    ]
    lower, upper = site.bounds()
    parts = {
        "lower": [lower],
        "upper": [upper],
        "cost": [site.costs()],
        "row_lower": [np.where(kind <= 0, rhs, -np.inf)],
        "row_upper": [np.where(kind >= 0, rhs, np.inf)],
    }
    first, first_row = count, len(form.rows)
    sparse: list[SparseBlock] = []
    reactive = ReactiveRows(problem, assets)
    beside: list[AssetRows | ReactiveRows] = [*assets, reactive]
    for rows in beside:
        rows.place(first)
        block = rows.sparse
        if block is None:
            continue
        sparse.append(block)
        placed += [(part, first_row, first) for part in block.entries]
        placed.append((block.links, first_row, 0))
        first += sum(map(len, block.lower))
        first_row += sum(map(len, block.row_lower))
        for name, store in parts.items():
            store += getattr(block, name)
    matrix = _matrix(placed, (first_row, first))
    vectors = {name: np.concatenate(store) for name, store in parts.items()}
    program = LinearProgram(matrix, **vectors, integer=site.integers())

    def names() -> list[str]:
        return [*site.names(), *(name for block in sparse for name in block.column_names())]

    def row_names() -> list[str]:
        stated = [row.constraint.name.replace("[", "(").replace("]", ")") for row in form.rows]
        return [*stated, *(name for block in sparse for name in block.row_names())]

    part = Part(problem, connections, assets, reactive, slice(0, first), slice(0, first_row))
    return Program(program, (part,), names, row_names, site.mwh_per_kw)


def _matrix(placed: Sequence[tuple[Entries, int, int]], shape: tuple[int, int]) -> sp.csc_array:
    """The matrix of all parts, each with the row and the column that its numbers count from.

    It is written in one pass: for a fleet, copies would cost more than all else about it.
    """
    size = sum(len(row) for (row, _, _), *_ in placed)
    rows, columns, values = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size)
    end = 0
    for (row, column, value), first_row, first_column in placed:
        begin, end = end, end + len(row)
        np.add(row, first_row, out=rows[begin:end], casting="same_kind")
        np.add(column, first_column, out=columns[begin:end], casting="same_kind")
        values[begin:end] = value
    return sp.csc_array((values, (rows, columns)), shape=shape)
