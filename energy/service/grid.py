"""``wattshed grid solve``: AC power flow over time of any grid source, into whole files."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, GridState, NodalPower, OperatingLimits
from energy.domain.progress import Progress, silent
from energy.domain.time import TimeGrid, format_instant, parse_instant
from energy.feeds.documents import json_bytes, replacing
from energy.feeds.series import on_grid, read_series
from grid_models.injections import Series, added_power, named_series, own_series
from grid_models.sources import Grid, load_grid
from grid_models.twin import Twin

UNDATED = TimeGrid(datetime(1970, 1, 1, tzinfo=UTC), timedelta(hours=1), 1)
"""The one step of a grid without profiles, unless `start` dates it: an hour, so that MW are MWh."""
VALUES_PER_CHUNK = 4_000_000
"""Voltages solved at once: bounds the memory of a year on a large grid."""
RATED = {
    "line": "line_loading_percent",
    "trafo": "trafo_loading_percent",
    "trafo3w": "trafo3w_loading_percent",
}

Values = Callable[[TimeGrid], FloatArray]
"""The series on a window of the time grid, shape (steps, series)."""


def solve_grid(
    source: str,
    profiles: Path | None = None,
    start: str | None = None,
    steps: int | None = None,
    output: Path | None = None,
    *,
    csv: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Solve `source` over time; the tables' own injections count, profile columns replace them.

    Args:
        profiles: a file of time series (``load.17.p_mw``, …); without one, a SimBench source takes its own
            profiles and any other grid is one step.
        start: first step, RFC 3339 with offset; default: the profiles' first.
        steps: number of steps; default: all that follow.
        output: folder for ``bus_vm_pu``, ``line_loading_percent``, ``trafo_loading_percent`` (and
            ``trafo3w_…`` where there are any), ``losses_mw`` and ``summary.json``.

    Returns:
        The summary: `steps`, `converged` (how many steps have a solution), the extremes in pu and percent
        (null where nothing has a value), `losses_mwh`, `seconds`, `engine`, `notices`.

    Raises:
        InputError: with every fault of the grid, or of the profiles and the window.
    """
    began = clock.perf_counter()
    progress(0.0, f"reading {source}")
    grid = load_grid(source)
    series, horizon, values = _series(grid, profiles)
    horizon = _window(horizon, start, steps, dated=bool(series))
    progress(0.1, "compiling the grid")
    twin = Twin(grid, limits=OperatingLimits(), include_static=True)
    totals = _Totals()
    chunk = max(96, VALUES_PER_CHUNK // max(1, len(twin.buses)))
    with ExitStack() as files:
        write = files.enter_context(_writers(output, twin, csv=csv))
        for first in range(0, horizon.steps, chunk):
            progress(0.1 + 0.9 * first / horizon.steps, f"solving {horizon.steps} steps")
            window = horizon.window(first, min(chunk, horizon.steps - first))
            state = twin.solve(_power(grid, window, series, values))
            totals.add(state)
            write(state)
        summary = totals.summary() | {
            "seconds": round(clock.perf_counter() - began, 3),
            "notices": [*grid.notices, *twin.notices],
        }
        if output is not None:
            target = files.enter_context(replacing(output / "summary.json"))
            target.write_bytes(json_bytes(summary))
    progress(1.0, "done")
    return summary


def _power(grid: Grid, window: TimeGrid, series: tuple[Series, ...], values: Values) -> NodalPower:
    return added_power(grid, window, series, values(window) if series else np.zeros((window.steps, 0)))


def _series(grid: Grid, profiles: Path | None) -> tuple[tuple[Series, ...], TimeGrid, Values]:
    """What varies, over which time, and its values."""
    if profiles is not None:
        file = read_series(profiles, str(profiles))
        named = named_series(grid, file.columns, str(profiles))
        first = datetime.fromtimestamp(int(file.starts[0]), UTC)
        count = int(file.starts[-1] - file.starts[0]) // file.step + 1
        horizon = TimeGrid(first, timedelta(seconds=file.step), count)
        given, _ = on_grid(file, horizon, None)
        return named, horizon, lambda window: _rows(given, horizon, window)
    if grid.profiles is not None:
        horizon, own, shapes, shape, value = own_series(grid)
        return own, horizon, lambda window: _rows(shapes, horizon, window)[:, shape] * value
    return (), UNDATED, lambda window: np.zeros((window.steps, 0))


def _rows(values: FloatArray, horizon: TimeGrid, window: TimeGrid) -> FloatArray:
    first = horizon.offset_of(window)
    return values[first : first + window.steps]


def _window(horizon: TimeGrid, start: str | None, steps: int | None, *, dated: bool) -> TimeGrid:
    """The part of `horizon` that was asked for; without profiles, `start` only dates the one step."""
    faults = []
    first = 0
    if start is not None:
        try:
            instant = parse_instant(start)
        except ValueError as error:
            raise InputError(Fault("--start", str(error))) from None
        if not dated:
            horizon = TimeGrid(instant, horizon.resolution, horizon.steps)
        else:
            position = horizon.position(instant)
            if position != int(position) or not 0 <= position < horizon.steps:
                faults.append(
                    Fault(
                        "--start",
                        f"{format_instant(instant)} is not a step of the profiles, which run from "
                        f"{format_instant(horizon.start)} to {format_instant(horizon.end)}",
                    )
                )
            else:
                first = int(position)
    available = horizon.steps - first
    if steps is not None and not 1 <= steps <= available:
        what = f"only {available} follow in the profiles" if dated else "a grid without profiles is one step"
        faults.append(Fault("--steps", f"is {steps}; {what}"))
    if faults:
        raise InputError(faults)
    return horizon.window(first, available if steps is None else steps)


class _Totals:
    """The figures of the summary, chunk by chunk."""

    def __init__(self) -> None:
        self._steps = self._converged = 0
        self._losses_mwh = 0.0
        self._vm_pu: list[float] = []
        self._loading: list[float] = []
        self._engine = ""

    def add(self, state: GridState) -> None:
        self._steps += state.time.steps
        self._converged += int(state.converged.sum())
        self._losses_mwh += float(np.nansum(state.losses_mw)) * state.time.hours
        self._engine = state.engine
        for values, extremes in ((state.vm_pu, self._vm_pu), (state.loading_percent, self._loading)):
            known = values[np.isfinite(values)]
            if len(known):
                extremes += [float(known.min()), float(known.max())]

    def summary(self) -> dict[str, Any]:
        return {
            "steps": self._steps,
            "converged": self._converged,
            "vm_min_pu": min(self._vm_pu, default=None),
            "vm_max_pu": max(self._vm_pu, default=None),
            "loading_max_percent": max(self._loading, default=None),
            "losses_mwh": self._losses_mwh,
            "engine": self._engine,
        }


def _loading(columns: list[int], state: GridState) -> FloatArray:
    return state.loading_percent[:, columns]


@contextmanager
def _writers(output: Path | None, twin: Twin, *, csv: bool) -> Iterator[Callable[[GridState], None]]:
    """A function that appends a state to every result file; the files appear when the block ends well."""
    if output is None:
        yield lambda _: None
        return
    tables: list[tuple[str, list[str], Callable[[GridState], FloatArray]]] = [
        ("bus_vm_pu", [str(bus.index) for bus in twin.buses], lambda state: state.vm_pu),
        ("losses_mw", ["losses_mw"], lambda state: state.losses_mw[:, None]),
    ]
    for table, name in RATED.items():
        columns = [k for k, branch in enumerate(twin.branches) if branch.table == table]
        if columns or table != "trafo3w":
            header = [str(twin.branches[k].index) for k in columns]
            tables.append((name, header, partial(_loading, columns)))
    with ExitStack() as stack:
        appenders = []
        for name, header, values in tables:
            path = stack.enter_context(replacing(output / f"{name}.{'csv' if csv else 'parquet'}"))
            append = stack.enter_context((_csv if csv else _parquet)(path, header))
            appenders.append((append, values))

        def write(state: GridState) -> None:
            for append, values in appenders:
                append(state.time, values(state))

        yield write


@contextmanager
def _csv(path: Path, header: list[str]) -> Iterator[Callable[[TimeGrid, FloatArray], None]]:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(",".join(["time", *header]) + "\n")

        def append(time: TimeGrid, values: FloatArray) -> None:
            for instant, row in zip(time, values.tolist(), strict=True):
                cells = ("" if value != value else repr(value) for value in row)
                stream.write(",".join([format_instant(instant), *cells]) + "\n")

        yield append


@contextmanager
def _parquet(path: Path, header: list[str]) -> Iterator[Callable[[TimeGrid, FloatArray], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    stamp = pa.timestamp("us", tz="UTC")
    schema = pa.schema([("time", stamp), *((name, pa.float64()) for name in header)])
    with parquet.ParquetWriter(path, schema) as writer:

        def append(time: TimeGrid, values: FloatArray) -> None:
            arrays = [pa.array(time.datetimes.astype("datetime64[us]")).cast(stamp)]
            arrays += [pa.array(column) for column in np.ascontiguousarray(values.T)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield append
