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
    "II.1": {"en": "On-road", "ja": "道路"},
    "II.2": {"en": "Railways", "ja": "鉄道"},
    "II.3": {"en": "Waterborne navigation", "ja": "船舶"},
    "II.4": {"en": "Aviation", "ja": "航空"},
    "II.5": {"en": "Off-road", "ja": "オフロード"},
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

_ENERGY: Mapping[Scope, Words] = {
    1: {"en": "fuel combustion within the city boundary", "ja": "市域内の燃料燃焼"},
    2: {
        "en": "grid-supplied energy consumed within the city boundary",
        "ja": "市域内で使用された系統エネルギー",
    },
    3: {
        "en": "transmission and distribution losses from grid-supplied energy consumption",
        "ja": "系統エネルギー使用に伴う送配電ロス",
    },
}
_POWER_PLANTS: Mapping[Scope, Words] = {
    1: {
        "en": "energy used in power plant auxiliary operations within the city boundary",
        "ja": "市域内の発電所の所内用エネルギー",
    },
    2: {
        "en": "grid-supplied energy consumed in power plant auxiliary operations within the city boundary",
        "ja": "市域内の発電所・系統蓄電が使用した系統エネルギー",
    },
    3: {
        "en": "transmission and distribution losses from grid-supplied energy of power plants",
        "ja": "発電所の系統エネルギー使用に伴う送配電ロス",
    },
}
_TRANSPORT: Mapping[Scope, Words] = {
    1: {"en": "fuel combustion within the city boundary", "ja": "市域内の燃料燃焼"},
    2: {
        "en": "grid-supplied energy consumed within the city boundary",
        "ja": "市域内で使用された系統エネルギー",
    },
    3: {
        "en": "transboundary journeys outside the city boundary, and transmission and distribution losses",
        "ja": "市域外の越境移動、及び送配電ロス",
    },
}
_WASTE: tuple[tuple[Scope, Level, Words], ...] = (
    (1, "BASIC", {"en": "generated and treated within the city boundary", "ja": "市域内で発生・処理"}),
    (
        3,
        "BASIC",
        {"en": "generated within, treated outside the city boundary", "ja": "市域内で発生・市域外で処理"},
    ),
    (
        1,
        "territorial",
        {"en": "generated outside, treated within the city boundary", "ja": "市域外で発生・市域内で処理"},
    ),
)


def _references() -> list[Reference]:
    found: list[Reference] = []

    def add(sub: str, number: str, scope: Scope, level: Level, title: Words) -> None:
        found.append(Reference(sub + number, sub.split(".", maxsplit=1)[0], sub, scope, level, title))

    for sub in ("I.1", "I.2", "I.3", "I.4", "I.5", "I.6"):
        titles = _POWER_PLANTS if sub == "I.4" else _ENERGY
        add(sub, ".1", 1, "BASIC", titles[1])
        add(sub, ".2", 2, "BASIC", titles[2])
        add(sub, ".3", 3, "BASIC+", titles[3])
        if sub == "I.4":
            supplied: Words = {"en": "energy generation supplied to the grid", "ja": "系統に供給された発電"}
            add(sub, ".4", 1, "territorial", supplied)
    for sub in ("I.7", "I.8"):
        add(
            sub, ".1", 1, "BASIC", {"en": "fugitive emissions within the city boundary", "ja": "市域内の漏出"}
        )
    for sub in ("II.1", "II.2", "II.3", "II.4", "II.5"):
        add(sub, ".1", 1, "BASIC", _TRANSPORT[1])
        add(sub, ".2", 2, "BASIC", _TRANSPORT[2])
        if sub != "II.5":
            add(sub, ".3", 3, "BASIC+", _TRANSPORT[3])
    for sub in ("III.1", "III.2", "III.3", "III.4"):
        for k, (scope, level, title) in enumerate(_WASTE, start=1):
            add(sub, f".{k}", scope, level, title)
    for sub in ("IV.1", "IV.2", "V.1", "V.2", "V.3"):
        add(sub, "", 1, "BASIC+", SUB_SECTORS[sub])
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
            scope 3. gases: ``CO2`` (and CO2e where a factor is not split by gas), ``other``, or all.
    """

    id: str
    group: Words
    title: Words
    direct: tuple[str, ...]
    indirect: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    gases: Literal["all", "CO2", "other"] = "all"

    @property
    def references(self) -> tuple[str, ...]:
        return self.direct + self.indirect + self.outside


def _row(id_: str, group: Words, title: Words, *subs: str) -> Row:
    chosen = [REFERENCES[key] for key in REFERENCES if REFERENCES[key].sub_sector in subs]
    counted = [reference for reference in chosen if reference.level != "territorial"]
    by_scope = {scope: tuple(r.id for r in counted if r.scope == scope) for scope in (1, 2, 3)}
    return Row(id_, group, title, by_scope[1], by_scope[2], by_scope[3])


_STATIONARY, _MOBILE, _REFUSE = SECTORS["I"], SECTORS["II"], SECTORS["III"]
_GENERATION: Words = {"en": "Generation of grid-supplied energy", "ja": "系統供給エネルギーの生産"}

CRF_ROWS: tuple[Row, ...] = (
    _row("residential_buildings", _STATIONARY, SUB_SECTORS["I.1"], "I.1"),
    _row("commercial_institutional_buildings", _STATIONARY, SUB_SECTORS["I.2"], "I.2"),
    _row(
        "industrial_buildings",
        _STATIONARY,
        {"en": "Industrial buildings and facilities", "ja": "産業施設"},
        "I.3",
        "I.4",
    ),
    _row("agriculture", _STATIONARY, SUB_SECTORS["I.5"], "I.5"),
    _row("non_specified", _STATIONARY, SUB_SECTORS["I.6"], "I.6"),
    _row("fugitive_emissions", _STATIONARY, {"en": "Fugitive emissions", "ja": "漏出"}, "I.7", "I.8"),
    _row("on_road", _MOBILE, SUB_SECTORS["II.1"], "II.1"),
    _row("rail", _MOBILE, SUB_SECTORS["II.2"], "II.2"),
    _row("waterborne_navigation", _MOBILE, SUB_SECTORS["II.3"], "II.3"),
    _row("aviation", _MOBILE, SUB_SECTORS["II.4"], "II.4"),
    _row("off_road", _MOBILE, SUB_SECTORS["II.5"], "II.5"),
    _row("solid_waste", _REFUSE, SUB_SECTORS["III.1"], "III.1"),
    _row("biological_treatment", _REFUSE, SUB_SECTORS["III.2"], "III.2"),
    _row("incineration", _REFUSE, SUB_SECTORS["III.3"], "III.3"),
    _row("wastewater", _REFUSE, SUB_SECTORS["III.4"], "III.4"),
    _row("industrial_processes", SECTORS["IV"], SUB_SECTORS["IV.1"], "IV.1"),
    _row("product_use", SECTORS["IV"], SUB_SECTORS["IV.2"], "IV.2"),
    _row("livestock", SECTORS["V"], SUB_SECTORS["V.1"], "V.1"),
    _row("land_use", SECTORS["V"], SUB_SECTORS["V.2"], "V.2"),
    _row("other_afolu", SECTORS["V"], SUB_SECTORS["V.3"], "V.3"),
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


_BURNING = ("I.1", "I.2", "I.3", "I.4", "I.5", "I.6", "II.1", "II.2", "II.3", "II.4", "II.5")

JAPAN_ROWS: tuple[Row, ...] = (
    _energy(
        "manufacturing_construction",
        {"en": "Industry: manufacturing, construction, mining", "ja": "産業部門(製造業・建設業・鉱業)"},
        "I.3",
    ),
    _energy(
        "agriculture_forestry_fishing",
        {"en": "Industry: agriculture, forestry, fishing", "ja": "産業部門(農林水産業)"},
        "I.5",
    ),
    _energy("commercial", {"en": "Commercial and others", "ja": "業務その他部門"}, "I.2", "I.6"),
    _energy("residential", {"en": "Residential", "ja": "家庭部門"}, "I.1"),
    _energy("road", {"en": "Transport: road", "ja": "運輸部門(自動車)"}, "II.1", "II.5"),
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
        {"en": "Fuel combustion: CH4, N2O", "ja": "燃料燃焼分野(CH4・N2O)"},
        tuple(f"{sub}.1" for sub in _BURNING),
        tuple(f"{sub}.2" for sub in _BURNING),
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
        {"en": "Industrial processes and product use", "ja": "工業プロセス分野・代替フロン等"},
        ("IV.1", "IV.2"),
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
        "land",
        {"en": "Removals", "ja": "吸収源"},
        {"en": "Land and forests", "ja": "土地利用・森林吸収"},
        ("V.2",),
    ),
)
"""部門・分野 of the same figures. Electricity counts where it is used; generation supplied to others (I.4.4)
and losses do not: a factor per kWh sold contains them."""
