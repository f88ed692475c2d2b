"""A report as a tagged PDF (PDF/UA-1), in English or Japanese, set by Typst.

Typst itself checks the rules of PDF/UA-1 that a program can check, and refuses to write a file that
breaks one. The layout is `report.typ`; here everything is turned into the reader's words and numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import typst
from fontTools.ttLib import TTFont

from energy.domain.errors import SolverError
from energy.domain.report import Cell, Column, Edition, Figure, Language, Plot, Report, Table, figure_id
from energy.domain.report_document import INSTANT
from energy.feeds.reports.cells import (
    WORDS,
    edition_line,
    largest,
    largest_beside,
    number,
    plain,
    settings,
    shown,
)

MOST_ROWS = 120
"""Rows of one table on paper; longer ones are for the other formats."""
FONT = "NotoSansJP-Regular.otf"
MISSING = "〓"
"""What printers set where a sort was missing; the other formats keep every character."""
_FACTOR = ("id", "version", "value", "low", "high", "unit", "gas_basis", "source", "data_year")
_FIGURE = ("figure", "value", "unit", "low", "high", "estimated", "quality", "explanation", "id")
_PORTRAIT, _LANDSCAPE, _WIDEST_CELL, _NARROWEST = 125, 187, 34, 7
"""Letters that fit beside each other on a portrait and on a landscape page, that a cell has before it is
wrapped, and that a column of numbers, or of Japanese, has at least."""
_DATE, _INSTANT = "%Y-%m-%d", "%Y-%m-%d %H:%M"
MOST_SERIES = 12
"""So many colours a plot has; of more series the smallest are drawn as one."""


def typeset(report: Report, edition: Edition, language: Language) -> bytes:
    """The PDF. `SolverError` where the typesetter refuses, which no report should bring about."""
    here = files("energy.feeds.reports")
    content = json.dumps(_printable(_content(report, edition, language)), ensure_ascii=False, allow_nan=False)
    try:
        return bytes(
            typst.compile(
                str(here.joinpath("report.typ")),
                sys_inputs={"report": content},
                font_paths=[str(here.joinpath("fonts"))],
                ignore_system_fonts=True,
                pdf_standards=["ua-1"],
                # the time of storing, not of drawing: the same edition gives the same bytes
                timestamp=edition.stored.astimezone(UTC).replace(microsecond=0),
            )
        )
    except typst.TypstError as error:
        raise SolverError(f"report {report.name!r} cannot be set as PDF: {error}") from error


@cache
def _drawn() -> frozenset[int]:
    """The characters that the font has: Latin, Greek, Cyrillic, and what Windows-31J writes Japanese with."""
    with files("energy.feeds.reports").joinpath("fonts", FONT).open("rb") as stream:
        return frozenset(TTFont(stream, lazy=True).getBestCmap())


def _printable(content: Any) -> Any:
    """`content` with a geta mark for every character that the font lacks: PDF/UA allows no missing glyph."""
    if isinstance(content, dict):
        return {key: _printable(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_printable(value) for value in content]
    if isinstance(content, str):
        drawn = _drawn()
        return "".join(letter if ord(letter) in drawn else MISSING for letter in content)
    return content


def _content(report: Report, edition: Edition, language: Language) -> dict[str, Any]:
    words = {key: text[language] for key, text in WORDS.items()}
    zone = ZoneInfo(report.zone)
    facts = [
        [words["state"], edition_line(edition, language)],
        [words["period"], f"{_local(report.start, zone)} – {_local(report.end, zone)} ({report.zone})"],
        *([name, value] for name, value in settings(report, language)),
        [words["factors"], report.factors_version],
        [words["code"], report.code_version],
    ]
    return {
        "language": language,
        "words": words,
        "title": report.title[language] or "–",
        "city": report.city_name,
        "period": report.period,
        "state": edition_line(edition, language),
        "content": edition.content,
        "facts": facts,
        "notices": [notice[language] for notice in report.notices],
        "plots": [_plot(report, plot, language, zone) for plot in report.plots],
        "tables": [part for table in report.tables for part in _table(table, language, zone)],
        "methods": [
            {"title": method.title[language] or "–", "text": method.text[language], "source": method.source}
            for method in report.methods
        ],
        "appendix": list(_appendix(report, edition, language)),
    }


def _local(instant: datetime, zone: ZoneInfo, form: str = _INSTANT) -> str:
    return instant.astimezone(zone).strftime(form)


def _texts(
    cells: Sequence[Cell], column: Column, most: Mapping[str, float], language: Language, zone: ZoneInfo
) -> list[str]:
    """Cells of a column in the reader's words, `most` by unit being the largest magnitudes of its table;
    instants that all begin a day are dates."""
    instants = [cell.astimezone(zone) for cell in cells if isinstance(cell, datetime)]
    form = _INSTANT if any(instant.hour or instant.minute for instant in instants) else _DATE
    texts = []
    for cell in cells:
        if isinstance(cell, Figure):
            texts.append(shown(cell, language, most[cell.unit]))
        elif isinstance(cell, datetime):
            texts.append(_local(cell, zone, form))
        elif isinstance(cell, str | Mapping):
            texts.append(plain(cell, language))
        else:
            texts.append(number(cell, language, beside=most[column.unit]))
    return texts


def _table(table: Table, language: Language, zone: ZoneInfo) -> Iterable[dict[str, Any]]:
    """The table in as many parts as its columns need pages, each beginning with its first column."""
    headings = [f"{column.title[language]}{_unit(column.unit)}" for column in table.columns]
    most = largest(table)
    columns = [
        _texts([row[k] for row in table.rows[:MOST_ROWS]], column, most, language, zone)
        for k, column in enumerate(table.columns)
    ]
    numeric = [
        any(isinstance(row[k], Figure | float | int) for row in table.rows) for k in range(len(headings))
    ]
    parts = list(_side_by_side(list(map(_narrowest, headings, columns, numeric))))
    for place, part in enumerate(parts, start=1):
        found = _grid(
            table.title[language] + (f" ({place}/{len(parts)})" if len(parts) > 1 else ""),
            [headings[k] for k in part],
            [list(row) for row in zip(*(columns[k] for k in part), strict=True)],
            [numeric[k] for k in part],
        )
        if table.note is not None and place == 1:
            found["note"] = table.note[language]
        yield found | {"cut": _cut(len(table.rows), language)}


def _side_by_side(widths: Sequence[int]) -> Iterable[list[int]]:
    """The columns of each part of a table whose columns are at least so wide."""
    part = [0]
    for k in range(1, len(widths)):
        if len(part) > 1 and sum(widths[n] + 2 for n in [*part, k]) > _LANDSCAPE:
            yield part
            part = [0]
        part.append(k)
    yield part


def _narrowest(heading: str, texts: Sequence[str], numeric: bool) -> int:
    """How many letters a column needs, however its words are wrapped: Japanese breaks after any."""
    parts = [*texts] if numeric else [word for text in texts for word in text.split()]
    unbroken = [part for part in [*parts, *_words(heading)] if _letters(part) == len(part)]
    floor = _NARROWEST * (any(texts) or _letters(heading) != len(heading))
    return min(_WIDEST_CELL, max([floor, *map(len, unbroken)]))


def _words(heading: str) -> list[str]:
    """What of a heading stays on one line."""
    return re.split(r"[\s/]+", heading)


def _cut(rows: int, language: Language) -> str | None:
    """What to say below a table of so many rows."""
    if rows == 0:
        return WORDS["empty"][language]
    if rows <= MOST_ROWS:
        return None
    return WORDS["complete_elsewhere"][language].format(shown=MOST_ROWS, rows=rows)


def _unit(unit: str) -> str:
    return f" [{unit}]" if unit and unit != INSTANT else ""


def _grid(
    title: str, headings: Sequence[str], rows: list[list[str]], numeric: Sequence[bool]
) -> dict[str, Any]:
    """A table for the layout: `weights` share out the width, `landscape` where portrait is too narrow."""
    columns = [[row[k] for row in rows] for k in range(len(headings))]
    least = np.array(list(map(_narrowest, headings, columns, numeric)), float)
    most = np.array(
        [min(_WIDEST_CELL, max([least[k], *map(_letters, column)])) for k, column in enumerate(columns)]
    )
    gaps = 2 * len(headings)
    landscape = bool(most.sum() + gaps > _PORTRAIT)
    spare = max(0.0, (_LANDSCAPE if landscape else _PORTRAIT) - gaps - least.sum())
    # what is left beyond the longest words goes to those who would wrap
    wanted = (most - least).sum()
    widths = least + (most - least) * min(1.0, spare / wanted if wanted else 1.0)
    return {
        "title": title or "–",
        "columns": [
            {"title": heading, "numeric": is_number}
            for heading, is_number in zip(headings, numeric, strict=True)
        ],
        "rows": rows,
        "weights": (widths + 2).tolist(),
        "landscape": landscape,
        "note": None,
        "cut": None,
    }


def _letters(text: str) -> int:
    """About how many Latin letters wide a text is; Japanese can be broken anywhere."""
    wide = sum(ord(letter) > 0x2E80 for letter in text)
    return len(text) if wide == 0 else min(len(text) + wide, _WIDEST_CELL // 2)


def _plot(report: Report, plot: Plot, language: Language, zone: ZoneInfo) -> dict[str, Any]:
    table = next(table for table in report.tables if table.id == plot.table)
    position = {column.id: k for k, column in enumerate(table.columns)}
    columns = [table.columns[position[name]] for name in plot.series]
    rows = table.rows[: plot.rows]
    at = position[plot.x]
    labels = _texts([row[at] for row in rows], table.columns[at], largest(table), language, zone)
    longest = max((sum(2 if ord(letter) > 0x2E80 else 1 for letter in label) for label in labels), default=1)
    series = [
        {"name": column.title[language], "values": [_value(row[position[column.id]]) for row in rows]}
        for column in columns
    ]
    if plot.kind == "stacked" and len(series) > MOST_SERIES:
        series = _largest(series, WORDS["others"][language])
    return {
        "title": plot.title[language] or "–",
        "alternative": plot.alternative[language] or "–",
        "kind": plot.kind,
        "labels": labels,
        "longest": longest,
        # how many labels find room beside each other on 158 mm
        "fit": max(1, int(158 / (longest * 1.35 + 1))),
        "unit": ", ".join(sorted({column.unit for column in columns})),
        "series": series,
    }


def _largest(series: list[dict[str, Any]], others: str) -> list[dict[str, Any]]:
    """The largest series in their order, and the sum of the others."""

    def size(one: dict[str, Any]) -> float:
        return sum(abs(value) for value in one["values"] if value is not None)

    kept = sorted(series, key=size, reverse=True)[: MOST_SERIES - 1]
    rest = [one["values"] for one in series if one not in kept]
    together = [
        sum(known) if (known := [value for value in step if value is not None]) else None
        for step in zip(*rest, strict=True)
    ]
    return [*(one for one in series if one in kept), {"name": others, "values": together}]


def _value(cell: Cell) -> float | None:
    value = cell.value if isinstance(cell, Figure) else cell
    return float(value) if isinstance(value, int | float) and value == value else None


def _appendix(report: Report, edition: Edition, language: Language) -> Iterable[dict[str, Any]]:
    """Factors, figures with their quality and id, inputs, changes."""

    def said(key: str) -> str:
        return WORDS[key][language]

    def numbers(*values: float | None) -> list[str]:
        return [number(value, language) for value in values]

    most = largest_beside(report)
    yield _grid(
        said("factors"),
        [said(key) for key in _FACTOR],
        [
            [factor.id, str(factor.version), *numbers(factor.value, factor.low, factor.high), factor.unit,
             f"{factor.gas_basis}, {factor.basis}", factor.source, str(factor.data_year)]
            for factor in report.factors
        ],
        [False, False, True, True, True, False, False, False, False],
    )  # fmt: skip
    yield _grid(
        said("figures"),
        [said(key) for key in _FIGURE],
        [
            [key, shown(figure, language, most[key]), figure.unit, *numbers(figure.low, figure.high),
             number(figure.estimated_share, language, 2),
             f"{figure.activity or '–'}/{figure.factor_quality or '–'}", figure.explanation,
             figure_id(report.city, report.name, report.period, key, edition.content)]
            for key, figure in list(report.figures.items())[:MOST_ROWS]
        ],
        [False, True, False, True, True, True, False, False, False],
    ) | {"cut": _cut(len(report.figures), language)}  # fmt: skip
    yield _grid(
        said("inputs"),
        [said(key) for key in ("input", "source", "version", "estimated")],
        [
            [used.name, used.source, used.version, number(used.estimated_share, language, 2)]
            for used in report.inputs
        ],
        [False, False, False, True],
    )
    if edition.changes:
        yield _grid(
            said("change_log"),
            [said(key) for key in ("figure", "before", "after", "unit")],
            [
                [change.key, change.before, change.after, change.unit]
                for change in edition.changes[:MOST_ROWS]
            ],
            [False, True, True, False],
        )
