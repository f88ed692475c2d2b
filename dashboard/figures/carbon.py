"""Carbon over the day: energy from source to district, and the districts' series."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard import theme
from dashboard.figures.map import NINE_IN_TEN, marginal_bounds
from dashboard.figures.power import upstream_key
from dashboard.language import Language
from dashboard.reading import MARGINAL, accounted, district_name, table, technology_name, total
from dashboard.view import day_labels
from energy.domain.city import BOUNDARY, City
from energy.domain.network import FloatArray
from energy.domain.plan import Plan

NEGLIGIBLE_MWH = 1e-3
CHOSEN = "#2a788e"


def sankey(plan: Plan, city: City, language: Language, *, district: str = "") -> go.Figure:
    """The day's energy from each source to each district, MWh; one district stands out where chosen."""
    case = accounted(plan)
    traced = table(plan, case, "district_source_mwh")
    energy = np.nansum(traced.values, axis=0)
    flows = [
        (name.rpartition("/")[2], name.rpartition("/")[0], float(mwh))
        for name, mwh in zip(traced.columns, energy, strict=True)
        if mwh > NEGLIGIBLE_MWH
    ]
    by_source = _sums(flows, 0)
    by_district = _sums(flows, 1)
    sources = sorted(by_source, key=lambda name: -by_source[name])
    districts = sorted(by_district, key=lambda name: -by_district[name])
    place = {name: k for k, name in enumerate([*sources, *districts])}
    mean = _mean_intensity(plan, case)
    colours = [theme.technology_colour(source) for source in sources] + [
        theme.carbon_colour(mean.get(name, float("nan")), city.carbon_map_bounds) for name in districts
    ]
    words = [technology_name(language, name) for name in sources] + [
        district_name(language, city, name) for name in districts
    ]
    figure = theme.chart(language.separators, height=540, margin={"l": 4, "r": 4, "t": 8, "b": 8})
    figure.add_sankey(
        arrangement="fixed",
        node={
            "label": words,
            "color": colours,
            "pad": 14,
            "thickness": 14,
            "line": {"width": 0},
            "customdata": [*sources, *districts],
            "hovertemplate": "%{label}<br>%{value:,.1f} MWh<extra></extra>",
        },
        link={
            "source": [place[source] for source, _, _ in flows],
            "target": [place[to] for _, to, _ in flows],
            "value": [mwh for _, _, mwh in flows],
            "color": [
                theme.translucent(theme.technology_colour(source), 0.55 if district in ("", to) else 0.1)
                for source, to, _ in flows
            ],
            "hovertemplate": "%{source.label} → %{target.label}<br>%{value:,.1f} MWh<extra></extra>",
        },
        textfont={"family": theme.FONT, "size": 12, "color": theme.INK},
    )
    return figure


def district_series(
    plan: Plan, city: City, language: Language, *, step: int, district: str = ""
) -> go.Figure:
    """Carbon intensity of the districts over the day, g/kWh; the chosen one stands out."""
    case = accounted(plan)
    labels = day_labels(plan.time, city.zone)
    figure = theme.chart(language.separators, height=300, hovermode="closest")
    intensity = table(plan, case, "district.carbon_g_per_kwh")
    lines = [
        (name, "#94a3b8", 1.0, "solid", 0.55)
        for name in intensity.columns
        if name not in (BOUNDARY, district)
    ]
    if district:
        lines.append((district, CHOSEN, 2.4, "solid", 1.0))
    for name, colour, width, dash, opacity in lines:
        _line(
            figure,
            labels,
            intensity.column(name),
            district_name(language, city, name),
            name,
            colour,
            width,
            dash,
            opacity,
        )
    for key, values, colour, width, dash in (
        (
            upstream_key(plan),
            plan.tables["market"].column("upstream_g_per_kwh"),
            theme.TECHNOLOGY["import"],
            1.6,
            "dot",
        ),
        ("city_intensity", total(plan, case, "carbon_g_per_kwh"), theme.INK, 2.0, "solid"),
    ):
        _line(figure, labels, values, language(f"series.{key}"), "", colour, width, dash, 1.0)
    theme.day_axis(figure, labels, every_hours=4, hours=plan.time.hours)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(shapes=[theme.time_line(step)])
    return figure


def marginal_band(plan: Plan, city: City, language: Language, *, step: int) -> go.Figure:
    """What a kWh more emits with the planned dispatch, g/kWh: nine in ten buses and the connection, beside
    the average of what the city uses. For plans with marginal rates, of which the axis spans nine in ten."""
    labels = day_labels(plan.time, city.zone)
    rates = plan.tables[MARGINAL]
    low, high = np.full((2, plan.time.steps), np.nan)
    for step_of, row in enumerate(rates.values):
        if np.isfinite(row).any():
            low[step_of], high[step_of] = np.nanpercentile(row, NINE_IN_TEN)
    figure = theme.chart(language.separators, height=240)
    for key, values, fill in (("marginal_low", low, None), ("marginal_high", high, "tonexty")):
        figure.add_scatter(
            x=labels, y=values, name=language(f"series.{key}"), mode="lines", fill=fill,
            line={"color": CHOSEN, "width": 1.0}, fillcolor=theme.translucent(CHOSEN, 0.25),
            hovertemplate="%{y:,.0f}",
        )  # fmt: skip
    for key, values, colour, dash in (
        ("marginal_root", rates.values[:, 0], theme.TECHNOLOGY["import"], "dot"),
        ("city_intensity", total(plan, "planned", "carbon_g_per_kwh"), theme.INK, "solid"),
    ):
        figure.add_scatter(
            x=labels, y=values, name=language(f"series.{key}"), mode="lines",
            line={"color": colour, "width": 1.8, "dash": dash}, hovertemplate="%{y:,.0f}",
        )  # fmt: skip
    theme.day_axis(figure, labels, every_hours=4, hours=plan.time.hours)
    bounds = (*marginal_bounds(plan), *(float(np.nanmax(line.y, initial=0.0)) for line in figure.data[2:]))
    figure.update_yaxes(range=[1.1 * min(0.0, *bounds), 1.1 * max(bounds)], tickformat=",.0f")
    figure.update_layout(shapes=[theme.time_line(step)])
    return figure


def _line(
    figure: go.Figure, labels: tuple[str, ...], values: FloatArray, name: str, district: str,
    colour: str, width: float, dash: str, opacity: float,
) -> None:  # fmt: skip
    figure.add_scatter(
        x=labels,
        y=values,
        name=name,
        customdata=[district] * len(labels) if district else None,
        mode="lines",
        line={"color": colour, "width": width, "dash": dash},
        opacity=opacity,
        hovertemplate="%{fullData.name}  %{x}  %{y:,.0f}<extra></extra>",
    )


def _sums(flows: list[tuple[str, str, float]], by: int) -> dict[str, float]:
    sums: dict[str, float] = {}
    for flow in flows:
        sums[str(flow[by])] = sums.get(str(flow[by]), 0.0) + flow[2]
    return sums


def _mean_intensity(plan: Plan, case: str) -> dict[str, float]:
    """The day's energy-weighted intensity per district, g/kWh; only districts that used energy."""
    energy = table(plan, case, "district.energy_mwh")
    emissions = table(plan, case, "district.emissions_kg")
    used = np.nansum(energy.values, axis=0)
    kg = np.nansum(emissions.values, axis=0)
    return {name: kg[k] / used[k] for k, name in enumerate(energy.columns) if used[k] > 0}
