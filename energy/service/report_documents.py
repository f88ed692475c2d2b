"""Models of what reports are in JSON: ``wattshed.report/1``, a stored version, a figure explained.

They are made as plain values; the models are where their JSON schemas come from, and what the tests hold
every report against.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from energy.domain.documents import Instant, Items
from energy.domain.report import Grade, Ledger, Notation, State
from energy.service.documents import Answer


class WordsAnswer(Answer):
    """The same words in every language."""

    en: str
    ja: str


class ReportCity(Answer):
    """Which city; `time_zone` is that of its local days."""

    id: str
    name: str
    time_zone: str


class ReportPeriod(Answer):
    """The period as asked for, and its instants; `end` is exclusive."""

    label: str
    start: Instant
    end: Instant


class ColumnAnswer(Answer):
    """A column; `unit` is empty for text and ``time`` for instants."""

    id: str
    title: WordsAnswer
    unit: str


class FigureCell(Answer):
    """The key of the figure that stands here."""

    figure: str


class TableAnswer(Answer):
    """Rows of one shape."""

    id: str
    title: WordsAnswer
    note: WordsAnswer | None
    columns: Items[ColumnAnswer]
    rows: Items[Items[FigureCell | WordsAnswer | str | float | None]]


class FigureAnswer(Answer):
    """One number: its interval, quality, and what it is made of. What stands at its default is left out."""

    value: float | None = None
    unit: str
    ledger: Ledger = "none"
    method: str = ""
    notation: Notation | None = None
    explanation: str = ""
    low: float | None = None
    high: float | None = None
    estimated_share: float = Field(default=0.0, ge=0, le=1)
    activity: Grade | None = None
    factor_quality: Grade | None = None
    factors: Items[str] = ()
    inputs: Items[str] = ()
    parts: Items[str] = ()
    rule: str = ""
    days: tuple[str, str] | None = None


class PlotAnswer(Answer):
    """A drawing of columns of one table, and what it shows in words; of its first `rows` where that is
    given, of all where not."""

    table: str
    kind: Literal["bars", "stacked", "lines"]
    title: WordsAnswer
    x: str
    series: Items[str]
    alternative: WordsAnswer
    rows: int | None = None


class MethodAnswer(Answer):
    """A method in use and the paper or standard it follows."""

    id: str
    title: WordsAnswer
    text: WordsAnswer
    source: str


class FactorAnswer(Answer):
    """A factor as used."""

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


class InputAnswer(Answer):
    """A series, a file of the officer's or a setting, with the hash of its content (empty where its version
    says all) and the keys of the factors it is made with."""

    name: str
    source: str
    version: str
    estimated_share: float
    hash: str
    factors: Items[str] = ()


class RunAnswer(Answer):
    """The stored day that figures rest on."""

    day: str
    information: str
    status: str
    input_hash: str
    code_version: str
    factors_version: str


class ReportDocument(Answer):
    """``wattshed.report/1``: a report on a period of a city. The same inputs give the same bytes."""

    schema_: Literal["wattshed.report/1"] = Field(alias="schema")
    name: str
    title: WordsAnswer
    city: ReportCity
    period: ReportPeriod
    settings: dict[str, str]
    tables: Items[TableAnswer]
    figures: dict[str, FigureAnswer]
    plots: Items[PlotAnswer]
    methods: Items[MethodAnswer]
    factors: Items[FactorAnswer]
    factors_version: str
    inputs: Items[InputAnswer]
    runs: Items[RunAnswer]
    notices: Items[WordsAnswer]
    code_version: str


class FigureChange(Answer):
    """A figure that differs between two versions, as shown in each."""

    key: str
    before: str
    after: str
    unit: str


class ReportVersion(Answer):
    """A stored version; `variant` holds the choices it was made with, `content` the document's SHA-256."""

    city: str
    name: str
    period: str
    variant: str
    version: int = Field(ge=1)
    content: str
    state: State
    approved_by: str | None
    changes: Items[FigureChange]
    stored: Instant
    approved: Instant | None
    published: Instant | None


class FigureReport(Answer):
    """The version of the report in which a figure stands."""

    city: str
    name: str
    period: str
    variant: str
    version: int
    state: State
    content: str
    settings: dict[str, str]
    code_version: str
    factors_version: str


class FigureBranch(Answer):
    """A figure and everything below it."""

    key: str
    id: str
    value: float | None
    unit: str
    notation: Notation | None
    explanation: str
    ledger: Ledger
    method: str
    low: float | None
    high: float | None
    estimated_share: float
    rule: str
    days: tuple[str, str] | None
    factors: Items[FactorAnswer]
    inputs: Items[InputAnswer]
    parts: Items[FigureBranch]


class FigureRun(RunAnswer):
    """The run of a day; `finished` is null where its record is not kept."""

    finished: Instant | None


class FigureExplained(Answer):
    """Where a figure comes from."""

    id: str
    report: FigureReport
    figure: FigureBranch
    runs: Items[FigureRun]
