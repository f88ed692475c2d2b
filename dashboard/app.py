"""The dashboard: one Dash application on the API's own server.

Dash's page router is not used: on an ASGI server it registers itself, with an inline script, only when `/`
is asked for, so a link to another page as the first request would fail. `pages()` and one callback do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, dcc, html
from fastapi import FastAPI

from dashboard import theme
from dashboard.frame import frame
from dashboard.language import Language
from dashboard.off_loop import off_loop
from dashboard.pages import in_browser, pages
from dashboard.planning import register_planning, without_plan
from dashboard.view import View
from dashboard.visit import visit

if TYPE_CHECKING:
    from energy.service.service import Service

ROOT = Path(__file__).parent
INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>{%title%}</title>
    <link rel="icon" href="assets/icons/wattshed.svg">
    <link rel="preload" href="assets/fonts/inter-latin-wght-normal.woff2" as="font" crossorigin>
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>{%config%}{%scripts%}{%renderer%}</footer>
  </body>
</html>
"""


def content_security_policy(app: Dash) -> str:
    """The policy the pages live under: scripts, fonts and data from this server only.

    Styles are inline in Mantine, AG Grid and Plotly; scripts are not, but for Dash's one-line starter.
    """
    scripts = " ".join(["'self'", *app.csp_hashes()])
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        "frame-ancestors 'none'"
    )


def create_dashboard(service: Service, server: FastAPI) -> Dash:
    """Mount the dashboard on `server`; it asks `service` for everything it shows."""
    app = Dash(
        __name__,
        server=server,
        backend="fastapi",
        title="Wattshed",
        update_title="",
        assets_folder=str(ROOT / "assets"),
        index_string=INDEX,
        suppress_callback_exceptions=True,
    )
    app.layout = dmc.MantineProvider(
        theme={"fontFamily": theme.FONT, "primaryColor": "dark", "defaultRadius": 8},
        forceColorScheme="light",
        children=[
            dcc.Location(id="address", refresh="callback-nav"),
            dcc.Store(id="title"),
            html.Div(id="page", children=html.Div(className="waiting")),
            html.Div(id="sink", hidden=True),
        ],
    )
    _register_router(app, service)
    _register_browser(app)
    register_planning(app, service)
    for page in pages():
        page.register(app, service)
    # on an ASGI server Dash finds its assets when `/` is first asked for: any page may be the first
    app._setup_server()
    return app


def render(service: Service, path: str, search: str) -> tuple[Any, dict[str, str]]:
    """The page at an address, and its title and language."""
    view = View.from_query(dict(parse_qsl(search.removeprefix("?"))))
    say = view.language
    page = next((page for page in pages() if page.path == path), None)
    if page is None:
        return _nowhere(say, path), {"title": f"Wattshed · {say('nowhere.title')}", "lang": view.lang}
    seen = visit(service, view)
    plan = seen.plan
    if plan is not None and not view.job:
        content = page.content(seen, plan)
    elif page.without_plan is not None and not view.job:
        content = page.without_plan(seen)
    else:
        content = without_plan(seen, service)
    framed = frame(seen, page.name, [(item.name, item.path) for item in pages()], content)
    localised = dmc.DatesProvider(framed, settings={"locale": view.lang, "firstDayOfWeek": 1})
    return localised, {"title": f"{say(f'page.{page.name}')} · {seen.city.name}", "lang": view.lang}


def _nowhere(say: Language, path: str) -> Any:
    return html.Div(
        className="card empty",
        children=[
            html.H2(say("nowhere.title")),
            html.P(say("nowhere.text", path=path)),
            dcc.Link(say("nowhere.back"), href="/" + View(lang=say.code).search(), className="button"),
        ],
    )


def _register_router(app: Dash, service: Service) -> None:
    @app.callback(
        Output("page", "children"),
        Output("title", "data"),
        Input("address", "pathname"),
        Input("address", "search"),
    )
    @off_loop
    def show(path: str, search: str | None) -> tuple[Any, dict[str, str]]:
        return render(service, path, search or "")


def _register_browser(app: Dash) -> None:
    """What needs no server: the clock, the address, the title."""

    here = in_browser(app)
    here("heading", Output("sink", "children"), Input("title", "data"))
    here(
        "play",
        Output("clock", "disabled"),
        Output("play", "data-playing"),
        Input("play", "n_clicks"),
        State("clock", "disabled"),
        prevent_initial_call=True,
    )
    here(
        "tick",
        Output("time", "value", allow_duplicate=True),
        Input("clock", "n_intervals"),
        State("time", "value"),
        State("time", "max"),
        prevent_initial_call=True,
    )
    here("clock", Output("time-label", "children"), Input("time", "value"), State("labels", "data"))
    here(
        "address",
        Output({"type": "rail", "page": ALL}, "href"),
        Input({"type": "choice", "page": ALL}, "data"),
        State("labels", "data"),
        State({"type": "rail", "page": ALL}, "id"),
    )
    here(
        "go",
        Output("address", "search"),
        Input("city", "value"),
        Input("day", "value"),
        Input("info", "value"),
        Input("lang", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
