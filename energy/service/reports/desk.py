"""The desk: makes reports, keeps their versions, says what changed, and explains any figure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from energy.domain.city import City
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError, UnknownError
from energy.domain.factors import FactorRegistry
from energy.domain.period import Period
from energy.domain.records import RunRecord
from energy.domain.report import (
    Cell,
    Change,
    Edition,
    Figure,
    Report,
    ReportKey,
    StoredReport,
    figure_id,
)
from energy.domain.report_document import report_document, report_of
from energy.domain.time import format_instant
from energy.feeds.documents import json_bytes
from energy.feeds.officer import OfficerInputs
from energy.feeds.reports.cells import number
from energy.service.reports.registry import Choice, Context, asked, chosen, report_type
from energy.store import ReportShelf

DEFAULT_INFORMATION = "perfect"
Span = tuple[datetime, datetime]
MARKET_BASED, CANCELLATIONS = "market-based", "cancellations"
"""The report, and its table, that say which certificates were cancelled."""
LEDGERS = "ledgers"
"""Shows the market-based ledger too, and cancels nothing."""


@dataclass(frozen=True)
class Desk:
    """Where reports are made and kept.

    Attributes:
        load: the period of a city by label and information; `UnknownError` where no day of it is stored.
        officer: the officer's inputs of a city as they are now. factors: the registry of a city.
        runs: how the stored plans of a day came about, by city and day.
    """

    shelf: ReportShelf
    load: Callable[[City, str, str], Period]
    officer: Callable[[City], OfficerInputs]
    factors: Callable[[City], FactorRegistry]
    runs: Callable[[str, str], tuple[RunRecord, ...]]

    def make(
        self,
        city: City,
        name: str,
        period: str,
        *,
        information: str = DEFAULT_INFORMATION,
        choices: Mapping[str, str] | None = None,
    ) -> tuple[Report, Edition]:
        """Make a report and keep it as the next version, or as the last one where nothing has changed.

        Raises `InputError` for unknown reports and choices, periods without a stored day, and whatever is
        wrong with the officer's files.
        """
        picked = asked(name, period, choices or {})

        def other(label: str) -> Period | None:
            try:
                return self.load(city, label, information)
            except UnknownError:
                return None  # another period of which nothing is stored is no fault of this report

        loaded = self.load(city, period, information)
        cancelled, elsewhere = dict[str, float](), dict[tuple[str, str], str]()
        if name in (MARKET_BASED, LEDGERS):
            cancelled, elsewhere = self._cancelled(city.id, (loaded.time.start, loaded.time.end))
        report = report_type(name).make(
            Context(
                city=city,
                period=loaded,
                factors=self.factors(city),
                officer=self.officer(city),
                choices=picked,
                cancelled_mwh=cancelled,
                cancelled_elsewhere=elsewhere,
                other=other,
                code_version=version("wattshed"),
            )
        )
        key = report_key(report, information, picked)
        document = report_document(report)
        content = content_hash(document)
        before = self.shelf.get(key)
        ids = {figure_id(city.id, name, report.period, figure, content): figure for figure in report.figures}
        edition = self.shelf.add(
            key,
            document,
            content,
            ids,
            () if before is None else changes(report_of(before[0]), report),
            datetime.now(UTC),
        )
        return report, edition

    def _cancelled(self, city: str, asked: Span) -> tuple[dict[str, float], dict[tuple[str, str], str]]:
        """What market-based reports of the city have cancelled of each certificate for other times than those
        `asked` for, MWh; and by issuer and id, which report of another city has cancelled some of it.

        Of one period the version that cancels most counts, of those that are approved or published and the
        newest of each variant: two matchings of it are two views of one use, as is a month within its year,
        and what has been published stays claimed.
        """
        most: dict[str, dict[Span, float]] = {}
        elsewhere: dict[tuple[str, str], str] = {}
        stored = self.shelf.named(MARKET_BASED)
        newest = {item.key: item.edition.number for item in stored}  # they come in order
        for item in stored:
            if item.edition.state == "draft" and item.edition.number != newest[item.key]:
                continue
            report, edition = self.stored(item.key, item.edition.number)
            at = (report.start, report.end)
            for certificate, mwh, cells in _cancellations(report):
                if report.city != city:
                    issuer = cells.get("issuer")  # reports of before it was kept accuse nobody
                    if isinstance(issuer, str) and mwh:
                        elsewhere[issuer, certificate] = (
                            f"city {report.city!r} ({MARKET_BASED} {report.period}, version {edition.number})"
                        )
                elif not (_within(at, asked) or _within(asked, at)):
                    spans = most.setdefault(certificate, {})
                    spans[at] = max(spans.get(at, 0.0), mwh)
        return {certificate: _claimed(spans) for certificate, spans in most.items()}, elsewhere

    def list(self, city: str) -> tuple[StoredReport, ...]:
        """All stored versions of a city's reports."""
        return self.shelf.list(city)

    def stored(self, key: ReportKey, edition: int | None = None) -> tuple[Report, Edition]:
        """A stored version (default: the newest), as it was; `UnknownError` where there is none."""
        found = self.shelf.get(key, edition)
        if found is None:
            number = "" if edition is None else f" {edition}"
            raise UnknownError(
                f"{key.name} {key.period} has no stored version{number}; make the report first"
            )
        return report_of(found[0]), found[1]

    def approve(self, key: ReportKey, edition: int, by: str) -> Edition:
        """A person approves a draft; `InputError` unless it is one, and for an empty name."""
        if not by.strip():
            raise InputError(Fault("by", "is empty; name who approves the report"))
        if key.name == MARKET_BASED:
            self._check_claims(key, edition)
        return self.shelf.approve(key, edition, by.strip(), datetime.now(UTC))

    def _check_claims(self, key: ReportKey, edition: int) -> None:
        """`InputError` where others have used the certificates of a draft since it was made."""
        found = self.shelf.get(key, edition)
        if found is None:
            return  # the shelf says so
        report, faults = report_of(found[0]), list[Fault]()
        cancelled, elsewhere = self._cancelled(key.city, (report.start, report.end))
        for certificate, mwh, cells in _cancellations(report):
            before, left, issuer = (cells.get(name) for name in ("before_mwh", "left_mwh", "issuer"))
            if not isinstance(before, int | float) or not isinstance(left, int | float):
                continue  # a version of before they were kept
            others, volume = cancelled.get(certificate, 0.0), before + mwh + left
            where = elsewhere.get((str(issuer), certificate))
            if where is None and others + mwh <= volume * (1 + 1e-9):
                continue
            used = (
                f"{others:g} of its {volume:g} MWh are cancelled by other reports"
                if where is None
                else f"it is cancelled by {where}"
            )
            message = f"cancels {mwh:g} MWh of {certificate!r}, but {used} by now; make a new version instead"
            faults.append(Fault(f"{key.name} {key.period} version {edition}", message))
        if faults:
            raise InputError(faults)

    def publish(self, key: ReportKey, edition: int) -> Edition:
        """An approved version is published and never changes again."""
        return self.shelf.publish(key, edition, datetime.now(UTC))

    def difference(self, key: ReportKey, first: int, second: int) -> tuple[Change, ...]:
        """Every figure that differs between two versions."""
        return changes(self.stored(key, first)[0], self.stored(key, second)[0])

    def explain(self, figure: str) -> dict[str, Any]:
        """The tree behind a figure: what it is made of, down to factors, inputs and runs.

        Raises `UnknownError` for an id that no stored report has.
        """
        found = self.shelf.of_figure(figure)
        if found is None:
            raise UnknownError(
                f"figure {figure!r} is in no stored report; ids look like fig-0123456789abcdef0123"
            )
        key, document, edition, name = found
        report = report_of(document)
        return {
            "id": figure,
            "report": {
                **asdict(key),
                "version": edition.number,
                "state": edition.state,
                "content": edition.content,
                "settings": dict(report.settings),
                "code_version": report.code_version,
                "factors_version": report.factors_version,
            },
            "figure": _branch(report, report.figures[name], edition.content, ()),
            "runs": list(self._runs(report, report.figures[name])),
        }

    def _runs(self, report: Report, figure: Figure) -> Iterator[dict[str, Any]]:
        """The runs of the days that a figure rests on; `finished` is null where none is kept."""
        first, last = figure.days or ("", "9999")
        for day in report.days:
            if not first <= day.day <= last:
                continue
            kept = [
                run
                for run in self.runs(report.city, day.day)
                if run.input_hash == day.input_hash and run.code_version == day.code_version
            ]
            yield {
                "day": day.day,
                "information": day.information,
                "status": day.status,
                "input_hash": day.input_hash,
                "code_version": day.code_version,
                "factors_version": day.factors_version,
                "finished": format_instant(kept[-1].finished) if kept else None,
            }


def _cancellations(report: Report) -> Iterator[tuple[str, float, dict[str, Cell]]]:
    """Certificates that a market-based report cancels, MWh, with the whole row by column."""
    table = next(table for table in report.tables if table.id == CANCELLATIONS)
    names = [column.id for column in table.columns]
    for row in table.rows:
        cells = dict(zip(names, row, strict=True))
        certificate, cancelled = cells["certificate"], cells["mwh"]
        assert isinstance(certificate, str)
        assert isinstance(cancelled, Figure)
        yield certificate, cancelled.value or 0.0, cells


def content_hash(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a report's document as it is written."""
    return "sha256:" + hashlib.sha256(json_bytes(document)).hexdigest()


def changes(before: Report, after: Report) -> tuple[Change, ...]:
    """Every figure that one report has otherwise than the other, by key: its value, notation key or
    interval."""
    old, new = before.figures, after.figures
    found = []
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key), new.get(key)
        if left is None or right is None or _shown(left) != _shown(right):
            units = [figure.unit for figure in (right, left) if figure is not None]
            found.append(Change(key, *_apart(left, right), units[0]))
    return tuple(found)


def _shown(figure: Figure) -> tuple[float | None, str | None, float | None, float | None]:
    return figure.value, figure.notation, figure.low, figure.high


def report_key(report: Report, information: str, choices: Mapping[str, str]) -> ReportKey:
    """The key of a report that was made with this information and these choices."""
    kind = report_type(report.name)
    variant = _variant(information, chosen(kind, choices), kind.choices)
    return ReportKey(report.city, report.name, report.period, variant)


def find_key(stored: tuple[StoredReport, ...], name: str, period: str, variant: str) -> ReportKey:
    """The key of a stored report; `UnknownError` naming what is stored."""
    keys = {(item.key.name, item.key.period, item.key.variant): item.key for item in stored}
    if (name, period, variant) not in keys:
        known = [" ".join(part for part in key if part) for key in keys]
        asked = f"{name} {period} {variant}".rstrip()
        remedy = nearest(asked, known) if known else "no report is; make it first"
        raise UnknownError(f"report {asked} is not stored; {remedy}")
    return keys[name, period, variant]


def _within(inner: Span, outer: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _claimed(spans: Mapping[Span, float]) -> float:
    """What reports on spans of time claim together, MWh: those within another are a view of its use, so that
    the larger of both counts; all others add up, also where they overlap in part."""
    total, rest = 0.0, dict(spans)
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span)):  # the longest first
        if span in rest:
            within = {other: rest.pop(other) for other in tuple(rest) if _within(other, span)}
            total += max(within.pop(span), _claimed(within))
    return total


def _variant(information: str, picked: Mapping[str, str], choices: Iterable[Choice]) -> str:
    parts = {choice.name: picked[choice.name] for choice in choices if picked[choice.name] != choice.default}
    if information != DEFAULT_INFORMATION:
        parts["information"] = information
    return "&".join(f"{name}={value}" for name, value in sorted(parts.items()))


def _apart(left: Figure | None, right: Figure | None) -> tuple[str, str]:
    """Two figures as text, with as many digits as tell them apart, and their intervals where only these
    differ."""
    value_alike = left is not None and right is not None and _shown(left)[:2] == _shown(right)[:2]
    for digits in (4, 8, 17):
        texts = (_said(left, digits, value_alike), _said(right, digits, value_alike))
        if texts[0] != texts[1]:
            break
    return texts


def _said(figure: Figure | None, digits: int, with_interval: bool) -> str:
    if figure is None:
        return "–"
    if figure.notation is not None:
        return figure.notation
    value, low, high = (number(at, "en", digits) for at in (figure.value, figure.low, figure.high))
    if not with_interval:
        return value
    return f"{value} (–)" if figure.low is None else f"{value} ({low} … {high})"


def _branch(report: Report, figure: Figure, content: str, above: tuple[str, ...]) -> dict[str, Any]:
    """A figure with everything below it; a part that stands above already is not followed again."""
    factors = {factor.key: factor for factor in report.factors}
    inputs = [used for used in report.inputs if used.name in figure.inputs]
    behind = dict.fromkeys((*figure.factors, *(key for used in inputs for key in used.factors)))
    return {
        "key": figure.key,
        "id": figure_id(report.city, report.name, report.period, figure.key, content),
        "value": figure.value,
        "unit": figure.unit,
        "notation": figure.notation,
        "explanation": figure.explanation,
        "ledger": figure.ledger,
        "method": figure.method,
        "low": figure.low,
        "high": figure.high,
        "estimated_share": figure.estimated_share,
        "rule": figure.rule,
        "days": None if figure.days is None else list(figure.days),
        "factors": [asdict(factors[name]) for name in behind if name in factors],
        "inputs": [asdict(used) for used in inputs],
        "parts": [
            _branch(report, report.figures[part], content, (*above, figure.key))
            for part in figure.parts
            if part not in above
        ],
    }
