"""The program of a problem: readable Pyomo for connections and site assets, sparse rows for fleets.

Everything is in kW and kWh. Costs are prices per MWh of the power columns, so that the dual of a balance
row is a price per MWh; `Program.cost_scale` turns the objective into the problem's currency.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from optimizer.assets.base import Asset, AssetRows
from optimizer.connections import ConnectionRows
from optimizer.problem import DispatchProblem
from optimizer.site import Site
from optimizer.solver import LinearProgram


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
    with _no_collection():
        site = Site(problem.time, problem.connections, problem.objective.carbon_price_per_t)
        by_type: dict[type[Asset], list[Asset]] = defaultdict(list)
        for asset in problem.assets:
            by_type[type(asset)].append(asset)
        assets = tuple(
            kind.rows(site, members)
            for kind, members in sorted(by_type.items(), key=lambda kv: kv[0].__name__)
        )
        connections = ConnectionRows(site, problem)
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
    vectors = {name: np.concatenate(store) for name, store in parts.items()}
    program = LinearProgram(matrix, **vectors, integer=site.integers())

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
