"""A report: tables of figures, each of which says what it means, how sure it is and where it comes from.

A report is a value. Its document, ``wattshed.report/1``, is the same bytes for the same inputs; CSV, XLSX
and PDF are drawn from it. Texts come in every language at once, so that one stored report serves all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from energy.domain.period import DayRun

Ledger = Literal["traced", "grid-average", "market-based", "marginal", "cfe", "entered", "none"]
"""Which rule a figure follows; figures of different ledgers are never added together. ``none``: energy, cost
and other figures that hold no carbon; ``entered``: the officer's own numbers."""

Notation = Literal["NO", "NE", "IE", "C"]
"""GPC 1.1 notation keys: not occurring, not estimated, included elsewhere, confidential."""

Grade = Literal["H", "M", "L"]
"""Data quality of GPC 1.1: high, medium, low."""

Language = Literal["en", "ja"]
Words = Mapping[Language, str]
"""A text in every language."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a report.

    Attributes:
        key: where it stands in its report, ``district/altstadt/emissions_kg``; unique in the report.
        value: None only with a `notation` that says why, and an `explanation`.
        low, high: the interval that the ranges of the factors leave, in `unit`; None where none is known.
        estimated_share: share of the input that is a model's estimate, 0 to 1.
        activity, factor_quality: data quality of the activity and of the factor.
        factors: the key of every factor used (``grid-de@2016-01-01 v2``).
        inputs: names of the series and entries used.
        parts: keys of figures of the same report that it is made of; `rule` says how (``sum``,
            ``difference``, ``ratio`` …, or a sentence).
        days: the local days it rests on, first and last; their runs stand in the report.
    """

    key: str
    value: float | None
    unit: str
    ledger: Ledger = "none"
    method: str = ""
    notation: Notation | None = None
    explanation: str = ""
    low: float | None = None
    high: float | None = None
    estimated_share: float = 0.0
    activity: Grade | None = None
    factor_quality: Grade | None = None
    factors: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    rule: str = ""
    days: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.notation is None):
            raise ValueError(f"figure {self.key!r}: a value or a notation key, never both and never neither")
        if self.notation is not None and not self.explanation:
            raise ValueError(f"figure {self.key!r}: notation key {self.notation} needs an explanation")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: `unit` empty for text; ``time`` for instants, written in UTC and local time."""

    id: str
    title: Words
    unit: str = ""


Cell = str | Words | float | datetime | Figure | None
"""A name or text, a bare number (of long series), an instant, or a figure. None is an empty cell."""


@dataclass(frozen=True)
class Table:
    """Rows of one shape; `note` says what a reader must know beside the figures."""

    id: str
    title: Words
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: Words | None = None

    def __post_init__(self) -> None:
        odd = [k for k, row in enumerate(self.rows) if len(row) != len(self.columns)]
        if odd:
            raise ValueError(f"table {self.id!r}: row {odd[0]} does not have {len(self.columns)} cells")


@dataclass(frozen=True)
class Plot:
    """A drawing of columns of one table, with `alternative`: what it shows, for those who cannot see it.

    `x` and `series` name columns; ``bars`` are per row, ``stacked`` on each other, ``lines`` over `x`. Of
    the table the first `rows` are drawn, so that a total need not stand beside its parts; None for all.
    """

    table: str
    kind: Literal["bars", "stacked", "lines"]
    title: Words
    x: str
    series: tuple[str, ...]
    alternative: Words
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A method in use: what it does, and the paper or standard it follows."""

    id: str
    title: Words
    text: Words
    source: str


@dataclass(frozen=True, slots=True)
class FactorUse:
    """A factor as used: everything that the registry holds of that version, as text."""

    id: str
    version: int
    value: float
    low: float | None
    high: float | None
    unit: str
    gas_basis: str
    basis: str
    zone: str
    source: str
    data_year: int
    publication_year: int
    valid_from: str
    valid_to: str
    estimated: bool
    note: str

    @property
    def key(self) -> str:
        """What names this very row, as `energy.domain.factors.Factor.key`."""
        return f"{self.id}@{self.valid_from} v{self.version}"


@dataclass(frozen=True, slots=True)
class InputUse:
    """An input as used: a series, a file of the officer's or a setting, with the hash of its content (empty
    where its version says all) and the keys of the factors that it is made with."""

    name: str
    source: str
    version: str
    estimated_share: float
    hash: str = ""
    factors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A report on a period of a city.

    Attributes:
        name: its name in the registry of reports. period: as asked for; `start` and `end` are its instants.
        settings: every choice that shaped it: coupling, losses, matching, basis, level …
        days: the runs behind its figures. notices: what a reader must know of gaps and estimates.
    """

    name: str
    title: Words
    city: str
    city_name: str
    zone: str
    period: str
    start: datetime
    end: datetime
    settings: Mapping[str, str]
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()
    methods: tuple[Method, ...] = ()
    factors: tuple[FactorUse, ...] = ()
    factors_version: str = ""
    inputs: tuple[InputUse, ...] = ()
    days: tuple[DayRun, ...] = ()
    notices: tuple[Words, ...] = ()
    code_version: str = ""

    @property
    def figures(self) -> dict[str, Figure]:
        """Every figure by its key, in the order of the tables; `ValueError` for a key that occurs twice
        with different figures."""
        found: dict[str, Figure] = {}
        for table in self.tables:
            for cell in (cell for row in table.rows for cell in row):
                if isinstance(cell, Figure) and found.setdefault(cell.key, cell) != cell:
                    raise ValueError(f"report {self.name!r}: two figures have the key {cell.key!r}")
        return found


def figure_id(city: str, report: str, period: str, key: str, content: str) -> str:
    """The id of a figure in one version of a report: ``fig-`` and 20 hex digits.

    `content` is the hash of that version's document, so that an id names one number for ever.
    """
    name = "\n".join((city, report, period, key, content))
    return "fig-" + hashlib.sha256(name.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that differs from the version before: `before` and `after` as they were shown."""

    key: str
    before: str
    after: str
    unit: str


State = Literal["draft", "approved", "published"]


@dataclass(frozen=True)
class Edition:
    """One stored version of a report: `number` counts the versions of one report of one period from 1.

    Attributes:
        content: SHA-256 of the document.
        changes: what differs from the version before; empty for the first.
        approved_by: who approved it, None for a draft.
    """

    number: int
    content: str
    state: State
    stored: datetime
    changes: tuple[Change, ...] = ()
    approved_by: str | None = None
    approved: datetime | None = None
    published: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReportKey:
    """Which report: versions are counted per key.

    `variant` holds the choices made for it, ``matching=annual``, sorted and joined by ``&``; empty where
    none was.
    """

    city: str
    name: str
    period: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """One version of a report in a list."""

    key: ReportKey
    edition: Edition
