"""The cells of a city's inventory: references of the GPC, and where they stand in other layouts.

* GPC 1.1: Global Protocol for Community-Scale Greenhouse Gas Inventories, version 1.1 (WRI, C40, ICLEI,
  2021), tables 4.1 to 4.3: sectors, references, scopes and levels. VI.1 is what a city reports beyond them.
* CRF: Global Covenant of Mayors, Common Reporting Framework 6.1 (2018), annex B, as CDP and ICLEI ask it.
* 区域施策編: 環境省「地方公共団体実行計画(区域施策編)策定・実施マニュアル」, 部門・分野.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from energy.domain.period import UserClass
from energy.domain.report import Words

Level = Literal["BASIC", "BASIC+", "territorial", "other"]
"""BASIC; what BASIC+ adds; scope 1 that counts in the territorial total alone; other scope 3, in no total."""
Scope = Literal[1, 2, 3]
Total = Literal["BASIC", "BASIC+", "territorial"]
GasGroup = Literal["all", "CO2", "other", "fluorinated", "not fluorinated"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A cell of the GPC: ``I.1.2`` is grid energy of residential buildings."""

    id: str
    sector: str
    sub_sector: str
    scope: Scope
    level: Level
    title: Words

    def counts_in(self, total: Total) -> bool:
        """Whether the cell is part of a total; the territorial one is all of scope 1, I.4.4 included."""
        if total == "territorial":
            return self.scope == 1
        return self.level == "BASIC" or (total == "BASIC+" and self.level == "BASIC+")


SECTORS: Mapping[str, Words] = {
    "I": {"en": "Stationary energy", "ja": "固定発生源エネルギー"},
    "II": {"en": "Transportation", "ja": "運輸"},
    "III": {"en": "Waste", "ja": "廃棄物"},
    "IV": {"en": "Industrial processes and product use", "ja": "工業プロセス及び製品の使用"},
    "V": {"en": "Agriculture, forestry and other land use", "ja": "農業・林業・その他土地利用"},
    "VI": {"en": "Other scope 3", "ja": "その他スコープ3"},
}

SUB_SECTORS: Mapping[str, Words] = {
    "I.1": {"en": "Residential buildings", "ja": "家庭"},
    "I.2": {"en": "Commercial and institutional buildings and facilities", "ja": "業務・公共施設"},
    "I.3": {"en": "Manufacturing industries and construction", "ja": "製造業・建設業"},
    "I.4": {"en": "Energy industries", "ja": "エネルギー産業"},
    "I.5": {"en": "Agriculture, forestry and fishing activities", "ja": "農林水産業"},
    "I.6": {"en": "Non-specified sources", "ja": "その他の固定発生源"},
    "I.7": {
        "en": "Fugitive emissions from mining, processing, storage, and transportation of coal",
        "ja": "石炭の採掘・処理・貯蔵・輸送からの漏出",
    },
    "I.8": {
        "en": "Fugitive emissions from oil and natural gas systems",
        "ja": "石油・天然ガス系統からの漏出",
    },
    "II.1": {"en": "On-road transportation", "ja": "道路"},
    "II.2": {"en": "Railways", "ja": "鉄道"},
    "II.3": {"en": "Waterborne navigation", "ja": "船舶"},
    "II.4": {"en": "Aviation", "ja": "航空"},
    "II.5": {"en": "Off-road transportation", "ja": "オフロード"},
    "III.1": {"en": "Solid waste disposal", "ja": "埋立処分"},
    "III.2": {"en": "Biological treatment of waste", "ja": "生物処理"},
    "III.3": {"en": "Incineration and open burning", "ja": "焼却・野焼き"},
    "III.4": {"en": "Wastewater treatment and discharge", "ja": "排水処理"},
    "IV.1": {"en": "Industrial processes", "ja": "工業プロセス"},
    "IV.2": {"en": "Product use", "ja": "製品の使用"},
    "V.1": {"en": "Livestock", "ja": "畜産"},
    "V.2": {"en": "Land", "ja": "土地"},
    "V.3": {
        "en": "Aggregate sources and non-CO2 emission sources on land",
        "ja": "土地の集約排出源及び非CO2排出源",
    },
    "VI.1": {"en": "Other scope 3", "ja": "その他スコープ3"},
}

_WITHIN: Words = {"en": "within the city boundary", "ja": "市域内"}
_FUEL: Words = {"en": "fuel combustion", "ja": "燃料燃焼"}
_GRID: Words = {"en": "grid-supplied energy consumed", "ja": "系統エネルギーの使用"}
_LOSSES: Words = {
    "en": "transmission and distribution losses from grid-supplied energy consumption",
    "ja": "系統エネルギー使用に伴う送配電ロス",
}
_POWER_PLANTS: Mapping[Scope, Words] = {
    1: {
        "en": "energy used in power plant auxiliary operations within the city boundary",
        "ja": "市域内の発電所の所内用エネルギー",
    },
    2: {
        "en": "grid-supplied energy consumed in power plant auxiliary operations within the city boundary",
        "ja": "市域内の発電所の所内用系統エネルギー",
    },
    3: {
        "en": f"{_LOSSES['en']} in power plant auxiliary operations",
        "ja": "発電所の所内用系統エネルギー使用に伴う送配電ロス",
    },
}
_TRANSPORT: Mapping[str, tuple[Words, Words]] = {
    "II.1": (
        {"en": "fuel combustion on-road transportation occurring", "ja": "道路交通の燃料燃焼"},
        {"en": "for on-road transportation", "ja": "道路交通"},
    ),
    "II.2": (
        {"en": "fuel combustion for railway transportation occurring", "ja": "鉄道の燃料燃焼"},
        {"en": "for railways", "ja": "鉄道"},
    ),
    "II.3": (
        {"en": "fuel combustion for waterborne navigation occurring", "ja": "船舶の燃料燃焼"},
        {"en": "for waterborne navigation", "ja": "船舶"},
    ),
    "II.4": (
        {"en": "fuel combustion for aviation occurring", "ja": "航空の燃料燃焼"},
        {"en": "for aviation", "ja": "航空"},
    ),
    "II.5": (
        {"en": "fuel combustion for off-road transportation occurring", "ja": "オフロード車両の燃料燃焼"},
        {"en": "for off-road transportation", "ja": "オフロード車両"},
    ),
}
"""What burns fuel, and for what grid energy is used."""
_JOURNEYS: Words = {
    "en": "portion of transboundary journeys occurring outside the city boundary, and " + _LOSSES["en"],
    "ja": "越境移動の市域外分、及び" + _LOSSES["ja"],
}
_SOLID: Words = {"en": "solid waste", "ja": "固形廃棄物"}
_WASTE: Mapping[str, tuple[Words, Words]] = {
    "III.1": (_SOLID, {"en": "disposed in landfills or open dumps", "ja": "埋立処分"}),
    "III.2": (_SOLID, {"en": "treated biologically", "ja": "生物処理"}),
    "III.3": (_SOLID, {"en": "treated", "ja": "焼却・野焼き"}),
    "III.4": ({"en": "wastewater", "ja": "排水"}, {"en": "treated", "ja": "処理"}),
}
"""What is generated, what becomes of it."""


def _waste(sub: str) -> tuple[tuple[Scope, Level, Words], ...]:
    what, done = _WASTE[sub]
    within, outside = "within the city boundary", "outside the city boundary"
    whole = "waste" if what is _SOLID else what["en"]
    here: Words = {
        "en": f"{what['en']} generated and {done['en']} {within}",
        "ja": f"市域内で発生し市域内で{done['ja']}される{what['ja']}",
    }
    away: Words = {
        "en": f"{what['en']} generated {within} but {done['en']} {outside}",
        "ja": f"市域内で発生し市域外で{done['ja']}される{what['ja']}",
    }
    brought: Words = {
        "en": f"{whole} generated {outside} but {done['en']} {within}",
        "ja": f"市域外で発生し市域内で{done['ja']}される{what['ja']}",
    }
    return (1, "BASIC", here), (3, "BASIC", away), (1, "territorial", brought)


_ONE_CELL: Mapping[str, Words] = {
    "IV.1": {"en": "industrial processes occurring within the city boundary", "ja": "市域内の工業プロセス"},
    "IV.2": {"en": "product use occurring within the city boundary", "ja": "市域内の製品の使用"},
    "V.1": {"en": "livestock within the city boundary", "ja": "市域内の畜産"},
    "V.2": {"en": "land within the city boundary", "ja": "市域内の土地"},
    "V.3": {
        "en": "aggregate sources and non-CO2 emission sources on land within the city boundary",
        "ja": "市域内の土地の集約排出源及び非CO2排出源",
    },
}


def _references() -> list[Reference]:
    found: list[Reference] = []

    def add(sub: str, number: str, scope: Scope, level: Level, title: Words) -> None:
        found.append(Reference(sub + number, sub.split(".", maxsplit=1)[0], sub, scope, level, title))

    def inside(what: Words, of: Words | None = None) -> Words:
        end = "" if of is None else f" {of['en']}"
        ja = what["ja"] if of is None else f"{of['ja']}の{what['ja']}"
        return {"en": f"{what['en']} {_WITHIN['en']}{end}", "ja": f"{_WITHIN['ja']}の{ja}"}

    for sub in ("I.1", "I.2", "I.3", "I.4", "I.5", "I.6"):
        plants = sub == "I.4"
        add(sub, ".1", 1, "BASIC", _POWER_PLANTS[1] if plants else inside(_FUEL))
        add(sub, ".2", 2, "BASIC", _POWER_PLANTS[2] if plants else inside(_GRID))
        add(sub, ".3", 3, "BASIC+", _POWER_PLANTS[3] if plants else _LOSSES)
        if plants:
            supplied: Words = {"en": "energy generation supplied to the grid", "ja": "系統に供給された発電"}
            add(sub, ".4", 1, "territorial", supplied)
    for sub in ("I.7", "I.8"):
        add(sub, ".1", 1, "BASIC", inside({"en": "fugitive emissions", "ja": "漏出"}))
    for sub, (burnt, used) in _TRANSPORT.items():
        add(sub, ".1", 1, "BASIC", inside(burnt))
        add(sub, ".2", 2, "BASIC", inside(_GRID, used))
        if sub != "II.5":
            add(sub, ".3", 3, "BASIC+", _JOURNEYS)
    for sub in _WASTE:
        for k, (scope, level, title) in enumerate(_waste(sub), start=1):
            add(sub, f".{k}", scope, level, title)
    for sub, title in _ONE_CELL.items():
        add(sub, "", 1, "BASIC+", title)
    add("VI.1", "", 3, "other", SUB_SECTORS["VI.1"])
    return found


REFERENCES: Mapping[str, Reference] = {reference.id: reference for reference in _references()}
"""Every reference, in the order of the GPC's table."""

SUB_SECTOR_OF_CLASS: Mapping[UserClass, str] = {
    "residential": "I.1",
    "commercial": "I.2",
    "industry": "I.3",
    "energy_industries": "I.4",
    "agriculture": "I.5",
    "non_specified": "I.6",
    "transport": "II.1",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of another layout, made of GPC references.

    Attributes:
        direct, indirect, outside: references of scope 1, of grid-supplied energy (scope 2), and of
            scope 3. gases: ``CO2`` (and CO2e where a factor is not split by gas), ``other`` than these,
            ``fluorinated`` (HFCs, PFCs, SF6, NF3), ``not fluorinated``, or all.
    """

    id: str
    group: Words
    title: Words
    direct: tuple[str, ...]
    indirect: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    gases: GasGroup = "all"

    @property
    def references(self) -> tuple[str, ...]:
        return self.direct + self.indirect + self.outside


def _row(id_: str, *subs: str, title: Words | None = None) -> Row:
    """What counts in totals of some sub-sectors, under the title of the first unless another is given."""
    counted = [r for r in REFERENCES.values() if r.sub_sector in subs and r.level != "territorial"]
    by_scope = {scope: tuple(r.id for r in counted if r.scope == scope) for scope in (1, 2, 3)}
    group = SECTORS[subs[0].partition(".")[0]]
    return Row(id_, group, title or SUB_SECTORS[subs[0]], by_scope[1], by_scope[2], by_scope[3])


_GENERATION: Words = {"en": "Generation of grid-supplied energy", "ja": "系統供給エネルギーの生産"}

CRF_ROWS: tuple[Row, ...] = (
    _row("residential_buildings", "I.1"),
    _row("commercial_institutional_buildings", "I.2"),
    _row(
        "industrial_buildings",
        "I.3",
        "I.4",
        title={"en": "Industrial buildings and facilities", "ja": "産業施設"},
    ),
    _row("agriculture", "I.5"),
    _row("non_specified", "I.6"),
    _row("fugitive_emissions", "I.7", "I.8", title={"en": "Fugitive emissions", "ja": "漏出"}),
    _row("on_road", "II.1"),
    _row("rail", "II.2"),
    _row("waterborne_navigation", "II.3"),
    _row("aviation", "II.4"),
    _row("off_road", "II.5"),
    _row("solid_waste", "III.1"),
    _row("biological_treatment", "III.2"),
    _row("incineration", "III.3"),
    _row("wastewater", "III.4"),
    _row("industrial_processes", "IV.1"),
    _row("product_use", "IV.2"),
    _row("livestock", "V.1"),
    _row("land_use", "V.2"),
    _row("other_afolu", "V.3"),
    Row("generation", _GENERATION, {"en": "Electricity generation", "ja": "発電"}, ("I.4.4",)),
)
"""The CRF's table: direct, indirect and outside emissions. Own use of energy industries counts as industry;
generation of grid-supplied energy stands beside the totals."""

_CO2: Words = {"en": "Energy-related CO2", "ja": "エネルギー起源CO2"}
_OTHER: Words = {"en": "Other greenhouse gases", "ja": "エネルギー起源CO2以外の温室効果ガス"}


def _energy(id_: str, title: Words, *subs: str) -> Row:
    """CO2 of fuels and of grid energy; what else is burned off counts under other gases."""
    direct, indirect = (tuple(f"{sub}.{scope}" for sub in subs) for scope in (1, 2))
    return Row(id_, _CO2, title, direct, indirect, gases="CO2")


_BURNING = ("I.1", "I.2", "I.3", "I.4", "I.5", "I.6", "II.2", "II.3", "II.4", "II.5")

JAPAN_ROWS: tuple[Row, ...] = (
    _energy(
        "manufacturing_construction",
        {"en": "Industry: manufacturing, construction, mining", "ja": "産業部門(製造業・建設業・鉱業)"},
        "I.3",
        "II.5",  # machines off the road belong to the industry that runs them
    ),
    _energy(
        "agriculture_forestry_fishing",
        {"en": "Industry: agriculture, forestry, fishing", "ja": "産業部門(農林水産業)"},
        "I.5",
    ),
    _energy("commercial", {"en": "Commercial and others", "ja": "業務その他部門"}, "I.2", "I.6"),
    _energy("residential", {"en": "Residential", "ja": "家庭部門"}, "I.1"),
    _energy("road", {"en": "Transport: road", "ja": "運輸部門(自動車)"}, "II.1"),
    _energy("railway", {"en": "Transport: railways", "ja": "運輸部門(鉄道)"}, "II.2"),
    _energy("shipping", {"en": "Transport: shipping", "ja": "運輸部門(船舶)"}, "II.3"),
    _energy("aviation", {"en": "Transport: aviation", "ja": "運輸部門(航空)"}, "II.4"),
    _energy(
        "energy_conversion",
        {"en": "Energy conversion: own use", "ja": "エネルギー転換部門(自家消費等)"},
        "I.4",
    ),
    Row(
        "combustion_other_gases",
        _OTHER,
        {"en": "Fuel combustion: CH4, N2O", "ja": "燃料燃焼分野(燃料の燃焼)"},
        tuple(f"{sub}.1" for sub in _BURNING),
        tuple(f"{sub}.2" for sub in (*_BURNING, "II.1")),
        gases="other",
    ),
    Row(
        "driving_other_gases",
        _OTHER,
        {"en": "Fuel combustion: CH4, N2O of road vehicles", "ja": "燃料燃焼分野(自動車走行)"},
        ("II.1.1",),
        gases="other",
    ),
    Row(
        "fugitive",
        _OTHER,
        {"en": "Fuels: fugitive", "ja": "燃料からの漏出"},
        ("I.7.1", "I.8.1"),
    ),
    Row(
        "industrial_processes",
        _OTHER,
        {"en": "Industrial processes", "ja": "工業プロセス分野"},
        ("IV.1", "IV.2"),
        gases="not fluorinated",
    ),
    Row("farming", _OTHER, {"en": "Agriculture", "ja": "農業分野"}, ("V.1", "V.3")),
    Row(
        "waste_incineration",
        _OTHER,
        {"en": "Waste: incineration", "ja": "廃棄物分野(焼却処分)"},
        ("III.3.1",),
        (),
        ("III.3.2",),
    ),
    Row(
        "waste_disposal",
        _OTHER,
        {"en": "Waste: disposal and biological treatment", "ja": "廃棄物分野(埋立処分・生物処理)"},
        ("III.1.1", "III.2.1"),
        (),
        ("III.1.2", "III.2.2"),
    ),
    Row(
        "wastewater",
        _OTHER,
        {"en": "Waste: wastewater", "ja": "廃棄物分野(排水処理)"},
        ("III.4.1",),
        (),
        ("III.4.2",),
    ),
    Row(
        "fluorinated_gases",
        _OTHER,
        {"en": "HFCs, PFCs, SF6, NF3", "ja": "代替フロン等4ガス分野"},
        ("IV.1", "IV.2"),
        gases="fluorinated",
    ),
    Row(
        "land",
        {"en": "Removals", "ja": "吸収源"},
        {"en": "Land and forests", "ja": "土地利用・森林吸収"},
        ("V.2",),
    ),
)
"""部門・分野 of the same figures. Electricity counts where it is used; generation supplied to others (I.4.4)
and losses do not: a factor per kWh sold contains them."""
