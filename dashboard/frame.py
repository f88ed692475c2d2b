"""The frame of every page: rail, title line, key figures, cards; one hand for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboard import theme
from dashboard.language import LANGUAGES, Language
from dashboard.reading import steps_words
from dashboard.view import INFORMATION, day_bounds
from dashboard.visit import Visit

Component = Any
"""Dash components carry no types."""


def frame(visit: Visit, page: str, pages: Sequence[tuple[str, str]], content: Component) -> Component:
    """`content` of `page` inside the rail and the title line; `pages` are name and path of each page."""
    return html.Div(
        className="frame",
        lang=visit.view.lang,
        children=[
            _rail(visit, page, pages),
            html.Main(className="main", children=[_title_line(visit), content]),
            dcc.Store(id="visit", data=visit.state()),
            dcc.Store(id="labels", data=list(visit.labels)),
        ],
    )


def _rail(visit: Visit, page: str, pages: Sequence[tuple[str, str]]) -> Component:
    say = visit.language
    return html.Nav(
        className="rail",
        **{"aria-label": say("rail.label")},
        children=html.Div(
            className="rail-links",
            children=[
                html.Span("W", className="brand", **{"aria-hidden": "true"}),
                *(
                    dcc.Link(
                        id={"type": "rail", "page": path},
                        href=path + visit.view.search(job=""),
                        className="rail-link on" if name == page else "rail-link",
                        children=[
                            html.Span(className=f"rail-icon rail-{name}", **{"aria-hidden": "true"}),
                            html.Span(say(f"page.{name}")),
                        ],
                    )
                    for name, path in pages
                ),
            ],
        ),
    )


def _title_line(visit: Visit) -> Component:
    say, city, view = visit.language, visit.city, visit.view
    first, last = day_bounds(city)
    return html.Header(
        className="title-line",
        children=[
            html.H1(city.name),
            html.Div(
                dmc.Select(
                    id="city",
                    value=view.city,
                    data=[{"value": key, "label": name} for key, name in visit.cities.items()],
                    allowDeselect=False,
                    w=180,
                    comboboxProps={"shadow": "sm"},
                    **{"aria-label": say("title.city")},
                ),
                hidden=len(visit.cities) < 2,
            ),
            dmc.DatePickerInput(
                id="day",
                value=view.day,
                minDate=first.isoformat(),
                maxDate=last.isoformat(),
                valueFormat="YYYY年M月D日（dd）" if view.lang == "ja" else "ddd D MMMM YYYY",
                w=196,
                popoverProps={"shadow": "sm"},
                **{"aria-label": say("title.day")},
            ),
            _state_pill(visit),
            dmc.Select(
                id="info",
                value=view.info,
                data=[{"value": item, "label": _information(visit, item)} for item in INFORMATION],
                allowDeselect=False,
                w=262,
                comboboxProps={"shadow": "sm"},
                **{"aria-label": say("title.information")},
            ),
            html.Span(className="push"),
            *_updated(visit),
            dmc.SegmentedControl(
                id="lang",
                value=view.lang,
                data=[{"value": code, "label": label} for code, label in LANGUAGES.items()],
                color=theme.INK,
                **{"aria-label": say("title.language")},
            ),
        ],
    )


def _information(visit: Visit, information: str) -> str:
    key = (
        "information.replay"
        if visit.city.replay and information == "perfect"
        else f"information.{information}"
    )
    return visit.language(key)


def _state_pill(visit: Visit) -> Component:
    say = visit.language
    if visit.plan is None:
        return html.Span(say("state.none"), id="state", className="pill quiet", role="status")
    document = visit.plan.document
    rounds = say.count("state.rounds", document["rounds"])
    missed = document["comparison"].get("actual", {}).get("violated_steps", 0)
    secure = document["status"] == "secure" and not missed
    if document["status"] != "secure":
        words = say("state.unresolved", count=len(document["violations"]), rounds=rounds)
    elif missed:
        words = say("state.missed", steps=steps_words(say, visit.plan.time, missed))
    else:
        words = say("state.secure", rounds=rounds)
    return html.Span(
        id="state",
        role="status",
        className="pill secure" if secure else "pill unresolved",
        children=[html.Span("●" if secure else "▲", className="mark", **{"aria-hidden": "true"}), words],
    )


def _updated(visit: Visit) -> list[Component]:
    """When the plan was stored; a replayed city has no such moment."""
    if visit.city.replay or visit.summary is None:
        return []
    local = visit.summary.stored.astimezone(visit.city.zone)
    return [html.Span(visit.language("title.updated", time=f"{local:%H:%M}"), className="pill quiet")]


def card(
    heading: str, *children: Component, span: str = "span-12", aside: Component = None, **attributes: Any
) -> Component:
    """A white card with a heading and, at its right, a control, a legend or a note."""
    head = [html.H2(heading)]
    if aside is not None:
        head += [html.Span(className="push"), aside]
    return html.Section(
        className=f"card {span}", children=[html.Div(head, className="card-head"), *children], **attributes
    )


def key_figure(
    label: str, value: str, unit: str, note: str, tone: str = "", *, name: str = "", tag: str = ""
) -> Component:
    """A key figure with its comparison; with a `name`, the browser can rewrite value and comparison."""
    ids = {part: {"id": f"{name}-{part}"} if name else {} for part in ("value", "note")}
    return html.Section(
        className="card span-3",
        children=[
            html.Div(
                [label, *([" ", html.Span(tag, className="tag")] if tag else [])], className="kpi-label"
            ),
            html.Div(
                [html.Span(value, **ids["value"]), html.Span(unit, className="kpi-unit")],
                className="kpi-value",
            ),
            html.Div(note, className=f"kpi-note {tone}", **ids["note"]),
        ],
    )


def graph(
    name: str, figure: Any = None, *, label: str, kind: str = "chart", height: int | None = None
) -> Component:
    """A chart without Plotly's tools, described in words for those who cannot see it."""
    blank = {"data": [], "layout": {"xaxis": {"visible": False}, "yaxis": {"visible": False}}}
    style = {"height": f"{height}px"} if height else {"height": "100%"}
    return html.Div(
        dcc.Graph(
            id=name, figure=figure if figure is not None else blank, config=theme.GRAPH_CONFIG, style=style
        ),
        className=kind,
        role="img",
        **{"aria-label": label},
    )


def legend(items: Sequence[tuple[str, str, str]]) -> Component:
    """One legend line: ``(words, colour, "swatch" or "stroke" or "dashed")``."""
    return html.Div(
        className="legend",
        children=[
            html.Span([html.Span(className=_KIND[kind], style=_mark(colour, kind)), words])
            for words, colour, kind in items
        ],
    )


_KIND = {"swatch": "swatch", "stroke": "stroke", "dashed": "stroke"}


def _mark(colour: str, kind: str) -> dict[str, str]:
    if kind == "swatch":
        return {"background": colour}
    return {"borderTopColor": colour, "borderTopStyle": "dashed" if kind == "dashed" else "solid"}


def time_bar(visit: Visit) -> Component:
    """Play, slider and clock of the day: what the maps and every time line follow."""
    say, labels, step = visit.language, visit.labels, visit.step
    return html.Div(
        className="time-bar",
        children=[
            html.Button(id="play", className="play", n_clicks=0, **{"aria-label": say("time.play")}),
            dmc.Slider(
                id="time",
                className="time-slider",
                min=0,
                max=len(labels) - 1,
                step=1,
                value=step,
                updatemode="drag",
                label=None,
                color=theme.INK,
                size=5,
                thumbSize=16,
                thumbLabel=say("time.slider"),
            ),
            html.Span(labels[step], id="time-label", className="time-label"),
            dcc.Interval(id="clock", interval=280, disabled=True),
        ],
    )


def segments(name: str, value: str, options: Sequence[tuple[str, str]], label: str) -> Component:
    """A choice of a few, side by side."""
    return dmc.SegmentedControl(
        id=name,
        value=value,
        data=[{"value": option, "label": words} for option, words in options],
        color=theme.INK,
        **{"aria-label": label},
    )


def named(language: Language, kind: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Options with their words, from the catalogue's ``KIND.NAME``."""
    return [(name, language(f"{kind}.{name}")) for name in names]


def difference(language: Language, planned: float, uncontrolled: float) -> tuple[str, str]:
    """The comparison under a key figure, and whether less is better or worse than without control."""
    if uncontrolled == 0:
        return language("compare.none"), ""
    share = (planned - uncontrolled) / abs(uncontrolled) * 100
    tone = "better" if share <= -0.05 else "worse" if share >= 0.05 else ""
    return language("compare.percent", value=language.number(share, 1, signed=True)), tone
