"""A stored report on a page: its tables with the quality of every figure, and the tree behind one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo

from dash import html

from dashboard.frame import Component
from dashboard.grid_table import grid_table, on_phone
from dashboard.language import Language
from energy.domain.report import Cell, Column, Figure, Method, Report, Table, Words
from energy.domain.time import parse_instant
from energy.feeds.reports.cells import WORDS, largest, largest_beside, number, plain, shown

TALL = 14
"""A table of more rows scrolls by itself."""
MOST_CELLS = 250_000
"""What a browser shows of one table; all of it is in the files."""
PARTS_SHOWN = 40
"""So many parts of a figure are listed; all of them are in the JSON file."""


def said(words: Words, say: Language) -> str:
    """Words in the reader's language."""
    return words[code(say)]


def code(say: Language) -> Literal["en", "ja"]:
    """The reader's language as reports name it."""
    return "ja" if say.code == "ja" else "en"


def report_tables(report: Report, say: Language) -> list[Component]:
    """Every table with its heading and note."""
    parts: list[Component] = []
    for table in report.tables:
        title = said(table.title, say)
        parts.append(html.H3(title))
        if table.note is not None:
            parts.append(html.P(said(table.note, say), className="note"))
        if not table.rows:
            parts.append(html.P(say("table.nothing"), className="note"))
            continue
        rows = table_rows(table, say, ZoneInfo(report.zone))
        if len(rows) < len(table.rows):
            cut = said(WORDS["complete_elsewhere"], say)
            shown_rows, all_rows = say.number(len(rows)), say.number(len(table.rows))
            parts.append(html.P(cut.format(shown=shown_rows, rows=all_rows), className="note"))
        parts.append(
            html.Div(
                grid_table(
                    {"type": "report-table", "table": table.id},
                    [_column(table, k, say) for k in range(len(table.columns))],
                    rows,
                    say,
                    label=title,
                    height=480 if len(table.rows) > TALL else None,
                    options={"rowHeight": row_height(table)},
                ),
                className="report-table",
            )
        )
    return parts


def table_rows(table: Table, say: Language, zone: ZoneInfo) -> list[dict[str, Any]]:
    """The rows of `table` for the browser, the first `MOST_CELLS` of their cells: ``cK`` sorts, ``cK_said``
    holds what a number says."""
    rows = []
    most = largest(table)
    for place, cells in enumerate(table.rows[: MOST_CELLS // len(table.columns)]):
        row: dict[str, Any] = {"id": str(place)}
        for k, cell in enumerate(cells):
            if isinstance(cell, Figure):
                row[f"c{k}"] = cell.value
                row[f"c{k}_said"] = figure_words(cell, say, most[cell.unit])
            else:
                row[f"c{k}"] = _plain(cell, say, zone)
                if isinstance(cell, float):
                    row[f"c{k}_said"] = {"text": number(cell, code(say), beside=most[table.columns[k].unit])}
        rows.append(row)
    return rows


def row_height(table: Table) -> int:
    """Room for what the figures of `table` say below their number, in pixels."""
    figures = [cell for row in table.rows for cell in row if isinstance(cell, Figure)]
    bounded = any(figure.low is not None for figure in figures)
    return 34 + 14 * bounded + 6 * any(figure.estimated_share > 0 for figure in figures)


def figure_words(figure: Figure, say: Language, most: float = 0.0) -> dict[str, str]:
    """A figure's number or notation key, its interval, and how much of its input is estimated; `most` is the
    largest magnitude beside it."""
    return {
        "text": shown(figure, code(say), most),
        "range": _interval(figure.low, figure.high, say),
        "estimated": _estimated(figure.estimated_share, say) if figure.notation is None else "",
    }


def figure_at(report: Report, table_id: str, row: int, column: int) -> Figure | None:
    """The figure in a cell of a table; None where something else stands there."""
    table = next((table for table in report.tables if table.id == table_id), None)
    if table is None or not (0 <= row < len(table.rows) and 0 <= column < len(table.columns)):
        return None
    cell = table.rows[row][column]
    return cell if isinstance(cell, Figure) else None


def explanation(found: Mapping[str, Any], report: Report, say: Language) -> Component:
    """The tree of `energy.service.reports.desk.Desk.explain`, its branches to open one by one."""
    methods = {method.id: method for method in report.methods}
    runs, most = found["runs"], largest_beside(report)
    return html.Div(
        className="tree",
        children=[
            *_facts(found["figure"], methods, most, say),
            *_branches(found["figure"]["parts"], methods, most, say),
            html.Details(
                [
                    html.Summary(say("reports.runs", count=say.number(len(runs)))),
                    html.Ul([html.Li(_run(run, say, ZoneInfo(report.zone))) for run in runs]),
                ]
            ),
            html.P([say("reports.figure_id"), " ", html.Code(found["id"])], className="note"),
        ],
    )


def _branches(
    parts: Sequence[Mapping[str, Any]],
    methods: Mapping[str, Method],
    most: Mapping[str, float],
    say: Language,
) -> list[Component]:
    shown_parts: list[Component] = [
        html.Details(
            [
                html.Summary([html.Code(part["key"]), " ", html.Strong(_value(part, most, say))]),
                *_facts(part, methods, most, say),
                *_branches(part["parts"], methods, most, say),
            ]
        )
        for part in parts[:PARTS_SHOWN]
    ]
    if len(parts) > PARTS_SHOWN:
        shown_parts.append(
            html.P(say("reports.more_parts", count=say.number(len(parts) - PARTS_SHOWN)), className="note")
        )
    return shown_parts


def _facts(
    branch: Mapping[str, Any], methods: Mapping[str, Method], most: Mapping[str, float], say: Language
) -> list[Component]:
    """What one figure rests on, as a list of terms; what it has not is left out."""
    method = methods.get(branch["method"])
    lines: list[tuple[str, Any]] = [
        ("figure", html.Code(branch["key"])),
        ("value", html.Strong(_value(branch, most, say))),
        ("range", _interval(branch["low"], branch["high"], say)),
        ("quality", _estimated(branch["estimated_share"], say) if branch["notation"] is None else ""),
        ("explanation", _phrases(branch["explanation"], say)),
        ("rule", say.engine(branch["rule"])),
        ("days", " – ".join(dict.fromkeys(branch["days"] or ()))),
        ("method", [said(method.title, say), html.Br(), html.Small(method.source)] if method else ""),
        *(("factor", _factor(factor, say)) for factor in branch["factors"]),
        *(("input", _input(used, say)) for used in branch["inputs"]),
    ]
    terms = [(name, words) for name, words in lines if words]
    return [
        html.Dl(
            [part for name, words in terms for part in (html.Dt(say(f"reports.of.{name}")), html.Dd(words))]
        )
    ]


def _factor(factor: Mapping[str, Any], say: Language) -> Component:
    value = f"{number(factor['value'], code(say))} {factor['unit']}"
    years = f"{factor['source']} ({factor['data_year']})"
    return [html.Code(f"{factor['id']} v{factor['version']}"), " ", value, html.Br(), html.Small(years)]


def _input(used: Mapping[str, Any], say: Language) -> Component:
    parts = [
        say.engine(used["source"]),
        say.engine(used["version"]),
        _estimated(used["estimated_share"], say),
        used["hash"],
    ]
    return [say.engine(used["name"]), html.Br(), html.Small(" · ".join(part for part in parts if part))]


def _run(run: Mapping[str, Any], say: Language, zone: tzinfo) -> Component:
    finished = say("reports.no_record")
    if run["finished"]:
        finished = f"{parse_instant(run['finished']).astimezone(zone):%Y-%m-%d %H:%M %z}"
    parts = [
        run["day"],
        say.known(f"reports.run.{run['status']}", run["status"]),
        finished,
        run["code_version"],
    ]
    return [" · ".join(parts), html.Br(), html.Code(run["input_hash"])]


def _value(branch: Mapping[str, Any], most: Mapping[str, float], say: Language) -> str:
    if branch["notation"] is not None:
        return str(branch["notation"])
    value = number(branch["value"], code(say), beside=most.get(branch["key"], 0.0))
    return f"{value} {branch['unit']}".strip()


def _interval(low: float | None, high: float | None, say: Language) -> str:
    if low is None or high is None or low == high:
        return ""
    return f"{number(low, code(say))} – {number(high, code(say))}"


def _estimated(share: float, say: Language) -> str:
    return say("reports.estimated", share=say.figures(100 * share, 2)) if share > 0 else ""


def _column(table: Table, k: int, say: Language) -> dict[str, Any]:
    column = table.columns[k]
    cells = [row[k] for row in table.rows]
    heading = _heading(column, say)
    shape = {"field": f"c{k}", "headerName": heading, "wrapHeaderText": True, "autoHeaderHeight": True}
    if any(isinstance(cell, Figure) for cell in cells):
        return {**shape, "cellRenderer": "Figure", "type": "rightAligned", "minWidth": 124, "flex": 100,
                "sortingOrder": ["desc", "asc"], "cellClass": "figure-cell",
                **on_phone(minWidth=100)}  # fmt: skip
    if any(isinstance(cell, float) for cell in cells):
        return {**shape, "cellRenderer": "Figure", "type": "rightAligned", "minWidth": 96,
                "sortingOrder": ["desc", "asc"]}  # fmt: skip
    wide = max((_width(str(_plain(cell, say, UTC) or "")) for cell in cells), default=0.0)
    return {
        **shape,
        "minWidth": round(min(max(wide, _width(heading) / 2, 56.0), 170.0)),
        "flex": round(min(max(wide, 80.0), 320.0)),
        "wrapText": True,
        "autoHeight": True,
        "cellClass": "words-cell",
    }


def _width(text: str) -> float:
    """About how many pixels a line of 13 px text takes in a cell, its padding counted."""
    return 18 + sum(13.5 if ord(letter) > 0x2E80 else 7.2 for letter in text)


def _phrases(text: str, say: Language) -> str:
    """Sentences of an engine, one after the other, in the reader's language."""
    return "; ".join(map(say.engine, text.split("; ")))


def _heading(column: Column, say: Language) -> str:
    unit = "" if column.unit in ("", "time") else f" ({column.unit})"
    return said(column.title, say) + unit


def _plain(cell: Cell, say: Language, zone: tzinfo) -> str | float | None:
    if isinstance(cell, datetime):
        return f"{cell.astimezone(zone):%Y-%m-%d %H:%M %z}"
    if isinstance(cell, Figure):  # the caller has taken these out
        raise TypeError(f"figure {cell.key!r} is no plain cell")
    if isinstance(cell, str | Mapping):
        return _phrases(plain(cell, code(say)), say)
    return cell
