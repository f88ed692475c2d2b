"""``district-carbon``: energy, traced emissions and their interval by district, in total and over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np

from energy.carbon.marginal import marginal
from energy.domain.city import BOUNDARY
from energy.domain.network import FloatArray, IntArray
from energy.domain.period import Period, ends_of
from energy.domain.report import Cell, Column, Figure, Plot, Report, Table, Words
from energy.service.reports.at_margin import BY, marginal_table, rates_of_upstream
from energy.service.reports.figures import DISTRICT, ENERGY, TIME, TRACED, figure, span, words
from energy.service.reports.registry import Choice, Context, report

_SUMS = (
    ("energy_mwh", "MWh", words("End use", "最終消費")),
    ("emissions_kg", "kg", words("Emissions of use", "消費の排出量")),
    ("loss_emissions_kg", "kg", words("Emissions of losses", "損失の排出量")),
    ("charged_kg", "kg", words("Charged into storage", "蓄電への充電")),
    ("discharged_kg", "kg", words("Discharged", "放電")),
    ("local_generation_mwh", "MWh", words("Local generation", "地域内発電")),
    ("exchange_mwh", "MWh", words("Received from others", "他地区からの受電")),
    ("exchange_kg", "kg", words("Carbon received", "受け取った炭素")),
)
_NO_ENDS = (math.nan, math.nan)
_BALANCE = (
    ("end_use_kg", words("End use", "最終消費")),
    ("losses_kg", words("Losses", "損失")),
    ("exports_kg", words("Exports", "域外送電")),
    ("ev_driven_kg", words("EVs driven", "EV走行")),
    ("storage_change_kg", words("Change in storages", "蓄電残量の変化")),
    ("residual_kg", words("Rounding", "端数")),
)


@report(
    "district-carbon",
    words("Carbon by district", "地区別の炭素排出量"),
    words(
        "What did each district use, and which carbon came with it through the city's own grid?",
        "各地区は何をどれだけ使い、都市の系統を通じてどれだけの炭素が伴ったか。",
    ),
    (
        Choice("resolution", ("hour", "day", "month"), "day"),
        BY,
    ),
)
def district_carbon(context: Context) -> Report:
    """Totals by district, the city's balance, and the series of every district."""
    period = context.period
    totals = _totals(context)
    balance = _balance(context)
    series = _series(context)
    at_margin = marginal(period)
    return context.report(
        "district-carbon",
        totals,
        balance,
        series,
        marginal_table(context, at_margin),
        plots=(
            Plot(
                totals.id,
                "bars",
                words("Emissions by district", "地区別の排出量"),
                "district",
                ("emissions_kg",),
                _most(totals),
                rows=len(totals.rows) - 1,
            ),
            Plot(
                series.id,
                "stacked",
                words("Emissions over time", "排出量の推移"),
                "time",
                tuple(f"{district}_kg" for district in period.districts),
                words(
                    "Emissions of all districts on each other, over the period.",
                    "期間にわたる全地区の排出量の積み上げ。",
                ),
            ),
        ),
        methods=("tracing", "tank", "interval", at_margin.method),
        notices=rates_of_upstream(at_margin),
    )


def _totals(context: Context) -> Table:
    period = context.period
    table = period.actual.districts
    rows = [
        _row(context, f"district/{district}", name, {key: values[:, k] for key, values in table.items()}, ())
        for k, (district, name) in enumerate(context.place.items())
    ]
    whole = {key: values.sum(axis=1) for key, values in table.items()}
    rows.append(_row(context, "city", context.city.name, whole, period.districts))
    return Table(
        "districts",
        words("Districts", "地区別"),
        (
            DISTRICT,
            *(Column(key, title, unit) for key, unit, title in _SUMS),
            Column("carbon_g_per_kwh", words("Intensity", "炭素強度"), "g/kWh"),
            Column("renewable_share", words("Renewable share", "再エネ比率")),
        ),
        tuple(rows),
        words(
            "Charging and discharging are transfers between network and storages: in no total of emissions.",
            "充放電は系統と蓄電池の間の移動であり、排出量の合計には含まれない。",
        ),
    )


def _row(
    context: Context, at: str, name: str, series: Mapping[str, FloatArray], districts: tuple[str, ...]
) -> tuple[Cell, ...]:
    """The sums of one place; those of the city are made of its `districts`."""
    sums = {key: _sum(series[key]) for key, _, _ in _SUMS}
    figures = [
        _traced(
            context,
            f"{at}/{key}",
            sums[key],
            unit,
            _ends(series, key) if unit == "kg" else _NO_ENDS,
            tuple(f"district/{district}/{key}" for district in districts),
        )
        for key, unit, _ in _SUMS
    ]
    energy, ends = sums["energy_mwh"], _ends(series, "emissions_kg")
    intensity = figure(
        f"{at}/carbon_g_per_kwh",
        _ratio(sums["emissions_kg"], energy),
        "g/kWh",
        explanation="nothing was used",
        low=_ratio(ends[0], energy),
        high=_ratio(ends[1], energy),
        ledger="traced",
        method="tracing",
        estimated_share=context.traced_share(),
        inputs=TRACED,
        parts=(f"{at}/emissions_kg", f"{at}/energy_mwh"),
        rule="ratio",
    )
    share = _traced(
        context, f"{at}/renewable_share", _ratio(_sum(series["renewable_mwh"]), energy), "", upstream=True
    )
    return (name, *figures, intensity, share)


def _balance(context: Context) -> Table:
    """Sources = end use + losses + exports + EVs driven + change in storages."""
    city = context.period.actual.city
    parts = tuple(f"balance/{key}" for key, _ in _BALANCE)
    rows = [
        (title, _traced(context, f"balance/{key}", _sum(city[key]), "kg", _ends(city, key)))
        for key, title in _BALANCE
    ]
    key = "sources_kg"
    total = _traced(context, f"balance/{key}", _sum(city[key]), "kg", _ends(city, key), parts=parts)
    return Table(
        "balance",
        words("Balance of the city: every kilogram once", "都市の収支：すべての炭素を一度だけ"),
        (
            Column("account", words("Account", "勘定")),
            Column("kg", words("Carbon", "炭素"), "kg"),
        ),
        ((words("Sources: imports and local generation", "供給：受電と地域内発電"), total), *rows),
        words(
            "Sources are the sum at either end of the factors' ranges too. What can be negative may be "
            "higher at the low end: its interval is in order of size.",
            "係数の幅の下端・上端それぞれでも供給は合計に等しい。負になりうる項目は下端で大きくなることがあり、"
            "区間は大小順に示す。",
        ),
    )


def _series(context: Context) -> Table:
    period = context.period
    starts, first = intervals(period, context.choices["resolution"])
    energy = np.add.reduceat(period.actual.districts["energy_mwh"], first, axis=0)
    carbon = np.add.reduceat(period.actual.districts["emissions_kg"], first, axis=0)
    columns = [TIME]
    for district, name in context.place.items():
        en, ja = ("Upstream", "上位系統") if district == BOUNDARY else (name, name)
        columns.append(Column(f"{district}_mwh", words(f"{en}: end use", f"{ja}：消費"), ENERGY.unit))
        columns.append(Column(f"{district}_kg", words(en, ja), "kg"))
    both = np.stack([energy, carbon], axis=2).reshape(len(starts), -1)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (start, *values) for start, values in zip(starts, both.tolist(), strict=True)
    )
    return Table(
        "series",
        words("Series by district", "地区別の時系列"),
        tuple(columns),
        rows,
        words("An interval with an hour that is not known is empty.", "不明な時間を含む区間は空欄とする。"),
    )


def intervals(period: Period, resolution: str) -> tuple[list[datetime], IntArray]:
    """The local hours, days or months of a period: their starts, and the first hour of each."""
    starts, first, last = [], [], None
    for hour in range(period.time.steps):
        local = period.time.instant(hour).astimezone(period.zone)
        name = {"hour": str(hour), "day": local.date().isoformat()}.get(resolution, f"{local:%Y-%m}")
        if name != last:
            starts.append(period.time.start + hour * timedelta(hours=1))
            first.append(hour)
            last = name
    return starts, np.array(first, dtype=np.int64)


def _traced(
    context: Context,
    key: str,
    value: float,
    unit: str,
    bounds: tuple[float, ...] = _NO_ENDS,
    parts: tuple[str, ...] = (),
    *,
    upstream: bool = False,
) -> Figure:
    """Carbon, energy, or a share that rests on the mix `upstream`."""
    carbon = unit == "kg"
    return figure(
        key,
        value,
        unit,
        low=bounds[0],
        high=bounds[1],
        ledger="traced" if carbon else "none",
        method="tracing" if carbon else "",
        estimated_share=context.traced_share() if carbon or upstream else context.energy_share,
        inputs=TRACED if carbon or upstream else (),
        parts=parts,
        rule="sum" if parts else "",
        days=span(context.period),
    )


def _most(totals: Table) -> Words:
    """What the bars show, in words."""
    amounts = {str(row[0]): row[2] for row in totals.rows[:-1]}
    known = {
        name: cell.value
        for name, cell in amounts.items()
        if isinstance(cell, Figure) and cell.value is not None
    }
    if not known:
        return words("No district has a known figure.", "既知の数値がある地区はない。")
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    return words(
        f"Bars of emissions by district: {most} has the most ({known[most]:,.0f} kg), {least} the least "
        f"({known[least]:,.0f} kg).",
        f"地区別排出量の棒グラフ：最大は{most}（{known[most]:,.0f} kg）、最小は{least}"
        f"（{known[least]:,.0f} kg）。",
    )


def _sum(values: FloatArray) -> float:
    """Over the hours that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.sum()) if len(known) else float("nan")


def _ends(series: Mapping[str, FloatArray], key: str) -> tuple[float, ...]:
    """The ends of `_sum` over the same hours: NaN where one of them has none."""
    known = np.isfinite(series[key])
    return tuple(float(end[known].sum()) if known.any() else math.nan for end in ends_of(series, key))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
