"""The program of a problem: readable Pyomo for connections and site assets, sparse rows for fleets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from optimizer.assets.base import Asset, AssetRows, Controllable, Entries
from optimizer.collection import no_collection
from optimizer.connections import ConnectionRows
from optimizer.fairness_rows import FairnessRows
from optimizer.island_rows import IslandRows
from optimizer.offer_rows import OfferRows
from optimizer.problem import DispatchProblem
from optimizer.program import Part, Program
from optimizer.quantities import Phases
from optimizer.reactive import ReactiveRows
from optimizer.site import Origin, Site
from optimizer.solver import LinearProgram


def build(problem: DispatchProblem) -> Program:
    """The linear program of `problem`, without what only some steps need (exclusions, grid limits)."""
    with no_collection():
        site = Site(
            problem.time, problem.connections, problem.objective.carbon_price_per_t, problem.islands.sheds
        )
        groups: dict[tuple[type[Asset], Phases], list[Asset]] = defaultdict(list)
        by_phase = problem.limits_phases
        for asset in problem.assets:
            groups[type(asset), asset.phases if by_phase else "L123"].append(asset)
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
        program.pin(problem.pins)
    return program


def _rows_of(site: Site, kind: type[Asset], phases: Phases, members: Sequence[Asset]) -> AssetRows:
    site.begin(Origin(phases, issubclass(kind, Controllable)))
    return kind.rows(site, members)


def _compile(
    problem: DispatchProblem, site: Site, connections: ConnectionRows, assets: tuple[AssetRows, ...]
) -> Program:
    form = LinearStandardFormCompiler().write(site.model, mixed_form=True, column_order=site.variables)
    count = len(site.order)
    # the compiler leaves out columns that stand in no row; here every column keeps its number
    number = {id(variable): k for k, variable in enumerate(site.order)}
    kept = np.fromiter((number[id(variable)] for variable in form.columns), np.int64, len(form.columns))
    entries = sp.coo_array(form.A)
    kind = np.fromiter((row.bound_type for row in form.rows), np.int8, len(form.rows))
    rhs = np.asarray(form.rhs, float)
    row_number = {row.constraint: number for number, row in enumerate(form.rows)}
    connections.place(row_number)

    placed: list[tuple[Entries, int]] = [((entries.row.astype(np.int64), kept[entries.col], entries.data), 0)]
    lower, upper = site.bounds()
    parts = {
        "lower": [lower],
        "upper": [upper],
        "cost": [site.costs()],
        "row_lower": [np.where(kind <= 0, rhs, -np.inf)],
        "row_upper": [np.where(kind >= 0, rhs, np.inf)],
    }
    first, first_row = count, len(form.rows)
    named: list[tuple[Callable[[], list[str]], Callable[[], list[str]]]] = []
    reactive = ReactiveRows(problem, assets)
    beside: list[AssetRows | ReactiveRows] = [*assets, reactive]
    for rows in beside:
        rows.place(first)
        block = rows.block()
        if block is None:
            continue
        named.append((block.column_names, block.row_names))
        placed += [(part, first_row) for part in block.entries]
        first += sum(map(len, block.lower))
        first_row += sum(map(len, block.row_lower))
        for name, store in parts.items():
            store += getattr(block, name)
    matrix = _matrix(placed, (first_row, first))
    vectors = {name: np.concatenate(store) for name, store in parts.items()}
    program = LinearProgram(matrix, **vectors, integer=site.integers())

    def names() -> list[str]:
        return [*site.names(), *(name for own, _ in named for name in own())]

    def row_names() -> list[str]:
        stated = [row.constraint.name.replace("[", "(").replace("]", ")") for row in form.rows]
        return [*stated, *(name for _, own in named for name in own())]

    part = Part(problem, connections, assets, reactive, slice(0, first), slice(0, first_row))
    return Program(program, (part,), names, row_names, site.mwh_per_kw)


def _matrix(placed: list[tuple[Entries, int]], shape: tuple[int, int]) -> sp.csc_array:
    """The matrix of all parts, each with the row that its rows count from.

    It is written in one pass, and `placed` emptied to make room for it: for a fleet, copies and fresh memory
    would cost more than all else about it.
    """
    size = sum(len(row) for (row, _, _), _ in placed)
    rows, columns, values = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size)
    end = 0
    for (row, column, value), first_row in placed:
        begin, end = end, end + len(row)
        np.add(row, first_row, out=rows[begin:end], casting="same_kind")
        columns[begin:end] = column
        values[begin:end] = value
    placed.clear()
    return sp.csc_array((values, (rows, columns)), shape=shape)
