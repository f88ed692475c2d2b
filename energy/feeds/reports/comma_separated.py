"""Tables of a report as CSV: ids as headings, UTC and local time, every digit of every number."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from zoneinfo import ZoneInfo

from energy.domain.report import Cell, Edition, FactorUse, Figure, Report, Table, figure_id
from energy.domain.report_document import INSTANT, report_document
from energy.domain.time import format_instant
from energy.feeds.documents import json_bytes
from energy.feeds.reports.cells import harmless

_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive, so that the same report gives the same bytes."""
_OF_FIGURE = tuple(item.name for item in fields(Figure))


def first_table(report: Report) -> bytes:
    """The report's first table."""
    return _table(report.tables[0], ZoneInfo(report.zone))


def all_tables(report: Report, edition: Edition) -> bytes:
    """A ZIP archive: a file per table, then figures, factors, changes, and the report itself."""
    zone = ZoneInfo(report.zone)
    files = {f"{table.id}.csv": _table(table, zone) for table in report.tables}
    files["figures.csv"] = _rows(
        ("id", *_OF_FIGURE),
        (
            [
                figure_id(report.city, report.name, report.period, key, edition.content),
                *(_plain(getattr(figure, name)) for name in _OF_FIGURE),
            ]
            for key, figure in report.figures.items()
        ),
    )
    files["factors.csv"] = _rows(
        tuple(item.name for item in fields(FactorUse)),
        ([_plain(value) for value in asdict(factor).values()] for factor in report.factors),
    )
    files["changes.csv"] = _rows(
        ("key", "before", "after", "unit"),
        ([change.key, change.before, change.after, change.unit] for change in edition.changes),
    )
    files["report.json"] = json_bytes(report_document(report))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _table(table: Table, zone: ZoneInfo) -> bytes:
    times = [column.unit == INSTANT for column in table.columns]
    heading = [
        name
        for column, is_time in zip(table.columns, times, strict=True)
        for name in ((f"{column.id}_utc", f"{column.id}_local") if is_time else (column.id,))
    ]

    def cells(row: tuple[Cell, ...]) -> Iterator[str]:
        for cell, is_time in zip(row, times, strict=True):
            if is_time:
                yield format_instant(cell) if isinstance(cell, datetime) else ""
                yield cell.astimezone(zone).isoformat() if isinstance(cell, datetime) else ""
            elif isinstance(cell, Figure):
                yield _plain(cell.value if cell.notation is None else cell.notation)
            else:
                yield _plain(cell["en"] if isinstance(cell, Mapping) else cell)

    return _rows(heading, (list(cells(row)) for row in table.rows))


def _rows(heading: Iterable[str], rows: Iterable[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(heading))
    writer.writerows(rows)
    return text.getvalue().encode()


def _plain(value: object) -> str:
    if value is None or value != value:  # NaN of a long series: nothing is known
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return harmless(" ".join(str(item) for item in value))
    return harmless(str(value))
