"""The voltage band of the whole grid over the day."""

from __future__ import annotations

import warnings

import numpy as np
import plotly.graph_objects as go

from dashboard import theme
from dashboard.language import Language
from dashboard.reading import table
from dashboard.view import day_labels
from energy.domain.city import City
from energy.domain.plan import Plan

BAND = "#2a788e"


def voltage_band(
    plan: Plan, city: City, language: Language, *, step: int, case: str = "planned"
) -> go.Figure:
    """Lowest and highest bus, the middle nine tenths of all buses, and the limits; pu."""
    labels = day_labels(plan.time, city.zone)
    voltage = table(plan, case, "vm_pu").values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step that was not solved has no voltage at all
        low, p5, p95, high = np.nanpercentile(voltage, [0, 5, 95, 100], axis=1)
    figure = theme.chart(language.separators, height=260)
    for name, values, fill, opacity in (
        ("voltage.max", high, None, 0.0),
        ("voltage.min", low, "tonexty", 0.16),
        ("voltage.p95", p95, None, 0.0),
        ("voltage.p5", p5, "tonexty", 0.35),
    ):
        edge = name in ("voltage.max", "voltage.min")
        figure.add_scatter(
            x=labels,
            y=values,
            name=language(name),
            mode="lines",
            line={"color": BAND, "width": 1.3 if edge else 0},
            fill=fill,
            fillcolor=theme.translucent(BAND, opacity),
            hovertemplate="%{y:.3f}",
        )
    theme.day_axis(figure, labels, every_hours=4, hours=plan.time.hours)
    bounds = (city.limits.vm_min_pu, city.limits.vm_max_pu)
    figure.update_layout(
        shapes=[
            theme.time_line(step),
            *(
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "yref": "y",
                    "y0": bound,
                    "y1": bound,
                    "line": {"color": theme.CRIMSON, "width": 1.2, "dash": "dash"},
                }
                for bound in bounds
            ),
        ]
    )
    reach = [*bounds, float(np.nanmin(low)), float(np.nanmax(high))] if np.isfinite(voltage).any() else bounds
    figure.update_yaxes(range=[min(reach) - 0.006, max(reach) + 0.006], tickformat=".2f")
    for bound in bounds:
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=bound, yanchor="bottom" if bound == bounds[1] else "top",
            text=language("voltage.limit", value=language.number(bound, 2)), showarrow=False,
            font={"size": 11, "color": theme.CRIMSON},
        )  # fmt: skip
    return figure
