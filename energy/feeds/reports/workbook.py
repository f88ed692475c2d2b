"""A report as an XLSX workbook: method, a sheet per table, factors, quality, inputs and the change log."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import xlsxwriter

from energy.domain.report import Cell, Edition, Figure, Language, Report, Table, figure_id
from energy.domain.report_document import INSTANT
from energy.domain.time import format_instant
from energy.feeds.reports.cells import WORDS, edition_line, plain, settings

_SHEET_NAME = 31
"""Characters that a sheet's name may have."""
_WIDEST = 60
_LINE_POINTS = 15
_DATE = "yyyy-mm-dd hh:mm"


def workbook(report: Report, edition: Edition, language: Language) -> bytes:
    """The workbook. Numbers are numbers with all their digits; text never turns into a formula."""
    packed = io.BytesIO()
    book = xlsxwriter.Workbook(
        packed, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    # the time of storing, not of drawing: the same edition gives the same bytes
    book.set_properties(
        {
            "title": f"{report.title[language]} {report.city_name} {report.period}",
            "subject": edition_line(edition, language),
            "comments": edition.content,
            "created": edition.stored.astimezone(UTC).replace(tzinfo=None),
        }
    )
    pages = _Pages(book, report, edition, language)
    pages.method()
    for table in report.tables:
        pages.table(table)
    pages.factors()
    pages.quality()
    pages.inputs()
    pages.change_log()
    book.close()
    return packed.getvalue()


class _Pages:
    """The sheets of one workbook, in one language."""

    def __init__(self, book: Any, report: Report, edition: Edition, language: Language) -> None:
        self.book, self.report, self.edition, self.language = book, report, edition, language
        self.zone = ZoneInfo(report.zone)
        self.names: set[str] = set()
        self.heading = book.add_format(
            {"bold": True, "bg_color": "#E8F1EC", "bottom": 1, "text_wrap": True, "valign": "top"}
        )
        self.title = book.add_format({"bold": True, "font_size": 14})
        # what begins with = + - @ stays text when someone edits the cell
        self.text = book.add_format({"quote_prefix": True, "valign": "top"})
        self.wrapped = book.add_format({"quote_prefix": True, "text_wrap": True, "valign": "top"})
        self.time = book.add_format({"num_format": _DATE, "align": "left", "valign": "top"})
        self.number = book.add_format({"num_format": "#,##0.######", "valign": "top"})

    def _word(self, key: str) -> str:
        return WORDS[key][self.language]

    def _sheet(self, name: str, title: str) -> Any:
        stem = re.sub(r"[\[\]:*?/\\']", " ", name)[:_SHEET_NAME].strip()
        name, count = stem, 1
        while name.casefold() in self.names:
            count += 1
            name = f"{stem[: _SHEET_NAME - 3]} {count}"
        self.names.add(name.casefold())
        sheet = self.book.add_worksheet(name)
        sheet.write_string(0, 0, title, self.title)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        return sheet

    def _grid(self, sheet: Any, first: int, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Headings and rows from row `first` on; the row after the last."""
        widths = [len(heading) for heading in headings]
        for column, heading in enumerate(headings):
            sheet.write_string(first, column, heading, self.heading)
        row = first
        for row, cells in enumerate(rows, first + 1):
            longest = 0
            for column, cell in enumerate(cells):
                width = self._write(sheet, row, column, cell)
                widths[column], longest = max(widths[column], width), max(longest, width)
            self._heighten(sheet, row, longest)
        for column, width in enumerate(widths):
            sheet.set_column(column, column, min(_WIDEST, width + 2))
        sheet.freeze_panes(first + 1, 0)
        if row > first and headings:
            sheet.autofilter(first, 0, row, len(headings) - 1)
        return row + 1

    def _heighten(self, sheet: Any, row: int, width: int) -> None:
        """Room for wrapped text: not every spreadsheet makes it when it opens the file."""
        if width > _WIDEST:
            sheet.set_row(row, _LINE_POINTS * math.ceil(1.1 * width / _WIDEST))

    def _write(self, sheet: Any, row: int, column: int, cell: Any) -> int:
        """One cell; about how many characters it shows."""
        if cell is None or cell != cell:
            return 0
        if isinstance(cell, bool | str):
            text = str(cell)
            sheet.write_string(row, column, text, self.wrapped if len(text) > _WIDEST else self.text)
            return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)
        if isinstance(cell, datetime):
            sheet.write_datetime(row, column, cell.replace(tzinfo=None), self.time)
            return len(_DATE)
        sheet.write_number(row, column, cell, self.number)
        return 12

    def method(self) -> None:
        report, language = self.report, self.language
        sheet = self._sheet(self._word("method"), f"{report.title[language]} — {report.city_name}")
        lines = [
            (self._word("period"), report.period),
            ("UTC", f"{format_instant(report.start)} – {format_instant(report.end)}"),
            (self._word("state"), edition_line(self.edition, language)),
            (self._word("hash"), self.edition.content),
            (self._word("code"), report.code_version),
            (f"{self._word('factors')} ({self._word('version')})", report.factors_version),
            *settings(report, language),
            *((self._word("notices"), notice[language]) for notice in report.notices),
        ]
        for row, (name, value) in enumerate(lines, 1):
            sheet.write_string(row, 0, name, self.text)
            sheet.write_string(row, 1, value, self.wrapped)
            self._heighten(sheet, row, len(value))
        row = self._grid(
            sheet,
            len(lines) + 2,
            [self._word(key) for key in ("method", "explanation", "source", "id")],
            (
                (method.title[language], method.text[language], method.source, method.id)
                for method in report.methods
            ),
        )
        self._grid(
            sheet,
            row + 1,
            [self._word(key) for key in ("day", "information", "status", "hash")],
            ((run.day, run.information, run.status, run.input_hash) for run in report.days),
        )
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 2, _WIDEST)
        sheet.freeze_panes(0, 0)

    def table(self, table: Table) -> None:
        """Instants stand in two columns: UTC and local."""
        language = self.language
        sheet = self._sheet(table.title[language], table.title[language])
        if table.note is not None:
            sheet.write_string(1, 0, table.note[language], self.text)
        headings, times = [], []
        for column in table.columns:
            name = column.title[language]
            times.append(column.unit == INSTANT)
            if times[-1]:
                headings += [f"{name} (UTC)", f"{name} ({self.report.zone})"]
            else:
                headings.append(f"{name} [{column.unit}]" if column.unit else name)
        rows = ([*self._cells(row, times)] for row in table.rows)
        self._grid(sheet, 2, headings, rows)

    def _cells(self, row: tuple[Cell, ...], times: list[bool]) -> Iterable[Any]:
        for cell, is_time in zip(row, times, strict=True):
            if is_time:
                yield cell.astimezone(UTC) if isinstance(cell, datetime) else None
                yield cell.astimezone(self.zone) if isinstance(cell, datetime) else None
            elif isinstance(cell, Figure):
                yield cell.value if cell.notation is None else cell.notation
            else:
                yield plain(cell, self.language) if isinstance(cell, str | Mapping) else cell

    def factors(self) -> None:
        sheet = self._sheet(self._word("factors"), self._word("factors"))
        keys = (
            "id", "version", "value", "low", "high", "unit", "gas_basis", "basis", "zone", "source",
            "data_year", "publication_year", "validity", "estimated", "note",
        )  # fmt: skip
        self._grid(
            sheet,
            2,
            [self._word(key) for key in keys],
            (
                (
                    factor.id, factor.version, factor.value, factor.low, factor.high, factor.unit,
                    factor.gas_basis, factor.basis, factor.zone, factor.source, factor.data_year,
                    factor.publication_year, f"{factor.valid_from} – {factor.valid_to}",
                    float(factor.estimated), factor.note,
                )
                for factor in self.report.factors
            ),
        )  # fmt: skip

    def quality(self) -> None:
        """Every figure with all that an auditor asks of it."""
        report = self.report
        sheet = self._sheet(self._word("quality"), self._word("figures"))
        keys = (
            "figure", "value", "unit", "notation", "explanation", "low", "high", "estimated", "ledger",
            "method", "activity", "factor_quality", "factor", "inputs", "id",
        )  # fmt: skip
        self._grid(
            sheet,
            2,
            [self._word(key) for key in keys],
            (
                (
                    key, figure.value, figure.unit, figure.notation, figure.explanation, figure.low,
                    figure.high, figure.estimated_share, figure.ledger, figure.method, figure.activity,
                    figure.factor_quality, " ".join(figure.factors), ", ".join(figure.inputs),
                    figure_id(report.city, report.name, report.period, key, self.edition.content),
                )
                for key, figure in report.figures.items()
            ),
        )  # fmt: skip

    def inputs(self) -> None:
        sheet = self._sheet(self._word("inputs"), self._word("inputs"))
        self._grid(
            sheet,
            2,
            [self._word(key) for key in ("input", "source", "version", "estimated", "hash")],
            (
                (used.name, used.source, used.version, used.estimated_share, used.hash)
                for used in self.report.inputs
            ),
        )

    def change_log(self) -> None:
        sheet = self._sheet(self._word("change_log"), self._word("change_log"))
        if not self.edition.changes:
            sheet.write_string(2, 0, self._word("no_change"), self.text)
            return
        self._grid(
            sheet,
            2,
            [self._word(key) for key in ("figure", "before", "after", "unit")],
            ((change.key, change.before, change.after, change.unit) for change in self.edition.changes),
        )
