"""``method``: every method and factor in use, and where every input comes from."""

from __future__ import annotations

from energy.domain.report import Cell, Column, Report, Table
from energy.service.reports.figures import words
from energy.service.reports.methods import METHODS
from energy.service.reports.registry import Context, report


@report(
    "method",
    words("Methods and factors", "算定方法と排出係数"),
    words(
        "By which methods, factors and inputs does the city account its carbon?",
        "都市の炭素はどの方法・係数・入力で算定されるか。",
    ),
)
def method(context: Context) -> Report:
    """The registry as it stands, the inputs, and all methods."""
    zone = context.city.grid_zone
    chosen = [
        factor
        for factor in context.factors.factors
        if (
            factor.operator == context.city.carbon.operator
            if factor.kind == "supplier"
            else factor.zone in ("", zone, zone.split("-", 1)[0])
        )
    ]
    factors: list[tuple[Cell, ...]] = [
        (
            factor.key,
            factor.kind,
            factor.technology,
            factor.zone,
            factor.value,
            factor.low,
            factor.high,
            factor.unit,
            f"{factor.gas_basis}, {factor.basis}",
            factor.source,
            str(factor.data_year),
        )
        for factor in sorted(chosen, key=lambda factor: factor.key)
    ]
    inputs: list[tuple[Cell, ...]] = [
        (source.name, source.source, source.version, source.estimated_share) for source in context.inputs()
    ]
    return context.report(
        "method",
        Table(
            "factors",
            words("Factors in force", "適用中の係数"),
            (
                Column("factor", words("Factor", "係数")),
                Column("kind", words("Kind", "種類")),
                Column("technology", words("Technology", "技術")),
                Column("zone", words("Zone", "地域")),
                Column("value", words("Value", "値")),
                Column("low", words("Low", "下限")),
                Column("high", words("High", "上限")),
                Column("unit", words("Unit", "単位")),
                Column("gases", words("Gases and basis", "対象ガスと範囲")),
                Column("source", words("Source", "出典")),
                Column("data_year", words("Year of data", "データの年")),
            ),
            tuple(factors),
        ),
        Table(
            "inputs",
            words("Inputs", "入力データ"),
            (
                Column("series", words("Series", "系列")),
                Column("source", words("Source", "出典")),
                Column("version", words("Version", "版")),
                Column("estimated_share", words("Estimated share", "推計の割合")),
            ),
            tuple(inputs),
        ),
        methods=tuple(METHODS),
        factors=tuple(chosen),
        inputs=context.officer.files,
    )
