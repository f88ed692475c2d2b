"""Stored reports: versions that are only ever added, and never change once published."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from energy.domain.errors import Fault, InputError, StoreError
from energy.domain.report import Change, Edition, ReportKey, StoredReport
from energy.store.database import Database
from energy.store.packing import packed_document
from energy.store.schema import report_figures, reports

_KEY = ("city", "name", "period", "variant")


class ReportShelf:
    """Versions of reports, found by key and number or by a figure's id. Safe to call from threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        key: ReportKey,
        document: Mapping[str, Any],
        content: str,
        figure_ids: Mapping[str, str],
        changes: Iterable[Change],
        stored: datetime,
    ) -> Edition:
        """Store `document` as the next version of `key`; the last one where nothing differs from it.

        `content` is the hash of the document, `figure_ids` maps ids to keys of figures, `changes` is what
        differs from the last version. A document that comes back after another one is a version of its own;
        its ids are those that it had.
        """
        packed = packed_document(document)
        with self._database.writing() as connection:
            last = connection.execute(_of(key).order_by(reports.c.number.desc()).limit(1)).one_or_none()
            if last is not None and last.content == content:
                return _edition(last)
            number = 1 if last is None else last.number + 1
            before = connection.execute(_of(key).where(reports.c.content == content).limit(1)).one_or_none()
            report_id = connection.execute(
                insert(reports)
                .values(
                    **asdict(key),
                    number=number,
                    content=content,
                    state="draft",
                    stored=stored,
                    changes=[asdict(change) for change in changes],
                    document=packed,
                )
                .returning(reports.c.id)
            ).scalar_one()
            rows = [{"id": id_, "report_id": report_id, "key": name} for id_, name in figure_ids.items()]
            if rows and before is None:
                connection.execute(insert(report_figures), rows)
            return _edition(connection.execute(select(reports).where(reports.c.id == report_id)).one())

    def list(self, city: str) -> tuple[StoredReport, ...]:
        """All versions of all reports of a city, by name, period, variant and number."""
        return self._versions(reports.c.city == city)

    def named(self, name: str) -> tuple[StoredReport, ...]:
        """All versions of one report of all cities, by city, period, variant and number."""
        return self._versions(reports.c.name == name)

    def _versions(self, chosen: ColumnElement[bool]) -> tuple[StoredReport, ...]:
        order = (reports.c[column] for column in (*_KEY, "number"))
        with self._database.reading() as connection:
            rows = connection.execute(select(reports).where(chosen).order_by(*order)).all()
        return tuple(StoredReport(_key(row), _edition(row)) for row in rows)

    def get(self, key: ReportKey, number: int | None = None) -> tuple[dict[str, Any], Edition] | None:
        """The document of one version (default: the newest) and its edition; None where there is none."""
        wanted = _of(key).order_by(reports.c.number.desc()).limit(1)
        if number is not None:
            wanted = wanted.where(reports.c.number == number)
        with self._database.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else (self._document(row), _edition(row))

    def of_figure(self, figure: str) -> tuple[ReportKey, dict[str, Any], Edition, str] | None:
        """The report that holds the figure of this id, and the figure's key in it; None for unknown ids.

        Of versions with the same content it is the one that has come furthest towards publication.
        """
        with self._database.reading() as connection:
            first = connection.execute(
                select(reports, report_figures.c.key.label("figure_key"))
                .join(report_figures, report_figures.c.report_id == reports.c.id)
                .where(report_figures.c.id == figure)
            ).one_or_none()
            if first is None:
                return None
            row = connection.execute(
                _of(_key(first))
                .where(reports.c.content == first.content)
                .order_by(
                    reports.c.published.is_(None), reports.c.approved.is_(None), reports.c.number.desc()
                )
                .limit(1)
            ).one()
        return _key(row), self._document(row), _edition(row), first.figure_key

    def approve(self, key: ReportKey, number: int, by: str, at: datetime) -> Edition:
        """A draft becomes approved. `InputError` where there is no such version, or it is none any more."""
        return self._promote(key, number, "draft", {"state": "approved", "approved_by": by, "approved": at})

    def publish(self, key: ReportKey, number: int, at: datetime) -> Edition:
        """An approved version becomes published, for ever. `InputError` as for `approve`."""
        return self._promote(key, number, "approved", {"state": "published", "published": at})

    def _promote(self, key: ReportKey, number: int, before: str, after: Mapping[str, Any]) -> Edition:
        with self._database.writing() as connection:
            row = self._version(connection, key, number)
            if row.state != before:
                remedy = "approve it first" if row.state == "draft" else "make a new version instead"
                raise InputError(
                    Fault(
                        f"{key.name} {key.period} version {number}",
                        f"is {row.state} and cannot become {after['state']}; {remedy}",
                    )
                )
            connection.execute(update(reports).where(reports.c.id == row.id).values(**after))
            return _edition(self._version(connection, key, number))

    def _version(self, connection: Connection, key: ReportKey, number: int) -> Row:
        row = connection.execute(_of(key).where(reports.c.number == number)).one_or_none()
        if row is None:
            last = connection.execute(
                select(func.max(reports.c.number)).where(*(reports.c[n] == getattr(key, n) for n in _KEY))
            ).scalar_one()
            raise InputError(
                Fault(
                    f"{key.name} {key.period}",
                    f"has no version {number}; " + (f"the newest is {last}" if last else "none is stored"),
                )
            )
        return row

    def _document(self, row: Row) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(zlib.decompress(row.document))
        except zlib.error as error:
            raise StoreError(
                f"store {self._database.name}: report {row.name} {row.period} version {row.number} is "
                f"damaged ({error}); restore the store from a backup"
            ) from None
        return document


def _of(key: ReportKey) -> Select:
    return select(reports).where(*(reports.c[name] == getattr(key, name) for name in _KEY))


def _key(row: Row) -> ReportKey:
    return ReportKey(*(getattr(row, name) for name in _KEY))


def _edition(row: Row) -> Edition:
    return Edition(
        number=row.number,
        content=row.content,
        state=row.state,
        stored=row.stored,
        changes=tuple(Change(**change) for change in row.changes),
        approved_by=row.approved_by,
        approved=row.approved,
        published=row.published,
    )
