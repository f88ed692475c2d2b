"""Imported series of a city: one folder per series, one file per import, none ever changed.

``series/intensity-DE/0003.json`` holds what the third import brought that was new or different, and when
that became known. A value that a source revises stands in the later file; the earlier one keeps the old,
so that a report of then can be made again with what was known then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from energy.domain.documents import Document, Duration, Instant, Items, parse
from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.time import TimeGrid, format_duration, format_instant
from energy.feeds.documents import json_bytes, read_json, replacing
from energy.feeds.importers.imported import ImportedSeries, SeriesKind

FOLDER = "series"
FAR_FROM_KNOWN = 1.5
"""Median ratio of revised to known intensities beyond which the unit is asked for."""
UNIT_DOUBT = "check the unit (1 lbs/MWh = 0.4536 g/kWh)"
LISTED = 100
"""Revised values that a report lists; `revised` counts all times."""
SCHEMA = "wattshed.series/1"


class ImportDocument(Document):
    """``wattshed.series/1``: what one import brought that was not there before.

    `times` are starts of intervals of `resolution`, UTC; `values` has a row per time and a value per
    column, in `unit`; `sha256` is over the bytes of the files that were read.
    """

    schema_: Literal["wattshed.series/1"] = Field(alias="schema")
    kind: SeriesKind
    zone: str
    unit: str
    basis: str
    resolution: Duration
    number: int
    known_at: Instant
    published_at: Instant | None
    format: str
    source: str
    files: Items[str]
    sha256: str
    methods: Items[str]
    columns: Items[str]
    times: Items[Instant]
    values: Items[Items[float]]
    estimated: Items[bool]


@dataclass(frozen=True)
class StoredSeries:
    """What was known of a series at one time, on one grid; NaN where nothing was.

    `version` names the newest import in it; `hash` is the SHA-256 of all of them.
    """

    kind: SeriesKind
    zone: str
    unit: str
    basis: str
    resolution: timedelta
    starts: IntArray
    columns: tuple[str, ...]
    values: FloatArray
    estimated: BoolArray
    source: str
    methods: tuple[str, ...]
    version: str
    known_at: datetime
    hash: str

    def on(self, time: TimeGrid) -> tuple[FloatArray, FloatArray]:
        """Values on `time`, shape (time.steps, columns), and the estimated share of each step.

        Longer intervals are repeated, shorter ones averaged; NaN where any of it is missing. Raises
        `InputError` where resolutions do not divide each other or nothing lies in `time`.
        """
        wanted, own = round(time.resolution.total_seconds()), round(self.resolution.total_seconds())
        if max(wanted, own) % min(wanted, own):
            raise InputError(
                Fault(self.source, f"has steps of {own} s, the city of {wanted} s; one must divide the other")
            )
        fine = min(wanted, own)
        instants = round(time.start.timestamp()) + fine * np.arange(time.steps * wanted // fine)
        row = (instants - int(self.starts[0])) // own
        inside = (row >= 0) & (row < len(self.starts))
        row = np.where(inside, row, 0)
        values = np.where(inside[:, None], self.values[row], np.nan).reshape(time.steps, wanted // fine, -1)
        if np.isnan(values).all():
            covered = " to ".join(_text(self.starts[k]) for k in (0, -1))
            raise InputError(Fault(self.source, f"covers {covered}: nothing of the city's period"))
        flags = (self.estimated[row] & inside).reshape(time.steps, wanted // fine)
        return values.mean(axis=1), flags.mean(axis=1)


def series_folder(city: Path, kind: str, zone: str) -> Path:
    """Where the imports of a series lie."""
    if not zone or any(character in zone for character in "/\\") or zone.startswith("."):
        raise InputError(Fault("--zone", f"{zone!r} cannot name a folder; use letters, digits, - and _"))
    return city / FOLDER / f"{kind}-{zone}"


def store_import(
    city: Path,
    series: ImportedSeries,
    *,
    name: str,
    files: Sequence[tuple[str, bytes]],
    known_at: datetime,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Keep what `series` brings that is new; a JSON-ready report of what it was.

    Written whole or not at all. An import that brings nothing new, or a dry run, writes nothing. Raises
    `InputError` where it does not fit what is stored: unit, basis, resolution, grid, or a time of knowledge
    before the last.
    """
    folder = series_folder(city, series.kind, series.zone)
    stored = _documents(folder)
    last = stored[-1] if stored else None
    if last is not None:
        _check_fit(last, series, known_at)
    before = _merged(stored) if stored else None
    if before is not None and before.resolution < series.resolution:
        series = _finer(series, before.resolution)
    columns = tuple(sorted({*series.columns, *(before.columns if before else ())}))
    new = _on(columns, series.columns, series.values)
    chosen = ~np.isnan(new).all(axis=1)
    if series.kind == "mix":
        new[chosen] = np.nan_to_num(new[chosen])  # a technology that a later file no longer lists is at zero
    revised = np.zeros(len(new), dtype=bool)
    changes: list[dict[str, Any]] = []
    old = np.full_like(new, np.nan)
    if before is not None:
        old, flags = _known(before, series.starts, columns)
        same = (new == old).all(axis=1) & (flags == series.estimated)
        revised = chosen & ~same & ~np.isnan(old).all(axis=1)
        chosen &= ~same
        changes = [
            {
                "time": _text(series.starts[row]),
                "column": columns[column],
                "old": float(old[row, column]),
                "new": float(new[row, column]),
            }
            for row, column in np.argwhere((new != old) & revised[:, None] & ~np.isnan(old))[:LISTED]
        ]
    notices = [*series.notices, *_ratio_notice(series.kind, old, new, revised)]
    report: dict[str, Any] = {
        "series": series.kind,
        "zone": series.zone,
        "unit": series.unit,
        "basis": series.basis,
        "source": series.source,
        "resolution": format_duration(series.resolution),
        "from": _text(series.starts[0]),
        "to": _text(series.starts[-1] + round(series.resolution.total_seconds())),
        "new": int((chosen & ~revised).sum()),
        "revised": int(revised.sum()),
        "changes": changes,
        "gaps": [[format_instant(start), format_instant(end)] for start, end in series.gaps],
        "estimated_share": float(series.estimated[~np.isnan(series.values).all(axis=1)].mean()),
        "notices": notices,
        "measured": folder.relative_to(city).as_posix(),
        "import": last.number if last else 0,
    }
    if not chosen.any():
        notices.append("everything in the file was known already: nothing is stored")
        return report
    if dry_run:
        return report
    digest = hashlib.sha256()
    for _, content in files:
        digest.update(content)
    number = (last.number if last else 0) + 1
    document = {
        "schema": SCHEMA,
        "kind": series.kind,
        "zone": series.zone,
        "unit": series.unit,
        "basis": series.basis,
        "resolution": format_duration(series.resolution),
        "number": number,
        "known_at": format_instant(known_at),
        "published_at": None if series.published_at is None else format_instant(series.published_at),
        "format": name,
        "source": series.source,
        "files": [file for file, _ in files],
        "sha256": digest.hexdigest(),
        "methods": list(series.methods),
        "columns": list(columns),
        "times": [_text(start) for start in series.starts[chosen]],
        "values": new[chosen].tolist(),
        "estimated": series.estimated[chosen].tolist(),
    }
    try:
        with replacing(folder / f"{number:04}.json", new=True) as temporary:
            temporary.write_bytes(json_bytes(document))
    except FileExistsError:
        raise InputError(
            Fault(str(folder), f"import {number} was stored by another process meanwhile; import again")
        ) from None
    return {**report, "import": number}


def _ratio_notice(kind: SeriesKind, old: FloatArray, new: FloatArray, revised: BoolArray) -> list[str]:
    """A doubt about the unit where most revised intensities differ from the known ones by a factor."""
    if kind == "mix" or not revised.any():
        return []
    known, given = old[revised, 0], new[revised, 0]
    both = (known > 0) & (given > 0)
    ratio = float(np.median(given[both] / known[both])) if both.any() else 1.0
    if 1 / FAR_FROM_KNOWN <= ratio <= FAR_FROM_KNOWN:
        return []
    count = int(revised.sum())
    return [f"{count} values known before are {ratio:.3g} times what they were: {UNIT_DOUBT}"]


def read_stored(folder: Path, name: str, as_of: datetime | None = None) -> StoredSeries:
    """The series of a folder as it was known at `as_of` (default: now); `InputError` where nothing was."""
    documents = _documents(folder)
    if not documents:
        raise InputError(Fault(name, "holds no imports; `wattshed import` makes them"))
    known = [document for document in documents if as_of is None or document.known_at <= as_of]
    if not known:
        first = format_instant(documents[0].known_at)
        raise InputError(
            Fault(name, f"holds nothing that was known at {as_of}; the first import is of {first}")
        )
    return _merged(known)


def _documents(folder: Path) -> list[ImportDocument]:
    documents = []
    for number, path in enumerate(sorted(folder.glob("*.json")), start=1):
        content = read_json(str(path))
        document = parse(ImportDocument, content, path.name)
        if document.number != number or path.name != f"{number:04}.json":
            raise InputError(
                Fault(str(path), f"is import {document.number} where {number} is due; a file is missing")
            )
        documents.append(document)
    return documents


def _check_fit(last: ImportDocument, series: ImportedSeries, known_at: datetime) -> None:
    faults = [
        Fault(
            series.source,
            f"has {what} {found or 'none'}, what is stored has {kept or 'none'}; a series has one",
        )
        for what, found, kept in (
            ("unit", series.unit, last.unit),
            ("basis", series.basis, last.basis),
        )
        if found != kept
    ]
    own, step = (round(item.resolution.total_seconds()) for item in (series, last))
    if max(own, step) % min(own, step):
        faults.append(
            Fault(
                series.source, f"has steps of {own} s, what is stored of {step} s; one must divide the other"
            )
        )
    elif (round(last.times[0].timestamp()) - int(series.starts[0])) % min(own, step):
        faults.append(Fault(series.source, "begins off the grid of what is stored; its times are shifted"))
    if known_at < last.known_at:
        faults.append(
            Fault(
                "--known-at",
                f"{format_instant(known_at)} is before the last import, {format_instant(last.known_at)}; "
                "imports come in the order in which they became known",
            )
        )
    if faults:
        raise InputError(faults)


def _merged(documents: Sequence[ImportDocument]) -> StoredSeries:
    """The newest value of each time, on the finest grid there is: a mean holds in every part of a step."""
    last = documents[-1]
    resolution = min(document.resolution for document in documents)
    columns = tuple(sorted({column for document in documents for column in document.columns}))
    step = round(resolution.total_seconds())
    times = []
    for document in documents:
        at = np.array([round(instant.timestamp()) for instant in document.times], dtype=np.int64)
        times.append((at[:, None] + step * np.arange(document.resolution // resolution)).ravel())
    origin, end = min(int(t.min()) for t in times), max(int(t.max()) for t in times)
    starts = np.arange(origin, end + step, step)
    values = np.full((len(starts), len(columns)), np.nan)
    estimated = np.zeros(len(starts), dtype=bool)
    for document, at in zip(documents, times, strict=True):
        rows = (at - origin) // step
        parts = document.resolution // resolution
        found = _on(columns, document.columns, np.array(document.values, dtype=float)).repeat(parts, axis=0)
        values[rows] = np.nan_to_num(found) if document.kind == "mix" else found
        estimated[rows] = np.repeat(document.estimated, parts)
    digest = hashlib.sha256("".join(document.sha256 for document in documents).encode()).hexdigest()
    return StoredSeries(
        kind=last.kind,
        zone=last.zone,
        unit=last.unit,
        basis=last.basis,
        resolution=resolution,
        starts=starts,
        columns=columns,
        values=values,
        estimated=estimated,
        source=last.source,
        methods=tuple(sorted({method for document in documents for method in document.methods})),
        version=f"import {last.number} of {format_instant(last.known_at)}+{digest[:12]}",
        known_at=last.known_at,
        hash=f"sha256:{digest}",
    )


def _finer(series: ImportedSeries, resolution: timedelta) -> ImportedSeries:
    """The same means on shorter intervals."""
    parts, step = series.resolution // resolution, round(resolution.total_seconds())
    return replace(
        series,
        resolution=resolution,
        starts=(series.starts[:, None] + step * np.arange(parts)).ravel(),
        values=series.values.repeat(parts, axis=0),
        estimated=series.estimated.repeat(parts),
    )


def _on(columns: Sequence[str], own: Sequence[str], values: FloatArray) -> FloatArray:
    """`values` with the columns `columns`; NaN where they are not among `own`."""
    found = np.full((len(values), len(columns)), np.nan)
    for k, column in enumerate(own):
        found[:, list(columns).index(column)] = values[:, k]
    return found


def _known(before: StoredSeries, starts: IntArray, columns: Sequence[str]) -> tuple[FloatArray, BoolArray]:
    """What was stored at `starts`, in these columns, and its flags."""
    step = round(before.resolution.total_seconds())
    row = (starts - before.starts[0]) // step
    inside = (row >= 0) & (row < len(before.starts))
    row = np.where(inside, row, 0)
    old = _on(columns, before.columns, before.values)[row]
    if before.kind == "mix":
        there = ~np.isnan(old).all(axis=1)
        old[there] = np.nan_to_num(old[there])
    old[~inside] = np.nan
    return old, before.estimated[row] & inside


def _text(seconds: float) -> str:
    return format_instant(datetime.fromtimestamp(int(seconds), UTC))
