"""``kpi``: cost, peak, losses, shares: what happened beside the plan and the day without control."""

from __future__ import annotations

import math
from collections.abc import Callable

from energy.carbon.indicators import Indicators, compare, district_indicators
from energy.domain.city import District
from energy.domain.report import Cell, Column, Plot, Report, Table, Words
from energy.service.reports.figures import DISTRICT, TRACED, figure, span, words
from energy.service.reports.registry import Context, report

_ROWS: tuple[tuple[str, str, Words, Callable[[Indicators], float]], ...] = (
    ("cost", "", words("Cost", "費用"), lambda found: found.cost),
    ("peak_mw", "MW", words("Highest import", "最大受電"), lambda found: found.peak_mw),
    ("end_use_mwh", "MWh", words("End use", "最終消費"), lambda found: found.end_use_mwh),
    ("loss_mwh", "MWh", words("Network losses", "系統損失"), lambda found: found.loss_mwh),
    ("loss_share", "", words("Loss share", "損失率"), lambda found: found.loss_share),
    ("footprint_kg", "kg", words("Traced footprint", "追跡した排出量"), lambda found: found.footprint_kg),
    ("carbon_g_per_kwh", "g/kWh", words("Intensity of end use", "消費の炭素強度"), lambda f: f.g_per_kwh),
    ("renewable_share", "", words("Renewable share", "再エネ比率"), lambda found: found.renewable_share),
    ("self_sufficiency", "", words("Self-sufficiency", "自給率"), lambda found: found.self_sufficiency),
    ("self_consumption", "", words("Self-consumption", "自家消費率"), lambda found: found.self_consumption),
)
_UPSTREAM = ("footprint_kg", "carbon_g_per_kwh", "renewable_share")
"""What rests on the upstream intensity or mix."""
_CASES = (
    ("actual", words("What happened", "実績")),
    ("planned", words("Planned", "計画")),
    ("uncontrolled", words("Without control", "制御なし")),
)


@report(
    "kpi",
    words("Indicators", "指標"),
    words(
        "What did the period cost, where was its peak, and what has control changed?",
        "この期間の費用とピークはどれだけで、制御は何を変えたか。",
    ),
)
def kpi(context: Context) -> Report:
    """The city's indicators in three accounts, and those of every district."""
    compared = compare(context.period)
    accounts = {
        "actual": compared.actual,
        "planned": compared.planned,
        "uncontrolled": compared.uncontrolled,
    }
    currency = context.city.market.currency
    rows: list[tuple[Cell, ...]] = []
    for key, unit, title, value in _ROWS:
        carbon, upstream = unit in ("kg", "g/kWh"), key in _UPSTREAM
        share = context.traced_share() if upstream else context.energy_share
        ends = {case: [value(end) for end in accounts[case].ends] for case, _ in _CASES}
        cells = [
            figure(
                f"{case}/{key}",
                value(accounts[case]),
                unit or (currency if key == "cost" else ""),
                explanation="nothing was used or generated",
                ledger="traced" if carbon else "none",
                method="tracing" if carbon else "indicators",
                low=ends[case][0] if carbon else math.nan,
                high=ends[case][1] if carbon else math.nan,
                estimated_share=share,
                inputs=TRACED if upstream else (),
                days=span(context.period),
            )
            for case, _ in _CASES
        ]
        saved = figure(
            f"saved/{key}",
            value(accounts["uncontrolled"]) - value(accounts["actual"]),
            cells[0].unit,
            explanation="nothing was used or generated",
            low=ends["uncontrolled"][0] - ends["actual"][0] if carbon else math.nan,
            high=ends["uncontrolled"][1] - ends["actual"][1] if carbon else math.nan,
            ledger="traced" if carbon else "none",
            estimated_share=share,
            parts=(f"uncontrolled/{key}", f"actual/{key}"),
            rule="difference",
            days=span(context.period),
        )
        rows.append((title, cells[0].unit, *cells, saved))
    indicators = Table(
        "indicators",
        words("Indicators of the city", "都市の指標"),
        (
            Column("indicator", words("Indicator", "指標")),
            Column("unit", words("Unit", "単位")),
            *(Column(case, title) for case, title in _CASES),
            Column("saved", words("Saved by control", "制御による削減")),
        ),
        tuple(rows),
        words(
            f"Over {compared.hours} hours that all three accounts know. Hard bounds of batteries at the "
            "period's end differ between the accounts: the report on avoided emissions states leakage.",
            f"三つの勘定すべてで既知の{compared.hours}時間を対象とする。期末の蓄電残量の差は削減貢献量の"
            "報告で扱う。",
        ),
    )
    districts = _districts(context)
    return context.report(
        "kpi",
        indicators,
        districts,
        plots=(
            Plot(
                districts.id,
                "bars",
                words("Use and local generation by district", "地区別の消費と発電"),
                "district",
                ("end_use_mwh", "generated_mwh"),
                words(
                    "Two bars per district: end use and local generation.",
                    "地区ごとに二本の棒：消費と地域内発電。",
                ),
            ),
        ),
        methods=("indicators", "tracing", "interval"),
    )


def _districts(context: Context) -> Table:
    """Indicators of districts; per inhabitant and floor area where the district has them."""
    known = {district.id: district for district in context.city.districts}
    days = span(context.period)
    rows: list[tuple[Cell, ...]] = []
    for district, found in district_indicators(context.period).items():
        at, place = f"district/{district}", known.get(district)
        low, high = (_of_district(end, place) for end in found.ends)
        rows.append(
            (
                context.place[district],
                *(
                    figure(
                        f"{at}/{key}",
                        value,
                        unit,
                        explanation=why or "nothing is known",
                        low=low[key][0] if unit == "kg" else math.nan,
                        high=high[key][0] if unit == "kg" else math.nan,
                        ledger="traced" if unit == "kg" else "none",
                        method="tracing" if unit == "kg" else "indicators",
                        estimated_share=context.traced_share() if unit == "kg" else context.energy_share,
                        inputs=TRACED if unit == "kg" else (),
                        days=days,
                    )
                    for key, (value, unit, why) in _of_district(found, place).items()
                ),
            )
        )
    return Table(
        "districts",
        words("Districts", "地区別"),
        (
            DISTRICT,
            Column("end_use_mwh", words("End use", "消費"), "MWh"),
            Column("generated_mwh", words("Local generation", "地域内発電"), "MWh"),
            Column("footprint_kg", words("Traced footprint", "追跡した排出量"), "kg"),
            Column("self_sufficiency", words("Self-sufficiency", "自給率")),
            Column("self_consumption", words("Self-consumption", "自家消費率")),
            Column("kwh_per_inhabitant", words("Use per inhabitant", "一人当たり消費"), "kWh"),
            Column("kg_per_inhabitant", words("Carbon per inhabitant", "一人当たり排出量"), "kg"),
            Column("kwh_per_m2", words("Use per m² of floor", "床面積当たり消費"), "kWh/m²"),
            Column("kg_per_m2", words("Carbon per m² of floor", "床面積当たり排出量"), "kg/m²"),
        ),
        tuple(rows),
    )


def _of_district(found: Indicators, place: District | None) -> dict[str, tuple[float, str, str]]:
    """By column: the figure, its unit, and why it may be missing."""

    def per(quantity: float | None) -> tuple[float, float]:
        return found.per(quantity) if quantity else (math.nan, math.nan)

    people = per(None if place is None else place.inhabitants)
    area = per(None if place is None else place.floor_area_m2)
    return {
        "end_use_mwh": (found.end_use_mwh, "MWh", ""),
        "generated_mwh": (found.generated_mwh, "MWh", ""),
        "footprint_kg": (found.footprint_kg, "kg", ""),
        "self_sufficiency": (found.self_sufficiency, "", "nothing was used"),
        "self_consumption": (found.self_consumption, "", "nothing is generated here"),
        "kwh_per_inhabitant": (people[0], "kWh", "the district has no number of inhabitants"),
        "kg_per_inhabitant": (people[1], "kg", "the district has no number of inhabitants"),
        "kwh_per_m2": (area[0], "kWh", "the district has no floor area"),
        "kg_per_m2": (area[1], "kg", "the district has no floor area"),
    }
