"""The pages: every module in this folder that defines a `PAGE` is one; navigation and tests follow."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from dash import ClientsideFunction, Dash, Input, Output, State

from dashboard.visit import Visit
from energy.domain.plan import Plan

if TYPE_CHECKING:
    from energy.service.service import Service


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the dashboard.

    `name` gives its words (``page.NAME``) and icon, `content` its cards for a stored plan, and `register`
    its callbacks, each made with `off_loop` or in the browser. `without_plan` gives its cards on a day
    without a stored plan; where it is None, the day is offered for planning.
    """

    name: str
    path: str
    order: int
    content: Callable[[Visit, Plan], Any]
    register: Callable[[Dash, Service], None]
    without_plan: Callable[[Visit], Any] | None = None


def in_browser(app: Dash) -> Callable[..., None]:
    """What registers a callback that needs no server: a function of assets/wattshed.js by its name, then
    outputs, inputs, states and options as Dash takes them."""

    def here(function: str, *arguments: Any, **options: Any) -> None:
        app.clientside_callback(ClientsideFunction("wattshed", function), *arguments, **options)

    return here


def follow_clock(app: Dash, *charts: str) -> None:
    """Keep the time lines of `charts`, by id, at the page's clock."""
    for chart in charts:
        in_browser(app)(
            "timeLine",
            Output(chart, "figure", allow_duplicate=True),
            Input("time", "value"),
            State(chart, "figure"),
            prevent_initial_call=True,
        )


@cache
def pages() -> tuple[Page, ...]:
    """All pages in the order of the rail."""
    modules = (
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    )
    return tuple(sorted((module.PAGE for module in modules), key=lambda page: page.order))
