"""Reports: made from stored days, their versions approved and published, every figure to its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboard.frame import Component, card
from dashboard.grid_table import grid_table, on_phone
from dashboard.language import Language
from dashboard.off_loop import off_loop
from dashboard.pages import Page, in_browser
from dashboard.report_tables import code, explanation, figure_at, report_tables, said
from dashboard.view import View
from dashboard.visit import Visit
from energy.domain.errors import Fault, InputError, UnknownError
from energy.domain.plan import Plan
from energy.domain.report import Edition, Report, ReportKey, StoredReport, figure_id
from energy.feeds.reports import FORMATS
from energy.feeds.reports.cells import SETTINGS, edition_line
from energy.feeds.reports.cells import settings as settings_words
from energy.service.reports.registry import reports

if TYPE_CHECKING:
    from energy.service.service import Service

BETWEEN = "|"
"""Between the parts of a version's name: no report, period or choice holds it."""


def content(seen: Visit, _plan: Plan) -> Component:
    """What to make; what is stored; the chosen version; where a chosen figure comes from."""
    say = seen.language
    periods = stored_periods([item.day for item in seen.stored if item.information == seen.view.info])
    first = next(iter(reports()))
    return html.Div(
        className="cards",
        children=[
            card(
                say("reports.make"),
                html.Div(
                    className="controls report-controls",
                    children=[
                        _select("report-name", say("reports.report"), first, _report_options(say), 280),
                        _select(
                            "report-period",
                            say("reports.period"),
                            seen.view.day,
                            [{"value": period, "label": period} for period in periods],
                            160,
                        ),
                        html.Div(_choices(first, say), id="report-choices", className="controls"),
                        html.Button(say("reports.start"), id="report-make", className="button", n_clicks=0),
                    ],
                ),
                html.P(said(reports()[first].text, say), id="report-text", className="note"),
                html.P("", id="report-message", className="note", role="status"),
                html.Ul([], id="report-faults", className="faults", role="alert"),
            ),
            card(
                say("reports.versions"),
                grid_table(
                    "report-versions",
                    _version_columns(say),
                    [],
                    say,
                    label=say("reports.versions"),
                    nothing=say("reports.none"),
                    height=230,
                ),
            ),
            html.Section(
                html.P(say("reports.choose"), className="note"), id="report-card", className="card span-12"
            ),
            dmc.Drawer(
                id="report-drawer",
                title=say("reports.source"),
                position="right",
                size="min(560px, 100vw)",
                children=html.Div(id="report-tree"),
            ),
            dcc.Store(id="report-job", data=""),
            dcc.Store(id="report-changed", data=0),
            dcc.Store(id="shown-report", data=seen.view.report),
            dcc.Store(id={"type": "choice", "page": "reports"}),
            dcc.Interval(id="report-poll", interval=400, disabled=True),
        ],
    )


def stored_periods(days: Iterable[str]) -> list[str]:
    """Years, months and days of which something is stored, the newest first."""
    kept = set(days)
    return [
        period for length in (4, 7, 10) for period in sorted({day[:length] for day in kept}, reverse=True)
    ]


def version_name(key: ReportKey, number: int) -> str:
    """A version in the address."""
    return BETWEEN.join((key.name, key.period, key.variant, str(number)))


def version_of(city: str, name: str) -> tuple[ReportKey, int] | None:
    """The version that an address names; None where it names none."""
    parts = name.split(BETWEEN)
    if len(parts) != 4 or not parts[3].isdecimal():
        return None
    return ReportKey(city, *parts[:3]), int(parts[3])


def version_rows(stored: Sequence[StoredReport], say: Language) -> list[dict[str, Any]]:
    """The stored versions, the newest first."""
    kinds = reports()
    newest = sorted(stored, key=lambda item: item.edition.stored, reverse=True)
    return [
        {
            "id": version_name(item.key, item.edition.number),
            "report": said(kinds[item.key.name].title, say) if item.key.name in kinds else item.key.name,
            "period": item.key.period,
            "choices": _variant_words(item.key, say),
            "version": item.edition.number,
            "state": say(f"reports.state.{item.edition.state}"),
            "by": item.edition.approved_by or "",
            "changes": len(item.edition.changes),
        }
        for item in newest
    ]


def version_view(key: ReportKey, report: Report, edition: Edition, say: Language) -> list[Component]:
    """A version: its state, what can be done with it, what changed, its notices and tables."""
    choices = settings_words(report, code(say))
    return [
        html.Div(
            className="card-head",
            children=[
                html.H2(said(report.title, say)),
                html.Span(edition_line(edition, code(say)), className="pill quiet"),
                html.Span(className="push"),
                *(
                    html.A(
                        name.upper() if name != "zip" else "CSV",
                        href=file_address(key, edition.number, name, say),
                        className="button plain",
                        download="",
                    )
                    for name in FORMATS
                    if name != "csv"
                ),
            ],
        ),
        html.P(" · ".join(f"{name}: {value}" for name, value in choices), className="note"),
        html.Div(
            className="controls report-actions",
            children=[
                dmc.TextInput(
                    id="report-by",
                    placeholder=say("reports.by"),
                    w=220,
                    style={} if edition.state == "draft" else {"display": "none"},
                    **{"aria-label": say("reports.by")},
                ),
                html.Button(
                    say("reports.approve"), id="report-approve", className="button plain", n_clicks=0,
                    hidden=edition.state != "draft",
                ),
                html.Button(
                    say("reports.publish"), id="report-publish", className="button plain", n_clicks=0,
                    hidden=edition.state != "approved",
                ),
            ],
        ),
        html.Ul([], id="report-refused", className="faults", role="alert"),
        *([html.Ul([html.Li(said(notice, say)) for notice in report.notices], className="note")]
          if report.notices else []),
        *([_changes(edition, say)] if edition.changes else []),
        html.P(say("reports.click"), className="note"),
        *report_tables(report, say),
    ]  # fmt: skip


def file_address(key: ReportKey, number: int, format_name: str, say: Language) -> str:
    """Where the API gives a version as a file, in the reader's language."""
    query = {"period": key.period, "variant": key.variant, "version": number, "format": format_name,
             "language": code(say)}  # fmt: skip
    return f"/api/v1/cities/{key.city}/reports/{key.name}?{urlencode(query)}"


def _changes(edition: Edition, say: Language) -> Component:
    return html.Details(
        [
            html.Summary(say("reports.changed", count=say.number(len(edition.changes)))),
            html.Ul(
                [
                    html.Li([html.Code(change.key), f" {change.before} → {change.after} {change.unit}"])
                    for change in edition.changes
                ]
            ),
        ],
        className="tree",
    )


def _select(name: Any, label: str, value: str, options: Sequence[Mapping[str, str]], width: int) -> Component:
    return dmc.Select(
        id=name,
        label=label,
        value=value,
        data=list(options),
        allowDeselect=False,
        w=width,
        maw="100%",
        comboboxProps={"shadow": "sm"},
    )


def _report_options(say: Language) -> list[dict[str, str]]:
    return [{"value": kind.name, "label": said(kind.title, say)} for kind in reports().values()]


def _choices(name: str, say: Language) -> list[Component]:
    made: list[Component] = []
    for choice in reports()[name].choices:
        at = {"type": "report-choice", "name": choice.name}
        label = said(choice.title, say)
        if choice.values:
            options = [{"value": value, "label": _setting(value, say)} for value in choice.values]
            made.append(_select(at, label, choice.default, options, 220))
        else:
            made.append(dmc.TextInput(id=at, label=label, value=choice.default, w=220))
    return made


def _setting(key: str, say: Language) -> str:
    return said(SETTINGS[key], say) if key in SETTINGS else key


def _variant_words(key: ReportKey, say: Language) -> str:
    pairs = [part.split("=", 1) for part in key.variant.split("&") if part]
    return ", ".join(f"{_setting(name, say)}: {_setting(value, say)}" for name, value in pairs)


def _version_columns(say: Language) -> list[dict[str, Any]]:
    wide = {"flex": 2, "minWidth": 150}
    return [
        {"field": "report", "headerName": say("reports.report"), **wide,
         **on_phone("choices", minWidth=112)},
        {"field": "period", "headerName": say("reports.period"), "flex": 1, "minWidth": 110,
         **on_phone(minWidth=84)},
        {"field": "version", "headerName": say("reports.version"), "minWidth": 80, "width": 80,
         **on_phone(minWidth=60)},
        {"field": "state", "headerName": say("reports.state"), "flex": 1, "minWidth": 100,
         **on_phone("by", minWidth=80)},
        {"field": "by", "headerName": say("reports.approved_by"), "flex": 1, "minWidth": 110,
         **on_phone(hide=True)},
        {"field": "changes", "headerName": say("reports.changes"), "type": "rightAligned", "minWidth": 90,
         **on_phone(hide=True)},
        {"field": "choices", "headerName": say("reports.choices"), **wide, **on_phone(hide=True)},
    ]  # fmt: skip


def faults_said(faults: Sequence[Fault], error: str, say: Language) -> list[Component]:
    """Why no report was made: each fault, or `error` where the input has none; in the reader's language
    where the catalogue knows the engine's sentence, else in the engine's English."""
    told = [(fault.path, fault.message) for fault in faults] or [("", error)]
    items = []
    for path, message in told:
        text = say.engine(message)
        lang = say.code if text != message else "en"
        items.append(html.Li(f"{path}: {text}" if path else text, lang=lang))
    return items


def register(app: Dash, service: Service) -> None:
    """Choose, make, follow; list and show versions; approve, publish; explain a figure."""

    here = in_browser(app)
    here("choice", Output({"type": "choice", "page": "reports"}, "data"), Input("shown-report", "data"))

    @app.callback(
        Output("report-choices", "children"),
        Output("report-text", "children"),
        Input("report-name", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def choose(name: str, state: dict[str, str]) -> Any:
        say = View(**state).language
        return _choices(name, say), said(reports()[name].text, say)

    @app.callback(
        Output("report-job", "data"),
        Output("report-poll", "disabled"),
        Output("report-message", "children"),
        Output("report-faults", "children"),
        Input("report-make", "n_clicks"),
        State("report-name", "value"),
        State("report-period", "value"),
        State({"type": "report-choice", "name": ALL}, "value"),
        State({"type": "report-choice", "name": ALL}, "id"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def make(
        clicks: int,
        name: str,
        period: str,
        values: list[str],
        ids: list[dict[str, str]],
        state: dict[str, str],
    ) -> Any:
        if not clicks:
            return (no_update,) * 4
        view = View(**state)
        choices = {at["name"]: value for at, value in zip(ids, values, strict=True)}
        try:
            job = service.start_report(view.city, name, period, information=view.info, choices=choices)
        except InputError as error:
            return "", True, "", faults_said(error.faults, "", view.language)
        return job.id, False, view.language("reports.making"), []

    @app.callback(
        Output("report-poll", "disabled", allow_duplicate=True),
        Output("report-message", "children", allow_duplicate=True),
        Output("report-faults", "children", allow_duplicate=True),
        Output("shown-report", "data"),
        Output("report-changed", "data"),
        Input("report-poll", "n_intervals"),
        State("report-job", "data"),
        State("report-changed", "data"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def follow(ticks: int, job_id: str, changed: int, state: dict[str, str]) -> Any:
        if not ticks or not job_id:
            return (no_update,) * 5
        say, job = View(**state).language, service.job(job_id)
        if not job.finished:
            return (no_update,) * 5
        if job.state != "succeeded":
            said_why = faults_said(job.faults, job.error or job.state, say)
            return True, "", said_why, no_update, no_update
        made = job.result
        key = ReportKey(made["city"], made["name"], made["period"], made["variant"])
        words = say("reports.made", version=made["version"])
        return True, words, [], version_name(key, made["version"]), changed + 1

    @app.callback(
        Output("report-versions", "rowData"),
        Output("report-versions", "selectedRows"),
        Input("report-changed", "data"),
        State("shown-report", "data"),
        State("visit", "data"),
    )
    @off_loop
    def listed(_changed: int, shown: str, state: dict[str, str]) -> Any:
        view = View(**state)
        rows = version_rows(service.reports.list(view.city), view.language)
        return rows, {"ids": [shown]} if any(row["id"] == shown for row in rows) else []

    @app.callback(
        Output("shown-report", "data", allow_duplicate=True),
        Input("report-versions", "selectedRows"),
        State("shown-report", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def select(rows: Any, shown: str) -> Any:
        chosen = rows[0]["id"] if isinstance(rows, list) and rows else shown
        return no_update if chosen == shown else chosen

    @app.callback(
        Output("report-card", "children"),
        Input("shown-report", "data"),
        Input("report-changed", "data"),
        State("visit", "data"),
    )
    @off_loop
    def show(shown: str, _changed: int, state: dict[str, str]) -> Any:
        view = View(**state)
        named = version_of(view.city, shown)
        if named is None:
            return html.P(view.language("reports.choose"), className="note")
        try:
            report, edition = service.reports.stored(*named)
        except UnknownError:  # the address may name what another store had
            return html.P(view.language("reports.choose"), className="note")
        return version_view(named[0], report, edition, view.language)

    @app.callback(
        Output("report-changed", "data", allow_duplicate=True),
        Output("report-refused", "children"),
        Input("report-approve", "n_clicks"),
        Input("report-publish", "n_clicks"),
        State("report-by", "value"),
        State("shown-report", "data"),
        State("report-changed", "data"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def promote(
        approved: int, published: int, by: str | None, shown: str, changed: int, state: dict[str, str]
    ) -> Any:
        named = version_of(View(**state).city, shown)
        if named is None or not (approved or published):
            return no_update, no_update
        try:
            if ctx.triggered_id == "report-approve":
                service.reports.approve(*named, by or "")
            else:
                service.reports.publish(*named)
        except InputError as error:
            say = View(**state).language
            named_so = {"by": say("reports.by")}
            faults = [Fault(named_so.get(fault.path, fault.path), fault.message) for fault in error.faults]
            return no_update, faults_said(faults, "", say)
        return changed + 1, []

    @app.callback(
        Output("report-drawer", "opened"),
        Output("report-tree", "children"),
        Input({"type": "report-table", "table": ALL}, "cellClicked"),
        State("shown-report", "data"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def explain(_clicks: Any, shown: str, state: dict[str, str]) -> Any:
        view = View(**state)
        named, click = version_of(view.city, shown), ctx.triggered[0]["value"] if ctx.triggered else None
        if named is None or not click or ctx.triggered_id is None:
            return no_update, no_update
        report, edition = service.reports.stored(*named)
        column = int(click["colId"].removeprefix("c"))
        figure = figure_at(report, ctx.triggered_id["table"], int(click["rowId"]), column)
        if figure is None:
            return no_update, no_update
        found = service.explain(
            view.city, figure_id(view.city, report.name, report.period, figure.key, edition.content)
        )
        return True, explanation(found, report, view.language)


PAGE = Page("reports", "/reports", 4, content, register)
