"""A city's inventory by GPC 1.1: what the city's meters say, the officer's entries, and the totals.

Grid electricity by user class fills I.x.2, EV charging II.1.2, their transmission and distribution losses
the scope 3 cells, local generation I.4.4 (territorial, in neither BASIC nor BASIC+). Each asset counts by
the shares of its user classes, which sum to one: no kWh stands both in I.x.2 and in II.1.2. A charger
behind a building's meter is either a transport asset, and so taken out of the building, or has the
building's class: then II.1.2 says IE where no other charging is seen.

A cell holds numbers or a notation key with its reason, never both and never neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from energy.carbon.gaps import GapRule, filled
from energy.carbon.gpc import REFERENCES, SUB_SECTOR_OF_CLASS, GasGroup, Reference, Row, Total
from energy.carbon.grid_average import GridAverage, Use
from energy.carbon.inventory_entries import GWP, Gas, GwpSet, InventoryEntry
from energy.carbon.rates import Amount, Rate
from energy.carbon.year_end import year_share
from energy.domain.period import Period, UserClass
from energy.domain.report import Grade, Notation, Words

FLUORINATED: tuple[Gas, ...] = ("HFCs", "PFCs", "SF6", "NF3")
_OTHER: tuple[Gas, ...] = ("CH4", "N2O")
GASES_OF: Mapping[GasGroup, Collection[Gas]] = {
    "all": get_args(Gas),
    "CO2": ("CO2", "CO2e", "CO2b"),
    "other": (*_OTHER, *FLUORINATED),
    "fluorinated": FLUORINATED,
    "not fluorinated": ("CO2", "CO2e", "CO2b", *_OTHER),
}
"""The gases of a row of another layout (`Row.gases`); each gas is in one of two groups that part them all."""


def alike(text: str) -> Words:
    """A text of the officer's or of a source: the same in every language."""
    return {"en": text, "ja": text}


NOTHING: Words = alike("")
_GRID: Words = {"en": "grid electricity", "ja": "系統電力"}
_CHARGING: Words = {"en": "EV charging", "ja": "EV充電"}
_NO_LOSSES: Words = {
    "en": "no official factor of transmission and distribution losses is known",
    "ja": "送配電損失の公式係数が不明",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One activity in a cell.

    Attributes:
        amount, unit: of the activity; NaN for emissions entered as such. gases_kg: by gas; CO2b is in no
            total. co2e_kg, low_kg, high_kg: the interval NaN where no range is known.
        factor: g or kg per unit as text with its source. factors: keys of the registry's.
        origin: ``metered`` by the city's assets, or ``entered`` by the officer.
    """

    activity: Words
    amount: float
    unit: str
    gases_kg: Mapping[Gas, float]
    co2e_kg: float
    low_kg: float
    high_kg: float
    estimated_share: float
    factor: str
    factors: tuple[str, ...]
    source: Words
    year: int | None
    activity_quality: Grade | None
    factor_quality: Grade | None
    origin: Literal["metered", "entered"]
    explanation: Words = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Cell:
    """One reference: its lines, or a notation key and why."""

    reference: Reference
    lines: tuple[Line, ...]
    notation: Notation | None = None
    explanation: Words = field(default_factory=lambda: NOTHING)

    def __post_init__(self) -> None:
        if bool(self.lines) == (self.notation is not None):
            raise ValueError(f"{self.reference.id}: give either lines or a notation key")
        if self.notation is not None and not self.explanation["en"]:
            raise ValueError(f"{self.reference.id}: notation key {self.notation} needs an explanation")

    @property
    def co2e_kg(self) -> float:
        """NaN with a notation key."""
        return sum(line.co2e_kg for line in self.lines) if self.lines else float("nan")

    @property
    def amount(self) -> Amount:
        """The cell as an amount; its energy counts lines in MWh only, its share of estimates is by carbon."""
        weight = sum(abs(line.co2e_kg) for line in self.lines)
        estimated = sum(abs(line.co2e_kg) * line.estimated_share for line in self.lines)
        return Amount(
            sum(line.co2e_kg for line in self.lines),
            sum(line.low_kg for line in self.lines),
            sum(line.high_kg for line in self.lines),
            sum(line.amount for line in self.lines if line.unit == "MWh"),
            estimated / weight if weight else 0.0,
        )

    def gas_kg(self, gas: Gas) -> float | None:
        """None where no line tells: its factor is of other gases, or of CO2e."""
        stated = [line.gases_kg[gas] for line in self.lines if gas in line.gases_kg]
        return sum(stated) if stated else None


@dataclass(frozen=True)
class Inventory:
    """All cells of the GPC, in its order."""

    cells: Mapping[str, Cell]
    gwp: GwpSet

    def total_kg(self, total: Total, *, sector: str | None = None) -> float:
        """Sum of the cells of a level, of one sector (``I``) or all; cells with a notation key are not in
        it: `without` names them."""
        return sum(cell.co2e_kg for cell in self._of(total, sector) if cell.lines)

    def without(self, total: Total, *, sector: str | None = None) -> dict[str, Notation]:
        """The cells of a level that have a notation key instead of a number."""
        return {c.reference.id: c.notation for c in self._of(total, sector) if c.notation is not None}

    def laid_out(self, rows: Iterable[Row]) -> dict[str, tuple[float, float, float]]:
        """Another layout of the same figures: direct, indirect and outside of each row; NaN where no cell
        has a number, or none of the row's gases."""
        return {
            row.id: (
                self._sum(row.direct, row),
                self._sum(row.indirect, row),
                self._sum(row.outside, row),
            )
            for row in rows
        }

    def notations(self, row: Row) -> dict[str, Notation]:
        """The notation keys among the cells of a row."""
        cells = [self.cells[key] for key in row.references]
        return {cell.reference.id: cell.notation for cell in cells if cell.notation is not None}

    def _sum(self, references: Iterable[str], row: Row) -> float:
        numbers = [self.cells[key] for key in references if self.cells[key].lines]
        if not numbers:
            return float("nan")
        if row.gases == "all":
            return sum(cell.co2e_kg for cell in numbers)
        stated = [
            kg * GWP[self.gwp][gas]
            for cell in numbers
            for line in cell.lines
            for gas, kg in line.gases_kg.items()
            if gas in GASES_OF[row.gases]
        ]
        return sum(stated) if stated else float("nan")

    def _of(self, total: Total, sector: str | None) -> list[Cell]:
        return [
            cell
            for cell in self.cells.values()
            if cell.reference.counts_in(total) and sector in (None, cell.reference.sector)
        ]


@dataclass(frozen=True, slots=True)
class Quality:
    """Data quality of what the city's own assets report (GPC 1.1, table 5.3): H for metered energy and
    local factors, M for modelled energy and national averages, L for estimates."""

    activity: Grade
    factor: Grade


def metered_references(period: Period) -> tuple[str, ...]:
    """The references that `inventory` fills with electricity for `period`: not open to entries."""
    seen = {user for asset in period.assets for user, share in asset.classes.items() if share > 0}
    return references_of(seen, generation=any(asset.technology for asset in period.assets))


def references_of(classes: Collection[UserClass], *, generation: bool) -> tuple[str, ...]:
    """The references that electricity of these user classes fills, and I.4.4 where there is generation."""
    found = {f"{SUB_SECTOR_OF_CLASS[user]}.{scope}" for user in classes for scope in (2, 3)}
    if generation:
        found.add("I.4.4")
    return tuple(key for key in REFERENCES if key in found)


def inventory(
    ledger: GridAverage,
    period: Period,
    entries: Iterable[InventoryEntry] = (),
    *,
    quality: Quality,
    generation: Mapping[str, Rate] | None = None,
    losses_within_factor: bool | None = None,
    gaps: GapRule = "left-out",
    gwp: GwpSet = "AR5",
    first_month: int = 1,
) -> Inventory:
    """The inventory of `period`.

    Args:
        ledger: the official location-based ledger of the same period.
        entries: checked rows of the officer (`read_entries`, with `metered_references`). A number is of its
            whole year: of a shorter period it is taken by the hours, as an estimate; of other years not.
        quality: of the metered energy and the grid's factor; a factor marked as an estimate counts as L.
        generation: direct emission factor of each local technology, for I.4.4; a technology without one
            leaves the cell NE.
        losses_within_factor: the grid's factor counts per kWh delivered and so contains the losses: the
            scope 3 cells of electricity say IE. By default as the factors say (`Factor.delivered`).
        gaps: what becomes of hours of generation that no stored day accounts, as in `ledger`.
        gwp: warming potentials for the gases of entries. first_month: of the reporting year.
    """
    lines: dict[str, list[Line]] = {key: [] for key in REFERENCES}
    keys: dict[str, tuple[Notation, Words]] = {}
    metered = metered_references(period)
    quality, note = _covered(ledger, quality)
    within = ledger.factor.delivered if losses_within_factor is None else losses_within_factor
    for user, use in ledger.by_class().items():
        sub = SUB_SECTOR_OF_CLASS[user]
        if f"{sub}.2" in metered:
            _grid(sub, use, ledger, quality, note, within, lines, keys)
    if "I.4.4" in metered:
        _supplied(period, generation or {}, quality, note, gaps, lines, keys)
    _charging_in_buildings(period, metered, keys)
    other: dict[str, tuple[Notation, Words]] = {}
    for entry in entries:
        share = 1.0 if entry.year is None else year_share(period, entry.year, first_month)
        if share == 0.0:
            other[entry.reference] = ("NE", _of_another_year(entry, period))
        elif entry.notation is not None:
            keys[entry.reference] = (entry.notation, alike(entry.explanation))
        else:
            lines[entry.reference].append(_entered(entry, share, gwp))
    nothing: tuple[Notation, Words] = ("NE", {"en": "no figure has been entered", "ja": "入力値がない"})
    empty = dict.fromkeys(REFERENCES, nothing) | other | keys
    cells = {}
    for key, reference in REFERENCES.items():
        # a cell of which a part is not known is not estimated, whatever else stands in it
        if lines[key] and keys.get(key, ("IE", NOTHING))[0] == "IE":
            cells[key] = Cell(reference, tuple(lines[key]))
        else:
            cells[key] = Cell(reference, (), *empty[key])
    return Inventory(cells, gwp)


def _grid(
    sub: str,
    use: Use,
    ledger: GridAverage,
    quality: Quality,
    note: Words,
    losses_within_factor: bool,
    lines: dict[str, list[Line]],
    keys: dict[str, tuple[Notation, Words]],
) -> None:
    """Scope 2 and 3 of one sub-sector's grid electricity."""
    activity = _CHARGING if sub == "II.1" else _GRID
    if use.scope2.known:
        lines[f"{sub}.2"].append(_metered(activity, use.scope2, ledger.factor, quality, note))
    else:
        keys[f"{sub}.2"] = ("NE", _unknown(ledger.factor))
    if losses_within_factor:
        included: Words = {
            "en": f"the grid factor is per kWh delivered: losses are included in {sub}.2",
            "ja": f"係数は需要端のkWh当たりで、損失は{sub}.2に含まれる",
        }
        keys[f"{sub}.3"] = ("IE", included)
    elif use.losses is None or ledger.losses is None:
        keys[f"{sub}.3"] = ("NE", _NO_LOSSES)
    elif use.losses.known:
        lost: Words = {"en": f"losses of {activity['en']}", "ja": f"{activity['ja']}の損失"}
        lines[f"{sub}.3"].append(
            _metered(
                lost,
                use.losses,
                ledger.losses,
                quality,
                note,
                of_delivered=True,
            )
        )
    else:
        keys[f"{sub}.3"] = ("NE", _unknown(ledger.losses))


def _supplied(
    period: Period,
    generation: Mapping[str, Rate],
    quality: Quality,
    note: Words,
    gaps: GapRule,
    lines: dict[str, list[Line]],
    keys: dict[str, tuple[Notation, Words]],
) -> None:
    """I.4.4: what local plants feed into the grid, at the direct factor of their technology."""
    technologies = sorted({asset.technology for asset in period.assets if asset.technology})
    plants = [
        [k for k, asset in enumerate(period.assets) if asset.technology == technology]
        for technology in technologies
    ]
    generated = period.hourly(
        lambda day: np.column_stack([day.injected_mwh[:, of].sum(axis=1) for of in plants]), len(plants)
    )
    found, lacking = [], []
    for k, technology in enumerate(technologies):
        energy, estimated = filled(period, generated[:, [k]], gaps)
        rate = generation.get(technology)
        amount = None if rate is None else rate.amounts(energy, estimated)[0]
        if rate is None or amount is None or not amount.known:
            lacking.append(technology)
        else:
            activity: Words = {"en": f"generation: {technology}", "ja": f"発電：{technology}"}
            found.append(_metered(activity, amount, rate, quality, note))
    if lacking:
        names = ", ".join(lacking)
        unknown: Words = {
            "en": f"no direct emission factor is known for {names}",
            "ja": f"直接排出係数が不明：{names}",
        }
        keys["I.4.4"] = ("NE", unknown)
    else:
        lines["I.4.4"] += found


def _charging_in_buildings(
    period: Period, metered: Iterable[str], keys: dict[str, tuple[Notation, Words]]
) -> None:
    """IE where all EVs charge as part of a building's use."""
    classes: set[UserClass] = {
        user for asset in period.assets if asset.kind == "ev" for user in asset.classes
    }
    if not classes or "II.1.2" in metered:
        return
    for scope, where in ((2, "2"), (3, "3")):
        homes = ", ".join(sorted(f"{SUB_SECTOR_OF_CLASS[user]}.{where}" for user in classes))
        included: Words = {
            "en": f"EV charging is metered with the buildings, in {homes}",
            "ja": f"EV充電は建物と合わせて計量され、{homes}に含まれる",
        }
        keys[f"II.1.{scope}"] = ("IE", included)


def _covered(ledger: GridAverage, quality: Quality) -> tuple[Quality, Words]:
    """The quality of the metered activity, and what to say of its gaps."""
    hours = len(ledger.energy_mwh)
    known = int(np.isfinite(ledger.energy_mwh).all(axis=1).sum())
    estimated = int(ledger.estimated.sum())
    if estimated:
        return replace(quality, activity="L"), {
            "en": f"{estimated} of {hours} hours are estimated (same-hour-mean)",
            "ja": f"{hours}時間のうち{estimated}時間は推計値（same-hour-mean）",
        }
    if known == hours:
        return quality, NOTHING
    return quality, {
        "en": f"covers {known} of {hours} hours; the others are left out",
        "ja": f"{hours}時間のうち{known}時間が対象で、残りは含まない",
    }


def _metered(
    activity: Words, amount: Amount, rate: Rate, quality: Quality, note: Words, *, of_delivered: bool = False
) -> Line:
    gases = {factor.gas_basis.split(",", 1)[0] for factor in rate.factors}
    gas: Gas = "CO2" if gases == {"CO2"} else "CO2e"
    sources = sorted({f"{factor.source} ({factor.data_year})" for factor in rate.factors})
    per = "g per kWh delivered" if of_delivered else "g/kWh"
    mean = amount.g_per_kwh
    return Line(
        activity=activity,
        amount=amount.mwh,
        unit="MWh",
        gases_kg={gas: amount.kg},
        co2e_kg=amount.kg,
        low_kg=amount.low_kg,
        high_kg=amount.high_kg,
        estimated_share=amount.estimated_share,
        factor=f"{mean:.6g} {per}; {'; '.join(sources)}" if np.isfinite(mean) else "; ".join(sources),
        factors=rate.factor_keys,
        source={"en": "metered by the assets of the city", "ja": "都市の設備の計量値"},
        year=None,
        activity_quality=quality.activity,
        factor_quality="L" if rate.estimates else quality.factor,
        origin="metered",
        explanation=_together(note, *map(alike, rate.estimates)),
    )


def _entered(entry: InventoryEntry, share: float, gwp: GwpSet) -> Line:
    kg = entry.kg * share
    factor = "" if entry.factor is None else f"{entry.factor:.6g} kg {entry.gas} per {entry.unit}"
    part: Words = {
        "en": f"{share:.4g} of the figure of {entry.year}, by the hours of the period",
        "ja": f"{entry.year}年の値の{share:.4g}（期間の時間数による）",
    }
    return Line(
        activity=alike(entry.activity or entry.carrier or entry.gas),
        amount=float("nan") if entry.amount is None else entry.amount * share,
        unit=entry.unit,
        gases_kg={entry.gas: kg},
        co2e_kg=kg * GWP[gwp][entry.gas],
        low_kg=float("nan"),
        high_kg=float("nan"),
        estimated_share=0.0 if share == 1.0 else 1.0,
        factor="; ".join(piece for piece in (factor, entry.factor_source) if piece),
        factors=(),
        source=alike(entry.data_source),
        year=entry.year,
        activity_quality=entry.activity_quality if share == 1.0 else "L",
        factor_quality=entry.factor_quality,
        origin="entered",
        explanation=_together(part if share < 1.0 else NOTHING, alike(entry.explanation)),
    )


def _unknown(rate: Rate) -> Words:
    if rate.gaps:
        return alike("; ".join(rate.gaps))
    return {
        "en": "no official factor is known for a part of the period",
        "ja": "期間の一部で公式係数が不明",
    }


def _of_another_year(entry: InventoryEntry, period: Period) -> Words:
    return {
        "en": f"entered for {entry.year}, not for {period.label}",
        "ja": f"{entry.year}年の入力値であり、{period.label}の値ではない",
    }


def _together(*parts: Words) -> Words:
    """What of it says something, in each language."""
    return {
        "en": "; ".join(part["en"] for part in parts if part["en"]),
        "ja": "；".join(part["ja"] for part in parts if part["ja"]),
    }
