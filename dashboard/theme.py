"""Colours and the common hand of all charts. The same tokens stand in assets/wattshed.css."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, sequential

INK, MUTED, LINE, PANEL, GROUND = "#0f172a", "#64748b", "#e2e8f0", "#ffffff", "#f5f7fa"
AMBER, CRIMSON, GREEN = "#d97706", "#e11d48", "#15803d"
EMPTY = "#cbd5e1"
"""A district without any flow has no intensity."""

TECHNOLOGY = {
    "import": "#94a3b8",
    "wind": "#2a788e",
    "pv": "#e5b80b",
    "hydro": "#3b82c4",
    "biomass": "#6b8e23",
    "battery": "#7a5195",
    "v2g": "#22a884",
    "ev": "#ef8354",
    "hydrogen": "#4cc9f0",
    "heat": "#c2410c",
    "flexible": "#a16207",
    "load": "#64748b",
    "export": "#b6c2d1",
    "losses": "#d8b4a0",
}
FOSSIL = "#475569"
SOURCES = ("import", "hydro", "biomass", "wind", "pv", "battery", "v2g", "hydrogen")
USES = ("load", "flexible", "ev", "battery", "hydrogen", "export", "losses")
"""Stacks grow from steady to fleeting; a source that is not named comes after the import."""
CASE = {"planned": INK, "uncontrolled": "#94a3b8", "actual": "#3b82c4"}

_CIVIDIS: list[tuple[int, int, int]] = [hex_to_rgb(colour) for colour in sequential.Cividis]

FONT = "Inter, 'Noto Sans JP', sans-serif"


def technology_colour(technology: str) -> str:
    """One colour per technology everywhere; what is not named burns something."""
    return TECHNOLOGY.get(technology, FOSSIL)


def stacked(names: Iterable[str], order: tuple[str, ...]) -> list[str]:
    """`names` as every stack and legend has them; `order` is `SOURCES` or `USES`."""
    return sorted(names, key=lambda name: (order.index(name) if name in order else 1, name))


def carbon_colour(value: float, bounds: tuple[float, float]) -> str:
    """Cividis between fixed `bounds`, clamped; dark is clean. Grey where there is no value."""
    if not math.isfinite(value):
        return EMPTY
    low, high = bounds
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    # not Plotly's own sampling, which takes milliseconds per colour and a page thousands of them
    place = share * (len(_CIVIDIS) - 1)
    below = min(int(place), len(_CIVIDIS) - 2)
    channels = zip(_CIVIDIS[below], _CIVIDIS[below + 1], strict=True)
    mixed = (round(dark + (place - below) * (bright - dark)) for dark, bright in channels)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour` (WCAG relative luminance)."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else INK


def translucent(colour: str, opacity: float) -> str:
    """A hex colour with an opacity, as CSS ``rgba``."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def carbon_stops(count: int = 9) -> list[str]:
    """Colours of the carbon scale at even distances."""
    return [carbon_colour(k, (0, count - 1)) for k in range(count)]


def carbon_gradient() -> str:
    """The carbon scale as a CSS gradient, for legends."""
    return f"linear-gradient(90deg, {', '.join(carbon_stops())})"


GRAPH_CONFIG: dict[str, Any] = {"displayModeBar": False, "responsive": True, "scrollZoom": False}


def chart(separators: str = ".,", **layout: Any) -> go.Figure:
    """An empty figure in the common hand: no frame, light horizontal grid, one font, no drag."""
    figure = go.Figure()
    figure.update_layout(
        template=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": MUTED},
        margin={"l": 44, "r": 12, "t": 8, "b": 28},
        separators=separators,
        dragmode=False,
        showlegend=False,
        hovermode="x unified",
        hoverlabel={
            "bgcolor": PANEL,
            "bordercolor": LINE,
            "font": {"family": FONT, "size": 12, "color": INK},
            "align": "left",
        },
        uirevision="kept",
        colorway=list(TECHNOLOGY.values()),
    )
    figure.update_xaxes(showgrid=False, zeroline=False, fixedrange=True, ticks="", color=MUTED)
    figure.update_yaxes(
        gridcolor=LINE, zeroline=False, fixedrange=True, ticks="", color=MUTED, automargin=True, nticks=6,
        separatethousands=True, ticklabelstandoff=4,
    )  # fmt: skip
    figure.update_layout(**layout)
    return figure


def day_axis(figure: go.Figure, labels: tuple[str, ...], *, every_hours: float, hours: float) -> None:
    """Give `figure` the local clock: one category per interval, right with 92 and 100 quarter-hours too."""
    stride = max(1, round(every_hours / hours))
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(labels),
        tickmode="array",
        tickvals=list(labels[::stride]),
        ticktext=[label[:5] for label in labels[::stride]],
        range=[-0.5, len(labels) - 0.5],
        tickangle=0,
        ticklabelstandoff=5,
        showspikes=False,
    )


def time_line(step: int) -> dict[str, Any]:
    """The thin line at the chosen time; always the figure's first shape, so that scripts find it."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": step,
        "x1": step,
        "y0": 0,
        "y1": 1,
        "line": {"color": INK, "width": 1},
    }
