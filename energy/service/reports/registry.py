"""The registry of reports: one function each, and what it is given.

A new report is a file in this folder with one function under `report`; command line, API and dashboard
list the registry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from energy.domain.city import EV_SESSIONS, UPSTREAM, City
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import Factor, FactorRegistry
from energy.domain.network import FloatArray
from energy.domain.period import AssetEntry, DataSource, Period
from energy.domain.report import FactorUse, Figure, InputUse, Plot, Report, Table, Words
from energy.feeds.officer import OfficerInputs
from energy.feeds.reports.cells import SETTINGS
from energy.service.period import days_of
from energy.service.reports.methods import METHODS
from energy.service.reports.without_interval import without_interval


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice that shapes a report: its name, the values it may have (none: any text), and the default.

    What it and its values are called stands with the words of all settings, `energy.feeds.reports.SETTINGS`.
    """

    name: str
    values: tuple[str, ...]
    default: str

    @property
    def title(self) -> Words:
        """What it is called; its name where there are no words for it."""
        return SETTINGS.get(self.name, {"en": self.name, "ja": self.name})


@dataclass(frozen=True)
class Context:
    """What a report is made of.

    Attributes:
        officer: contracts, entries and targets of the city's officer.
        choices: every choice of the report with its value.
        cancelled_mwh: by certificate, what reports on other periods have cancelled. cancelled_elsewhere: by
            issuer and id, which report of another city has.
        other: another period of the city, by its label; None where no day of it is stored.
        code_version: of Wattshed.
    """

    city: City
    period: Period
    factors: FactorRegistry
    officer: OfficerInputs
    choices: Mapping[str, str]
    cancelled_mwh: Mapping[str, float]
    other: Callable[[str], Period | None]
    code_version: str
    cancelled_elsewhere: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def place(self) -> Mapping[str, str]:
        """The name of every district by its id."""
        names = {district.id: district.name for district in self.city.districts}
        return {district: names.get(district, district) for district in self.period.districts}

    @property
    def energy_share(self) -> float:
        """Share of estimated input of energies and cost: the largest of the profiles'."""
        return self._largest(lambda series: series != EV_SESSIONS and not series.startswith(UPSTREAM))

    @property
    def ev_share(self) -> float:
        """Share of estimated input of what EVs charge and drive: of profiles and sessions."""
        return max(self.energy_share, self._largest(lambda series: series == EV_SESSIONS))

    def doubt(self, asset: AssetEntry) -> float:
        """Share of estimated input of what an asset draws and injects."""
        return self.ev_share if asset.kind == "ev" else self.energy_share

    def traced_share(self, mwh: FloatArray | None = None) -> float:
        """Share of estimated input of traced carbon: of the upstream intensity, by |`mwh`| (default: every
        hour alike), or of the profiles where that is larger."""
        return max(self.energy_share, self.period.estimated_share(mwh))

    def _largest(self, chosen: Callable[[str], bool]) -> float:
        return max((s.estimated_share for s in self.sources if chosen(s.series)), default=0.0)

    @functools.cached_property
    def sources(self) -> Mapping[DataSource, tuple[str, ...]]:
        """Where the series of the period come from and the days that used them; those of a day that the store
        keeps no sources of are as the city has them now."""
        found: dict[DataSource, list[str]] = {}
        for day in self.period.days:
            for source in day.sources or self.city.sources:
                found.setdefault(source, []).append(day.day)
        return {source: tuple(days) for source, days in found.items()}

    def inputs(self) -> tuple[InputUse, ...]:
        """The sources as inputs; where days used a series in several versions, each says on which."""
        series = [source.series for source in self.sources]
        found = []
        for source, days in self.sources.items():
            version = source.version
            if series.count(source.series) > 1:
                version += f" ({days[0]} … {days[-1]}, {len(days)} d)"
            keys = tuple(factor.key for factor in source.factors)
            found.append(
                InputUse(
                    source.series, source.source, version.strip(), source.estimated_share, source.hash, keys
                )
            )
        return tuple(found)

    def over(self, period: Period) -> Context:
        """The same for another period of the city."""
        return replace(self, period=period)

    def report(
        self,
        name: str,
        *tables: Table,
        plots: tuple[Plot, ...] = (),
        methods: tuple[str, ...] = (),
        factors: tuple[Factor, ...] = (),
        inputs: tuple[InputUse, ...] = (),
        notices: tuple[Words, ...] = (),
    ) -> Report:
        """The report, with all that every report says of city, period, choices and runs."""
        period = self.period
        figures = [cell for table in tables for row in table.rows for cell in row if isinstance(cell, Figure)]
        named = {name for figure in figures for name in figure.inputs}
        behind = (f for source in self.sources if source.series in named for f in source.factors)
        used = {(factor.id, factor.version, factor.valid_from): factor for factor in (*behind, *factors)}
        used_by_key = {factor.key: factor for factor in used.values()}
        return Report(
            name=name,
            title=REPORTS[name].title,
            city=self.city.id,
            city_name=self.city.name,
            zone=period.zone.key,
            period=period.label,
            start=period.time.start,
            end=period.time.end,
            settings={
                "coupling": period.coupling,
                "losses": period.losses,
                "information": ", ".join(sorted({day.information for day in period.days})),
                **self.choices,
            },
            tables=tables,
            plots=plots,
            methods=tuple(METHODS[key] for key in dict.fromkeys(methods)),
            factors=tuple(factor_use(used[key]) for key in sorted(used)),
            factors_version=self.factors.version,
            inputs=(*self.inputs(), *inputs),
            days=period.days,
            notices=(*_coverage(period), *without_interval(period, figures, used_by_key), *notices),
            code_version=self.code_version,
        )


@dataclass(frozen=True)
class ReportType:
    """A registered report: `text` says which question it answers."""

    name: str
    title: Words
    text: Words
    choices: tuple[Choice, ...]
    make: Callable[[Context], Report]

    def document(self) -> dict[str, Any]:
        """What a caller must know to ask for it."""
        return {
            "name": self.name,
            "title": dict(self.title),
            "text": dict(self.text),
            "choices": [
                {
                    "name": choice.name,
                    "values": list(choice.values),
                    "default": choice.default,
                    "title": dict(choice.title),
                }
                for choice in self.choices
            ],
        }


REPORTS: dict[str, ReportType] = {}
"""By name; filled by `reports`."""
READING_ORDER = (
    "district-carbon",
    "ledgers",
    "city-inventory",
    "market-based",
    "ev-carbon",
    "targets",
    "avoided",
    "kpi",
    "method",
)
"""As an officer reads them; reports that are not named here follow by their names."""


def report(
    name: str, title: Words, text: Words, choices: tuple[Choice, ...] = ()
) -> Callable[[Callable[[Context], Report]], Callable[[Context], Report]]:
    """Register a function as the report of this name."""

    def register(make: Callable[[Context], Report]) -> Callable[[Context], Report]:
        REPORTS[name] = ReportType(name, title, text, choices, make)
        return make

    return register


def reports() -> Mapping[str, ReportType]:
    """All reports in `READING_ORDER`, their files imported."""
    for module in sorted(iter_modules([str(Path(__file__).parent)]), key=lambda module: module.name):
        import_module(f"{__package__}.{module.name}")
    place = {name: k for k, name in enumerate(READING_ORDER)}
    return {
        name: REPORTS[name] for name in sorted(REPORTS, key=lambda name: (place.get(name, len(place)), name))
    }


def report_type(name: str) -> ReportType:
    """The report of this name; `InputError` with the nearest one."""
    known = reports()
    if name not in known:
        raise InputError(Fault("report", f"{name!r} is not a report; {nearest(name, known)}"))
    return known[name]


def chosen(kind: ReportType, wanted: Mapping[str, str]) -> dict[str, str]:
    """Every choice of a report; `InputError` for unknown ones and values they cannot have."""
    known = {choice.name: choice for choice in kind.choices}
    faults = [
        Fault(f"settings.{name}", f"report {kind.name!r} has no such choice; {nearest(name, known)}")
        for name in wanted
        if name not in known
    ]
    faults += [
        Fault(f"settings.{name}", f"is {wanted[name]!r}; one of {', '.join(choice.values)} is needed")
        for name, choice in known.items()
        if name in wanted and choice.values and wanted[name] not in choice.values
    ]
    if faults:
        raise InputError(faults)
    return {name: wanted.get(name, choice.default) for name, choice in known.items()}


def asked(name: str, period: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Every choice of a report that is asked for by its name and the label of a period; `InputError` with
    everything that is wrong with the three."""
    picked: dict[str, str] = {}
    faults: list[Fault] = []
    try:
        picked = chosen(report_type(name), wanted)
    except InputError as error:
        faults += error.faults
    try:
        days_of(period)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    return picked


def factor_use(factor: Factor) -> FactorUse:
    """A factor of the registry as a report shows it."""
    return FactorUse(
        id=factor.id,
        version=factor.version,
        value=factor.value,
        low=factor.low,
        high=factor.high,
        unit=factor.unit,
        gas_basis=factor.gas_basis,
        basis=factor.basis,
        zone=factor.zone,
        source=factor.source,
        data_year=factor.data_year,
        publication_year=factor.publication_year,
        valid_from=factor.valid_from.isoformat(),
        valid_to="" if factor.valid_to is None else factor.valid_to.isoformat(),
        estimated=factor.estimated,
        note=factor.note,
    )


def _coverage(period: Period) -> tuple[Words, ...]:
    """What a reader must know of days that are missing and hours without solution."""
    notices: list[Words] = []
    if period.missing:
        days = ", ".join(period.missing[:10]) + (" …" if len(period.missing) > 10 else "")
        notices.append(
            {
                "en": f"{len(period.missing)} days have no stored plan and are in no sum: {days}",
                "ja": f"計画が保存されていない{len(period.missing)}日は合計に含まれない：{days}",
            }
        )
    if period.covered < 1.0:
        notices.append(
            {
                "en": f"Figures cover {period.covered:.2%} of the hours of the period.",
                "ja": f"数値は期間の{period.covered:.2%}の時間を対象とする。",
            }
        )
    estimated = period.estimated_share()
    if estimated > 0:
        notices.append(
            {
                "en": f"The upstream intensity is estimated in {estimated:.1%} of the hours.",
                "ja": f"上位系統の炭素強度は{estimated:.1%}の時間で推計値である。",
            }
        )
    return tuple(notices)
