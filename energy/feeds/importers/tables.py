"""Importers of tables: area CSV of the Japanese transmission operators, and plain CSV."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from energy.domain.errors import Fault, InputError
from energy.domain.time import parse_instant
from energy.feeds.factors import load_factors
from energy.feeds.importers.imported import (
    CARBON,
    EXCHANGED,
    INTENSITY_UNITS,
    MARGINAL,
    POWER_UNITS,
    ImportedSeries,
    Options,
    Samples,
    SeriesKind,
    SourceFile,
    agreed,
    column_of,
    decoded,
    only,
    scale_of,
)

JST = ZoneInfo("Asia/Tokyo")
JAPAN: Mapping[str, str] = {
    "原子力": "nuclear",
    "火力": "other",
    "火力(LNG)": "gas",
    "火力(石炭)": "coal",
    "火力(石油)": "oil",
    "火力(その他)": "other",
    "水力": "hydro",
    "地熱": "geothermal",
    "バイオマス": "biomass",
    "太陽光発電実績": "pv",
    "太陽光": "pv",
    "風力発電実績": "wind",
    "風力": "wind",
    "揚水": "storage",
    "蓄電池": "storage",
    "連系線": "imports",
    "その他": "other",
}
"""Columns of the area tables → technology."""
_JAPAN_IGNORED = ("エリア需要", "合計", "制御量", "抑制量")
_JAPAN_VARIANTS = ("太陽光", "風力", "揚水", "蓄電池", "連系線")
"""Words that say what a column is: 太陽光(実績), 揚水発電, 連系線潮流 and the like."""
_JAPAN_UNITS = {
    "MW": "MW",
    "MW平均": "MW",
    "万kW": "万kW",
    "万ｋＷ": "万kW",
    "kW": "kW",
    "MWh": "MWh",
    "万kWh": "万kWh",
    "kWh": "kWh",
}
_JAPAN_ENERGY = {"MWh": "MW", "万kWh": "万kW", "kWh": "kW"}
"""Energy of an interval, in the older tables of several operators → the power it is the mean of."""
_JAPAN_HALVES = ("実績", "抑制量", "制御量")
"""Columns whose source stands in the line above the header."""
_COLUMN_UNIT = re.compile(r"(.*?)\s*[\[〔(]([^\[〔(]+)[\]〕)]")
_UNIT_LINE = re.compile(r"単位\s*[\[［(（]\s*([^\]］)）]+?)\s*[\]］)）]")
_JAPAN_DATE = re.compile(r"(\d{4})[/-]?(\d{1,2})[/-]?(\d{1,2})")
_JAPAN_TIME = re.compile(r"(\d{1,2}):(\d{2})")
_UNIT_IN_NAME = re.compile(r"^(.*?)\s*[\[(](.+)[\])]$")


def japan_area_csv(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """エリア需給実績 of TEPCO and the other Japanese transmission operators.

    30 minutes or an hour; Shift-JIS or UTF-8; MW, 万kW or, in tables of before 2024, MWh, as the line above
    the header or its columns say. Date and time are two columns or one (``DATE_TIME``). Times name the start
    of an interval, or its end where a day ends at 24:00 (Kyushu).
    """
    only(kind, ("mix",), "a Japanese area CSV")
    samples = Samples(
        kind,
        agreed(options.zone, None, "zone", files[0].name),
        "area supply and demand of the Japanese transmission operators",
        "MW",
        technologies=JAPAN,
    )
    for file in files:
        text = decoded(file, "utf-8-sig", "cp932")
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if any(row)]
        heads = [[cell.upper() for cell in row[:2]] for row in rows[:6]]
        head = next(
            (k for k, row in enumerate(heads) if row == ["DATE", "TIME"] or row[0] == "DATE_TIME"), None
        )
        if head is None:
            raise InputError(Fault(file.name, "has no header DATE, TIME, … in its first lines"))
        if heads[head][0] == "DATE_TIME":
            rows = [[*row[0].partition(" ")[::2], *row[1:]] for row in rows]
        stated = _UNIT_LINE.search(" ".join(cell for row in rows[:head] for cell in row))
        header, units = _japan_header(rows[head], rows[head - 1] if head else [])
        if len(units) > 1:
            raise InputError(
                Fault(file.name, f"states the units {sorted(units)}; all columns need the same one")
            )
        said = next(iter(units), stated[1] if stated else None)
        unit = agreed(options.unit, _JAPAN_UNITS.get(said, said) if said else None, "unit", file.name)
        scale = scale_of(_JAPAN_ENERGY.get(unit, unit), POWER_UNITS, file.name)
        used = {k: _japan_column(column) for k, column in enumerate(header) if k > 1 and column}
        body = rows[head + 1 :]
        times = [_japan_time(row, f"{file.name} row {head + 2 + k}", samples) for k, row in enumerate(body)]
        known = [time for time in times if time is not None]
        step = min((b - a for a, b in pairwise(known) if b > a), default=timedelta(minutes=30))
        if unit in _JAPAN_ENERGY:
            scale /= step / timedelta(hours=1)
        shift = step if _names_ends(body, file, options) else timedelta(0)
        for k, (row, time) in enumerate(zip(body, times, strict=True)):
            if time is None:
                continue
            where = f"{file.name} row {head + 2 + k}"
            start = (time - shift).astimezone(UTC)
            samples.missing(start)
            for position, column in used.items():
                if column is None:
                    continue
                cell = row[position].replace(",", "") if position < len(row) else ""
                if cell in ("", "-", "－", "ー"):
                    continue
                try:
                    value = float(cell)
                except ValueError:
                    samples.faults.append(Fault(where, f"{column} is {cell!r}; a number is needed"))
                    continue
                samples.add(start, column, value * scale, where)
    return samples.series()


def plain_csv(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """CSV with ``time`` first: RFC 3339 with offset, or local times of a named time zone.

    Of an intensity the next column holds the values, its unit in the header (``intensity [kg/MWh]``) or
    given; of a mix every column is a technology of the factor registry. ``estimated`` is true or false.
    In a repeated local hour the first pass is summer time.
    """
    samples: Samples | None = None
    for file in files:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(decoded(file, "utf-8-sig", "cp932")))
        ]
        rows = [row for row in rows if any(row)]
        if not rows or rows[0][0] != "time" or len(rows[0]) < 2:
            raise InputError(Fault(file.name, "has no header that begins with time and a column of values"))
        header = rows[0]
        named = [_UNIT_IN_NAME.match(column) for column in header]
        names = [match[1] if match else column for match, column in zip(named, header, strict=True)]
        units = {match[2] for match in named if match}
        if len(units) > 1:
            raise InputError(
                Fault(file.name, f"states the units {sorted(units)}; all columns need the same one")
            )
        values = [k for k, name in enumerate(names) if k and name != "estimated"]
        if kind != "mix" and len(values) != 1:
            raise InputError(
                Fault(
                    file.name,
                    f"has {len(values)} columns of values; an intensity has one, a mix is --series mix",
                )
            )
        stated = next(iter(units), None) or {CARBON: "g/kWh", MARGINAL: "g/kWh"}.get(names[values[0]])
        unit = agreed(options.unit, stated, "unit", file.name)
        scale = scale_of(unit, POWER_UNITS if kind == "mix" else INTENSITY_UNITS, file.name)
        samples = samples or Samples(
            kind,
            agreed(options.zone, None, "zone", file.name),
            file.name,
            ("%" if unit == "%" else "MW") if kind == "mix" else "g/kWh",
            technologies={name: name for name in (*_technologies(options), *EXCHANGED)},
        )
        clock = _Clock(options.time_zone)
        for k, row in enumerate(rows[1:], start=2):
            where = f"{file.name} row {k}"
            if len(row) != len(header):
                samples.faults.append(Fault(where, f"has {len(row)} values, the header {len(header)}"))
                continue
            try:
                start = clock.utc(row[0])
            except ValueError as error:
                samples.faults.append(Fault(where, str(error)))
                continue
            flag = row[names.index("estimated")] if "estimated" in names else "false"
            if flag not in ("true", "false"):
                samples.faults.append(Fault(where, f"estimated is {flag!r}; give true or false"))
            if flag == "true":
                samples.methods.add("as the file says")
            samples.missing(start)
            for position in values:
                if row[position] in ("", "NaN", "nan"):
                    continue
                try:
                    value = float(row[position])
                except ValueError:
                    samples.faults.append(
                        Fault(where, f"{names[position]} is {row[position]!r}; a number is needed")
                    )
                    continue
                column = names[position] if kind == "mix" else column_of(kind)
                samples.add(start, column, value * scale, where, estimated=flag == "true")
    assert samples is not None
    return samples.series()


class _Clock:
    """Times of a file in order, to UTC; in a repeated local hour the second pass comes after the first."""

    def __init__(self, time_zone: str | None) -> None:
        self.zone = None
        if time_zone is not None:
            try:
                self.zone = ZoneInfo(time_zone)
            except (ZoneInfoNotFoundError, ValueError):
                raise InputError(
                    Fault("--time-zone", f"{time_zone!r} is not a time zone; write one like Europe/Berlin")
                ) from None
        self.last: datetime | None = None

    def utc(self, text: str) -> datetime:
        """The instant; `ValueError` for times that do not exist or have no zone."""
        if self.zone is None:
            return parse_instant(text)
        local = datetime.fromisoformat(text)
        if local.tzinfo is not None:
            return local.astimezone(UTC)
        first, second = (local.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first.astimezone(self.zone).replace(tzinfo=None) != local:
            raise ValueError(f"{text!r} does not exist in {self.zone.key}: the clocks go forward there")
        instant = second if self.last is not None and first <= self.last < second else first
        self.last = instant
        return instant


def _technologies(options: Options) -> frozenset[str]:
    if options.technologies is not None:
        return options.technologies
    return load_factors().technologies


def _japan_column(name: str) -> str | None:
    """The column of `JAPAN` that `name` is; None for what is no generation, `name` where none is known."""
    name = name.replace("（", "(").replace("）", ")").replace(" ", "").replace("　", "")
    if any(word in name for word in _JAPAN_IGNORED):
        return None
    return name if name in JAPAN else next((word for word in _JAPAN_VARIANTS if word in name), name)


def _japan_time(row: Sequence[str], where: str, samples: Samples) -> datetime | None:
    day = _JAPAN_DATE.fullmatch(row[0]) if row else None
    clock = _JAPAN_TIME.fullmatch(row[1]) if len(row) > 1 else None
    try:
        if day is None or clock is None or int(clock[1]) > 24 or int(clock[2]) > 59:
            raise ValueError
        start = datetime(int(day[1]), int(day[2]), int(day[3]), tzinfo=JST)
    except ValueError:
        samples.faults.append(Fault(where, f"{row[:2]} is not a date and time like 2024/4/1, 0:30"))
        return None
    return start + timedelta(hours=int(clock[1]), minutes=int(clock[2]))


def _japan_header(header: Sequence[str], above: Sequence[str]) -> tuple[list[str], set[str]]:
    """The names of the columns, each with its half from the line above, and the units that they state."""
    names, units = [], set()
    for k, column in enumerate(header):
        name = unicodedata.normalize("NFKC", column)
        found = _COLUMN_UNIT.fullmatch(name)
        if found is not None and found[2] in _JAPAN_UNITS:
            name = found[1]
            units.add(found[2])
        names.append(above[k] + name if name in _JAPAN_HALVES and k < len(above) else name)
    return names, units


def _names_ends(rows: Sequence[Sequence[str]], file: SourceFile, options: Options) -> bool:
    """Whether times name the ends of intervals, not their starts."""
    clocks = {row[1].zfill(5) for row in rows if len(row) > 1}
    labels = options.labels or (
        {(True, False): "end", (False, True): "start"}.get(("24:00" in clocks, "00:00" in clocks))
    )
    if labels is None:
        raise InputError(
            Fault(
                file.name,
                "has neither a day that begins at 0:00 nor one that ends at 24:00, or both; say whether its "
                "times name starts or ends of intervals: --labels",
            )
        )
    return labels == "end"
