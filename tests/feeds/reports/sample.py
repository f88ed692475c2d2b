"""A report that has one of everything, and random reports."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from energy.domain.period import DayRun
from energy.domain.report import (
    Cell,
    Change,
    Column,
    Edition,
    FactorUse,
    Figure,
    InputUse,
    Method,
    Plot,
    Report,
    Table,
    Words,
)

START = datetime(2016, 10, 29, 22, tzinfo=UTC)
"""Local midnight of the day on which Berlin's clocks go back."""
DISTRICTS = ("old town", "=harbour", "+west")


def words(english: str, japanese: str) -> Words:
    return {"en": english, "ja": japanese}


def figure(key: str, value: float | None, unit: str) -> Figure:
    if value is None:
        return Figure(key=key, value=None, unit=unit, notation="NE", explanation="no marginal intensity")
    return Figure(
        key=key, value=value, unit=unit, ledger="traced", method="tracing", low=0.5 * value, high=2 * value,
        estimated_share=0.25, activity="H", factor_quality="M", factors=("lc-wind@2014-01-01 v1",),
        inputs=("upstream intensity",), days=("2016-10-30", "2016-10-30"),
    )  # fmt: skip


def sample(value: float = 1234.5678) -> Report:
    """Two tables (with a day of 25 hours and a gap), a plot of each kind, everything else once."""
    districts = Table(
        "districts",
        words("Emissions by district", "地区別の排出量"),
        (
            Column("district", words("District", "地区")),
            Column("energy_mwh", words("Energy", "電力量"), "MWh"),
            Column("marginal_kg", words("Marginal", "限界排出"), "kg"),
        ),
        tuple(
            (name, figure(f"{name}/energy_mwh", value * (k + 1), "MWh"), figure(f"{name}/kg", None, "kg"))
            for k, name in enumerate(DISTRICTS)
        ),
        words("Traced through the city's grid.", "都市の系統で追跡した。"),
    )
    hours = Table(
        "hours",
        words("Hours", "時間別"),
        (
            Column("time", words("Start", "開始"), "time"),
            Column("emissions_kg", words("Emissions", "排出量"), "kg"),
        ),
        tuple(
            (START + timedelta(hours=k), math.nan if k == 3 else float(k)) for k in range(25)
        ),
    )  # fmt: skip
    return Report(
        name="district-carbon",
        title=words("Carbon by district", "地区別の炭素"),
        city="reference",
        city_name="Reference City",
        zone="Europe/Berlin",
        period="2016-10-30",
        start=START,
        end=START + timedelta(hours=25),
        settings={"coupling": "direct", "zone": "DE"},
        tables=(districts, hours),
        plots=(
            Plot("districts", "bars", words("Energy", "電力量"), "district", ("energy_mwh",),
                 words("Bars: the west uses most.", "棒グラフ：西が最大。")),
            Plot("hours", "lines", words("A day", "一日"), "time", ("emissions_kg",),
                 words("A rising line with a gap.", "欠測のある上昇線。")),
            Plot("hours", "stacked", words("The same", "同じ"), "time", ("emissions_kg",),
                 words("Bars that rise.", "増える棒。")),
        ),
        methods=(Method("tracing", words("Flow tracing", "潮流追跡"),
                        words("Proportional sharing with losses.", "損失を含む比例配分。"), "Bialek 1996"),),
        factors=(FactorUse("lc-wind", 1, 11.0, 7.0, 56.0, "g/kWh", "CO2e", "life-cycle", "", "IPCC AR5", 2014,
                           2014, "2014-01-01", "", False, "onshore"),),
        factors_version="1+abc",
        inputs=(InputUse("upstream intensity", "merit order", "1", 1.0, "sha256:1"),),
        days=(DayRun("2016-10-30", 0, "perfect", "secure", "sha256:2", "0.1.0", "1+abc", START),),
        notices=(words("The upstream intensity is estimated.", "上位系統の炭素強度は推計である。"),),
        code_version="0.1.0",
    )  # fmt: skip


def edition() -> Edition:
    return Edition(
        2, "sha256:" + "0" * 64, "approved", START + timedelta(microseconds=1),
        (Change("old town/energy_mwh", "1,000", "1,235", "MWh"),), "N. Officer", START,
    )  # fmt: skip


_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
_both = st.builds(words, _text, _text)
_number = st.floats(-1e300, 1e300)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Tables of any content and texts in any script."""
    width, height = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    kinds = draw(
        st.lists(st.sampled_from(["text", "number", "time", "figure"]), min_size=width, max_size=width)
    )

    def cell(kind: str, row: int, column: int) -> Cell:
        if kind == "text":
            return draw(_text | _both)
        if kind == "number":
            return draw(_number)
        if kind == "time":
            return START + timedelta(hours=row)
        known = draw(st.booleans())
        return figure(f"figure {row} {column}", draw(_number) if known else None, "kg")

    rows = tuple(tuple(cell(kind, row, column) for column, kind in enumerate(kinds)) for row in range(height))
    columns = tuple(
        Column(f"c{k}", draw(_both), "time" if kind == "time" else "kg" if kind == "figure" else "")
        for k, kind in enumerate(kinds)
    )
    plain = sample()
    return Report(
        name=plain.name, title=draw(_both), city=draw(_text), city_name=draw(_text), zone=plain.zone,
        period=plain.period, start=plain.start, end=plain.end, settings={draw(_text): draw(_text)},
        tables=(Table("any", draw(_both), columns, rows),), notices=(draw(_both),),
    )  # fmt: skip
