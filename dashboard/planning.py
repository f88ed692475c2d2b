"""A day without a stored plan: say so, plan it from here, and follow the work."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from dashboard import theme
from dashboard.explaining import fault_words
from dashboard.off_loop import off_loop
from dashboard.view import View
from dashboard.visit import Visit, visit
from energy.domain.records import Job

if TYPE_CHECKING:
    from energy.service.service import Service


def without_plan(seen: Visit, service: Service) -> Any:
    """The page in place of a plan: an offer to plan the day, or the progress of doing so."""
    say, view = seen.language, seen.view
    job = _job(service, view.job)
    waiting = job is not None and not job.finished
    failed = job is not None and job.state in ("failed", "cancelled")
    return html.Div(
        className="card empty",
        children=[
            html.H2(_heading(seen, waiting=waiting, failed=failed), id="plan-heading"),
            html.P(say("planning.explain"), hidden=waiting),
            html.Ul(
                _faults(seen, job) if failed and job else [],
                className="faults",
                id="plan-faults",
                role="alert",
            ),
            html.Div(
                id="plan-work",
                hidden=not waiting,
                children=[
                    dmc.Progress(
                        id="plan-progress",
                        value=100 * job.progress if job else 0,
                        color=theme.INK,
                        size=6,
                        **{"aria-label": say("planning.progress")},
                    ),
                    html.P(say("planning.wait"), id="plan-message", role="status"),
                ],
            ),
            html.Button(
                say("planning.again" if failed else "planning.start"),
                id="plan-start",
                className="button",
                n_clicks=0,
                hidden=waiting,
            ),
            dcc.Interval(id="plan-poll", interval=600, disabled=not waiting),
        ],
    )


def _heading(seen: Visit, *, waiting: bool, failed: bool) -> str:
    state = "running" if waiting else "failed" if failed else "missing"
    return seen.language(f"planning.{state}", day=seen.language.date(seen.day))


def register_planning(app: Dash, service: Service) -> None:
    """The two callbacks: start a plan; follow it."""

    @app.callback(
        Output("address", "search", allow_duplicate=True),
        Input("plan-start", "n_clicks"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def start(clicks: int | None, state: dict[str, str]) -> Any:
        if not clicks:
            return no_update
        view = View(**state)
        job = service.start_plan(view.city, view.day, view.info)
        return view.search(job=job.id)

    @app.callback(
        Output("plan-progress", "value"),
        Output("plan-message", "children"),
        Output("plan-faults", "children"),
        Output("plan-poll", "disabled"),
        Output("plan-heading", "children"),
        Output("plan-work", "hidden"),
        Output("plan-start", "hidden"),
        Output("address", "search", allow_duplicate=True),
        Input("plan-poll", "n_intervals"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def follow(ticks: int | None, state: dict[str, str]) -> Any:
        if not ticks:  # the page was only just put there
            return (no_update,) * 8
        view = View(**state)
        say, job = view.language, _job(service, view.job)
        if job is None or job.state == "succeeded":
            done = say("planning.done")
            return 100, done, [], True, no_update, False, True, view.search(job="")
        if job.finished:
            heading = say("planning.failed", day=say.date(date.fromisoformat(view.day)))
            return 0, "", _faults(visit(service, view), job), True, heading, True, False, no_update
        percent = 100 * job.progress
        words = say("planning.stage", percent=say.number(percent), stage=say.engine(job.message))
        return percent, words, [], False, no_update, False, True, no_update


def _job(service: Service, job_id: str) -> Job | None:
    try:
        return service.job(job_id) if job_id else None
    except KeyError:
        return None  # jobs end with the process; the address may outlive it


def _faults(seen: Visit, job: Job) -> list[Any]:
    say, zone = seen.language, seen.city.zone
    if job.state == "cancelled":
        return [html.Li(say("planning.cancelled"))]
    words = [fault_words(say, fault.path, fault.message, seen.day, zone) for fault in job.faults]
    return [html.Li(say("planning.faults")), *map(html.Li, words or [say.engine(job.error or "")])]
