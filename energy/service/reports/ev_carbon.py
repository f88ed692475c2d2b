"""``ev-carbon``: the carbon coefficient of EVs by vehicle class, hub, hour of the day and month."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from energy.carbon.ev import EvGroup, ev_ledger
from energy.carbon.marginal import MarginalMethod, marginal
from energy.carbon.stations import stations
from energy.domain.report import Cell, Column, Figure, Plot, Report, Table, Words
from energy.service.reports.at_margin import caused, rates_of_upstream
from energy.service.reports.figures import TRACED, figure, span, words
from energy.service.reports.registry import Context, report
from energy.service.reports.stations import stations_table, transport_table

_COLUMNS = (
    Column("charged_mwh", words("Charged", "充電量"), "MWh"),
    Column("charged_kg", words("Carbon charged", "充電の炭素"), "kg"),
    Column("charged_g_per_kwh", words("At the plug", "充電の炭素強度"), "g/kWh"),
    Column("exported_mwh", words("V2G", "V2G放電量"), "MWh"),
    Column("exported_kg", words("Carbon of V2G", "V2Gの炭素"), "kg"),
    Column("distance_km", words("Driven", "走行距離"), "km"),
    Column("driven_kg", words("Carbon driven", "走行の炭素"), "kg"),
    Column("g_per_km", words("Per kilometre", "走行あたり"), "g/km"),
    Column("change_kg", words("Change in batteries", "電池残量の変化"), "kg"),
    Column("marginal_kg", words("At the margin (not to be added)", "限界（合算不可）"), "kg"),
)


@dataclass(frozen=True)
class _Grouping:
    id: str
    title: Words
    heading: Words
    groups: Mapping[str, EvGroup]


@report(
    "ev-carbon",
    words("Carbon of EVs", "EVの炭素排出係数"),
    words(
        "What does a kilometre of the city's EVs emit, charged through the city's own grid?",
        "都市の系統で充電したEVの走行1 kmはどれだけ排出するか。",
    ),
)
def ev_carbon(context: Context) -> Report:
    """The city's coefficient, then by class, hub, district, hour and month; hydrogen and swap stations."""
    at_margin = marginal(context.period)
    ledger = ev_ledger(context.period, at_margin)
    names = context.city.bus_names
    groupings = (
        _Grouping(
            "city", words("City", "都市"), words("Vehicles", "車両"), {context.city.name: ledger.city()}
        ),
        _Grouping(
            "classes", words("By vehicle class", "車種別"), words("Class", "車種"), dict(ledger.by_fleet())
        ),
        _Grouping(
            "hubs",
            words("By charging hub", "充電拠点別"),
            words("Hub", "拠点"),
            {f"{names.get(bus, '')} ({bus})".strip(): group for bus, group in ledger.by_hub().items()},
        ),
        _Grouping(
            "districts",
            words("By district", "地区別"),
            words("District", "地区"),
            {context.place[district]: group for district, group in ledger.by_district().items()},
        ),
        _Grouping(
            "hours",
            words("By hour of the day", "時刻別"),
            words("Local hour", "時刻"),
            {f"{hour:02d}": group for hour, group in sorted(ledger.by_hour_of_day().items())},
        ),
        _Grouping("months", words("By month", "月別"), words("Month", "月"), dict(ledger.by_month())),
    )
    tables = tuple(_table(context, grouping, at_margin.method) for grouping in groupings)
    found = stations(context.period, at_margin)
    if found:
        tables += (
            stations_table(context, found, at_margin.method),
            transport_table(context, ledger.city(), found),
        )
    return context.report(
        "ev-carbon",
        *tables,
        plots=(
            Plot(
                "hours",
                "lines",
                words("Intensity at the plug by hour", "時刻別の充電の炭素強度"),
                "group",
                ("charged_g_per_kwh",),
                words(
                    "A line over the 24 local hours: grams per kWh charged.",
                    "24時間の折れ線：充電1 kWhあたりのグラム。",
                ),
            ),
        ),
        methods=("ev", *(("stations",) if found else ()), "tank", "tracing", "interval", at_margin.method),
        notices=(
            *(() if ledger.evs else (words("The city has no EVs in this period.", "この期間にEVはない。"),)),
            *rates_of_upstream(at_margin),
        ),
    )


def _table(context: Context, grouping: _Grouping, at_margin: MarginalMethod) -> Table:
    return Table(
        grouping.id,
        grouping.title,
        (Column("group", grouping.heading), *_COLUMNS),
        tuple(
            (name, *_figures(context, f"{grouping.id}/{name}", group, at_margin))
            for name, group in grouping.groups.items()
        ),
        words(
            "Carbon charged = driven + V2G + change in batteries + what emptied batteries gave up. No "
            "avoided grams are deducted.",
            "充電の炭素＝走行＋V2G＋残量変化＋空になった電池の端数。回避量は差し引かない。",
        )
        if grouping.id == "city"
        else None,
    )


def _figures(context: Context, at: str, group: EvGroup, at_margin: MarginalMethod) -> tuple[Cell, ...]:
    days, share = span(context.period), max(context.ev_share, group.estimated_share)

    def traced(key: str, of: Callable[[EvGroup], float], unit: str, *parts: str, why: str = "") -> Figure:
        low, high = group.at_ends(of)
        return figure(
            f"{at}/{key}", of(group), unit, explanation=why or "not known", low=low, high=high,
            ledger="traced", method="ev", estimated_share=share, inputs=TRACED, days=days,
            parts=tuple(f"{at}/{part}" for part in parts), rule="ratio" if parts else "",
        )  # fmt: skip

    def plain(key: str, value: float, unit: str) -> Figure:
        return figure(f"{at}/{key}", value, unit, estimated_share=context.ev_share, days=days)

    return (
        plain("charged_mwh", group.charged_mwh, "MWh"),
        traced("charged_kg", lambda found: found.charged_kg, "kg"),
        traced(
            "charged_g_per_kwh", lambda found: found.charged_g_per_kwh, "g/kWh", "charged_kg", "charged_mwh",
            why="nothing was charged",
        ),
        plain("exported_mwh", group.exported_mwh, "MWh"),
        traced("exported_kg", lambda found: found.exported_kg, "kg"),
        plain("distance_km", group.distance_km, "km"),
        traced("driven_kg", lambda found: found.driven_kg, "kg"),
        traced(
            "g_per_km", lambda found: found.g_per_km, "g/km", "driven_kg", "distance_km",
            why="nothing was driven",
        ),
        traced("change_kg", lambda found: found.change_kg, "kg"),
        caused(f"{at}/marginal_kg", group.marginal, at_margin, days, context.ev_share),
    )  # fmt: skip
