"""Grid: lines and stations at the chosen time, what is beyond its limit, the voltage band of the day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboard import theme
from dashboard.figures.map import AMBER_LINE, city_map, grid_frames, marginal_bounds, scene
from dashboard.figures.voltage import voltage_band
from dashboard.frame import Component, card, graph, key_figure, segments, time_bar
from dashboard.grid_table import grid_table, number_column, on_phone
from dashboard.language import Language
from dashboard.off_loop import off_loop
from dashboard.pages import Page, follow_clock, in_browser
from dashboard.pages.city import limit_legend, map_caption, ramp
from dashboard.reading import MARGINAL, Extreme, cases, element_words, extremes, table, value_words
from dashboard.view import View
from dashboard.visit import Visit, visit
from energy.domain.plan import Plan

if TYPE_CHECKING:
    from energy.service.service import Service

LAYERS = ("loading", "voltage", "marginal")
NEAR = 0.9
"""From this share of its limit on, an element counts as near it."""
LISTED = 200
"""So many elements the table lists, the most stressed first."""


def content(seen: Visit, plan: Plan) -> Component:
    """Key figures; map with clock and case; ranked elements; the voltage band."""
    say, city = seen.language, seen.city
    offered = cases(plan)
    layers = tuple(name for name in LAYERS if name != "marginal" or MARGINAL in plan.tables)
    case, layer = seen.view.choice("case", offered), seen.view.choice("layer", layers)
    controls = html.Div(
        className="controls",
        children=[
            segments("grid-case", case, [(name, say(f"case.{name}")) for name in offered], say("grid.case")),
            segments(
                "grid-layer", layer, [(name, say(f"layer.{name}")) for name in layers], say("city.layer")
            ),
        ],
    )
    return html.Div(
        className="cards",
        children=[
            html.Div(_key_figures(seen, plan, case), id="grid-figures", className="row span-12"),
            card(
                say("grid.map"),
                graph("grid-map", label=say("grid.map_label"), kind="map"),
                html.Div(
                    [
                        html.Div(_scale(seen, plan, name), className="scale", id=f"grid-scale-{name}",
                                 style={"display": "flex" if name == layer else "none"})
                        for name in LAYERS
                    ]
                ),
                *map_caption(seen),
                time_bar(seen),
                html.P(say("grid.pick"), id="grid-picked", className="note picked", role="status"),
                span="span-6 wide-6",
                aside=controls,
            ),
            card(
                say("grid.ranking"),
                _elements(seen, plan, case),
                span="span-6 wide-6",
                aside=html.Span(say("grid.ranking_note"), className="note"),
            ),
            card(
                say("grid.band"),
                graph(
                    "band",
                    voltage_band(plan, city, say, step=seen.step, case=case),
                    label=say("grid.band_label"),
                    height=260,
                ),
                aside=html.Span(say("grid.band_note"), className="note"),
            ),
            dcc.Store(id={"type": "choice", "page": "grid"}),
            dcc.Store(id="grid-district", data=seen.district),
            dcc.Store(id="grid-element", data=seen.view.element),
            dcc.Store(id="grid-map-base", data=city_map(city, say).to_plotly_json()),
            dcc.Store(id="grid-map-scene", data=scene(city, say)),
            dcc.Store(id="grid-map-carbon", data=None),
            dcc.Store(id="grid-map-grid", data=grid_frames(plan, city, case)),
            dcc.Store(id="grid-map-words", data=_words(seen, plan)),
        ],
    )  # fmt: skip


def _scale(seen: Visit, plan: Plan, layer: str) -> list[Component]:
    """The legend of one layer; nothing for one the plan has not."""
    say = seen.language
    if layer != "marginal":
        return limit_legend(say, layer)
    if MARGINAL not in plan.tables:
        return []
    return [*ramp(say, marginal_bounds(plan), say("unit.marginal")), html.Span(say("grid.marginal_note"))]


def _words(seen: Visit, plan: Plan) -> dict[str, Any]:
    """What the browser needs to word the map and to colour stations by marginal rate."""
    say = seen.language
    bounds = marginal_bounds(plan) if MARGINAL in plan.tables else None
    return {
        "units": {name: say(f"unit.{name}") for name in LAYERS},
        "ramp": {"stops": theme.carbon_stops(), "bounds": bounds},
        "pick": say("grid.pick"),
    }


def _key_figures(seen: Visit, plan: Plan, case: str) -> list[Component]:
    """The extremes of one case, and how long a limit is passed, beside no control."""
    say, city = seen.language, seen.city
    loading, voltage = table(plan, case, "loading_percent").values, table(plan, case, "vm_pu").values
    free_loading = table(plan, "uncontrolled", "loading_percent").values
    free_voltage = table(plan, "uncontrolled", "vm_pu").values
    limits = city.limits
    steps = plan.document["comparison"]
    rows = [
        ("loading_max", _most(loading, np.nanmax), _most(free_loading, np.nanmax), 0, "%",
         say("value.percent", value=say.number(limits.loading_max_percent))),
        ("vm_min", _most(voltage, np.nanmin), _most(free_voltage, np.nanmin), 3, "pu",
         say("value.pu", value=say.number(limits.vm_min_pu, 2))),
        ("vm_max", _most(voltage, np.nanmax), _most(free_voltage, np.nanmax), 3, "pu",
         say("value.pu", value=say.number(limits.vm_max_pu, 2))),
    ]  # fmt: skip
    figures = [
        key_figure(
            say(f"grid.kpi.{name}"),
            say.number(value, digits),
            unit,
            say("grid.kpi.note", limit=limit, value=say.number(free, digits), unit=unit),
        )
        for name, value, free, digits, unit, limit in rows
    ]
    beyond, free_beyond = (
        say.number(steps[name]["violated_steps"] * plan.time.hours, 2) for name in (case, "uncontrolled")
    )
    note = say("compare.value", value=free_beyond, unit="h")
    figures.append(key_figure(say("comparison.violated_steps"), beyond, "h", note))
    return figures


def _most(values: Any, extreme: Any) -> float:
    return float(extreme(values)) if np.isfinite(values).any() else float("nan")


def _rows(seen: Visit, plan: Plan, case: str) -> list[dict[str, Any]]:
    say = seen.language
    remedies = _remedies(plan) if case == "planned" else {}
    return [
        {
            "id": extreme.element,
            "element": element_words(say, seen.city, extreme.element),
            "value": value_words(say, extreme.quantity, extreme.value),
            "limit": value_words(say, extreme.quantity, extreme.limit),
            "bound": say("grid.bound", limit=value_words(say, extreme.quantity, extreme.limit)),
            "time": seen.labels[extreme.step],
            "step": extreme.step,
            "count": extreme.count * plan.time.hours,
            "stress": 100 * extreme.stress,
            "remedy": say.engine(remedies.get((extreme.quantity, extreme.element), "")),
            **_judged(say, extreme),
        }
        for extreme in extremes(plan, case, seen.city)[:LISTED]
    ]


def _remedies(plan: Plan) -> dict[tuple[str, str], str]:
    """What would clear the worst violation of each quantity and element that the plan left."""
    worst_last = sorted(plan.document["violations"], key=lambda item: abs(item["value"] - item["limit"]))
    return {(item["quantity"], item["element"]): item["remedy"] for item in worst_last}


def _judged(say: Language, extreme: Extreme) -> dict[str, str]:
    """Colour and word of an element's worst value: beyond its limit, near it, or neither."""
    if extreme.beyond:
        return {"fill": theme.CRIMSON, "state": say("grid.beyond")}
    if extreme.stress > NEAR:
        return {"fill": AMBER_LINE, "state": say("grid.near")}
    return {"fill": theme.TECHNOLOGY["import"], "state": ""}


def _elements(seen: Visit, plan: Plan, case: str) -> Component:
    say = seen.language
    columns = [
        {"field": "element", "headerName": say("grid.element"), "minWidth": 180, "flex": 3,
         "tooltipField": "element", **on_phone("state", minWidth=112)},
        {"field": "stress", "colId": "bar", "headerName": "", "cellRenderer": "Bar",
         "cellRendererParams": {"max": 120}, "sortable": False, "minWidth": 44, "maxWidth": 64,
         **on_phone(hide=True)},
        {"field": "value", "headerName": say("grid.worst"), "type": "rightAligned", "sortable": False,
         "minWidth": 82, "maxWidth": 88, **on_phone("bound", minWidth=92, maxWidth=92)},
        {"field": "limit", "headerName": say("grid.limit"), "type": "rightAligned", "sortable": False,
         "minWidth": 82, "maxWidth": 88, **on_phone(hide=True)},
        {"field": "time", "headerName": say("grid.at"), "type": "rightAligned", "minWidth": 64,
         "maxWidth": 96, **on_phone(minWidth=46, maxWidth=46)},
        number_column("count", say("grid.count"), 2, minWidth=78, maxWidth=104,
                      **on_phone(minWidth=52, maxWidth=52)),
        {"field": "state", "headerName": say("grid.state"), "minWidth": 78, "maxWidth": 84,
         "cellClassRules": {"over": "params.data.count > 0", "worse": "params.data.count == 0"},
         **on_phone(hide=True)},
    ]  # fmt: skip
    if plan.document["violations"]:
        columns.append(
            {"field": "remedy", "headerName": say("grid.remedy"), "minWidth": 260, "flex": 3,
             "tooltipField": "remedy", "sortable": False}
        )  # fmt: skip
    return grid_table(
        "elements",
        columns,
        _rows(seen, plan, case),
        say,
        label=say("grid.ranking"),
        height=600,
        selected=seen.view.element,
    )


def register(app: Dash, service: Service) -> None:
    """The map follows clock, layer and case; a row takes the clock to its worst time."""

    here = in_browser(app)
    here(
        "paintGrid",
        Output("grid-map", "figure"),
        Input("time", "value"), Input("grid-layer", "value"), Input("grid-district", "data"),
        Input("grid-map-grid", "data"), Input("grid-element", "data"),
        State("grid-map-base", "data"), State("grid-map-scene", "data"), State("grid-map-carbon", "data"),
        State("grid-map-words", "data"),
    )  # fmt: skip
    here("choice", Output({"type": "choice", "page": "grid"}, "data"),
         Input("time", "value"), Input("grid-layer", "value"), Input("grid-case", "value"),
         Input("grid-element", "data"))  # fmt: skip
    here(
        "chooseElement",
        Output("grid-element", "data"), Output("elements", "selectedRows"), Output("elements", "scrollTo"),
        Output("grid-map", "clickData"), Output("time", "value", allow_duplicate=True),
        Input("grid-map", "clickData"), Input("elements", "selectedRows"), State("grid-element", "data"),
        State("elements", "rowData"), State("grid-map-scene", "data"), State("grid-map-base", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    here("picked", Output("grid-picked", "children"), Input("grid-element", "data"), Input("time", "value"),
         Input("grid-layer", "value"), Input("grid-map-grid", "data"), State("grid-map-scene", "data"),
         State("grid-map-words", "data"))  # fmt: skip
    here(
        "legendOf",
        *(Output(f"grid-scale-{layer}", "style") for layer in LAYERS),
        Input("grid-layer", "value"),
    )
    follow_clock(app, "band")

    @app.callback(
        Output("grid-map-grid", "data"),
        Output("elements", "rowData"),
        Output("band", "figure"),
        Output("grid-figures", "children"),
        Input("grid-case", "value"),
        State("time", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def of_case(case: str, step: int, state: dict[str, str]) -> Any:
        seen = visit(service, View(**{**state, "case": case}))
        plan, say = seen.plan, seen.language
        if plan is None:
            return (no_update,) * 4
        return (
            grid_frames(plan, seen.city, case),
            _rows(seen, plan, case),
            voltage_band(plan, seen.city, say, step=step, case=case),
            _key_figures(seen, plan, case),
        )


PAGE = Page("grid", "/grid", 2, content, register)
