"""``targets``: the path to the city's targets, the gap to it, the budget left, where the year will end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from energy.carbon.gpc import REFERENCES, SUB_SECTOR_OF_CLASS
from energy.carbon.grid_average import GridAverage
from energy.carbon.inventory import metered_references
from energy.carbon.inventory_entries import GWP, read_entries
from energy.carbon.rates import carbon_kg
from energy.carbon.targets import PRESETS, Target, read_targets
from energy.carbon.year_end import YearForecast, by_day, year_forecast
from energy.domain.period import ENDS, End, Period
from energy.domain.report import Cell, Column, Ledger, Plot, Report, Table, Words
from energy.feeds.officer import TARGETS_FILE
from energy.service.reports.figures import figure, span, words
from energy.service.reports.official import FIRST_MONTH, GAPS, official
from energy.service.reports.registry import Context, report


@dataclass(frozen=True)
class _Year:
    """What is known of the reporting year and the one before: daily values in kg, or shares."""

    year: int
    first_month: int
    period: Period
    ledger: GridAverage
    before: Period | None
    before_ledger: GridAverage | None


@report(
    "targets",
    words("Targets and path", "削減目標と経路"),
    words(
        "Is the city on the path to its targets, where will the year end, and what is left of the budget?",
        "都市は目標への経路上にあるか。年末はどこに着地し、炭素予算はどれだけ残るか。",
    ),
    (GAPS, FIRST_MONTH),
)
def targets_report(context: Context) -> Report:
    """Every target of ``targets.toml`` in the reporting year that the period ends in, and its path."""
    document = context.officer.targets
    aims = () if document is None else read_targets(document, context.period.districts)
    year = _year(context)
    rows = tuple(_row(context, year, target) for target in aims)
    paths = _paths(aims)
    notices: tuple[Words, ...] = ()
    if not aims:
        notices = (
            words(
                f"The city has no targets: write them to {TARGETS_FILE}; presets are {', '.join(PRESETS)}.",
                f"目標が未設定：{TARGETS_FILE}に記入する。既定の目標は{', '.join(PRESETS)}。",
            ),
        )
    factors = [*year.ledger.factor.factors]
    factors += [] if year.before_ledger is None else year.before_ledger.factor.factors
    return context.report(
        "targets",
        _standing(year, rows),
        paths,
        plots=(
            Plot(
                paths.id,
                "lines",
                words("Paths", "経路"),
                "year",
                tuple(column.id for column in paths.columns[1:]),
                words("The path of every target over the years.", "各目標の年ごとの経路。"),
            ),
        )
        if aims
        else (),
        methods=("targets", "grid-average", "tracing"),
        factors=tuple(factors),
        inputs=context.officer.files,
        notices=notices,
    )


def _year(context: Context) -> _Year:
    month, time, zone = int(context.choices[FIRST_MONTH.name]), context.period.time, context.period.zone
    last = (time.end - timedelta(seconds=1)).astimezone(zone)
    number = last.year if last.month >= month else last.year - 1

    def whole(year: int) -> Period | None:
        first, end = (datetime(number, month, 1, tzinfo=zone) for number in (year, year + 1))
        if (time.start, time.end) == (first, end):
            return context.period
        return context.other(f"{first.date()}/{end.date() - timedelta(days=1)}")

    period = whole(number) or context.period
    before = whole(number - 1)
    return _Year(
        number,
        month,
        period,
        official(context.over(period)),
        before,
        None if before is None else official(context.over(before)),
    )


def _row(context: Context, year: _Year, target: Target) -> tuple[Cell, ...]:
    at, days = f"target/{target.id}", span(year.period)
    share = target.quantity == "renewable_share"
    unit = "" if share else "t"
    scale = 1.0 if share else 1000.0
    path = target.path(year.year)
    entered = 0.0 if share else _entered_kg(context, year, target)
    no_ends = (math.nan, math.nan)
    if share:
        value, ends, so_far, so_far_ends = _share(year.period, target), no_ends, math.nan, no_ends
        method, known = "so far", 1.0
    else:
        found = _forecast(year, target)
        so_far = _so_far(year, target, None) + entered
        low, high = (_so_far(year, target, end) + entered for end in ENDS)
        so_far_ends = (low, high)
        low, high = _year_ends(year, target, found)
        value, ends = found.value + entered, (low + entered, high + entered)
        method, known = found.method, found.known_share
    budget, budget_ends = math.nan, (math.nan, math.nan)
    if not share and math.isfinite(value) and target.years[0] <= year.year <= target.years[-1]:
        budget = target.budget({year.year: value}, first_year=year.year).left_kg
        budget_ends = (budget + value - ends[1], budget + value - ends[0])  # what is emitted is not left
    why = "; ".join(year.ledger.factor.gaps) or "no day of the year is known"
    begun = year.year >= target.years[0]
    outside = f"the path ended in {target.years[-1]}" if begun else f"the path begins in {target.years[0]}"
    ledger: Ledger = "traced" if share else "grid-average"
    inputs = (TARGETS_FILE, "inventory.csv")
    factors = () if share else year.ledger.factor.factor_keys
    over = context.over(year.period)
    official_share = max(context.energy_share, float(year.ledger.factor.estimated.mean()))
    estimates = over.traced_share() if share else official_share
    ahead = 1.0 - known * (1.0 - estimates)  # days to come are estimates
    return (
        target.title or target.id,
        target.district or target.sector or context.city.name,
        figure(f"{at}/base", target.values[0] / scale, unit, inputs=inputs),
        figure(f"{at}/path", path / scale, unit, explanation=outside, inputs=inputs, method="targets"),
        figure(
            f"{at}/so_far", so_far / scale, unit, explanation="a share is not added up" if share else why,
            low=so_far_ends[0] / scale, high=so_far_ends[1] / scale, ledger=ledger, factors=factors,
            days=days, inputs=inputs, estimated_share=estimates,
        ),
        figure(
            f"{at}/year_end", value / scale, unit, explanation=why, low=ends[0] / scale, high=ends[1] / scale,
            ledger=ledger, method="targets", factors=factors, days=days, inputs=inputs, rule=method,
            estimated_share=ahead,
        ),
        figure(
            f"{at}/gap", (value - path) / scale, unit, explanation=outside if math.isfinite(value) else why,
            low=(ends[0] - path) / scale, high=(ends[1] - path) / scale, estimated_share=ahead,
            parts=(f"{at}/year_end", f"{at}/path"), rule="difference", days=days,
        ),
        figure(
            f"{at}/budget_left", budget / scale, unit,
            explanation="a share has no budget" if share else why if not math.isfinite(value) else outside,
            low=budget_ends[0] / scale, high=budget_ends[1] / scale, estimated_share=ahead,
            method="targets", parts=(f"{at}/year_end",), rule="path's budget from this year on − year's end",
        ),
        target.source,
        target.note,
    )  # fmt: skip


def _standing(year: _Year, rows: tuple[tuple[Cell, ...], ...]) -> Table:
    name = f"{year.year}" if year.first_month == 1 else f"{year.year}-{year.first_month:02d} +12"
    return Table(
        "standing",
        words(f"Standing in {name}", f"{name}年度の状況"),
        (
            Column("target", words("Target", "目標")),
            Column("of", words("Of", "対象")),
            Column("base", words("Base", "基準値")),
            Column("path", words("Path this year", "今年の経路")),
            Column("so_far", words("So far", "これまで")),
            Column("year_end", words("Expected at the year's end", "年末見込み")),
            Column("gap", words("Gap to the path", "経路との差")),
            Column("budget_left", words("Budget left after this year", "今年以後の残予算")),
            Column("source", words("Source", "出典")),
            Column("note", words("Note", "注")),
        ),
        rows,
        words(
            "Emissions in t CO2e: grid electricity at the official factor, and the officer's entries of the "
            "year in BASIC. Shares from 0 to 1, as traced.",
            "排出量はt-CO2e：公式係数による電力と、その年のBASIC項目の入力値。比率は追跡値（0～1）。",
        ),
    )


def _paths(aims: tuple[Target, ...]) -> Table:
    years = sorted({year for target in aims for year in range(target.years[0], target.years[-1] + 1)})
    return Table(
        "paths",
        words("Paths of the targets", "目標の経路"),
        (
            Column("year", words("Year", "年")),
            *(
                Column(
                    target.id,
                    words(target.title or target.id, target.title or target.id),
                    "t" if target.quantity == "emissions" else "",
                )
                for target in aims
            ),
        ),
        tuple((str(year), *(_along(target, year) for target in aims)) for year in years),
    )


def _along(target: Target, year: int) -> float:
    scale = 1000.0 if target.quantity == "emissions" else 1.0
    return target.path(year) / scale if year <= target.years[-1] else math.nan


def _so_far(year: _Year, target: Target, end: End | None) -> float:
    """Emissions of the known days, kg; at an end of the factors' ranges NaN where they have none."""
    days = _daily(year.period, year.ledger, target, end)
    known = len(days) == len(_daily(year.period, year.ledger, target))
    return float(sum(days.values())) if known else math.nan


def _year_ends(year: _Year, target: Target, found: YearForecast) -> tuple[float, float]:
    """The interval of the year's end, kg: by its lowest and highest month, and by the ends of the factors'
    ranges where these have some. A year that is complete at factors without ranges has none."""
    low, high = (_forecast(year, target, end) for end in ENDS)
    if math.isfinite(low.value) and math.isfinite(high.value):
        return low.low, high.high
    return (math.nan, math.nan) if found.method == "complete" else (found.low, found.high)


def _forecast(year: _Year, target: Target, end: End | None = None) -> YearForecast:
    before = None
    if year.before is not None and year.before_ledger is not None:
        before = _daily(year.before, year.before_ledger, target, end)
    daily = _daily(year.period, year.ledger, target, end)
    if not daily:
        return YearForecast(math.nan, math.nan, math.nan, "linear", 0.0)
    return year_forecast(daily, year.year, before, year.first_month)


def _daily(
    period: Period, ledger: GridAverage, target: Target, end: End | None = None
) -> Mapping[date, float]:
    """Official emissions of grid electricity by local day, kg, at an `end` of the factors' ranges if given;
    days with an unknown hour are left out."""
    users = {
        user
        for user, sub in SUB_SECTOR_OF_CLASS.items()
        if target.sector in (None, user, sub, sub.split(".")[0])
    }
    weights = np.array(
        [
            sum(share for user, share in asset.classes.items() if user in users)
            if target.district in (None, asset.district)
            else 0.0
            for asset in ledger.assets
        ]
    )
    factor = ledger.factor.g_per_kwh if end is None else getattr(ledger.factor, end)
    return by_day(period, carbon_kg(ledger.energy_mwh @ weights, factor))


def _entered_kg(context: Context, year: _Year, target: Target) -> float:
    """The officer's entries of the year in the cells the target is about; of districts none is known."""
    if target.district is not None:
        return 0.0
    entries = read_entries(context.officer.inventory, metered_references(year.period))
    of_class = {str(user): sub for user, sub in SUB_SECTOR_OF_CLASS.items()}
    sub = None if target.sector is None else of_class.get(target.sector, target.sector)
    return sum(
        entry.kg * GWP["AR5"][entry.gas]
        for entry in entries
        if entry.year == year.year
        and entry.notation is None
        and REFERENCES[entry.reference].counts_in("BASIC")
        and sub in (None, REFERENCES[entry.reference].sub_sector, REFERENCES[entry.reference].sector)
    )


def _share(period: Period, target: Target) -> float:
    """The traced renewable share of end use, of a district or the city, in the days known."""
    table = period.actual.districts
    chosen = [k for k, name in enumerate(period.districts) if target.district in (None, name)]
    renewable, energy = (table[name][:, chosen] for name in ("renewable_mwh", "energy_mwh"))
    known = np.isfinite(renewable).all(axis=1) & np.isfinite(energy).all(axis=1)
    total = float(energy[known].sum())
    return float(renewable[known].sum()) / total if total else math.nan
