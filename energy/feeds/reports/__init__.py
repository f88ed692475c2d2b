"""Reports as files: JSON for machines, CSV and XLSX for those who go on calculating, PDF to hand in.

Every format is drawn from the report alone: the same edition gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.report import Edition, Language, Report
from energy.domain.report_document import report_document
from energy.feeds.documents import json_bytes

__all__ = ["FORMATS", "Format", "render"]

Format = Literal["json", "csv", "zip", "xlsx", "pdf"]
Draw = Callable[[Report, Edition, Language], bytes]


def _json(report: Report, _edition: Edition, _language: Language) -> bytes:
    return json_bytes(report_document(report))


def _csv(report: Report, _edition: Edition, _language: Language) -> bytes:
    from energy.feeds.reports.comma_separated import first_table

    return first_table(report)


def _zip(report: Report, edition: Edition, _language: Language) -> bytes:
    from energy.feeds.reports.comma_separated import all_tables

    return all_tables(report, edition)


def _xlsx(report: Report, edition: Edition, language: Language) -> bytes:
    from energy.feeds.reports.workbook import workbook

    return workbook(report, edition, language)


def _pdf(report: Report, edition: Edition, language: Language) -> bytes:
    from energy.feeds.reports.typeset import typeset

    return typeset(report, edition, language)


FORMATS: Mapping[str, tuple[str, Draw]] = {
    "json": ("application/json", _json),
    "csv": ("text/csv; charset=utf-8", _csv),
    "zip": ("application/zip", _zip),
    "xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", _xlsx),
    "pdf": ("application/pdf", _pdf),
}
"""Media type of each format, and what draws it. ``csv`` holds the first table, ``zip`` all of them."""


def render(report: Report, edition: Edition, format_name: str, language: Language = "en") -> bytes:
    """The report as a file; `InputError` for a format that does not exist."""
    if format_name not in FORMATS:
        raise InputError(Fault("format", f"{format_name!r} is not a format; {nearest(format_name, FORMATS)}"))
    return FORMATS[format_name][1](report, edition, language)
