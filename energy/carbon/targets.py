"""Reduction targets: the path to them, the gap to the path, and what is left of the budget.

A path is linear between its milestones, target(t) = B − (B − T)(t − t_B) / (t_T − t_B), by the year that
the figures are for (Japan: fiscal years). The budget is the sum of the path over the years.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from energy.carbon.gpc import SECTORS, SUB_SECTOR_OF_CLASS, SUB_SECTORS
from energy.domain.documents import Document, Identifier, Items, faults_of, nearest
from energy.domain.errors import Fault, InputError
from energy.domain.reading import contradictions, readable

Quantity = Literal["emissions", "renewable_share"]
Year = Annotated[int, Field(ge=1900, le=2200)]


@dataclass(frozen=True)
class Preset:
    """A published target: milestones as the share of the base year's emissions that may be left.

    `note` says what the published text does not give in figures.
    """

    id: str
    base_year: int | None
    milestones: tuple[tuple[int, float], ...]
    source: str
    note: str = ""


PRESETS: Mapping[str, Preset] = {
    preset.id: preset
    for preset in (
        Preset(
            "japan",
            2013,
            ((2030, 0.54), (2035, 0.40), (2040, 0.27), (2050, 0.0)),
            "Japan's NDC of 2021-10-22 (FY2030: −46 %) and of 2025-02-18 (FY2035: −60 %, FY2040: −73 %); Act "
            "on Promotion of Global Warming Countermeasures, article 2-2 (net zero by 2050)",
            "fiscal years, April to March",
        ),
        Preset(
            "eu",
            1990,
            ((2030, 0.45), (2050, 0.0)),
            "European Climate Law, Regulation (EU) 2021/1119, articles 2 and 4",
            "net emissions",
        ),
        Preset(
            "uk",
            1990,
            ((2030, 0.32), (2035, 0.19), (2050, 0.0)),
            "UK NDC of 2020-12-12 (2030: −68 %) and of 2025-01-30 (2035: −81 %); Climate Change Act 2008 as "
            "amended in 2019 (net zero by 2050)",
        ),
        Preset(
            "china",
            None,
            ((2060, 0.0),),
            "China's NDC of 2021-10-28: CO2 peaks before 2030, carbon neutrality before 2060",
            "no level of the peak is published: give the city's own base year and emissions, at its peak",
        ),
    )
}


class Milestone(Document):
    """What is to be reached in `year`: a `reduction` of the base (0.46 is −46 %), or a `value`, tonnes of
    CO2e or a renewable share from 0 to 1."""

    year: Year
    reduction: float | None = Field(default=None, ge=0, le=1)
    value: float | None = Field(default=None, ge=0)


class TargetEntry(Document):
    """A target of the city's own, or a preset made the city's own by its base.

    `base` is what was emitted in `base_year` (t CO2e), or the renewable share then (0 to 1). It is for one
    district, one sector (``residential``, or of the GPC: ``I``, ``I.1``), or the city if neither is given.
    """

    id: Identifier
    title: str = ""
    quantity: Quantity = "emissions"
    preset: str | None = None
    base_year: Year | None = None
    base: float = Field(ge=0)
    milestones: Items[Milestone] = ()
    district: Identifier | None = None
    sector: Identifier | None = None
    source: str = ""


class TargetsDocument(Document):
    """``targets.toml``: a list of `target`."""

    target: Items[TargetEntry] = ()


@dataclass(frozen=True)
class Target:
    """A target with its path: `years` ascending, `values` in kg CO2e, or renewable shares."""

    id: str
    title: str
    quantity: Quantity
    years: tuple[int, ...]
    values: tuple[float, ...]
    district: str | None
    sector: str | None
    source: str
    note: str = ""

    def path(self, year: float) -> float:
        """What the path allows (or, for a share, asks) in `year`; NaN before the base year, the last
        milestone's value after it."""
        if year < self.years[0]:
            return float("nan")
        return float(np.interp(year, self.years, self.values))

    def gap(self, year: int, value: float) -> float:
        """Value − path: for emissions + is too much, for shares + is more than asked."""
        return value - self.path(year)

    def budget(self, emitted_kg: Mapping[int, float], first_year: int | None = None) -> Budget:
        """What of the path's budget is left, from `first_year` (default: the year after the base) on.

        `emitted_kg` are the emissions of past years, the running one's forecast among them if wanted.

        Raises:
            InputError: for a share; `first_year` outside the path; a year between `first_year` and the
                last one given that is missing.
        """
        if self.quantity != "emissions":
            raise InputError(Fault(f"target {self.id!r}", "is for a share; only emissions have a budget"))
        first = self.years[0] + 1 if first_year is None else first_year
        if not self.years[0] <= first <= self.years[-1]:
            raise InputError(
                Fault(
                    f"target {self.id!r}",
                    f"has no path in {first}, only from {self.years[0]} to {self.years[-1]}",
                )
            )
        spent = {year: kg for year, kg in emitted_kg.items() if first <= year <= self.years[-1]}
        last = max(spent, default=first - 1)
        lacking = [year for year in range(first, last + 1) if year not in spent]
        if lacking:
            raise InputError(
                Fault(
                    f"target {self.id!r}",
                    f"emissions of {', '.join(map(str, lacking))} are missing; enter them, or let the "
                    f"budget start in {max(lacking) + 1}",
                )
            )
        total = sum(self.path(year) for year in range(first, self.years[-1] + 1))
        return Budget(first, self.years[-1], total, sum(spent.values()))


@dataclass(frozen=True, slots=True)
class Budget:
    """A carbon budget: the path's total from `first_year` to `last_year`, and what was emitted so far."""

    first_year: int
    last_year: int
    total_kg: float
    emitted_kg: float

    @property
    def left_kg(self) -> float:
        """Total − emitted: negative once it is overdrawn."""
        return self.total_kg - self.emitted_kg


def read_targets(document: Any, districts: Collection[str]) -> tuple[Target, ...]:
    """The targets of a `TargetsDocument` for a city of these `districts`, with their paths; `InputError` with
    every fault of every entry: what one field has wrong hides no contradiction between others."""
    try:
        entries = TargetsDocument.model_validate(document).target
    except ValidationError as error:
        faults = faults_of(error, TargetsDocument)
        given = document.get("target") if isinstance(document, Mapping) else None
        items = given if isinstance(given, list) else []
        faults += contradictions(
            faults,
            lambda stand_ins: _faults([readable(TargetEntry, item, stand_ins) for item in items], districts),
        )
        raise InputError(faults) from None
    faults = _faults(entries, districts)
    if faults:
        raise InputError(faults)
    return tuple(_target(entry) for entry in entries)


def _faults(entries: Sequence[TargetEntry | None], districts: Collection[str]) -> list[Fault]:
    """What contradicts itself or is not known; None is an entry that cannot be read."""
    faults: list[Fault] = []
    seen: set[str] = set()
    for k, entry in enumerate(entries):
        if entry is None:
            continue
        at = f"target[{k}]"
        if entry.id in seen:
            faults.append(Fault(f"{at}.id", f"{entry.id!r} is used twice; give each target its own id"))
        seen.add(entry.id)
        if entry.preset is not None and entry.preset not in PRESETS:
            faults.append(Fault(f"{at}.preset", f"{entry.preset!r}: {nearest(entry.preset, PRESETS)}"))
        faults += [*_entry_faults(at, entry), *_place_faults(at, entry, districts)]
    return faults


def _base_of(entry: TargetEntry) -> tuple[Preset | None, int | None]:
    """Its preset and its base year."""
    preset = PRESETS.get(entry.preset or "")
    return preset, entry.base_year or (preset.base_year if preset else None)


def _target(entry: TargetEntry) -> Target:
    """An entry without faults, with its path."""
    preset, base_year = _base_of(entry)
    assert base_year is not None
    base = entry.base * 1000.0 if entry.quantity == "emissions" else entry.base
    points = [(base_year, base)]
    points += [(year, base * left) for year, left in (preset.milestones if preset else ())]
    points += [(stone.year, _value(stone, entry.quantity, base)) for stone in entry.milestones]
    return Target(
        entry.id,
        entry.title or entry.id,
        entry.quantity,
        tuple(year for year, _ in points),
        tuple(value for _, value in points),
        entry.district,
        entry.sector,
        entry.source or (preset.source if preset else ""),
        preset.note if preset else "",
    )


def _entry_faults(at: str, entry: TargetEntry) -> list[Fault]:
    preset, base_year = _base_of(entry)
    faults = [
        Fault(f"{at}.milestones[{k}]", "give either reduction or value")
        for k, stone in enumerate(entry.milestones)
        if (stone.reduction is None) == (stone.value is None)
    ]
    if preset is not None and entry.milestones:
        faults.append(Fault(f"{at}.milestones", f"preset {preset.id!r} has its own; give one of the two"))
    if preset is not None and entry.quantity != "emissions":
        faults.append(Fault(f"{at}.quantity", f"preset {preset.id!r} is for emissions"))
    if entry.preset is None and not entry.milestones:
        faults.append(Fault(f"{at}.milestones", "are missing; name a preset or at least one milestone"))
    if entry.district is not None and entry.sector is not None:
        faults.append(Fault(at, "has a district and a sector; give one of the two"))
    if base_year is None and (preset is not None or entry.preset is None):
        note = f" ({preset.note})" if preset and preset.note else ""
        faults.append(Fault(f"{at}.base_year", f"is missing{note}"))
    years = [base_year or 0] + [stone.year for stone in entry.milestones]
    years += [year for year, _ in (preset.milestones if preset and not entry.milestones else ())]
    if any(later <= earlier for earlier, later in pairwise(years)):
        faults.append(Fault(f"{at}.milestones", f"the years {years} must ascend from the base year"))
    if entry.quantity == "renewable_share":
        if entry.sector is not None:
            faults.append(Fault(f"{at}.sector", "renewable shares are known by district, not by sector"))
        shares = [entry.base, *(stone.value for stone in entry.milestones if stone.value is not None)]
        faults += [
            Fault(at, f"a renewable share of {share:g} is above 1; write 60 % as 0.6")
            for share in shares
            if share > 1
        ]
        faults += [
            Fault(f"{at}.milestones[{k}].reduction", "a renewable share grows; give its value")
            for k, stone in enumerate(entry.milestones)
            if stone.reduction is not None
        ]
    return faults


def _place_faults(at: str, entry: TargetEntry, districts: Collection[str]) -> list[Fault]:
    sectors = (*SUB_SECTOR_OF_CLASS, *SUB_SECTORS, *SECTORS)
    return [
        Fault(f"{at}.{key}", f"{name!r} is not known; {nearest(name, known or ('none',))}")
        for key, name, known in (
            ("district", entry.district, districts),
            ("sector", entry.sector, sectors),
        )
        if name is not None and name not in known
    ]


def _value(stone: Milestone, quantity: Quantity, base: float) -> float:
    if stone.value is None:
        return base * (1.0 - (stone.reduction or 0.0))
    return stone.value * 1000.0 if quantity == "emissions" else stone.value
