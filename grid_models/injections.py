"""Time series for the elements of a grid's own tables, as power on top of what the tables hold.

Profiles of `wattshed grid solve` name table values (``load.17.p_mw``) and replace them, as writing into the
table would: scaling and service state apply. A twin with `include_static` draws the table values already,
so what crosses to it is the difference. That keeps voltage-dependent loads and generators, which only the
tables can describe, exactly as pandapower has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray, NodalPower
from energy.domain.time import TimeGrid
from grid_models.elements import profile_series
from grid_models.sources import Grid

QUANTITIES = {
    "load": ("p_mw", "q_mvar"),
    "sgen": ("p_mw", "q_mvar"),
    "storage": ("p_mw", "q_mvar"),
    "gen": ("p_mw",),
}
"""What a profile can give. Generators inject with ``+``, loads and storages draw, as in the tables."""
SIMBENCH_SUFFIX = {("load", "p_mw"): "_pload", ("load", "q_mvar"): "_qload"}
INJECTING = ("sgen", "gen")


@dataclass(frozen=True, slots=True)
class Series:
    """One table value over time; `name` is ``table.index.quantity``."""

    table: str
    index: int
    quantity: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.index}.{self.quantity}"


def named_series(grid: Grid, names: Sequence[str], file: str) -> tuple[Series, ...]:
    """The table values that the columns of a profile file mean; `InputError` with every unknown one."""
    net, faults, found = grid.net, [], []
    for name in names:
        match = re.fullmatch(r"(\w+)\.(\d+)\.(\w+)", name)
        where = f"{file} column {name!r}"
        if match is None:
            faults.append(Fault(where, "is not a table value; write table.index.quantity, like load.17.p_mw"))
            continue
        table, index, quantity = match[1], int(match[2]), match[3]
        if table not in QUANTITIES:
            faults.append(Fault(where, f"{table!r} takes no profile; {nearest(table, QUANTITIES)}"))
        elif quantity not in QUANTITIES[table]:
            faults.append(
                Fault(where, f"{table} takes no {quantity!r}; {nearest(quantity, QUANTITIES[table])}")
            )
        elif index not in net[table].index:
            rows = net[table].index
            known = f"indices {rows.min()} to {rows.max()}" if len(rows) else "none at all"
            faults.append(Fault(where, f"{table} {index} does not exist in {grid.source!r}; it has {known}"))
        elif table == "gen" and bool(net.gen.slack.at[index]):
            faults.append(Fault(where, f"gen {index} is a slack; its power follows from the grid"))
        else:
            found.append(Series(table, index, quantity))
    if faults:
        raise InputError(faults)
    return tuple(found)


def own_series(grid: Grid) -> tuple[TimeGrid, tuple[Series, ...], FloatArray, IntArray, FloatArray]:
    """The grid's own SimBench profiles: time, series, relative shapes (steps, shapes), the shape and the
    table value of each series. A series is its table value times its shape."""
    profiles = grid.profiles or {}
    known = {str(column) for frame in profiles.values() for column in frame.columns}
    chosen: list[tuple[Series, str, float]] = []
    faults = []
    for table, quantity, index, profile, value in _profiled(grid):
        column = profile + SIMBENCH_SUFFIX.get((table, quantity), "")
        if column in known:
            chosen.append((Series(table, index, quantity), column, value))
        else:
            faults.append(
                Fault(f"{table} {index}.profile", f"{column!r} is not a profile of {grid.source!r}")
            )
    if faults:
        raise InputError(faults)
    columns = sorted({column for _, column, _ in chosen})
    time, shapes = profile_series(grid, columns)
    return (
        time,
        tuple(series for series, _, _ in chosen),
        shapes,
        np.array([columns.index(column) for _, column, _ in chosen], dtype=np.int64),
        np.array([value for *_, value in chosen]),
    )


def _profiled(grid: Grid) -> Iterator[tuple[str, str, int, str, float]]:
    """Table, quantity, index, profile and table value of everything that has a profile.

    Only loads have profiles of reactive power in SimBench."""
    for table, quantities in QUANTITIES.items():
        rows = grid.net[table]
        if "profile" not in rows:
            continue
        for quantity in quantities if table == "load" else ("p_mw",):
            for index, profile, value in zip(rows.index, rows.profile, rows[quantity], strict=True):
                if isinstance(profile, str) and profile:
                    yield table, quantity, int(index), profile, float(value)


def added_power(grid: Grid, time: TimeGrid, series: Sequence[Series], values: FloatArray) -> NodalPower:
    """What `values` (steps, series) add to the power that the tables draw, element by element."""
    net = grid.net
    elements = sorted({(item.table, item.index) for item in series})
    column = {element: k for k, element in enumerate(elements)}
    drawn = {quantity: np.zeros((time.steps, len(elements))) for quantity in ("p_mw", "q_mvar")}
    for item, given in zip(series, values.T, strict=True):
        row = net[item.table].loc[item.index]
        factor = float(row.scaling) * bool(row.in_service) * bool(net.bus.in_service.at[row.bus])
        sign = -1.0 if item.table in INJECTING else 1.0
        drawn[item.quantity][:, column[item.table, item.index]] = (
            sign * factor * (given - float(row[item.quantity]))
        )
    buses = np.array([net[table].bus.at[index] for table, index in elements], dtype=np.int64)
    return NodalPower(time, buses, drawn["p_mw"], drawn["q_mvar"])
