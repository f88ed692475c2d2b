"""``city-inventory``: the GPC inventory with the CRF and CDP table and Japan's layout of the same figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from energy.carbon.difference import difference
from energy.carbon.gpc import CRF_ROWS, JAPAN_ROWS, REFERENCES, SECTORS, SUB_SECTORS, Row, Total
from energy.carbon.grid_average import GridAverage
from energy.carbon.inventory import FLUORINATED, Inventory, Quality, inventory, metered_references
from energy.carbon.inventory import Cell as InventoryCell
from energy.carbon.inventory_entries import Gas, GwpSet, read_entries
from energy.carbon.rates import Rate, rate
from energy.domain.report import Cell, Column, Figure, Grade, Plot, Report, Table, Words
from energy.service.reports.figures import DISTRICT, TRACED, figure, span, sum_of, words
from energy.service.reports.official import (
    FIRST_MONTH,
    GAPS,
    HOURS,
    estimated_hours,
    gap_rule,
    losses_within,
    official,
)
from energy.service.reports.registry import Choice, Context, report

_LEVELS: tuple[tuple[Total, Words], ...] = (
    ("BASIC", words("BASIC", "BASIC")),
    ("BASIC+", words("BASIC+", "BASIC+")),
    ("territorial", words("Territorial (all of scope 1)", "領域（スコープ1の全体）")),
)
_GASES: tuple[Gas, ...] = ("CO2", "CH4", "N2O", *FLUORINATED)
"""Columns of the eCRF before the total; HFCs and PFCs are mixtures, in t CO2e."""
_GRADES: dict[str, Grade] = {"H": "H", "M": "M", "L": "L"}
_ORIGINS = {"metered": words("metered", "計量"), "entered": words("entered", "入力")}
_GWPS: dict[str, GwpSet] = {"AR4": "AR4", "AR5": "AR5", "AR6": "AR6"}
_QUALITY = Choice("activity_quality", ("H", "M", "L"), "M")
_GWP = Choice("gwp", ("AR4", "AR5", "AR6"), "AR5")


@report(
    "city-inventory",
    words("City inventory", "都市の温室効果ガス排出目録"),
    words(
        "What does the city report by the GPC, to CIRIS and CDP, and in Japan's municipal layout?",
        "GPC・CIRIS・CDP、および区域施策編の様式で、都市は何を報告するか。",
    ),
    (GAPS, HOURS, _QUALITY, _GWP, FIRST_MONTH),
)
def city_inventory(context: Context) -> Report:
    """Every cell of the GPC, the totals, the same figures in other layouts, and the traced figure beside."""
    ledger = official(context)
    generation = {technology: _direct(context, technology) for technology in _technologies(context)}
    metered = metered_references(context.period)
    entries = read_entries(context.officer.inventory, metered)
    made = inventory(
        ledger,
        context.period,
        entries,
        quality=Quality(_GRADES[context.choices[_QUALITY.name]], "M"),
        generation=generation,
        losses_within_factor=losses_within(ledger.factor),
        gaps=gap_rule(context),
        gwp=_GWPS[context.choices[_GWP.name]],
        first_month=int(context.choices[FIRST_MONTH.name]),
    )
    used = [*ledger.factor.factors, *(() if ledger.losses is None else ledger.losses.factors)]
    used += [factor for found in generation.values() for factor in found.factors]
    totals = _totals(context, made)
    return context.report(
        "city-inventory",
        _cells(context, made),
        totals,
        _lines(made),
        _layout(context, made, "crf", CRF_ROWS, words("CRF and CDP-ICLEI table", "CRF・CDP-ICLEIの表")),
        _layout(
            context, made, "japan", JAPAN_ROWS, words("Municipal layout of Japan", "区域施策編の部門・分野")
        ),
        _difference(context, ledger if not ledger.estimated.any() else _of_known_hours(context)),
        plots=(
            Plot(
                totals.id,
                "bars",
                words("Emissions by sector", "部門別排出量"),
                "sector",
                ("BASIC", "BASIC+"),
                words("Bars of BASIC and BASIC+ per sector.", "部門ごとのBASICとBASIC+の棒グラフ。"),
                rows=len(SECTORS),
            ),
        ),
        methods=("gpc", "grid-average", "tracing", "interval"),
        factors=tuple(used),
        inputs=context.officer.files,
        notices=estimated_hours(ledger),
    )


def _technologies(context: Context) -> list[str]:
    return sorted({asset.technology for asset in context.period.assets if asset.technology})


def _direct(context: Context, technology: str) -> Rate:
    period = context.period
    return rate(
        period.time,
        period.zone,
        lambda day: context.factors.generation(technology, "direct", day),
    )


def _key(reference: str) -> str:
    return f"gpc/{reference}"


def _figure(context: Context, cell: InventoryCell) -> Figure:
    """A cell: its CO2e in tonnes, or its notation key."""
    key = _key(cell.reference.id)
    if not cell.lines:
        return Figure(
            key=key,
            value=None,
            unit="t",
            notation=cell.notation,
            explanation=cell.explanation["en"],
            method="gpc",
        )
    amount = cell.amount
    metered = any(line.origin == "metered" for line in cell.lines)
    known = math.isfinite(amount.low_kg) and math.isfinite(amount.high_kg)
    return Figure(
        key=key,
        value=amount.kg / 1000.0,
        unit="t",
        ledger="grid-average" if metered else "entered",
        method="grid-average" if metered else "gpc",
        low=amount.low_kg / 1000.0 if known else None,
        high=amount.high_kg / 1000.0 if known else None,
        # sums of shares may miss 1 by rounding
        estimated_share=min(
            1.0, max(amount.estimated_share, _input_share(context, cell) if metered else 0.0)
        ),
        activity=_worst([line.activity_quality for line in cell.lines]),
        factor_quality=_worst([line.factor_quality for line in cell.lines]),
        factors=tuple(sorted({key for line in cell.lines for key in line.factors})),
        inputs=() if metered else ("inventory.csv",),
        days=span(context.period) if metered else None,
    )


def _worst(grades: Iterable[Grade | None]) -> Grade | None:
    """The lowest of several grades: a cell is as good as its weakest line."""
    return max((grade for grade in grades if grade), key="HML".index, default=None)


def _input_share(context: Context, cell: InventoryCell) -> float:
    """Of the energy: charging may be drawn from published distributions."""
    return context.ev_share if cell.reference.sub_sector == "II.1" else context.energy_share


def _cells(context: Context, made: Inventory) -> Table:
    """The eCRF's columns: reference, sub-sector, scope, key, gases, quality, explanation."""
    rows: list[tuple[Cell, ...]] = []
    for reference, cell in made.cells.items():
        kind = REFERENCES[reference]
        found = _figure(context, cell)
        *gases, biogenic = (_tonnes(cell.gas_kg(gas)) for gas in (*_GASES, "CO2b"))
        rows.append(
            (
                reference,
                SECTORS[kind.sector],
                SUB_SECTORS.get(kind.sub_sector, kind.title),
                kind.title,
                str(kind.scope),
                kind.level,
                found.notation or "",
                *gases,
                found,
                biogenic,
                found.activity or "",
                found.factor_quality or "",
                _plain(cell.explanation),
            )
        )
    return Table(
        "gpc",
        words("Inventory by GPC reference", "GPC項目別の目録"),
        (
            Column("reference", words("GPC ref. no.", "GPC番号")),
            Column("sector", words("Sector", "部門")),
            Column("sub_sector", words("Sub-sector", "小部門")),
            Column("title", words("Emissions from", "排出源")),
            Column("scope", words("Scope", "スコープ")),
            Column("level", words("Level", "区分")),
            Column("notation", words("Notation key", "注記記号")),
            *(Column(f"{gas.lower()}_t", words(gas, gas), "t") for gas in _GASES),
            Column("co2e_t", words("Total CO2e", "CO2e合計"), "t"),
            Column("co2b_t", words("CO2 (b)", "CO2（生物起源）"), "t"),
            Column("activity", words("Activity quality", "活動量の質")),
            Column("factor_quality", words("Factor quality", "係数の質")),
            Column("explanation", words("Explanation", "説明")),
        ),
        tuple(rows),
        words(
            "Gases where the factor gives them; a factor in CO2e counts in the total only. CO2 (b) is in no "
            "total.",
            "ガス別は係数が示す場合のみ。CO2e係数は合計にのみ算入。CO2（生物起源）は合計に含めない。",
        ),
    )


def _plain(said: Words) -> Cell:
    """A text that is the same in every language stands once."""
    return said["en"] if said["en"] == said["ja"] else said


def _tonnes(kg: float | None) -> float | None:
    return None if kg is None else kg / 1000.0


def _totals(context: Context, made: Inventory) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for sector, name in SECTORS.items():
        rows.append((name, *(_total(context, made, level, sector) for level, _ in _LEVELS)))
    rows.append(
        (words("All sectors", "全部門"), *(_total(context, made, level, None) for level, _ in _LEVELS))
    )
    lacking = sorted({key for level, _ in _LEVELS for key, why in made.without(level).items() if why == "NE"})
    return Table(
        "totals",
        words("Totals", "合計"),
        (
            Column("sector", words("Sector", "部門")),
            *(Column(level, title, "t") for level, title in _LEVELS),
        ),
        tuple(rows),
        words(
            f"Not estimated and so in no total: {', '.join(lacking) or 'none'}.",
            f"NEのため合計に含まれない項目：{', '.join(lacking) or 'なし'}。",
        ),
    )


def _total(context: Context, made: Inventory, level: Total, sector: str | None) -> Figure:
    parts = [
        _figure(context, cell)
        for cell in made.cells.values()
        if cell.lines and cell.reference.counts_in(level) and sector in (None, cell.reference.sector)
    ]
    lacking = made.without(level, sector=sector)
    name = f"total/{level}/{sector or 'all'}"
    if not parts:
        return Figure(
            key=name,
            value=None,
            unit="t",
            notation="NE" if "NE" in lacking.values() or not lacking else "NO",
            explanation="no cell of it has a number",
            method="gpc",
        )
    return sum_of(
        name,
        made.total_kg(level, sector=sector) / 1000.0,
        "t",
        parts,
        ledger="grid-average",
        method="gpc",
        days=span(context.period),
    )


def _lines(made: Inventory) -> Table:
    """What every number is made of."""
    rows: list[tuple[Cell, ...]] = [
        (
            reference,
            _plain(line.activity),
            line.amount,
            line.unit,
            line.factor,
            line.co2e_kg / 1000.0,
            _plain(line.source),
            "" if line.year is None else str(line.year),
            line.activity_quality or "",
            line.factor_quality or "",
            _ORIGINS[line.origin],
            _plain(line.explanation),
        )
        for reference, cell in made.cells.items()
        for line in cell.lines
    ]
    return Table(
        "lines",
        words("Activities and factors", "活動量と係数"),
        (
            Column("reference", words("GPC ref. no.", "GPC番号")),
            Column("activity", words("Activity", "活動")),
            Column("amount", words("Amount", "活動量")),
            Column("unit", words("Unit", "単位")),
            Column("factor", words("Factor and source", "係数と出典")),
            Column("co2e_t", words("CO2e", "CO2e"), "t"),
            Column("source", words("Source of activity", "活動量の出典")),
            Column("year", words("Year", "年")),
            Column("activity_quality", words("Activity quality", "活動量の質")),
            Column("factor_quality", words("Factor quality", "係数の質")),
            Column("origin", words("Origin", "由来")),
            Column("explanation", words("Explanation", "説明")),
        ),
        tuple(rows),
    )


def _layout(context: Context, made: Inventory, id_: str, rows: tuple[Row, ...], title: Words) -> Table:
    """The same figures in another layout; a row without a number shows its notation keys."""
    columns = ("direct", "indirect", "outside")
    found = made.laid_out(rows)
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        keys = made.notations(row)
        said = ", ".join(f"{reference} {key}" for reference, key in keys.items())
        values: list[Cell] = []
        for column, references, value in zip(
            columns, (row.direct, row.indirect, row.outside), found[row.id], strict=True
        ):
            if not references:
                values.append(None)  # the layout has no such cell
                continue
            figure = sum_of(
                f"{id_}/{row.id}/{column}",
                value / 1000.0,
                "t",
                [_figure(context, made.cells[key]) for key in references],
                explanation=said or "no number of these gases is known",
                ledger="grid-average",
                method="gpc",
                # gases are told apart: then a part counts in two rows, and no sum of parts is claimed
                rule="sum" if row.gases == "all" else "its gases",
                days=span(context.period),
            )
            if figure.notation is not None and len(alike := {keys.get(key, "NE") for key in references}) == 1:
                figure = replace(figure, notation=alike.pop())
            values.append(figure)
        cells.append((row.group, row.title, *values, said))
    return Table(
        id_,
        title,
        (
            Column("group", words("Group", "区分")),
            Column("row", words("Sector", "部門・分野")),
            Column("direct", words("Direct", "直接排出"), "t"),
            Column("indirect", words("Grid-supplied energy", "系統供給エネルギー"), "t"),
            Column("outside", words("Outside the boundary", "境界外"), "t"),
            Column("notation", words("Notation keys", "注記記号")),
        ),
        tuple(cells),
    )


def _of_known_hours(context: Context) -> GridAverage:
    """What is compared with the trace, which knows nothing of the hours that are estimated."""
    return official(replace(context, choices={**context.choices, HOURS.name: "left-out"}))


def _difference(context: Context, ledger: GridAverage) -> Table:
    """Why the traced figure differs from the official one, term by term."""
    days = span(context.period)
    terms = (
        ("official_kg", words("Official", "公式"), "grid-average"),
        ("level_kg", words("Level of the factor", "係数の水準"), "none"),
        ("timing_kg", words("Hours of use", "使用時間帯"), "none"),
        ("local_kg", words("Local generation and storage", "地域内発電と蓄電"), "none"),
        ("traced_kg", words("Traced", "追跡"), "traced"),
    )
    keys = tuple(ledger.factor.factor_keys)
    rows: list[tuple[Cell, ...]] = []
    whole = ledger.city().scope2.estimated_share
    shares = {"grid-average": max(whole, context.energy_share), "traced": context.traced_share()}
    shares["none"] = max(shares.values())
    for place, found in difference(ledger, context.period).items():
        at = f"difference/{place}"
        name = context.city.name if place == "city" else context.place[place]
        cells = []
        for key, _, kind in terms:
            low, high = (getattr(end, key) for end in found.ends)
            cells.append(
                figure(
                    f"{at}/{key}",
                    getattr(found, key),
                    "kg",
                    low=low,
                    high=high,
                    explanation="; ".join(ledger.factor.gaps) or "no official factor is known",
                    ledger="grid-average" if kind == "grid-average" else "traced",
                    method="tracing" if kind == "traced" else "grid-average",
                    estimated_share=shares[kind],
                    factors=() if kind == "traced" else keys,
                    inputs=TRACED if kind == "traced" else (),
                    parts=tuple(f"{at}/{part}" for part, _, _ in terms[:-1]) if kind == "traced" else (),
                    rule="sum" if kind == "traced" else "",
                    days=days,
                )
            )
        rows.append((name, *cells))
    return Table(
        "difference",
        words("Traced beside official", "公式値と追跡値の差"),
        (DISTRICT, *(Column(key, title, "kg") for key, title, _ in terms)),
        tuple(rows),
        words(
            "Both are location-based and of the same energy; the traced figure fills no cell above.",
            "どちらもロケーション基準で同じ電力量に対する値。追跡値は目録の欄には用いない。",
        ),
    )
