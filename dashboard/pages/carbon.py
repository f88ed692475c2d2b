"""Carbon: from source to district, over the day, by method and source; EVs; the balance counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboard import theme
from dashboard.figures.carbon import CHOSEN, district_series, marginal_band, sankey
from dashboard.figures.power import upstream_key
from dashboard.frame import Component, card, difference, graph, key_figure, legend, time_bar
from dashboard.grid_table import grid_table, number_column, on_phone
from dashboard.language import Language
from dashboard.off_loop import off_loop
from dashboard.pages import Page, follow_clock, in_browser
from dashboard.reading import (
    MARGINAL,
    accounted,
    cases,
    district_name,
    element_words,
    marginal_extremes,
    table,
    upstream_estimated,
)
from dashboard.view import View
from dashboard.visit import Visit, visit
from energy.domain.plan import Plan

if TYPE_CHECKING:
    from energy.service.service import Service


def content(seen: Visit, plan: Plan) -> Component:
    """Key figures; Sankey and series; districts; cases side by side; method and sources."""
    say, city = seen.language, seen.city
    return html.Div(
        className="cards",
        children=[
            *_key_figures(seen, plan),
            card(
                say("carbon.sankey"),
                graph(
                    "sankey",
                    sankey(plan, city, say, district=seen.district),
                    label=say("carbon.sankey_label"),
                    height=540,
                ),
                span="span-6 wide-6",
                aside=html.Span(say("carbon.sankey_note"), className="note"),
            ),
            html.Div(
                className="span-6 wide-6 column",
                children=[
                    card(
                        say("carbon.series"),
                        graph(
                            "series",
                            district_series(plan, city, say, step=seen.step, district=seen.district),
                            label=say("carbon.series_label"),
                            height=300,
                        ),
                        time_bar(seen),
                        span="",
                        aside=html.Div(_series_legend(seen, plan, seen.district), id="series-legend"),
                    ),
                    _vehicles(seen, plan),
                ],
            ),
            *_marginal(seen, plan),
            card(say("carbon.districts"), _districts(seen, plan), aside=html.Button(
                say("city.whole"), id="carbon-whole", className="button plain", n_clicks=0,
                hidden=not seen.district)),
            card(say("carbon.cases"), _cases(seen, plan), span="span-7 wide-7",
                 aside=html.Span(say("carbon.cases_note"), className="note")),
            card(say("carbon.balance"), _balance(seen, plan), span="span-5 wide-5",
                 aside=html.Span(say("carbon.balance_note"), className="note")),
            card(say("carbon.sources"), _sources(seen, plan)),
            dcc.Store(id="carbon-district", data=seen.district),
            dcc.Store(id={"type": "choice", "page": "carbon"}),
        ],
    )  # fmt: skip


def _marginal(seen: Visit, plan: Plan) -> list[Component]:
    """What a kWh more emits over the day, where the plan tells."""
    if MARGINAL not in plan.tables:
        return []
    say = seen.language
    items = [
        (say("carbon.marginal_buses"), CHOSEN, "swatch"),
        (say("series.marginal_root"), theme.TECHNOLOGY["import"], "dashed"),
        (say("series.city_intensity"), theme.INK, "stroke"),
    ]
    extremes = marginal_extremes(plan)
    ends = [
        say(
            "carbon.marginal_end",
            value=say.number(rate),
            element=element_words(say, seen.city, element),
            time=seen.labels[step],
        )
        for element, step, rate in extremes
    ]
    highest = {"element": extremes[1][0], "t": seen.labels[extremes[1][1]]} if extremes else {}
    where = "/grid" + seen.view.search(layer="marginal", **highest)
    told = [say("carbon.marginal_ends", low=ends[0], high=ends[1]), " "] if ends else []
    return [
        card(
            say("carbon.marginal"),
            graph(
                "marginal",
                marginal_band(plan, seen.city, say, step=seen.step),
                label=say("carbon.marginal_label"),
                height=240,
            ),
            html.P(
                [
                    *told,
                    say("carbon.marginal_note"),
                    " ",
                    dcc.Link(say("carbon.marginal_where"), href=where),
                ],
                className="note",
            ),
            aside=legend(items),
        )
    ]


def _series_legend(seen: Visit, plan: Plan, district: str) -> Component:
    say = seen.language
    items = [
        (say(f"series.{upstream_key(plan)}"), theme.TECHNOLOGY["import"], "dashed"),
        (say("series.city_intensity"), theme.INK, "stroke"),
    ]
    if district:
        items.append((district_name(say, seen.city, district), CHOSEN, "stroke"))
    return legend([*items, (say("series.districts"), theme.EMPTY, "stroke")])


def _key_figures(seen: Visit, plan: Plan) -> list[Component]:
    say, document = seen.language, plan.document
    day, free = document["comparison"][accounted(plan)], document["comparison"]["uncontrolled"]
    balance, vehicles = document["carbon"]["balance"], document["carbon"]["ev"]
    estimated = say("tag.estimated") if upstream_estimated(plan) else ""
    losses = balance["losses_kg"] / balance["sources_kg"] * 100 if balance["sources_kg"] else float("nan")
    return [
        key_figure(
            say("city.kpi.emissions"),
            say.figures(day["emissions_kg"] / 1000),
            "t CO₂e",
            *difference(say, day["emissions_at_equal_energy_kg"], free["emissions_at_equal_energy_kg"]),
            tag=estimated,
        ),
        key_figure(
            say("carbon.kpi.losses"),
            say.figures(balance["losses_kg"] / 1000),
            "t CO₂e",
            say("carbon.kpi.losses_note", share=say.number(losses, 1)),
        ),
        key_figure(
            say("carbon.kpi.exports"),
            say.figures(balance["exports_kg"] / 1000),
            "t CO₂e",
            say("carbon.kpi.exports_note"),
        ),
        key_figure(
            say("carbon.kpi.ev"),
            _optional(seen, vehicles["g_per_km"], 1),
            "g CO₂e/km",
            say("carbon.kpi.ev_note", value=_optional(seen, vehicles["charged_g_per_kwh"], 0)),
            tag=say("tag.synthetic"),
        ),
    ]


def _optional(seen: Visit, value: float | None, digits: int) -> str:
    return seen.language.number(float("nan") if value is None else value, digits)


def _vehicles(seen: Visit, plan: Plan) -> Component:
    """What the fleet charged, drove and gave back."""
    say, vehicles = seen.language, plan.document["carbon"]["ev"]
    rows = [
        (say("carbon.ev.g_per_km"), _optional(seen, vehicles["g_per_km"], 1), "g CO₂e/km"),
        (say("carbon.ev.charged"), _optional(seen, vehicles["charged_g_per_kwh"], 0), "g CO₂e/kWh"),
        (say("carbon.ev.v2g"), _optional(seen, vehicles["v2g_exported_kg"], 1), "kg CO₂e"),
    ]
    return card(
        say("carbon.ev"),
        html.Table(
            html.Tbody(
                [
                    html.Tr([html.Td(words), html.Td([value, html.Span(unit, className="unit")])])
                    for words, value, unit in rows
                ]
            ),
            className="facts",
        ),
        span="",
        aside=html.Span(say("tag.synthetic_sessions"), className="tag"),
    )


def _districts(seen: Visit, plan: Plan) -> Component:
    say, case = seen.language, accounted(plan)

    def sums(name: str) -> dict[str, float]:
        series = table(plan, case, f"district.{name}")
        return dict(zip(series.columns, np.nansum(series.values, axis=0).tolist(), strict=True))

    energy, emissions, losses = sums("energy_mwh"), sums("emissions_kg"), sums("loss_emissions_kg")
    local, exchange = sums("local_generation_mwh"), sums("exchange_mwh")
    charged, discharged = sums("charged_kg"), sums("discharged_kg")
    shares, used = (
        table(plan, case, "district.renewable_share"),
        table(plan, case, "district.energy_mwh"),
    )
    rows = []
    for name, mwh in energy.items():
        renewable = shares.column(name) * used.column(name)
        rows.append(
            {
                "id": name,
                "name": district_name(say, seen.city, name),
                "energy": mwh,
                "intensity": emissions[name] / mwh if mwh > 0 else None,
                "tonnes": emissions[name] / 1000,
                "losses": losses[name],
                "renewable": float(np.nansum(renewable)) / mwh * 100
                if mwh > 0 and np.isfinite(renewable).any()
                else None,
                "local": local[name],
                "exchange": exchange[name],
                "charged": charged[name],
                "discharged": discharged[name],
                "fill": theme.carbon_colour(
                    emissions[name] / mwh if mwh > 0 else float("nan"), seen.city.carbon_map_bounds
                ),
            }
        )
    columns = [
        {"field": "name", "headerName": say("city.district"), "minWidth": 120, "flex": 2, "pinned": None},
        {"field": "intensity", "colId": "bar", "headerName": "", "cellRenderer": "Bar", "sortable": False,
         "cellRendererParams": {"max": seen.city.carbon_map_bounds[1]}, "minWidth": 80, "flex": 1,
         **on_phone(hide=True)},
        number_column("intensity", "g/kWh", sort="desc", width=86, **on_phone(minWidth=68)),
        number_column("energy", say("carbon.energy"), 1),
        number_column("tonnes", "t CO₂e", 2),
        number_column("losses", say("carbon.losses"), 1),
        number_column("renewable", say("carbon.renewable")),
        number_column("local", say("carbon.local"), 1),
        number_column("exchange", say("carbon.exchange"), 1),
        number_column("charged", say("carbon.charged"), 1),
        number_column("discharged", say("carbon.discharged"), 1),
    ]  # fmt: skip
    for column in columns[3:]:
        column |= {
            "minWidth": 104,
            "flex": 1,
            "wrapHeaderText": True,
            "autoHeaderHeight": True,
            **on_phone(minWidth=76),
        }
    return grid_table(
        "carbon-districts",
        columns,
        rows,
        say,
        label=say("carbon.districts"),
        selected=seen.district,
    )


def _cases(seen: Visit, plan: Plan) -> Component:
    """Planned, uncontrolled and (day-ahead) actual beside each other, with what is left in store."""
    say, comparison = seen.language, plan.document["comparison"]
    offered = cases(plan)
    currency = seen.city.market.currency
    scale = {"violated_steps": plan.time.hours}
    rows = (
        ("cost", 0, currency),
        ("emissions_kg", 0, "kg CO₂e"),
        ("losses_mwh", 3, "MWh"),
        ("peak_import_mw", 3, "MW"),
        ("curtailed_mwh", 3, "MWh"),
        ("unmet_kwh", 1, "kWh"),
        ("violated_steps", 2, "h"),
        ("energy_end_mwh", 3, "MWh"),
        ("cost_at_equal_energy", 0, currency),
        ("emissions_at_equal_energy_kg", 0, "kg CO₂e"),
    )
    body = [
        html.Tr(
            [
                html.Td([say(f"comparison.{name}"), html.Span(unit, className="unit")]),
                *(
                    html.Td(say.number(scale.get(name, 1.0) * comparison[case][name], digits))
                    for case in offered
                ),
            ]
        )
        for name, digits, unit in rows
    ]
    head = html.Tr([html.Th(""), *(html.Th(say(f"case.{case}")) for case in offered)])
    return html.Div(
        html.Table([html.Thead(head), html.Tbody(body)], className="facts", id="cases"), className="scroll-x"
    )


def _balance(seen: Visit, plan: Plan) -> Component:
    """Primary sources on one side, where their carbon went on the other, and what is left over."""
    say, balance = seen.language, plan.document["carbon"]["balance"]
    rows = []
    for name in ("sources_kg", "end_use_kg", "losses_kg", "exports_kg", "ev_driven_kg", "storage_change_kg"):
        amount = [say.number(balance[name], 1), html.Span("kg CO₂e", className="unit")]
        rows.append(html.Tr([html.Td(say(f"balance.{name}")), html.Td(amount)]))
    residual = [say.scientific(balance["residual_kg"]), html.Span("kg CO₂e", className="unit")]
    rows.append(html.Tr([html.Td(say("balance.residual_kg")), html.Td(residual)]))
    return html.Table(html.Tbody(rows), className="facts")


def _sources(seen: Visit, plan: Plan) -> Component:
    """Each series with where it comes from, under which licence, and how much of it is estimated."""
    say = seen.language
    licences = {source.series: source.licence for source in seen.city.sources}
    kind, _, code = seen.city.grid_source.partition(":")
    credit = [html.P(say("sources.simbench", code=code), className="note")] if kind == "simbench" else []
    head = html.Tr(
        [
            html.Th(say(f"sources.{name}"), className="words")
            for name in ("series", "source", "licence", "version")
        ]
        + [html.Th(say("sources.estimated"))]
    )
    body = [
        html.Tr(
            [
                _cell(say, "series", say.engine(item["series"])),
                _cell(say, "source", say.engine(item["source"])),
                _cell(say, "licence", say.engine(licences.get(item["series"], ""))),
                _cell(say, "version", say.engine(item["version"])),
                _cell(
                    say,
                    "estimated",
                    html.Span(
                        say("sources.share", share=say.number(100 * item["estimated_share"])), className="tag"
                    )
                    if item["estimated_share"]
                    else "0 %",
                ),
            ]
        )
        for item in plan.document["sources"]
    ]
    return html.Div(
        [
            html.P(say("carbon.method"), className="note"),
            *credit,
            html.Table([html.Thead(head), html.Tbody(body)], className="facts stacked"),
        ]
    )


def _cell(say: Language, heading: str, content: Any) -> Component:
    """A cell that names its column itself where the table is stacked."""
    kind = "" if heading == "estimated" else "words"
    return html.Td(content, className=kind, **{"data-label": say(f"sources.{heading}")})


def register(app: Dash, service: Service) -> None:
    """A district chosen in the Sankey, the series or the table stands out in all three."""

    here = in_browser(app)
    here(
        "chooseCarbonDistrict",
        Output("carbon-district", "data"), Output("carbon-districts", "selectedRows"),
        Output("sankey", "clickData"), Output("series", "clickData"),
        Input("sankey", "clickData"), Input("series", "clickData"), Input("carbon-districts", "selectedRows"),
        Input("carbon-whole", "n_clicks"),
        State("carbon-district", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    here("choice", Output({"type": "choice", "page": "carbon"}, "data"), Input("carbon-district", "data"),
         Input("time", "value"))  # fmt: skip
    follow_clock(app, "series", "marginal")

    @app.callback(
        Output("sankey", "figure"),
        Output("series", "figure"),
        Output("series-legend", "children"),
        Output("carbon-whole", "hidden"),
        Input("carbon-district", "data"),
        State("time", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def of_district(district: str, step: int, state: dict[str, str]) -> Any:
        seen = visit(service, View(**{**state, "district": district}))
        if seen.plan is None:
            return (no_update,) * 4
        say, chosen = seen.language, seen.district
        return (
            sankey(seen.plan, seen.city, say, district=chosen),
            district_series(seen.plan, seen.city, say, step=step, district=chosen),
            _series_legend(seen, seen.plan, chosen),
            not chosen,
        )


PAGE = Page("carbon", "/carbon", 3, content, register)
