"""City: the state, what is wrong and what the plan does, where, and since when until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboard import theme
from dashboard.figures.map import (
    AMBER_LINE,
    LAYERS,
    city_map,
    district_frames,
    emissions_bounds,
    grid_frames,
    scene,
)
from dashboard.figures.power import supply_stack, used
from dashboard.frame import Component, card, difference, graph, key_figure, legend, segments, time_bar
from dashboard.grid_table import grid_table, number_column, on_phone
from dashboard.language import Language
from dashboard.off_loop import off_loop
from dashboard.pages import Page, follow_clock, in_browser
from dashboard.reading import (
    accounted,
    cases,
    district_name,
    element_words,
    extremes,
    response,
    response_words,
    steps_words,
    supply_at_district,
    table,
    technology_name,
    total,
    upstream_estimated,
    value_at,
    value_words,
)
from dashboard.view import View
from dashboard.visit import Visit, visit
from energy.domain.city import BOUNDARY
from energy.domain.plan import Plan

if TYPE_CHECKING:
    from energy.service.service import Service


def content(seen: Visit, plan: Plan) -> Component:
    """Key figures; map and ranked list; the stack of sources."""
    say, city = seen.language, seen.city
    layer = seen.view.choice("layer", LAYERS)
    moving = _moving_figures(seen, plan)
    return html.Div(
        className="cards",
        children=[
            *_key_figures(seen, plan, moving),
            card(
                say("city.map"),
                graph("city-map", label=say("city.map_label"), kind="map"),
                _scales(seen, plan),
                *map_caption(seen),
                time_bar(seen),
                _finding(seen, plan),
                span="span-6 wide-6",
                aside=segments(
                    "city-layer", layer, [(name, say(f"layer.{name}")) for name in LAYERS], say("city.layer")
                ),
            ),
            html.Div(className="span-6 wide-6 column", children=[_ranking(seen, plan), _changes(seen, plan)]),
            html.Section(
                className="card span-12",
                children=[
                    _stack_head(seen, plan),
                    graph(
                        "stack",
                        supply_stack(plan, city, say, step=seen.step, district=seen.district),
                        label=say("city.stack_label"),
                        height=240,
                    ),
                ],
            ),
            dcc.Store(id="city-district", data=seen.district),
            dcc.Store(id={"type": "choice", "page": "city"}),
            dcc.Store(id="city-map-base", data=city_map(city, say).to_plotly_json()),
            dcc.Store(id="city-map-scene", data=scene(city, say)),
            dcc.Store(id="city-map-carbon", data=district_frames(plan, city, say)),
            dcc.Store(id="city-map-grid", data=grid_frames(plan, city, accounted(plan))),
            dcc.Store(id="city-map-words", data={"units": {name: say(f"unit.{name}") for name in LAYERS}}),
            dcc.Store(id="totals", data=_totals(seen, plan)),
            dcc.Store(id="moving", data=moving),
        ],
    )


def _key_figures(seen: Visit, plan: Plan, moving: list[dict[str, list[str]]]) -> list[Component]:
    say, step = seen.language, seen.step
    comparison, came = plan.document["comparison"], say("tag.actual") if accounted(plan) == "actual" else ""
    estimated = _estimated(seen, plan)
    day, free = comparison[accounted(plan)], comparison["uncontrolled"]
    emissions = key_figure(
        say("city.kpi.emissions"),
        say.figures(day["emissions_kg"] / 1000),
        "t CO₂e",
        *difference(say, day["emissions_at_equal_energy_kg"], free["emissions_at_equal_energy_kg"]),
        tag=" · ".join(tag for tag in (came, estimated) if tag),
    )
    cost_change = day["cost_at_equal_energy"] - free["cost_at_equal_energy"]
    currency = seen.city.market.currency
    cost = key_figure(
        say("city.kpi.cost"),
        say.number(day["cost"]),
        currency,
        say("compare.money", value=say.number(cost_change, signed=True), currency=currency),
        "better" if cost_change < -0.5 else "worse" if cost_change > 0.5 else "",
        tag=came,
    )
    intensity, share = (
        key_figure(
            say(f"city.kpi.{name}"),
            figure["values"][step],
            unit,
            figure["notes"][step],
            figure["tones"][step],
            name=f"kpi-{name}",
            tag=tag,
        )
        for name, unit, tag, figure in zip(
            ("intensity", "renewable"), ("g CO₂e/kWh", "%"), (estimated, ""), moving, strict=True
        )
    )
    return [emissions, intensity, share, cost]


def _estimated(seen: Visit, plan: Plan) -> str:
    """The word "estimated" where the upstream grid's carbon is a model's."""
    return seen.language("tag.estimated") if upstream_estimated(plan) else ""


def _moving_figures(seen: Visit, plan: Plan) -> list[dict[str, list[str]]]:
    """Intensity and renewable share of what the city uses, in words for every interval."""
    say = seen.language
    figures = []
    for name, scale, digits, less_is_better in (
        ("carbon_g_per_kwh", 1.0, 0, True),
        ("renewable_share", 100.0, 0, False),
    ):
        day = total(plan, accounted(plan), name) * scale
        free = total(plan, "uncontrolled", name) * scale
        unit = "g CO₂e/kWh" if less_is_better else "%"
        change = day - free
        good = (change < 0) if less_is_better else (change > 0)
        figures.append(
            {
                "values": [say.number(value, digits) for value in day],
                "notes": [say("compare.value", value=say.number(value, digits), unit=unit) for value in free],
                "tones": [
                    "" if not np.isfinite(delta) or abs(delta) < 0.5 else "better" if better else "worse"
                    for delta, better in zip(change, good, strict=True)
                ],
            }
        )
    return figures


def _scales(seen: Visit, plan: Plan) -> Component:
    """One legend per layer; the browser shows that of the chosen layer."""
    say = seen.language
    chosen = seen.view.choice("layer", LAYERS)
    ramps = {"intensity": seen.city.carbon_map_bounds, "emissions": emissions_bounds(plan)}
    scales = []
    for layer in LAYERS:
        if layer in ramps:
            parts = [*ramp(say, ramps[layer], say(f"unit.{layer}")), html.Span(say("city.scale_lines"))]
        else:
            parts = limit_legend(say, layer)
        style = {"display": "flex" if layer == chosen else "none"}
        scales.append(html.Div(parts, className="scale", id=f"scale-{layer}", style=style))
    return html.Div(scales)


def ramp(say: Language, bounds: tuple[float, float], unit: str) -> list[Component]:
    """The carbon scale between its bounds."""
    low, high = (say.number(bound) for bound in bounds)
    return [
        html.Span(low, className="num"),
        html.Span(className="ramp", style={"background": theme.carbon_gradient()}),
        html.Span([html.Span(high, className="num"), f" {unit}"]),
    ]


def map_caption(seen: Visit) -> list[Component]:
    """Where the map's geography comes from, for grids that have none of their own."""
    if not seen.city.grid_source.startswith("simbench:"):
        return []
    return [html.P(seen.language("map.drawn"), className="note")]


def limit_legend(say: Language, layer: str) -> list[Component]:
    """What the colours of lines or stations mean, and the number in a district."""
    if layer == "loading":
        marks = [
            ("#94a3b8", "below_half"),
            ("#475569", "below_amber"),
            (AMBER_LINE, "near"),
            (theme.CRIMSON, "beyond"),
        ]
        items = [(say(f"loading.{words}"), colour, "stroke") for colour, words in marks]
        return [legend(items), html.Span(say("loading.number"))]
    marks = [("#2a788e", "inside"), (AMBER_LINE, "near"), (theme.CRIMSON, "beyond")]
    items = [(say(f"voltage.{words}"), colour, "swatch") for colour, words in marks]
    return [legend(items), html.Span(say("voltage.number"))]


def _finding(seen: Visit, plan: Plan) -> Component:
    """One line: what is wrong, what the plan does about it; one button to see why."""
    say, city = seen.language, seen.city
    found = {case: extremes(plan, case, city) for case in cases(plan)}
    # in the order of their weight: the plan breaks a limit, the day broke one, no control would have
    telling = [
        case for case in ("planned", "actual", "uncontrolled") if any(e.beyond for e in found.get(case, ()))
    ]
    closest = max(found, key=lambda case: found[case][0].stress if found[case] else 0.0)
    case = telling[0] if telling else closest
    worst = next(iter(found[case]), None)
    if worst is None:
        return html.Div(html.P(say("finding.unknown")), className="finding", id="finding")
    words = {
        "element": element_words(say, city, worst.element),
        "value": value_words(say, worst.quantity, worst.value),
        "limit": value_words(say, worst.quantity, worst.limit),
        "time": seen.labels[worst.step],
    }
    kind = {"planned": "broken", "actual": "missed", "uncontrolled": "risk"}[case] if telling else "calm"
    if telling:
        words["elements"] = say.count("finding.elements", sum(extreme.beyond for extreme in found[case]))
        words["steps"] = steps_words(say, plan.time, plan.document["comparison"][case]["violated_steps"])
    if case != "planned":
        words["planned"] = value_words(say, worst.quantity, value_at(plan, "planned", worst))
    if kind == "risk":
        words["response"] = response_words(say, response(plan, city, worst.step))
    layer = "voltage" if worst.quantity == "vm_pu" else "loading"
    search = seen.view.search(t=seen.labels[worst.step], case=case, layer=layer, element=worst.element)
    return html.Div(
        id="finding",
        className=f"finding {kind}",
        children=[
            html.Strong(say(f"finding.{kind}_title")),
            html.P(say(f"finding.{kind}", **words)),
            dcc.Link(say("finding.why"), href="/grid" + search, className="button"),
        ],
    )


def _totals(seen: Visit, plan: Plan) -> list[dict[str, Any]]:
    """The list's rows as far as they hold for the whole day; beside yesterday, or beside no control."""
    day = table(plan, accounted(plan), "district.emissions_kg")
    other = (
        table(seen.yesterday, accounted(seen.yesterday), "district.emissions_kg")
        if seen.yesterday
        else table(plan, "uncontrolled", "district.emissions_kg")
    )
    energy = table(plan, accounted(plan), "district.energy_mwh")
    rows = []
    for district in day.columns:
        if district == BOUNDARY and not np.nansum(energy.column(district)):
            continue  # what lies upstream mostly uses nothing
        tonnes = float(np.nansum(day.column(district))) / 1000
        before = float(np.nansum(other.column(district))) / 1000 if district in other.columns else 0.0
        rows.append(
            {
                "id": district,
                "name": district_name(seen.language, seen.city, district),
                "tonnes": tonnes,
                "change": (tonnes - before) / before * 100 if before > 0 else None,
            }
        )
    return rows


def _ranking(seen: Visit, plan: Plan) -> Component:
    say = seen.language
    intensity = table(plan, accounted(plan), "district.carbon_g_per_kwh").values
    scale = {"max": float(np.nanmax(intensity, initial=1.0))}
    columns = [
        {"headerName": "", "valueGetter": {"function": "params.node.rowIndex + 1"}, "width": 40,
         "maxWidth": 44, "sortable": False, "cellStyle": {"color": theme.MUTED}, **on_phone(hide=True)},
        {"field": "name", "headerName": say("city.district"), "minWidth": 128, "flex": 3,
         **on_phone(minWidth=107, flex=1)},
        {"field": "intensity", "colId": "bar", "headerName": "", "cellRenderer": "Bar",
         "cellRendererParams": scale, "sortable": False, "minWidth": 60, "flex": 2,
         **on_phone(hide=True)},
        number_column("intensity", "g/kWh", sort="desc", width=74, flex=1, **on_phone(minWidth=67)),
        number_column("rate", "kg/h", width=70, flex=1, **on_phone(minWidth=40)),
        number_column("tonnes", "t CO₂e", 2, width=78, flex=1, **on_phone(minWidth=47)),
        number_column("change", say("city.to_yesterday" if seen.yesterday else "city.to_uncontrolled"),
                      minWidth=108, flex=1, valueFormatter={"function": "wattshedChange(params.value, 1)"},
                      cellClassRules={"better": "params.value < -0.05", "worse": "params.value > 0.05"},
                      **on_phone(minWidth=79)),
    ]  # fmt: skip
    ledger = html.Span(
        [
            say("city.ledger") + " · ",
            dcc.Link(say("city.method"), href="/carbon" + seen.view.search(t=seen.labels[seen.step])),
        ],
        className="note",
    )
    return card(
        say("city.ranking"),
        grid_table(
            "districts",
            columns,
            [],
            say,
            label=say("city.ranking"),
            selected=seen.district,
        ),
        span="",
        aside=ledger,
    )


def _changes(seen: Visit, plan: Plan) -> Component:
    """The day with and without control, in a few rows."""
    say, comparison = seen.language, plan.document["comparison"]
    offered = cases(plan)
    rows = [
        html.Tr(
            [
                html.Td(say(f"comparison.{name}")),
                *(
                    html.Td([say.number(scale * comparison[at][name], 2), html.Span(unit, className="unit")])
                    for at in offered
                ),
            ]
        )
        for name, scale, unit in (
            ("violated_steps", plan.time.hours, "h"), ("peak_import_mw", 1, "MW"), ("losses_mwh", 1, "MWh"),
            ("curtailed_mwh", 1, "MWh"),
        )
    ]  # fmt: skip
    head = html.Tr([html.Th(""), *(html.Th(say(f"case.{case}")) for case in offered)])
    return card(
        say("city.changes"),
        html.Table([html.Thead(head), html.Tbody(rows)], className="facts"),
        span="",
    )


def _stack_head(seen: Visit, plan: Plan) -> Component:
    """Heading, the way back to the whole city, and the legend."""
    heading, items = _stack_words(seen, plan)
    whole = html.Button(
        seen.language("city.whole"),
        id="city-whole",
        className="button plain",
        n_clicks=0,
        hidden=not seen.district,
    )
    return html.Div(
        className="card-head",
        children=[
            html.H2(heading, id="stack-heading"),
            whole,
            html.Span(className="push"),
            html.Div(items, id="stack-legend"),
        ],
    )


def _stack_words(seen: Visit, plan: Plan) -> tuple[str, Component]:
    """Heading and legend of the stack of the chosen district, or of the city."""
    say, district = seen.language, seen.district
    if district:
        heading = say("city.stack_district", district=district_name(say, seen.city, district))
        supply, demand = supply_at_district(plan, accounted(plan), district), say("series.district_use")
    else:
        heading, supply = say("city.stack"), table(plan, accounted(plan), "supply_mw")
        demand = say("series.demand")
    items = [
        (technology_name(say, name), theme.technology_colour(name), "swatch") for name, _ in used(supply)
    ]
    return heading, legend([*items, (demand, theme.INK, "stroke")])


def register(app: Dash, service: Service) -> None:
    """Selection, time and layer in the browser; a district's stack from the server."""

    here = in_browser(app)
    here(
        "paint",
        Output("city-map", "figure"),
        Input("time", "value"), Input("city-layer", "value"), Input("city-district", "data"),
        Input("city-map-grid", "data"), State("city-map-base", "data"), State("city-map-scene", "data"),
        State("city-map-carbon", "data"), State("city-map-words", "data"),
    )  # fmt: skip
    here(
        "chooseDistrict",
        Output("city-district", "data"), Output("districts", "selectedRows"), Output("city-map", "clickData"),
        Input("city-map", "clickData"), Input("districts", "selectedRows"), Input("city-whole", "n_clicks"),
        State("city-district", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    here(
        "choice",
        Output({"type": "choice", "page": "city"}, "data"),
        Input("time", "value"),
        Input("city-layer", "value"),
        Input("city-district", "data"),
    )
    here(
        "rank",
        Output("districts", "rowData"),
        Input("time", "value"),
        State("city-map-carbon", "data"),
        State("totals", "data"),
    )
    here(
        "keyFigures",
        *(
            Output(f"kpi-{name}-{part}", attribute)
            for name in ("intensity", "renewable")
            for part, attribute in (("value", "children"), ("note", "children"), ("note", "className"))
        ),
        Input("time", "value"),
        State("moving", "data"),
        prevent_initial_call=True,
    )
    here("legendOf", *(Output(f"scale-{layer}", "style") for layer in LAYERS), Input("city-layer", "value"))
    follow_clock(app, "stack")

    @app.callback(
        Output("stack", "figure"),
        Output("stack-heading", "children"),
        Output("stack-legend", "children"),
        Output("city-whole", "hidden"),
        Input("city-district", "data"),
        State("time", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def stack_of(district: str, step: int, state: dict[str, str]) -> Any:
        seen = visit(service, View(**{**state, "district": district}))
        if seen.plan is None:
            return (no_update,) * 4
        figure = supply_stack(seen.plan, seen.city, seen.language, step=step, district=seen.district)
        return figure, *_stack_words(seen, seen.plan), not seen.district


PAGE = Page("city", "/", 0, content, register)
