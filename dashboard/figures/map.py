"""Maps drawn as polygons and lines, without tiles: districts by carbon, the grid by loading and voltage.

A map is a figure for one time, and `frames` holds what changes with the time, for every interval of the
day, so that the browser plays a day without asking the server. `layout.meta` names the traces' roles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from shapely.geometry import Polygon, shape
from shapely.ops import polylabel

from dashboard import theme
from dashboard.language import Language
from dashboard.reading import (
    MARGINAL,
    accounted,
    district_name,
    district_of_element,
    element_words,
    table,
)
from energy.domain.city import City
from energy.domain.network import FloatArray
from energy.domain.plan import Plan

AMBER_LINE = "#f59e0b"
LAYERS = ("intensity", "emissions", "loading", "voltage")
NINE_IN_TEN = (5, 95)
"""Percentiles."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Longitude and latitude to a plane with equal scales."""

    shrink: float

    @classmethod
    def of(cls, city: City) -> Projection:
        latitudes = [y for _, y in city.bus_xy.values()]
        middle = sum(latitudes) / len(latitudes) if latitudes else 0.0
        return cls(math.cos(math.radians(middle)))

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        return x * self.shrink, y


@dataclass(frozen=True)
class Drawing:
    """A city's geometry on the plane of its map.

    Attributes:
        outlines: per drawn district its rings, joined with None.
        anchors: where a district's name and number stand.
        segments: per drawn branch ``(element, x0, y0, x1, y1)``.
        stations: the distinct places of buses, with the buses at each.
    """

    outlines: dict[str, tuple[list[float | None], list[float | None]]]
    anchors: dict[str, tuple[float, float]]
    segments: tuple[tuple[str, float, float, float, float], ...]
    stations: tuple[tuple[float, float, tuple[int, ...]], ...]


def draw(city: City) -> Drawing:
    """Project a city once; districts without a polygon are named at the middle of their buses."""
    project = Projection.of(city)
    outlines: dict[str, tuple[list[float | None], list[float | None]]] = {}
    anchors: dict[str, tuple[float, float]] = {}
    for district in city.districts:
        placed = [city.bus_xy[bus] for bus in district.buses if bus in city.bus_xy]
        if district.geometry is not None:
            geometry = shape(dict(district.geometry))
            parts = [part for part in getattr(geometry, "geoms", [geometry]) if isinstance(part, Polygon)]
            xs: list[float | None] = []
            ys: list[float | None] = []
            for ring in (ring for part in parts for ring in (part.exterior, *part.interiors)):
                points = [project(*point[:2]) for point in ring.coords]
                xs += [*(x for x, _ in points), None]
                ys += [*(y for _, y in points), None]
            outlines[district.id] = (xs[:-1], ys[:-1])
            largest = max(parts, key=lambda part: part.area)
            spot = polylabel(largest, tolerance=math.sqrt(largest.area) / 100)
            anchors[district.id] = project(spot.x, spot.y)
        elif placed:
            anchors[district.id] = project(*np.mean(placed, axis=0).tolist())
    at: dict[tuple[float, float], list[int]] = {}
    for bus, (x, y) in city.bus_xy.items():
        at.setdefault(project(round(x, 7), round(y, 7)), []).append(bus)
    return Drawing(
        outlines,
        anchors,
        tuple(
            (f"{kind} {index}", *project(*city.bus_xy[from_bus]), *project(*city.bus_xy[to_bus]))
            for kind, index, from_bus, to_bus in city.grid_lines
            if from_bus in city.bus_xy and to_bus in city.bus_xy
        ),
        tuple((x, y, tuple(buses)) for (x, y), buses in at.items()),
    )


def marginal_bounds(plan: Plan) -> tuple[float, float]:
    """What nine in ten marginal rates of the day lie between, g/kWh; the same at every time. A full line
    can lift those behind it by orders of magnitude."""
    rates = plan.tables[MARGINAL].values
    known = rates[np.isfinite(rates)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, NINE_IN_TEN)
    return float(low), float(high)


def emissions_bounds(plan: Plan) -> tuple[float, float]:
    """From zero to the largest district's emissions of the day, kg/h; the same at every time."""
    rate = table(plan, accounted(plan), "district.emissions_kg").values / plan.time.hours
    return 0.0, max(float(np.nanmax(rate, initial=0.0)), 1.0)


def district_values(plan: Plan, layer: str, district: str) -> FloatArray:
    """What the map writes into a district: g/kWh or kg/h, shape (steps,)."""
    if layer == "intensity":
        return table(plan, accounted(plan), "district.carbon_g_per_kwh").column(district)
    return table(plan, accounted(plan), "district.emissions_kg").column(district) / plan.time.hours


def district_frames(plan: Plan, city: City, language: Language) -> dict[str, Any]:
    """Per carbon layer the values, fills, inks and labels of every district over the day.

    `districts` names the columns (`boundary` included); the rest has shape (steps, districts).
    """
    bounds = {"intensity": city.carbon_map_bounds, "emissions": emissions_bounds(plan)}
    districts = table(plan, accounted(plan), "district.energy_mwh").columns
    frames: dict[str, Any] = {"districts": list(districts)}
    for layer, limits in bounds.items():
        values = np.stack([district_values(plan, layer, district) for district in districts], axis=1)
        fills = [[theme.carbon_colour(value, limits) for value in row] for row in values]
        frames[layer] = {
            "values": [[None if math.isnan(v) else v for v in row] for row in values.tolist()],
            "fills": fills,
            "inks": [[theme.ink_on(fill) for fill in row] for row in fills],
            "labels": [[language.number(value) for value in row] for row in values],
        }
    return frames


def grid_frames(plan: Plan, city: City, case: str) -> dict[str, Any]:
    """Loading and flow direction of every drawn branch, voltage of every station, over the day.

    `loading` in per cent and `forward` (power flows from → to), shape (steps, segments); `voltage` in pu,
    shape (steps, stations): of the bus at that place that is farthest from 1 pu. None where not solved.
    Where the plan has marginal rates, `marginal` in g/kWh, shape (steps, stations): the mean of the buses
    at that place that have one, of the planned dispatch whatever the `case`.
    """
    drawing = draw(city)
    names = [segment[0] for segment in drawing.segments]
    loading = _columns(plan, case, "loading_percent", names)
    flow = _columns(plan, case, "p_from_mw", names)
    marginal = {"marginal": _rounded(station_rates(plan, drawing), 0)} if MARGINAL in plan.tables else {}
    return {
        **marginal,
        "loading": _rounded(loading, 1),
        "forward": (flow >= 0).tolist(),
        "voltage": _rounded(station_voltages(plan, case, drawing), 4),
    }


def station_voltages(plan: Plan, case: str, drawing: Drawing) -> FloatArray:
    """Per station the voltage farthest from 1 pu, shape (steps, stations); NaN where none is solved."""
    voltages = np.full((plan.time.steps, len(drawing.stations)), np.nan)
    for position, (_, _, buses) in enumerate(drawing.stations):
        here = _columns(plan, case, "vm_pu", [str(bus) for bus in buses])
        deviation = np.where(np.isnan(here), -1.0, np.abs(here - 1.0))
        farthest = deviation.argmax(axis=1)
        voltages[:, position] = here[np.arange(len(here)), farthest]
    return voltages


def station_rates(plan: Plan, drawing: Drawing) -> FloatArray:
    """Per station the mean marginal rate of its buses, g/kWh, shape (steps, stations); NaN without any."""
    rates = np.full((plan.time.steps, len(drawing.stations)), np.nan)
    for position, (_, _, buses) in enumerate(drawing.stations):
        here = _columns(plan, "planned", "marginal_g_per_kwh", [str(bus) for bus in buses])
        known = np.isfinite(here)
        count = known.sum(axis=1)
        sums = np.where(known, here, 0.0).sum(axis=1)
        rates[:, position] = np.divide(sums, count, out=np.full(len(here), np.nan), where=count > 0)
    return rates


def _columns(plan: Plan, case: str, name: str, columns: list[str]) -> FloatArray:
    source = table(plan, case, name)
    place = {column: position for position, column in enumerate(source.columns)}
    values = np.full((plan.time.steps, len(columns)), np.nan)
    known = [(k, place[column]) for k, column in enumerate(columns) if column in place]
    if known:
        into, of = np.array(known).T
        values[:, into] = source.values[:, of]
    return values


def _rounded(values: FloatArray, digits: int) -> list[list[float | None]]:
    return [[None if math.isnan(v) else round(v, digits) for v in row] for row in values.tolist()]


def scene(city: City, language: Language) -> dict[str, Any]:
    """What the browser needs beside the frames to draw a map: places, limits and names."""
    drawing = draw(city)
    return {
        "districts": list(drawing.anchors),
        "names": [district_name(language, city, district) for district in drawing.anchors],
        "segments": [list(segment[1:]) for segment in drawing.segments],
        "elements": [segment[0] for segment in drawing.segments],
        "station_buses": [list(buses) for _, _, buses in drawing.stations],
        "segment_names": [element_words(language, city, segment[0]) for segment in drawing.segments],
        "segment_districts": [district_of_element(city, segment[0]) for segment in drawing.segments],
        "station_names": [_station(language, city, buses[0]) for _, _, buses in drawing.stations],
        "station_districts": [city.district_of_bus.get(buses[0]) for _, _, buses in drawing.stations],
        "extent": _extent(drawing),
        "arrows": _arrows(drawing),
        "limits": {
            "vm_min_pu": city.limits.vm_min_pu,
            "vm_max_pu": city.limits.vm_max_pu,
            "loading_max_percent": city.limits.loading_max_percent,
        },
    }


def _station(language: Language, city: City, bus: int) -> str:
    """A bus as the tables call it, and as its grid does."""
    called = element_words(language, city, f"bus {bus}")
    name = city.bus_names.get(bus)
    return f"{called} · {name}" if name else called


def _extent(drawing: Drawing) -> list[list[float]]:
    """Two opposite corners of what is drawn."""
    xs = [x for ring, _ in drawing.outlines.values() for x in ring if x is not None]
    ys = [y for _, ring in drawing.outlines.values() for y in ring if y is not None]
    xs += [x for x, _, _ in drawing.stations]
    ys += [y for _, y, _ in drawing.stations]
    return [[min(xs), min(ys)], [max(xs), max(ys)]] if xs else [[0.0, 0.0], [1.0, 1.0]]


def _arrows(drawing: Drawing) -> list[int]:
    """The segments long enough for an arrow: a fifteenth of the map."""
    if not drawing.segments:
        return []
    xs = [x for _, x0, _, x1, _ in drawing.segments for x in (x0, x1)]
    shortest = (max(xs) - min(xs)) / 15
    return [
        k
        for k, (_, x0, y0, x1, y1) in enumerate(drawing.segments)
        if math.hypot(x1 - x0, y1 - y0) >= shortest
    ]


def city_map(city: City, language: Language) -> go.Figure:
    """The map without its time: the browser (or `tests`) fills fills, inks and labels from the frames."""
    drawing = draw(city)
    figure = theme.chart(language.separators, hovermode="closest", margin={"l": 0, "r": 0, "t": 0, "b": 0})
    roles: dict[str, Any] = {"polygons": {}}
    for district, (xs, ys) in drawing.outlines.items():
        roles["polygons"][district] = len(figure.data)
        figure.add_scatter(
            x=xs,
            y=ys,
            fill="toself",
            fillcolor=theme.EMPTY,
            mode="lines",
            line={"color": "#ffffff", "width": 2},
            hoveron="fills",
            hoverinfo="text",
            text="",
            name=district_name(language, city, district),
            meta={"district": district},
        )
    styles = (
        ("halo", "#ffffff", 6.5),  # the chosen district: ink on white, to be seen on any fill
        ("selected", theme.INK, 2.5),
        ("idle", "#ffffff", 1.2),
        ("busy", "#ffffff", 2.6),
        ("amber", AMBER_LINE, 3.6),
        ("crimson", theme.CRIMSON, 4.6),
    )
    for role, colour, width in styles:
        roles[role] = len(figure.data)
        figure.add_scatter(x=[], y=[], mode="lines", line={"color": colour, "width": width}, hoverinfo="skip")
    roles["arrows"] = len(figure.data)
    figure.add_scatter(
        x=[],
        y=[],
        mode="markers",
        hoverinfo="skip",
        marker={
            "symbol": "triangle-up",
            "size": 8,
            "color": "#ffffff",
            "line": {"color": theme.INK, "width": 1},
            "angle": [],
            "angleref": "up",
        },
    )
    roles["stations"] = len(figure.data)
    figure.add_scatter(
        x=[x for x, _, _ in drawing.stations],
        y=[y for _, y, _ in drawing.stations],
        mode="markers",
        marker={"size": 3, "color": "#ffffff", "line": {"width": 0}},
        hoverinfo="skip",
    )
    roles["picked"] = len(figure.data)  # the chosen station, or the ends of the chosen line
    figure.add_scatter(
        x=[], y=[], mode="markers", hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 17, "color": theme.INK, "line": {"width": 3}},
    )  # fmt: skip
    roles["labels"] = len(figure.data)
    figure.add_scatter(
        x=[x for x, _ in drawing.anchors.values()],
        y=[y for _, y in drawing.anchors.values()],
        mode="markers+text",
        text=[""] * len(drawing.anchors),
        textfont={"family": theme.FONT, "size": 13, "color": theme.INK},
        textposition="middle center",
        customdata=list(drawing.anchors),
        marker={"size": 46, "color": "rgba(0,0,0,0)"},
        hoverinfo="text",
        hovertext=[""] * len(drawing.anchors),
    )
    roles["middles"] = len(figure.data)
    figure.add_scatter(
        x=[(x0 + x1) / 2 for _, x0, _, x1, _ in drawing.segments],
        y=[(y0 + y1) / 2 for _, _, y0, _, y1 in drawing.segments],
        mode="markers",
        marker={"size": 9, "color": "rgba(0,0,0,0)"},
        hoverinfo="text",
        hovertext=[""] * len(drawing.segments),
    )
    figure.update_layout(meta=roles)
    _equal_aspect(figure)
    return figure


def _equal_aspect(figure: go.Figure) -> None:
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, scaleanchor="x", scaleratio=1, constrain="domain", automargin=False)
