"""The one shape every importer returns, and what all of them check: units, duplicates, gaps, plausibility.

Times are starts of intervals in UTC. A gap is a row of NaN: what fills it is decided, and flagged, where
the series is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import numpy as np

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.time import format_duration, format_instant
from energy.feeds.series import runs, shortened

SeriesKind = Literal["intensity", "marginal", "mix"]
"""Average intensity (g/kWh), marginal intensity (g/kWh), or power by technology (MW)."""
KINDS: tuple[SeriesKind, ...] = get_args(SeriesKind)
CARBON = "carbon_g_per_kwh"
MARGINAL = "marginal_g_per_kwh"
G_PER_LB = 453.59237
"""International avoirdupois pound, exact."""
INTENSITY_UNITS: Mapping[str, float] = {
    "g/kWh": 1.0,
    "kg/MWh": 1.0,
    "t/GWh": 1.0,
    "kg/kWh": 1e3,
    "t/MWh": 1e3,
    "lbs/MWh": G_PER_LB / 1e3,
}
POWER_UNITS: Mapping[str, float] = {"MW": 1.0, "kW": 1e-3, "GW": 1e3, "万kW": 10.0, "%": 1.0}
HIGHEST_G_PER_KWH = 2000.0
LOWEST_MEAN_G_PER_KWH = 2.0
"""No grid is below this on average; what is stands in kg/kWh."""
LARGEST_MW = 3e6
"""More than all the plants of any country; what is above stands in kW."""
EXCHANGED = ("imports", "storage")
"""Parts of a mix without a technology of their own: what other zones and storages made before."""


@dataclass(frozen=True)
class ImportedSeries:
    """A series as a source gives it.

    Attributes:
        zone: whose electricity it is. unit: ``g/kWh`` or ``MW`` (``%`` where a source gives shares only).
        basis: ``life-cycle`` or ``direct``; empty where the source does not say or it is a mix.
        resolution: of every interval. starts: of the intervals, seconds since 1970 UTC, without holes,
            shape (rows,).
        columns: ``carbon_g_per_kwh``, ``marginal_g_per_kwh`` or technologies.
        values: shape (rows, len(columns)); NaN where the source has none. estimated: shape (rows,).
        published_at: when the source made the file; None where it does not say.
        methods: how the source estimated what it marks so.
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
    published_at: datetime | None = None
    methods: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def gaps(self) -> list[tuple[datetime, datetime]]:
        """The spans without a value, half-open."""
        missing = np.isnan(self.values).all(axis=1)
        step = round(self.resolution.total_seconds())
        return [
            (_instant(int(self.starts[first])), _instant(int(self.starts[end - 1]) + step))
            for first, end in runs(missing)
        ]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller says of a file that the file may not say itself; None: the file must.

    Attributes:
        labels: whether times name the start or the end of an interval.
        technology: of a file with the output of one technology.
        technologies: those a mix by our own names may have; default: those of the packaged factors.
        time_zone: of local times without offset (IANA name).
    """

    zone: str | None = None
    unit: str | None = None
    labels: Literal["start", "end"] | None = None
    technology: str | None = None
    time_zone: str | None = None
    technologies: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to import: its name and its bytes."""

    name: str
    content: bytes


Importer = Callable[[Sequence[SourceFile], SeriesKind, Options], ImportedSeries]


@dataclass
class Samples:
    """Values being collected, one interval at a time, from one file or several.

    `faults` and `notices` gather what is wrong and what is merely worth knowing; `series` ends the
    collection. `technologies` maps the source's names of a mix to ours; parts of one technology add up.
    With `whole_rows` an interval that lacks a technology is a gap, since a source that means zero writes
    it; without, a part that is left out ran at zero.
    """

    kind: SeriesKind
    zone: str
    source: str
    unit: str
    basis: str = ""
    technologies: Mapping[str, str] = field(default_factory=dict)
    whole_rows: bool = True
    published_at: datetime | None = None
    faults: list[Fault] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)
    _found: dict[int, dict[str, float]] = field(default_factory=dict)
    _estimated: set[int] = field(default_factory=set)
    _conflicts: list[Fault] = field(default_factory=list)
    _repeated: int = 0

    def add(self, start: datetime, column: str, value: float, where: str, *, estimated: bool = False) -> None:
        """One value. The same one again is merged; another one for the same time is a fault."""
        at = round(start.timestamp())
        row = self._found.setdefault(at, {})
        if column in row:
            self._repeated += 1
            if row[column] != value:
                self._conflicts.append(
                    Fault(
                        where,
                        f"{format_instant(start)} has {value:g} for {column} and {row[column]:g} before; "
                        "where one file revises the other, import them one after the other",
                    )
                )
        row[column] = value
        if estimated:
            self._estimated.add(at)

    def missing(self, start: datetime) -> None:
        """An interval the file has, without a value."""
        self._found.setdefault(round(start.timestamp()), {})

    def same_zone(self, zone: str, where: str) -> None:
        """`InputError` where a further part is of another zone."""
        if zone != self.zone:
            raise InputError(
                Fault(where, f"is of {zone}, what came before is of {self.zone}; import one zone at a time")
            )

    def published(self, instant: datetime) -> None:
        """The newest time at which a part was published."""
        self.published_at = max(self.published_at or instant, instant)

    def series(self, resolution: timedelta | None = None) -> ImportedSeries:
        """All of it on one grid of `resolution` (default: the smallest distance); `InputError` for faults."""
        faults = [*self.faults, *shortened(self._conflicts, self.source)]
        names = sorted({column for row in self._found.values() for column in row})
        if self.kind == "mix":
            faults += [
                Fault(self.source, f"unknown source {name!r}; {nearest(name, self.technologies)}")
                for name in names
                if name not in self.technologies
            ]
        if not faults and not any(self._found.values()):
            faults = [Fault(self.source, f"holds no values of a series {self.kind!r}")]
        if faults:
            raise InputError(faults)
        times = np.array(sorted(self._found), dtype=np.int64)
        distances = np.diff(times)
        if resolution is None:
            if not len(times) > 1:
                raise InputError(Fault(self.source, "has one time only; two are needed to know the step"))
            resolution = timedelta(seconds=int(distances.min()))
        step = round(resolution.total_seconds())
        off = [
            Fault(
                self.source,
                f"{format_instant(_instant(int(time)))} is off the grid of {format_duration(resolution)} "
                f"from {format_instant(_instant(int(times[0])))}",
            )
            for time in times[(times - times[0]) % step != 0]
        ]
        if off:
            raise InputError(shortened(off, self.source))
        starts = np.arange(times[0], times[-1] + step, step)
        values = np.full((len(starts), len(names)), np.nan)
        position = {name: k for k, name in enumerate(names)}
        for time, row in self._found.items():
            at = (time - int(times[0])) // step
            for column, value in row.items():
                values[at, position[column]] = value
        columns = tuple(names)
        if self.kind == "mix":
            columns = tuple(sorted({self.technologies[name] for name in names}))
            made = np.array([self.technologies[name] not in EXCHANGED for name in names])
            known = ~np.isnan(values)
            known = known[:, made].all(axis=1) if self.whole_rows else known.any(axis=1)
            belongs = np.array([[self.technologies[name] == column for column in columns] for name in names])
            values = np.where(known[:, None], np.nan_to_num(values) @ belongs, np.nan)
        estimated = np.isin(starts, list(self._estimated))
        notices = list(self.notices)
        if self._repeated:
            notices.append(f"{self._repeated} repeated values are identical and merged")
        found = ImportedSeries(
            kind=self.kind,
            zone=self.zone,
            unit=self.unit,
            basis=self.basis,
            resolution=resolution,
            starts=starts,
            columns=columns,
            values=values,
            estimated=estimated,
            source=self.source,
            published_at=self.published_at,
            methods=tuple(sorted(self.methods)),
            notices=tuple(dict.fromkeys(notices)),
        )
        check_plausible(found)
        return found


def check_plausible(series: ImportedSeries) -> None:
    """`InputError` for values only a wrong unit or a broken file explains."""
    faults = []
    for column, values in zip(series.columns, series.values.T, strict=True):
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        low, high, mean = float(known.min()), float(known.max()), float(known.mean())
        where = f"{series.source}: {column}"
        at = format_instant(_instant(int(series.starts[int(np.nanargmin(values))])))
        if series.kind == "mix":
            if low < 0 and column not in EXCHANGED:
                faults.append(Fault(where, f"is {low:g} {series.unit} at {at}; generation is not negative"))
            if high > (100.5 if series.unit == "%" else LARGEST_MW):
                faults.append(Fault(where, f"is up to {high:g} {series.unit}; check its unit"))
        elif low < 0 or high > HIGHEST_G_PER_KWH:
            likely = [
                name
                for name, scale in INTENSITY_UNITS.items()
                if low >= 0 and 0 < high * scale <= HIGHEST_G_PER_KWH and mean * scale > LOWEST_MEAN_G_PER_KWH
            ]
            hint = f"; is it in {' or '.join(likely)}?" if likely else f"; the lowest is at {at}: check it"
            faults.append(
                Fault(
                    where,
                    f"is {low:g} to {high:g} g/kWh, possible is 0 to {HIGHEST_G_PER_KWH:g}{hint}",
                )
            )
        elif mean < LOWEST_MEAN_G_PER_KWH:
            faults.append(
                Fault(
                    where,
                    f"is {mean:.3g} g/kWh on average; no grid is that clean: is it in kg/kWh (--unit)?",
                )
            )
    if faults:
        raise InputError(faults)


def column_of(kind: SeriesKind) -> str:
    """The one column of an intensity."""
    return MARGINAL if kind == "marginal" else CARBON


def scale_of(unit: str, units: Mapping[str, float], where: str) -> float:
    """What to multiply by; `InputError` for an unknown unit."""
    if unit not in units:
        raise InputError(Fault(where, f"unit is {unit!r}; {nearest(unit, units)}"))
    return units[unit]


def agreed(asked: str | None, stated: str | None, what: str, where: str) -> str:
    """What the caller and the file both say; `InputError` where they differ or neither says."""
    if asked and stated and asked != stated:
        raise InputError(Fault(where, f"states {what} {stated!r}, not {asked!r}; leave --{what} out"))
    found = stated or asked
    if not found:
        raise InputError(Fault(where, f"does not state its {what}; give --{what}"))
    return found


def number(value: object, where: str, faults: list[Fault]) -> float | None:
    """A finite number, or None (and a fault) where `value` is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    faults.append(Fault(where, f"is {value!r}; a number is needed"))
    return None


def only(kind: SeriesKind, possible: Sequence[SeriesKind], source: str) -> None:
    """`InputError` unless the source has series of this kind."""
    if kind not in possible:
        raise InputError(
            Fault("--series", f"{source} has no series {kind!r}, only {' and '.join(map(repr, possible))}")
        )


def decoded(file: SourceFile, *encodings: str) -> str:
    """The text in the first encoding that fits; `InputError` where none does."""
    for encoding in encodings:
        try:
            return file.content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(Fault(file.name, f"is in none of the encodings {', '.join(encodings)}"))


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
