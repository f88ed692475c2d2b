"""Reading emission factors: the packaged releases, and a city's own table; appending, never overwriting.

Each packaged release is a file of its own that never changes (``factor_releases/N.csv``); release N of the
registry is files 1 to N. A city's table (``factors.csv`` beside ``city.toml``) has the same columns and
grows at its end; version N of it is its rows up to version N.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import (
    KINDS,
    PACKAGED,
    PER_KWH,
    PER_TJ,
    SHARE,
    Basis,
    Factor,
    FactorRegistry,
    Kind,
    contested,
    in_force,
    overlaps,
)
from energy.feeds.documents import file_text, replacing
from energy.feeds.series import table_of

RELEASE = 4
"""The newest packaged release."""
WITHDRAWN = "withdrawn"
"""In place of a value: the factor of this id and first day is no longer to be used."""
REQUIRED = (
    "id",
    "kind",
    "value",
    "unit",
    "gas_basis",
    "basis",
    "source",
    "data_year",
    "publication_year",
    "valid_from",
)
COLUMNS = (
    *REQUIRED,
    "valid_to",
    "zone",
    "operator",
    "menu",
    "technology",
    "renewable",
    "low",
    "high",
    "delivered",
    "estimated",
    "version",
    "note",
)
UNITS: Mapping[str, tuple[str, float]] = {
    "g/kWh": (PER_KWH, 1.0),
    "kg/MWh": (PER_KWH, 1.0),
    "t/GWh": (PER_KWH, 1.0),
    "kg/kWh": (PER_KWH, 1000.0),
    "t/MWh": (PER_KWH, 1000.0),
    "t/kWh": (PER_KWH, 1e6),
    "lbs/MWh": (PER_KWH, 0.45359237),
    "lb/MWh": (PER_KWH, 0.45359237),
    "kg/TJ": (PER_TJ, 1.0),
    "g/GJ": (PER_TJ, 1.0),
    "kg/GJ": (PER_TJ, 1000.0),
    "t/TJ": (PER_TJ, 1000.0),
    "g/MJ": (PER_TJ, 1000.0),
    "kWh/kWh": (SHARE, 1.0),
    "%": (SHARE, 0.01),
}
"""Units a table may use → the unit of the registry and what to multiply by."""
PLAUSIBLE: Mapping[str, tuple[float, float]] = {
    PER_KWH: (0.0, 2000.0),
    PER_TJ: (0.0, 400_000.0),
    SHARE: (0.0, 0.5),
}
SMALLEST_AVERAGE = 2.0
"""g/kWh; no grid or residual mix is below this, so that a smaller one is in kg/kWh."""
_GAS_BASIS = re.compile(r"CO2|CO2e, GWP(20|100)( of AR[4-9])?")
_OWN = "own"


@dataclass(frozen=True)
class FactorTable:
    """A table of factors: its rows, what they withdraw, and the text to hash.

    `lines` holds, per row, its version and its filled cells in order: columns added later change no hash.
    """

    rows: tuple[Factor, ...] = ()
    withdrawn: tuple[tuple[str, date, int], ...] = ()
    lines: tuple[tuple[int, str], ...] = ()

    @property
    def version(self) -> int:
        return max((version for version, _ in self.lines), default=0)

    def up_to(self, version: int) -> FactorTable:
        """The table as it was at `version`."""
        return FactorTable(
            tuple(row for row in self.rows if row.version <= version),
            tuple(key for key in self.withdrawn if key[2] <= version),
            tuple(line for line in self.lines if line[0] <= version),
        )

    @property
    def name(self) -> str:
        digest = hashlib.sha256("\n".join(text for _, text in self.lines).encode())
        return f"{self.version}+{digest.hexdigest()[:12]}"


def load_factors(version: int | None = None, own: FactorTable | None = None) -> FactorRegistry:
    """The packaged factors of release `version` (default: the newest), and the city's `own`.

    `FactorRegistry.version` is ``RELEASE+HASH``, followed by ``, own VERSION+HASH`` where a city has its
    own. Raises `InputError` for releases that do not exist and for factors of one id that overlap.
    """
    release = RELEASE if version is None else version
    if not 1 <= release <= RELEASE:
        raise InputError(Fault("factors", f"no factor has version {release}; known: 1 to {RELEASE}"))
    packaged = [_packaged(number) for number in range(1, release + 1)]
    digest = hashlib.sha256()
    for content, _ in packaged:
        digest.update(content)
    name = f"{release}+{digest.hexdigest()[:12]}"
    factors = in_force(
        (row for _, table in packaged for row in table.rows),
        {(key, day): number for _, table in packaged for key, day, number in table.withdrawn},
    )
    if own is not None and own.lines:
        # the city's word is the later one, whatever its number
        mine = in_force(own.rows, {(key, day): number for key, day, number in own.withdrawn})
        taken = {(factor.id, factor.valid_from) for factor in own.rows}
        taken |= {(key, day) for key, day, _ in own.withdrawn}
        factors = [f for f in factors if (f.id, f.valid_from) not in taken] + mine
        name += f", {_OWN} {own.name}"
    faults = overlaps(factors)
    if faults:
        raise InputError(faults)
    return FactorRegistry(tuple(factors), name)


def factors_named(name: str, own: FactorTable | None = None) -> FactorRegistry:
    """The registry that a report names, down to its bytes; `InputError` where it cannot be had."""
    match = re.fullmatch(r"(\d+)\+[0-9a-f]+(?:, own (\d+)\+[0-9a-f]+)?", name)
    if match is None:
        raise InputError(Fault("factors", f"{name!r} names no version; write it like 2+0123456789ab"))
    mine = None if match[2] is None else (own or FactorTable()).up_to(int(match[2]))
    registry = load_factors(int(match[1]), mine)
    if registry.version != name:
        raise InputError(
            Fault("factors", f"version {name} is asked for, but its rows now make {registry.version}")
        )
    return registry


def factor_history(own: FactorTable | None = None) -> tuple[Factor, ...]:
    """Every version of every factor, packaged ones first."""
    packaged = [row for number in range(1, RELEASE + 1) for row in _packaged(number)[1].rows]
    return (*packaged, *(own.rows if own is not None else ()))


def read_own_factors(path: Path, name: str) -> FactorTable:
    """A city's table of factors; `InputError` with every fault of it."""
    return parse_factors(file_text(path, name), name, origin=name)


def append_factors(target: Path, source: Path) -> FactorTable:
    """Append the rows of `source` to the city's table as its next version; all or nothing.

    `source` needs no column ``version``. Nothing that stood in `target` changes. Raises `InputError` with
    every fault of `source` and of what the two make together; the file is replaced in one step.
    """
    before = read_own_factors(target, target.name) if target.exists() else FactorTable()
    header, old = list[str](), dict[int, dict[str, str]]()
    if target.exists():
        header, old, _ = _cells(file_text(target, target.name), target.name)
    new_header, new, uneven = _cells(file_text(source, source.name), source.name)
    number = str(before.version + 1)
    added = {k: {**row, "version": number} for k, row in new.items()}
    _table([*new_header, "version"], added, uneven, source.name, origin=target.name)
    columns = list(dict.fromkeys([*(header or COLUMNS), *new_header, "version"]))
    text = _written(columns, [*({"version": "1", **row} for row in old.values()), *added.values()])
    after = parse_factors(text, target.name, origin=target.name)
    faults = contested(in_force(after.rows, {(key, day): n for key, day, n in after.withdrawn}))
    if faults:
        raise InputError(faults)
    load_factors(own=after)
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return after


def parse_factors(text: str, name: str, *, origin: str) -> FactorTable:
    """The rows of a table; values converted to the registry's units; `InputError` with every fault."""
    return _table(*_cells(text, name), name, origin=origin)


def _table(
    header: Sequence[str],
    rows: Mapping[int, Mapping[str, str]],
    uneven: Sequence[Fault],
    name: str,
    *,
    origin: str,
) -> FactorTable:
    needed = [column for column in REQUIRED if column != "kind" or origin != PACKAGED]
    unfit = [Fault(name, f"has no column {column!r}; add it") for column in needed if column not in header]
    unfit += [
        Fault(name, f"has an unknown column {column!r}; {nearest(column, COLUMNS)}")
        for column in header
        if column not in COLUMNS
    ]
    faults = [*unfit, *uneven]
    if unfit:
        raise InputError(faults)
    factors, withdrawn, lines = [], [], []
    seen: dict[tuple[str, str, str], int] = {}
    for number, row in rows.items():
        where = f"{name} row {number}" + (f" ({row['id']})" if row.get("id") else "")
        key = (row.get("id", ""), row.get("valid_from", ""), row.get("version", "1"))
        if key in seen:
            faults.append(
                Fault(where, f"repeats row {seen[key]}: one value per id, first day and version; raise it")
            )
        seen[key] = number
        reading = _Row(row, where)
        factor = reading.factor(origin)
        faults += reading.faults
        if factor is None:
            continue
        lines.append(
            (factor.version, json.dumps([[k, row[k]] for k in COLUMNS if row.get(k)], ensure_ascii=False))
        )
        if row["value"] == WITHDRAWN:
            withdrawn.append((factor.id, factor.valid_from, factor.version))
        else:
            factors.append(factor)
    gone = {(key, day): number for key, day, number in withdrawn}
    faults += overlaps(in_force(factors, gone))
    if faults:
        raise InputError(faults)
    return FactorTable(tuple(factors), tuple(withdrawn), tuple(lines))


class _Row:
    """One row being read; `faults` collects what is wrong with it."""

    def __init__(self, row: Mapping[str, str], where: str) -> None:
        self.row, self.where = row, where
        self.faults: list[Fault] = []

    def factor(self, origin: str) -> Factor | None:
        row = self.row
        kind, unit = self._kind(), self._unit()
        withdrawn = row["value"] == WITHDRAWN
        value = 0.0 if withdrawn else self._number("value", unit, needed=True)
        low, high = self._number("low", unit), self._number("high", unit)
        basis: Basis = "direct" if row["basis"] == "direct" else "life-cycle"
        if row["basis"] not in ("direct", "life-cycle"):
            self._fault(f"basis is {row['basis']!r}; give direct or life-cycle")
        if not _GAS_BASIS.fullmatch(row["gas_basis"]) and unit != SHARE:
            self._fault(f"gas_basis is {row['gas_basis']!r}; CO2, or CO2e with its set: CO2e, GWP100 of AR5")
        for column in ("id", "source"):
            if not row[column].strip():
                self._fault(f"{column} is empty; a factor without it cannot be cited")
        for column in ("renewable", "estimated", "delivered"):
            if row.get(column, "") not in ("", "true", "false"):
                self._fault(f"{column} is {row[column]!r}; give true or false")
        valid_from, valid_to = self._date("valid_from"), self._date("valid_to")
        if valid_from is not None and valid_to is not None and valid_to < valid_from:
            self._fault(f"valid_to {valid_to} is before valid_from {valid_from}; swap them")
        if row.get("estimated") == "true" and not row.get("note"):
            self._fault("is estimated without a note; say how it came about")
        data_year, published = self._whole("data_year"), self._whole("publication_year")
        version = self._whole("version") if row.get("version") else 1
        self._check_place(kind)
        if value is not None and unit is not None and not withdrawn:
            self._check_value(kind, unit, value, low, high)
        if self.faults or kind is None or unit is None or value is None or valid_from is None:
            return None
        return Factor(
            id=row["id"],
            technology=row.get("technology", ""),
            renewable=row.get("renewable") == "true",
            value=value,
            low=low,
            high=high,
            unit=unit,
            gas_basis=row["gas_basis"],
            basis=basis,
            estimated=row.get("estimated") == "true",
            source=row["source"],
            data_year=data_year,
            publication_year=published,
            valid_from=valid_from,
            version=version,
            note=row.get("note", ""),
            kind=kind,
            valid_to=valid_to,
            zone=row.get("zone", ""),
            operator=row.get("operator", ""),
            menu=row.get("menu", ""),
            delivered=row.get("delivered") == "true",
            origin=origin,
        )

    def _fault(self, message: str) -> None:
        self.faults.append(Fault(self.where, message))

    def _kind(self) -> Kind | None:
        written = self.row.get("kind")
        if written is None:  # release 1 has no such column
            if self.row["unit"] == PER_TJ:
                return "fuel"
            return "grid" if self.row["technology"].startswith("grid_") else "generation"
        for kind in KINDS:
            if kind == written:
                return kind
        self._fault(f"kind is {written!r}; {nearest(written, KINDS)}")
        return None

    def _unit(self) -> str | None:
        written = self.row["unit"]
        if written not in UNITS:
            self._fault(f"unit is {written!r}; give one of {', '.join(UNITS)}")
            return None
        return UNITS[written][0]

    def _number(self, column: str, unit: str | None, *, needed: bool = False) -> float | None:
        written = self.row.get(column, "")
        if not written and not needed:
            return None
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._fault(f"{column} is {written!r}; a finite number is needed")
            return None
        scale = 1.0 if unit is None else UNITS[self.row["unit"]][1]
        # as written where nothing is converted; else to the digits that were written
        return value if scale == 1.0 else float(f"{value * scale:.12g}")

    def _whole(self, column: str) -> int:
        try:
            return int(self.row[column])
        except ValueError:
            self._fault(f"{column} is {self.row[column]!r}; a whole number is needed")
            return 0

    def _date(self, column: str) -> date | None:
        written = self.row.get(column, "")
        if not written and column == "valid_to":
            return None
        try:
            return date.fromisoformat(written)
        except ValueError:
            self._fault(f"{column} is {written!r}; write it like 2024-04-01")
            return None

    def _check_place(self, kind: Kind | None) -> None:
        row = self.row
        if "kind" not in row:
            return
        needed = {"grid": "zone", "residual": "zone", "losses": "zone", "supplier": "operator"}
        column = needed.get(kind or "", "technology")
        if kind is not None and not row.get(column):
            self._fault(f"{column} is empty; a factor of kind {kind} needs it")

    def _check_value(
        self, kind: Kind | None, unit: str, value: float, low: float | None, high: float | None
    ) -> None:
        row = self.row
        if kind is not None and unit not in _units_of(kind):
            self._fault(f"unit is {row['unit']!r}; kind {kind} needs one like {' or '.join(_units_of(kind))}")
            return
        least, most = PLAUSIBLE[unit]
        if not least <= value <= most:
            others = [
                name
                for name, (target, scale) in UNITS.items()
                if target == unit and least < float(row["value"]) * scale <= most
            ]
            remedy = f"; is it in {' or '.join(others)}?" if others else "; check its sign and unit"
            self._fault(f"is {value:g} {unit}, plausible is {least:g} to {most:g}{remedy}")
        elif kind in ("grid", "residual") and 0 < value < SMALLEST_AVERAGE:
            self._fault(f"is {value:g} {unit}; no grid is that clean: is it in kg/kWh or t/MWh?")
        if low is not None and low > value:
            self._fault(f"low {low:g} is above the value {value:g}")
        if high is not None and high < value:
            self._fault(f"high {high:g} is below the value {value:g}")


@cache
def _packaged(release: int) -> tuple[bytes, FactorTable]:
    content = files("energy.feeds").joinpath("factor_releases", f"{release}.csv").read_bytes()
    name = f"factor_releases/{release}.csv"
    return content, parse_factors(content.decode("utf-8"), name, origin=PACKAGED)


def _units_of(kind: Kind) -> tuple[str, ...]:
    if kind == "fuel":
        return (PER_TJ,)
    return (PER_KWH, SHARE) if kind == "losses" else (PER_KWH,)


def _cells(text: str, name: str) -> tuple[list[str], dict[int, dict[str, str]], list[Fault]]:
    header, rows, uneven = table_of(text, name)
    cells = {
        number: {column: cell.strip() for column, cell in zip(header, row, strict=True)}
        for number, row in rows.items()
    }
    return header, cells, uneven


def _written(columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys(columns))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
