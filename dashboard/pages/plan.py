"""Plan: where power comes from and goes, at what price and carbon, and what each asset does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
import numpy as np
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboard import theme
from dashboard.explaining import reasons_of, revision_words, unmet_words
from dashboard.figures.power import asset_day, balance, use_colour, used
from dashboard.frame import Component, card, graph, key_figure, legend, time_bar
from dashboard.grid_table import grid_table, number_column, on_phone
from dashboard.off_loop import off_loop
from dashboard.pages import Page, follow_clock, in_browser
from dashboard.reading import district_name, table, technology_name
from dashboard.view import View
from dashboard.visit import Visit, visit
from energy.domain.city import City
from energy.domain.network import FloatArray
from energy.domain.plan import Plan

if TYPE_CHECKING:
    from energy.service.service import Service


UNIT_COLOURS = {
    "flexible_load": "flexible",
    "shiftable_load": "flexible",
    "hydrogen_station": "hydrogen",
    "swap_station": "battery",
}
"""The colour of what a unit does; a generator has that of its technology."""


def content(seen: Visit, plan: Plan) -> Component:
    """Key figures; the mirrored stack; the assets and the picked one's day."""
    say, city = seen.language, seen.city
    rows = asset_rows(seen, plan)
    asset = (
        seen.view.asset if seen.view.asset in {row["id"] for row in rows} else rows[0]["id"] if rows else ""
    )
    return html.Div(
        className="cards",
        children=[
            *_key_figures(seen, plan),
            card(
                say("plan.balance"),
                graph(
                    "balance",
                    balance(plan, city, say, step=seen.step),
                    label=say("plan.balance_label"),
                    height=600,
                ),
                time_bar(seen),
                aside=_legend(seen, plan),
            ),
            card(
                say("plan.assets"),
                _assets(seen, rows, asset),
                span="span-7 wide-7",
                aside=dmc.TextInput(
                    id="asset-filter",
                    placeholder=say("plan.search"),
                    w=200,
                    **{"aria-label": say("plan.search")},
                ),
            ),
            html.Section(
                _asset(seen, plan, asset, seen.step), id="asset-card", className="card span-5 wide-5"
            ),
            *_told(seen, plan),
            dcc.Store(id="plan-asset", data=asset),
            dcc.Store(id={"type": "choice", "page": "plan"}),
        ],
    )


def _key_figures(seen: Visit, plan: Plan) -> list[Component]:
    say, comparison = seen.language, plan.document["comparison"]
    planned, free = comparison["planned"], comparison["uncontrolled"]
    figures = []
    for name, digits, unit in (
        ("cost", 0, seen.city.market.currency), ("peak_import_mw", 2, "MW"), ("curtailed_mwh", 2, "MWh"),
        ("energy_end_mwh", 2, "MWh"),
    ):  # fmt: skip
        note = say("compare.value", value=say.number(free[name], digits), unit=unit)
        if "actual" in comparison:
            came = say.number(comparison["actual"][name], digits)
            note = say("compare.actual", value=came, unit=unit, note=note)
        figures.append(key_figure(say(f"comparison.{name}"), say.number(planned[name], digits), unit, note))
    return figures


def _legend(seen: Visit, plan: Plan) -> Component:
    """Each colour once: a battery gives above zero and charges below it."""
    say = seen.language
    supply = used(table(plan, "planned", "supply_mw"))
    use = used(table(plan, "planned", "use_mw"), theme.USES)
    given = {name for name, _ in supply}
    return legend(
        [
            *((technology_name(say, name), theme.technology_colour(name), "swatch") for name, _ in supply),
            *(
                (say.known(f"use.{name}", name), use_colour(name), "swatch")
                for name, _ in use
                if name not in given
            ),
        ]
    )


def asset_rows(seen: Visit, plan: Plan) -> list[dict[str, Any]]:
    """Every asset with its day as a strip; those the plan moves most come first."""
    say, city = seen.language, seen.city
    planned = table(plan, "planned", "asset_p_kw")
    free = table(plan, "uncontrolled", "asset_p_kw")
    kinds = asset_kinds(city)
    rows = []
    for k, asset in enumerate(planned.columns):
        kind, name, bus, draws, gives = kinds.get(asset, ("load", asset, None, "load", "load"))
        power = planned.values[:, k]
        moved = np.abs(power - free.column(asset)).sum() / 2 if asset in free.columns else 0.0
        district = city.district_of_bus.get(bus, "") if bus is not None else ""
        rows.append(
            {
                "id": asset,
                "name": name,
                "kind": say.known(f"kind.{kind}", kind),
                "district": district_name(say, city, district) if district else "",
                "energy": float(np.abs(power).sum() * plan.time.hours),
                "moved": float(moved * plan.time.hours),
                "strip": strip(power),
                "draws": theme.technology_colour(draws),
                "gives": theme.technology_colour(gives),
            }
        )
    return sorted(rows, key=lambda row: (-round(row["moved"], 3), row["name"]))


def asset_kinds(city: City) -> dict[str, tuple[str, str, int, str, str]]:
    """Per asset its kind, name, bus, and the colours of drawing and giving."""
    kinds = {load.id: ("load", load.name, load.bus, "load", "load") for load in city.loads}
    for site in city.renewables:
        kinds[site.id] = (site.technology, site.name, site.bus, site.technology, site.technology)
    kinds |= {item.id: ("battery", item.name, item.bus, "battery", "battery") for item in city.batteries}
    kinds |= {
        item.id: ("v2g" if item.v2g else "ev", item.id, item.bus, "ev", "v2g") for item in city.vehicles
    }
    for unit in city.units:
        draws = UNIT_COLOURS.get(unit.type, unit.technology)
        kinds[unit.id] = (unit.type, unit.name, unit.bus, draws, draws)
    return kinds


def strip(power: FloatArray) -> str:
    """A day as one character per interval: ``0`` to ``9`` for positive, ``a`` to ``i`` for negative power."""
    largest = float(np.abs(power).max(initial=0.0))
    if largest < 1e-6:
        return "0" * len(power)
    levels = np.rint(np.abs(power) / largest * 9).astype(int)
    return "".join(
        chr(96 + level) if value < 0 and level else str(level)
        for level, value in zip(levels, power, strict=True)
    )


def _assets(seen: Visit, rows: list[dict[str, Any]], asset: str) -> Component:
    say = seen.language
    columns = [
        {"field": "name", "headerName": say("plan.asset"), "minWidth": 190, "flex": 3,
         **on_phone("kind", "district", minWidth=120)},
        {"field": "kind", "headerName": say("plan.kind"), "minWidth": 84, "flex": 1,
         **on_phone(hide=True)},
        {"field": "district", "headerName": say("city.district"), "minWidth": 84, "flex": 1,
         **on_phone(hide=True)},
        {"field": "strip", "headerName": say("plan.strip"), "cellRenderer": "Strip", "sortable": False,
         "headerTooltip": say("plan.strip_note"), "minWidth": 120, "flex": 3,
         **on_phone(minWidth=48, maxWidth=48)},
        number_column("energy", say("plan.energy"), minWidth=100,
                      **on_phone(minWidth=52, maxWidth=52)),
        number_column("moved", say("plan.moved"), 1, minWidth=124,
                      **on_phone(minWidth=60, maxWidth=60)),
    ]  # fmt: skip
    return grid_table(
        "assets",
        columns,
        rows,
        say,
        label=say("plan.assets"),
        height=620,
        selected=asset,
    )


def _asset(seen: Visit, plan: Plan, asset: str, step: int) -> list[Component]:
    """The picked asset: its power and energy, planned and uncontrolled."""
    say, city = seen.language, seen.city
    if not asset:
        return [html.Div(html.H2(say("plan.no_asset")), className="card-head")]
    kind, name, bus, _, _ = asset_kinds(city).get(asset, ("load", asset, None, "", ""))
    district = city.district_of_bus.get(bus) if bus is not None else None
    place = [district_name(say, city, district)] if district else []
    notes = [say.known(f"kind.{kind}", kind), *place]
    synthetic = [html.Span(say("tag.synthetic"), className="tag")] if kind in ("ev", "v2g") else []
    series = [(say(f"case.{case}"), colour, "stroke" if case == "planned" else "dashed")
              for case, colour in theme.CASE.items() if f"{case}.totals" in plan.tables]  # fmt: skip
    return [
        html.Div(
            [html.H2(name, id="asset-name"), html.Span(" · ".join(notes), className="note"), *synthetic,
             html.Span(className="push"), legend(series)],
            className="card-head",
        ),
        graph(
            "asset-chart",
            asset_day(plan, city, say, asset, step=step),
            label=say("plan.asset_label", asset=name),
        ),
        *_reasons(seen, plan, asset, step),
    ]  # fmt: skip


def _reasons(seen: Visit, plan: Plan, asset: str, step: int) -> list[Component]:
    """Why the asset does what it does, span by span."""
    told = reasons_of(seen, plan, asset)
    if not told:
        return []
    return [
        html.H3(seen.language("plan.why"), className="sub"),
        html.Ol(
            [
                html.Li(
                    [html.Span(span, className="span"), html.Span(text)],
                    className="now" if step in steps else "",
                    **{"data-first": steps.start, "data-end": steps.stop},
                )
                for span, text, steps in told
            ],
            className="told",
        ),
    ]


def _told(seen: Visit, plan: Plan) -> list[Component]:
    """What could not be met, and what a re-plan changed; nothing where there is neither."""
    say, cards = seen.language, []
    unmet = list(unmet_words(seen, plan))
    if unmet:
        cards.append(card(say("plan.unmet"), html.Ul([html.Li(text) for text in unmet], className="told")))
    revision = plan.document["schedule"].get("revision")
    if revision:
        head, changes = revision_words(seen, revision, plan.time.start)
        body = [html.P(head, className="lead")]
        if changes:
            body.append(html.Ul([html.Li(text) for text in changes], className="told"))
        cards.append(card(say("plan.revision"), *body))
    return cards


def register(app: Dash, service: Service) -> None:
    """Picking an asset, and filtering the list."""

    here = in_browser(app)
    here(
        "chooseRow", Output("plan-asset", "data"), Input("assets", "selectedRows"), prevent_initial_call=True
    )
    here("choice", Output({"type": "choice", "page": "plan"}, "data"), Input("plan-asset", "data"),
         Input("time", "value"))  # fmt: skip
    follow_clock(app, "balance", "asset-chart")
    here("reasonsNow", Output("sink", "title"), Input("time", "value"), prevent_initial_call=True)
    here("filter", Output("assets", "dashGridOptions"), Input("asset-filter", "value"),
         State("assets", "dashGridOptions"), prevent_initial_call=True)  # fmt: skip

    @app.callback(
        Output("asset-card", "children"),
        Input("plan-asset", "data"),
        State("time", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def asset_of(asset: str, step: int, state: dict[str, str]) -> Any:
        seen = visit(service, View(**{**state, "asset": asset}))
        return no_update if seen.plan is None else _asset(seen, seen.plan, asset, step)


PAGE = Page("plan", "/plan", 1, content, register)
