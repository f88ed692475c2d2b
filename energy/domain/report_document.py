"""``wattshed.report/1``: a `Report` as JSON and back. The same report gives the same document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from energy.domain.period import DayRun
from energy.domain.report import (
    Cell,
    Column,
    Edition,
    FactorUse,
    Figure,
    InputUse,
    Method,
    Plot,
    Report,
    ReportKey,
    Table,
)
from energy.domain.time import format_instant, parse_instant

SCHEMA = "wattshed.report/1"
INSTANT = "time"
"""The unit of columns that hold instants."""
_RUN = ("day", "information", "status", "input_hash", "code_version", "factors_version")
"""What of a run is a function of its inputs; when it ran is in the store."""


def report_document(report: Report) -> dict[str, Any]:
    """The document; figures stand once, by key, and cells name them (``{"figure": key}``)."""
    return {
        "schema": SCHEMA,
        "name": report.name,
        "title": dict(report.title),
        "city": {"id": report.city, "name": report.city_name, "time_zone": report.zone},
        "period": {
            "label": report.period,
            "start": format_instant(report.start),
            "end": format_instant(report.end),
        },
        "settings": dict(report.settings),
        "tables": [
            {
                "id": table.id,
                "title": dict(table.title),
                "note": None if table.note is None else dict(table.note),
                "columns": [
                    {"id": column.id, "title": dict(column.title), "unit": column.unit}
                    for column in table.columns
                ],
                "rows": [[_cell(cell) for cell in row] for row in table.rows],
            }
            for table in report.tables
        ],
        "figures": {key: _figure(figure) for key, figure in report.figures.items()},
        "plots": [_plot(plot) for plot in report.plots],
        "methods": [asdict(method) for method in report.methods],
        "factors": [asdict(factor) for factor in report.factors],
        "factors_version": report.factors_version,
        "inputs": [_input(used) for used in report.inputs],
        "runs": [{name: getattr(day, name) for name in _RUN} for day in report.days],
        "notices": [dict(notice) for notice in report.notices],
        "code_version": report.code_version,
    }


def _plot(plot: Plot) -> dict[str, Any]:
    document = {**asdict(plot), "series": list(plot.series)}
    return document if plot.rows is not None else {k: v for k, v in document.items() if k != "rows"}


def report_of(document: Mapping[str, Any]) -> Report:
    """The report of a stored document. Its runs have no id and no time: the document holds neither."""
    period, city = document["period"], document["city"]
    figures = {key: _figure_of(key, figure) for key, figure in document["figures"].items()}
    start = parse_instant(period["start"])
    return Report(
        name=document["name"],
        title=document["title"],
        city=city["id"],
        city_name=city["name"],
        zone=city["time_zone"],
        period=period["label"],
        start=start,
        end=parse_instant(period["end"]),
        settings=document["settings"],
        tables=tuple(_table_of(table, figures) for table in document["tables"]),
        plots=tuple(Plot(**{**plot, "series": tuple(plot["series"])}) for plot in document["plots"]),
        methods=tuple(Method(**method) for method in document["methods"]),
        factors=tuple(FactorUse(**factor) for factor in document["factors"]),
        factors_version=document["factors_version"],
        inputs=tuple(
            InputUse(**{**used, "factors": tuple(used.get("factors", ()))}) for used in document["inputs"]
        ),
        days=tuple(DayRun(**run, run=0, finished=start) for run in document["runs"]),
        notices=tuple(document["notices"]),
        code_version=document["code_version"],
    )


def edition_document(key: ReportKey, edition: Edition) -> dict[str, Any]:
    """A stored version: which report, its state, who approved it, and what changed."""
    times = {name: getattr(edition, name) for name in ("stored", "approved", "published")}
    return {
        **asdict(key),
        "version": edition.number,
        "content": edition.content,
        "state": edition.state,
        "approved_by": edition.approved_by,
        "changes": [asdict(change) for change in edition.changes],
        **{name: None if at is None else format_instant(at) for name, at in times.items()},
    }


def _input(used: InputUse) -> dict[str, Any]:
    """Factors only where there are some: a document of before they were kept stays as it was."""
    document = asdict(used)
    return document if used.factors else {name: document[name] for name in document if name != "factors"}


def _cell(cell: Cell) -> Any:
    if isinstance(cell, Figure):
        return {"figure": cell.key}
    if isinstance(cell, Mapping):
        return dict(cell)
    if isinstance(cell, datetime):
        return format_instant(cell)
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell


def _table_of(table: Mapping[str, Any], figures: Mapping[str, Figure]) -> Table:
    columns = tuple(Column(**column) for column in table["columns"])

    def cell(value: Any, column: Column) -> Cell:
        if isinstance(value, dict):
            return figures[value["figure"]] if "figure" in value else value
        if column.unit == INSTANT and isinstance(value, str):
            return parse_instant(value)
        return value

    rows = tuple(
        tuple(cell(value, column) for value, column in zip(row, columns, strict=True))
        for row in table["rows"]
    )
    return Table(table["id"], table["title"], columns, rows, table["note"])


def _figure(figure: Figure) -> dict[str, Any]:
    """What a figure says, without its key; what stands at its default is left out."""
    said = {
        item.name: getattr(figure, item.name)
        for item in fields(Figure)
        if item.name != "key" and getattr(figure, item.name) != item.default
    }
    return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}


def _figure_of(key: str, said: Mapping[str, Any]) -> Figure:
    read: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in said.items()
    }
    return Figure(key=key, **read)
