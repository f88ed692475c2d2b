"""Time series from CSV and Parquet: time-zone aware, contiguous, finite, and on the city's time grid."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray
from energy.domain.time import TimeGrid, format_duration, format_instant, parse_instant
from energy.feeds.documents import file_text

SHOWN = 5
"""Faults of one kind that are shown for one file; a thousand NaN have one cause."""
LARGEST = 1e9
"""No power, price or shape of a city is beyond this; what is has a wrong unit or is no number."""


@dataclass(frozen=True)
class SeriesFile:
    """Series as a file holds them: `starts` ascend; each value lasts until the next start.

    Attributes:
        starts: seconds since 1970 UTC, shape (rows,).
        step: seconds between rows (the smallest distance where rows are missing).
        values: shape (rows, len(columns)). hash: SHA-256 of the file.
    """

    name: str
    columns: tuple[str, ...]
    starts: np.ndarray
    step: int
    values: FloatArray
    hash: str = ""


def table_of(text: str, name: str) -> tuple[list[str], dict[int, list[str]], list[Fault]]:
    """Header of a CSV text, its rows by number, and what is wrong with rows of another length, which are left
    out; `InputError` for a text without a header and for columns that occur twice."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        raise InputError(Fault(name, "is empty; a header and rows are needed"))
    header = [column.strip() for column in rows[0]]
    numbered = dict(enumerate(rows[1:], start=2))
    uneven = [
        Fault(f"{name} row {k}", f"has {len(row)} values, the header {len(header)}; the file looks truncated")
        for k, row in numbered.items()
        if len(row) != len(header)
    ]
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        twice = [Fault(name, f"column {column!r} occurs twice in the header") for column in repeated]
        raise InputError([*shortened(uneven, name), *twice])
    return header, {k: row for k, row in numbered.items() if len(row) == len(header)}, uneven


def rows_of(path: Path, name: str) -> tuple[list[str], dict[int, list[str]], list[Fault]]:
    """As `table_of`, of a CSV file that must have rows; the first of its faults."""
    header, rows, uneven = table_of(file_text(path, name), name)
    if not rows and not uneven:
        raise InputError(Fault(name, "has a header but no rows"))
    return header, rows, shortened(uneven, name)


def read_series(path: Path, name: str) -> SeriesFile:
    """The series of a CSV or Parquet file; first column ``time`` (RFC 3339 with offset), then numbers."""
    if path.suffix == ".parquet":
        columns, starts, values = _read_parquet(path, name)
        numbers, faults = np.arange(len(starts)) + 2, list[Fault]()
    else:
        columns, numbers, starts, values, faults = _read_csv(path, name)
    for row, column in np.argwhere(~(np.abs(values) <= LARGEST))[:SHOWN]:
        value = values[row, column]
        what = (
            "a finite number is needed"
            if not math.isfinite(value)
            else f"beyond ±{LARGEST:g}; check its unit"
        )
        at = format_instant(datetime.fromtimestamp(int(starts[row]), UTC))
        faults.append(Fault(f"{name} column {columns[column]!r} at {at}", f"is {value:g}; {what}"))
    distances = np.diff(starts)
    for row in np.flatnonzero(distances <= 0)[:SHOWN]:
        at = format_instant(datetime.fromtimestamp(int(starts[row + 1]), UTC))
        kind = "occurs twice" if distances[row] == 0 else "comes after a later time"
        faults.append(
            Fault(
                f"{name} row {numbers[row + 1]}",
                f"the time {at} {kind}; times must ascend. Where clocks go back, the repeated hour needs "
                "the other offset; where they go forward, an hour does not exist",
            )
        )
    if faults:
        raise InputError(faults)
    step = int(distances.min()) if len(distances) else 3600
    for row in np.flatnonzero(distances % step)[:SHOWN]:
        at = format_instant(datetime.fromtimestamp(int(starts[row + 1]), UTC))
        faults.append(Fault(f"{name} row {row + 3}", f"{at} is off the step of {step} s; use one fixed step"))
    if faults:
        raise InputError(faults)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return SeriesFile(name, columns, starts, step, values, f"sha256:{digest}")


def on_grid(
    series: SeriesFile, time: TimeGrid, fill_up_to: timedelta | None
) -> tuple[FloatArray, tuple[str, ...]]:
    """The series on `time`, shape (time.steps, columns), and what was filled, in words.

    Longer steps are repeated, shorter ones averaged. `InputError` names every gap longer than
    `fill_up_to`, and steps that do not divide each other.
    """
    resolution = round(time.resolution.total_seconds())
    if max(resolution, series.step) % min(resolution, series.step):
        raise InputError(
            Fault(
                series.name,
                f"has steps of {series.step} s, the city of {resolution} s; one must divide the other",
            )
        )
    fine = min(resolution, series.step)
    first = round(time.start.timestamp())
    instants = first + fine * np.arange(time.steps * resolution // fine)
    row = np.searchsorted(series.starts, instants, side="right") - 1
    known = (row >= 0) & (instants - series.starts[np.maximum(row, 0)] < series.step)
    notices, faults = [], []
    for start, end in runs(~known):
        length = timedelta(seconds=(end - start) * fine)
        span = (
            f"{format_instant(datetime.fromtimestamp(int(instants[start]), UTC))} to "
            f"{format_instant(datetime.fromtimestamp(int(instants[end - 1]) + fine, UTC))}"
        )
        if fill_up_to is None or length > fill_up_to:
            faults.append(
                Fault(
                    series.name,
                    f"has no values from {span} ({format_duration(length)}); add them, shorten the "
                    "period, or allow the gap with fill_up_to",
                )
            )
            continue
        row[start:end] = row[start - 1] if start else row[end]
        notices.append(f"{series.name}: no values from {span}; filled with the nearest one")
    if faults:
        raise InputError(shortened(faults, series.name))
    values = series.values[row]
    if fine < resolution:
        values = values.reshape(time.steps, resolution // fine, -1).mean(axis=1)
    return values, tuple(notices)


def _read_csv(path: Path, name: str) -> tuple[tuple[str, ...], IntArray, np.ndarray, FloatArray, list[Fault]]:
    """Columns; numbers, starts and values of the rows whose time can be read; and what cannot be, 0 there."""
    header, rows, uneven = rows_of(path, name)
    _check_header(header, name)
    faults: list[Fault] = []
    numbers = np.array(list(rows), dtype=np.int64)
    starts = np.zeros(len(rows), dtype=np.int64)
    timed = np.ones(len(rows), dtype=bool)
    values = np.zeros((len(rows), len(header) - 1))
    for k, (number, row) in enumerate(rows.items()):
        try:
            starts[k] = round(parse_instant(row[0]).timestamp())
        except ValueError as error:
            timed[k] = False
            faults.append(Fault(f"{name} row {number}", str(error)))
        for column, text in enumerate(row[1:]):
            try:
                values[k, column] = float(text)
            except ValueError:
                faults.append(
                    Fault(f"{name} row {number}", f"{header[column + 1]} is {text!r}; a number is needed")
                )
    found = [*uneven, *shortened(faults, name)]
    return tuple(header[1:]), numbers[timed], starts[timed], values[timed], found


def _read_parquet(path: Path, name: str) -> tuple[tuple[str, ...], np.ndarray, FloatArray]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(Fault(name, f"is not a Parquet file: {error}")) from None
    _check_header(table.column_names, name)
    kind = table.schema.field("time").type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise InputError(Fault(name, f"column 'time' is {kind}; a timestamp with time zone is needed"))
    texts = [column for column in table.column_names[1:] if not _is_number(table.schema.field(column).type)]
    if texts:
        raise InputError([Fault(name, f"column {column!r} holds no numbers") for column in texts])
    starts = table["time"].cast(pa.timestamp("s", tz="UTC"), safe=False).cast(pa.int64()).to_numpy()
    columns = table.column_names[1:]
    values = np.column_stack([table[column].cast(pa.float64()).to_numpy() for column in columns])
    return tuple(columns), starts, values


def _is_number(kind: object) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _check_header(header: Sequence[str], name: str) -> None:
    if header[0] != "time":
        raise InputError(Fault(name, f"the first column is {header[0]!r}; it must be 'time'"))
    if len(header) < 2:
        raise InputError(Fault(name, "has no column besides 'time'"))


def runs(mask: ArrayLike) -> Iterator[tuple[int, int]]:
    """The half-open runs of True in `mask`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def shortened(faults: list[Fault], name: str) -> list[Fault]:
    """The first faults, and how many more there are."""
    more = len(faults) - SHOWN
    return faults[:SHOWN] + ([Fault(name, f"and {more} more of this kind")] if more > 0 else [])
