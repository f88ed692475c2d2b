"""Power over the day: where it comes from, where it goes, and one asset of it."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import theme
from dashboard.language import Language
from dashboard.reading import (
    accounted,
    cases,
    supply_at_district,
    table,
    technology_name,
    total,
    upstream_estimated,
)
from dashboard.view import day_labels
from energy.domain.city import City
from energy.domain.network import FloatArray
from energy.domain.plan import Plan, SeriesTable

NEGLIGIBLE_MW = 1e-6


def supply_stack(plan: Plan, city: City, language: Language, *, step: int, district: str = "") -> go.Figure:
    """Where a city's or one district's power comes from, MW stacked from zero, with the demand."""
    case = accounted(plan)
    labels = day_labels(plan.time, city.zone)
    figure = theme.chart(language.separators, height=240)
    if district:
        supply = supply_at_district(plan, case, district)
        demand = table(plan, case, "district.energy_mwh").column(district) / plan.time.hours
        demand_name = language("series.district_use")
    else:
        supply = table(plan, case, "supply_mw")
        demand = table(plan, case, "use_mw").values.sum(axis=1)
        demand_name = language("series.demand")
    for technology, values in used(supply):
        _area(
            figure,
            labels,
            values,
            technology_name(language, technology),
            theme.technology_colour(technology),
            "up",
        )
    figure.add_scatter(
        x=labels, y=demand, name=demand_name, mode="lines",
        line={"color": theme.INK, "width": 1.8}, hovertemplate="%{y:,.2f}",
    )  # fmt: skip
    theme.day_axis(figure, labels, every_hours=4, hours=plan.time.hours)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(shapes=[theme.time_line(step)])
    return figure


def balance(plan: Plan, city: City, language: Language, *, step: int, case: str = "planned") -> go.Figure:
    """Sources above zero, uses mirrored below (MW); price and carbon under it on the same clock."""
    labels = day_labels(plan.time, city.zone)
    figure = make_subplots(
        rows=3, cols=1, shared_xaxes=True, row_heights=[0.62, 0.19, 0.19], vertical_spacing=0.1
    )
    figure.update_layout(theme.chart(language.separators, height=600).layout)
    for technology, values in used(table(plan, case, "supply_mw")):
        name, colour = technology_name(language, technology), theme.technology_colour(technology)
        _area(figure, labels, values, name, colour, "up", row=1)
    for use, values in used(table(plan, case, "use_mw"), theme.USES):
        name, colour = language.known(f"use.{use}", use), use_colour(use)
        _area(figure, labels, -values, name, colour, "down", row=1)
    market = plan.tables["market"]
    lines = (
        ("import_price", market.column("import_price_eur_per_mwh"), theme.INK, 2),
        ("plan_price", market.column("price_eur_per_mwh"), theme.TECHNOLOGY["battery"], 2),
        (upstream_key(plan), market.column("upstream_g_per_kwh"), theme.TECHNOLOGY["import"], 3),
        ("city_intensity", total(plan, case, "carbon_g_per_kwh"), theme.INK, 3),
    )
    for key, values, colour, row in lines:
        _line(figure, labels, values, language(f"series.{key}"), colour, row=row)
    axis = {
        "gridcolor": theme.LINE,
        "zeroline": False,
        "fixedrange": True,
        "color": theme.MUTED,
        "automargin": False,
        "ticklabelstandoff": 4,
        "separatethousands": True,
    }
    figure.update_yaxes(**axis)
    figure.update_yaxes(row=1, col=1, zeroline=True, zerolinecolor=theme.MUTED, zerolinewidth=1, nticks=8)
    figure.update_yaxes(row=2, col=1, nticks=4)
    figure.update_yaxes(row=3, col=1, nticks=4, rangemode="tozero")
    figure.update_xaxes(showgrid=False, zeroline=False, fixedrange=True, color=theme.MUTED)
    theme.day_axis(figure, labels, every_hours=4, hours=plan.time.hours)
    for row, heading in ((1, "axis.power"), (2, "axis.price"), (3, "axis.carbon")):
        named = [
            f'<span style="color:{colour}">━ {language(f"series.{key}")}</span>'
            for key, _, colour, at in lines
            if at == row
        ]
        words = language(heading, currency=city.market.currency)
        _heading(figure, "<br>".join([words, "   ".join(named)] if named else [words]), row)
    figure.update_layout(
        shapes=[theme.time_line(step)], margin={"l": 48, "r": 12, "t": 26, "b": 26}, hoversubplots="axis"
    )
    return figure


def asset_day(plan: Plan, city: City, language: Language, asset: str, *, step: int) -> go.Figure:
    """One asset's power, planned beside every other case, and what it holds where it holds something."""
    labels = day_labels(plan.time, city.zone)
    shown = [("asset_p_kw", asset)]
    held = _held(plan, asset)
    stores = held is not None
    if held is not None:
        shown.append(held)
    figure = make_subplots(
        rows=2 if stores else 1, cols=1, shared_xaxes=True, vertical_spacing=0.14,
        row_heights=[0.55, 0.45] if stores else None,
    )  # fmt: skip
    figure.update_layout(theme.chart(language.separators, height=340 if stores else 240).layout)
    for case in reversed(cases(plan)):
        dash = "solid" if case == "planned" else "dot"
        colour, name = theme.CASE[case], language(f"case.{case}")
        for row, (series, column) in enumerate(shown, start=1):
            source = table(plan, case, series)
            if column in source.columns:
                shape = "hv" if row == 1 else "linear"
                _line(figure, labels, source.column(column), name, colour, row=row, dash=dash, shape=shape)
    curtailed = table(plan, "planned", "curtailed_kw")
    if asset in curtailed.columns and curtailed.column(asset).any():
        name = language("series.curtailed")
        _line(figure, labels, curtailed.column(asset), name, theme.AMBER, row=1, shape="hv")
    figure.update_yaxes(
        gridcolor=theme.LINE, zeroline=False, fixedrange=True, color=theme.MUTED, nticks=5,
        ticklabelstandoff=4, separatethousands=True,
    )  # fmt: skip
    figure.update_yaxes(row=1, col=1, zeroline=True, zerolinecolor=theme.MUTED, zerolinewidth=1)
    if held is not None:
        name = held[1].rpartition("/")[2] if held[0] == "unit_series" else "energy"
        if name != "room_c":
            figure.update_yaxes(row=2, col=1, rangemode="tozero")
        _heading(figure, language(f"axis.{name}"), 2)
    _heading(figure, language("axis.asset_power"), 1)
    figure.update_xaxes(showgrid=False, zeroline=False, fixedrange=True, color=theme.MUTED)
    theme.day_axis(figure, labels, every_hours=4, hours=plan.time.hours)
    figure.update_layout(
        shapes=[theme.time_line(step)], margin={"l": 48, "r": 12, "t": 26, "b": 26}, hoversubplots="axis"
    )
    return figure


def _held(plan: Plan, asset: str) -> tuple[str, str] | None:
    """Table and column of what an asset holds: energy, hydrogen, heat, or the temperature of a room."""
    if asset in table(plan, "planned", "asset_e_kwh").columns:
        return "asset_e_kwh", asset
    reported = plan.tables.get("planned.unit_series")
    names = (f"{asset}/{name}" for name in ("tank_kg", "room_c", "heat_store_kwh"))
    return next(
        (("unit_series", name) for name in names if reported is not None and name in reported.columns), None
    )


def used(power: SeriesTable, order: tuple[str, ...] = theme.SOURCES) -> list[tuple[str, FloatArray]]:
    """The columns that are not zero all day, as they are stacked."""
    return [
        (name, power.column(name))
        for name in theme.stacked(power.columns, order)
        if np.nanmax(np.abs(power.column(name)), initial=0.0) > NEGLIGIBLE_MW
    ]


def upstream_key(plan: Plan) -> str:
    """The upstream intensity's key among the series' names: estimated, where its source says so."""
    return "upstream" if upstream_estimated(plan) else "upstream_measured"


def use_colour(use: str) -> str:
    """The colour of a use; charging a battery has the battery's."""
    return theme.TECHNOLOGY.get(use, theme.FOSSIL)


def _area(
    figure: go.Figure, labels: tuple[str, ...], values: FloatArray, name: str, colour: str, stack: str,
    *, row: int | None = None,
) -> None:  # fmt: skip
    figure.add_scatter(
        x=labels,
        y=values,
        name=name,
        mode="lines",
        stackgroup=stack,
        line={"width": 0, "color": colour},
        fillcolor=theme.translucent(colour, 0.92),
        customdata=np.abs(values),
        hovertemplate="%{customdata:,.2f}",
        row=row,
        col=None if row is None else 1,
    )


def _line(
    figure: go.Figure, labels: tuple[str, ...], values: FloatArray, name: str, colour: str,
    *, row: int, dash: str = "solid", shape: str = "linear",
) -> None:  # fmt: skip
    figure.add_scatter(
        x=labels,
        y=values,
        name=name,
        mode="lines",
        line={"color": colour, "width": 1.6, "dash": dash, "shape": shape},
        hovertemplate="%{y:,.1f}",
        row=row,
        col=1,
    )


def _heading(figure: go.Figure, text: str, row: int) -> None:
    """What a panel shows and in which unit, above its left corner."""
    axis = figure.layout["yaxis" if row == 1 else f"yaxis{row}"]
    figure.add_annotation(
        text=text,
        xref="paper",
        yref="paper",
        x=0,
        y=axis.domain[1],
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
        xshift=-40,
        yshift=6,
        align="left",
        font={"size": 12, "color": theme.MUTED},
    )
