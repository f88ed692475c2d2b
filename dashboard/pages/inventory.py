"""Inventory: the officer's own numbers beside what the city meters, cell by cell or as a table."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import ALL, MATCH, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboard.entry_form import another, cell_form, form_title, gathered, kept
from dashboard.entry_table import (
    SHOWN,
    EntryCell,
    Metered,
    entry_cells,
    entry_figures,
    entry_table,
    fault_words,
    metered_by,
    rows_of,
)
from dashboard.frame import Component, card, segments
from dashboard.language import Language
from dashboard.off_loop import off_loop
from dashboard.pages import Page, in_browser
from dashboard.view import View
from dashboard.visit import Visit
from energy.carbon.inventory_entries import EntryFault
from energy.domain.errors import ChangedError, InputError, ReadOnlyError, StoreError
from energy.domain.plan import Plan
from energy.service.inventory import CityInventory, EntryDraft

if TYPE_CHECKING:
    from energy.service.service import Service

FIRST_YEAR = 1990
"""The earliest base year that targets have."""
FAULTY_SHOWN = 40
"""So many faulty rows of a file are listed; the rest are counted."""


def content(seen: Visit, _plan: Plan) -> Component:
    """The same on every day."""
    return entries(seen)


def entries(seen: Visit) -> Component:
    """Key figures, the table of cells with its controls, and the drawer of one cell's form."""
    say = seen.language
    year = seen.view.year or seen.view.day[:4]
    address = f"/api/v1/cities/{seen.view.city}/inventory?format=csv"
    return html.Div(
        className="cards",
        children=[
            html.Div(id="inventory-figures", className="row span-12"),
            card(
                say("entries.title"),
                html.Div(
                    className="controls entry-controls",
                    children=[
                        dmc.Select(
                            id="inventory-year",
                            label=say("entries.year"),
                            value=year,
                            data=[year],
                            allowDeselect=False,
                            searchable=True,
                            w=110,
                            comboboxProps={"shadow": "sm"},
                        ),
                        segments(
                            "inventory-shown",
                            "all",
                            [(name, say(f"entries.shown.{name}")) for name in SHOWN],
                            say("entries.shown"),
                        ),
                        html.Span(className="push"),
                        dcc.Upload(
                            html.Button(say("entries.upload"), className="button plain"),
                            id="inventory-upload",
                            accept=".csv,text/csv",
                        ),
                        html.A(say("entries.download"), href=address, className="button plain", download=""),
                    ],
                ),
                html.P("", id="inventory-said", className="note said", role="status"),
                html.Div(id="inventory-offer"),
                html.P(say("entries.note"), className="note"),
                html.Div(id="inventory-notices"),
                html.Div(id="inventory-table", className="entry-table"),
            ),
            dmc.Drawer(
                id="inventory-drawer",
                title="",
                position="right",
                size="min(640px, 100vw)",
                closeOnClickOutside=False,  # a slip beside the form would lose what was typed
                children=[
                    html.Div(id="inventory-form", className="entry-form"),
                    html.Div("", id="inventory-refused", className="entry-fault", role="alert"),
                    html.Div(
                        className="controls form-actions",
                        children=[
                            html.Button(
                                say("entries.save"), id="inventory-save", className="button", n_clicks=0
                            ),
                            html.Button(
                                say("entries.add"), id="inventory-add", className="button plain", n_clicks=0
                            ),
                        ],
                    ),
                ],
            ),
            dcc.Store(id="inventory-base"),
            dcc.Store(id="inventory-offered"),
            dcc.Store(id="inventory-changed", data=0),
            dcc.Store(id={"type": "choice", "page": "inventory"}),
        ],
    )


def years_of(found: CityInventory | None, chosen: str, now: int) -> list[dict[str, str]]:
    """The years to choose from, the newest first; those with entries say how many."""
    counts: dict[int, int] = {}
    for row in found.draft.rows if found else ():
        if row is not None and row.year is not None:
            counts[row.year] = counts.get(row.year, 0) + 1
    years = {*range(FIRST_YEAR, now + 1), int(chosen), *counts}
    return [
        {"value": str(year), "label": f"{year} ({counts[year]})" if year in counts else str(year)}
        for year in sorted(years, reverse=True)
    ]


def metered_in(service: Service, city: str, year: str) -> Metered | None:
    """What the newest city inventory of that year says of the meters; None where there is no such report."""
    made = [
        item
        for item in service.reports.list(city)
        if item.key.name == "city-inventory" and item.key.period == year
    ]
    if not made:
        return None
    newest = max(made, key=lambda item: item.edition.stored)
    number = newest.edition.number
    return metered_by(service.reports.stored(newest.key, number)[0], number)


def edited(
    found: CityInventory, reference: str, year: int, rows: Sequence[Mapping[str, str]]
) -> tuple[EntryDraft, range]:
    """The stored table with `rows` in place of those of a cell and year, and which rows these are now."""
    mine = rows_of(found, reference, year)
    others = [(k, cells) for k, cells in enumerate(found.draft.cells) if k not in mine]
    first = sum(1 for k, _ in others if mine and k < mine[0]) if mine else len(others)
    whole = [cells for _, cells in others]
    places = [found.draft.places[k] for k, _ in others]
    whole[first:first] = rows
    places[first:first] = [f"{reference} {year}"] * len(rows)
    return EntryDraft.from_cells(whole, places), range(first, first + len(rows))


def file_text(contents: str) -> str:
    """The text of an uploaded file; `InputError` unless it is UTF-8."""
    try:
        data = base64.b64decode(contents.partition(",")[2], validate=True)
    except binascii.Error:
        raise InputError("the upload was cut off; choose the file again") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None


def offer(found: CityInventory, draft: EntryDraft, name: str, say: Language) -> tuple[Component, bool]:
    """What a file would change, to be taken or dropped; or its faulty rows, each with its faults beside it.
    And whether it can be taken."""
    if not draft.rows:
        heading = say("entries.file.refused", name=name)
        return _refused(heading, [say("entries.file.empty")], _discard(say)), False
    whole = draft.over(found.draft)
    faults = whole.faults(found.metered)
    if faults:
        return _faulty(whole, faults, name, len(draft.rows), say), False
    years = sorted({row.year for row in draft.rows if row is not None and row.year is not None})
    stays = len(whole.rows) - len(draft.rows)
    words = say(
        "entries.file.offer",
        name=name,
        count=say.count("entries.entry", len(draft.rows)),
        years=say("list.separator").join(say("entries.file.year", year=year) for year in years)
        or say("entries.every_year"),
        replaced=say.number(len(found.draft.rows) - stays),
        kept=say.number(stays),
    )
    return (
        html.Div(
            [
                html.P(words),
                html.Button(say("entries.file.take"), id="inventory-take", className="button", n_clicks=0),
                _discard(say),
            ],
            className="finding",
        ),
        True,
    )


def _faulty(
    draft: EntryDraft, faults: Sequence[EntryFault], name: str, count: int, say: Language
) -> Component:
    by_row: dict[int, list[EntryFault]] = {}
    for fault in faults:
        by_row.setdefault(fault.row, []).append(fault)
    columns = ("line", "cell", "says", "wrong")
    rows = []
    for row, found in list(by_row.items())[:FAULTY_SHOWN]:
        cells = draft.cells[row]
        says = [
            cells.get(key, "") for key in ("activity", "amount", "unit", "gas", "tonnes", "notation", "year")
        ]
        values = (
            draft.places[row].rpartition(" ")[2],
            cells.get("reference", "–"),
            " ".join(part for part in says if part) or "–",
            html.Ul([html.Li(fault_words(fault, say)) for fault in found], className="faults"),
        )
        rows.append(
            html.Tr(
                [
                    html.Td(value, className="words", **{"data-label": say(f"entries.file.{column}")})
                    for column, value in zip(columns, values, strict=True)
                ]
            )
        )
    more = len(by_row) - len(rows)
    return html.Div(
        [
            html.P(
                [
                    html.Strong(say("entries.file.refused", name=name)),
                    " ",
                    say("entries.file.faults", rows=say.number(len(by_row)), count=say.number(count)),
                ]
            ),
            html.Table(
                [
                    html.Thead(html.Tr([html.Th(say(f"entries.file.{column}")) for column in columns])),
                    html.Tbody(rows),
                ],
                className="facts stacked file-faults",
            ),
            *([html.P(say("entries.file.more", count=say.number(more)), className="note")] if more else []),
            _discard(say),
        ],
        className="finding broken column-finding",
        role="alert",
    )


def _discard(say: Language) -> Component:
    return html.Button(say("entries.file.drop"), id="inventory-drop", className="button plain", n_clicks=0)


def _refused(heading: str, texts: Sequence[str], *more: Component) -> Component:
    faults = html.Ul([html.Li(text) for text in texts], className="faults")
    return html.Div(
        [html.P(html.Strong(heading)), faults, *more],
        className="finding broken column-finding",
        role="alert",
    )


def _notices(found: CityInventory, say: Language) -> list[Component]:
    """Why nothing can be stored; and what is wrong with the stored rows, since reports refuse them."""
    parts: list[Component] = []
    if found.read_only:
        parts.append(html.Div(html.P(say.engine(found.read_only)), className="finding risk"))
    faults = found.faults
    if faults:
        texts = [f"{found.draft.places[fault.row]}: {fault_words(fault, say)}" for fault in faults]
        parts.append(_refused(say("entries.stored_faults"), texts))
    return parts


def _metered_words(metered: Metered | None, year: str, say: Language) -> str:
    if metered is None:
        return say("entries.no_report", year=year)
    days, whole = say.number(metered.days), say.number(metered.all_days)
    return say("entries.report", year=year, version=metered.version, days=days, all=whole)


def _error_words(error: Exception, say: Language) -> list[str]:
    if isinstance(error, InputError):
        return [
            f"{fault.path}: {say.engine(fault.message)}" if fault.path else say.engine(fault.message)
            for fault in error.faults
        ]
    return [say.engine(str(error))]


def _cell(service: Service, found: CityInventory, reference: str, year: str) -> EntryCell:
    cells = entry_cells(found, int(year), metered_in(service, found.city, year))
    return next(cell for cell in cells if cell.reference.id == reference)


def _saved(service: Service, city: str, found: CityInventory, say: Language) -> str:
    now = datetime.now(service.city(city).zone)
    return say(
        "entries.saved", time=f"{now:%H:%M:%S}", count=say.count("entries.entry", len(found.draft.rows))
    )


_FORM = (
    State({"type": "entry", "k": ALL, "column": ALL}, "value"),
    State({"type": "entry", "k": ALL, "column": ALL}, "id"),
    State({"type": "entry-kind", "k": ALL}, "value"),
    State("inventory-base", "data"),
)
"""What the open form holds: fields, their places, the kinds of its entries, and what it was opened with."""
_WRITING = (InputError, ReadOnlyError, ChangedError, StoreError)


def register(app: Dash, service: Service) -> None:
    """Show the year; open a cell, change and save its entries; offer an uploaded table, take or drop it."""

    here = in_browser(app)
    here("choice", Output({"type": "choice", "page": "inventory"}, "data"), Input("inventory-year", "value"))
    here(
        "entryKind",
        *(
            Output({"type": "entry-part", "part": part, "k": MATCH}, "hidden")
            for part in ("what", "amount", "tonnes", "source", "key")
        ),
        Input({"type": "entry-kind", "k": MATCH}, "value"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("inventory-figures", "children"),
        Output("inventory-table", "children"),
        Output("inventory-notices", "children"),
        Output("inventory-year", "data"),
        Output("inventory-upload", "style"),
        Input("inventory-changed", "data"),
        Input("inventory-year", "value"),
        Input("inventory-shown", "value"),
        State("visit", "data"),
    )
    @off_loop
    def show(_changed: int, year: str, shown: str, state: dict[str, str]) -> Any:
        view = View(**state)
        say, now = view.language, datetime.now(service.city(view.city).zone).year
        try:
            found = service.inventory(view.city)
        except InputError as error:
            refused = _refused(say("entries.stored_faults"), _error_words(error, say))
            return [], [], [refused], years_of(None, year, now), {"display": "none"}
        metered = metered_in(service, view.city, year)
        cells = entry_cells(found, int(year), metered)
        table = entry_table(cells, shown, say, read_only=bool(found.read_only))
        notices = [*_notices(found, say), html.P(_metered_words(metered, year, say), className="note")]
        taken = {"display": "none"} if found.read_only else {}
        return entry_figures(cells, say), table, notices, years_of(found, year, now), taken

    @app.callback(
        Output("inventory-drawer", "opened"),
        Output("inventory-drawer", "title"),
        Output("inventory-form", "children"),
        Output("inventory-base", "data"),
        Output("inventory-refused", "children"),
        Output("inventory-save", "hidden"),
        Output("inventory-add", "hidden"),
        Input({"type": "entry-cell", "reference": ALL}, "n_clicks"),
        State("inventory-year", "value"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def open_cell(_clicks: list[int], year: str, state: dict[str, str]) -> Any:
        if not ctx.triggered or not ctx.triggered[0]["value"] or ctx.triggered_id is None:
            return (no_update,) * 7
        view, reference = View(**state), ctx.triggered_id["reference"]
        say, found = view.language, service.inventory(view.city)
        cell, mine = _cell(service, found, reference, year), rows_of(found, reference, int(year))
        rows = [dict(found.draft.cells[k]) for k in mine]
        faults = [EntryFault(mine.index(fault.row), fault.column, fault.message) for fault in cell.faults]
        locked = bool(found.read_only)
        if not rows and not cell.metered and not locked:
            rows = [another([], cell.reference, int(year), "")]
        base = {"reference": reference, "year": year, "version": found.version, "rows": rows}
        form = cell_form(cell, rows, say, faults=faults, read_only=locked)
        return True, form_title(cell.reference, int(year), say), form, base, "", locked, locked

    @app.callback(
        Output("inventory-form", "children", allow_duplicate=True),
        Output("inventory-base", "data", allow_duplicate=True),
        Input("inventory-add", "n_clicks"),
        Input({"type": "entry-remove", "k": ALL}, "n_clicks"),
        *_FORM,
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def change(
        _add: int,
        _remove: list[int],
        values: list[Any],
        ids: list[dict[str, Any]],
        kinds: list[str],
        base: dict[str, Any] | None,
        state: dict[str, str],
    ) -> Any:
        if base is None or not ctx.triggered or not ctx.triggered[0]["value"] or ctx.triggered_id is None:
            return no_update, no_update
        view = View(**state)
        rows = gathered(base["rows"], ids, values, kinds)
        cell = _cell(service, service.inventory(view.city), base["reference"], base["year"])
        if ctx.triggered_id == "inventory-add":
            kind = kinds[-1] if kinds else ""
            rows.append(another(rows, cell.reference, int(base["year"]), kind))
            kinds += kinds[-1:] if kind != "key" else []
        else:
            del rows[ctx.triggered_id["k"]], kinds[ctx.triggered_id["k"]]
        return cell_form(cell, rows, view.language, kinds=kinds), {**base, "rows": rows}

    @app.callback(
        Output("inventory-drawer", "opened", allow_duplicate=True),
        Output("inventory-form", "children", allow_duplicate=True),
        Output("inventory-base", "data", allow_duplicate=True),
        Output("inventory-refused", "children", allow_duplicate=True),
        Output("inventory-said", "children"),
        Output("inventory-changed", "data"),
        Input("inventory-save", "n_clicks"),
        *_FORM,
        State("inventory-changed", "data"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def save(
        clicks: int,
        values: list[Any],
        ids: list[dict[str, Any]],
        kinds: list[str],
        base: dict[str, Any] | None,
        changed: int,
        state: dict[str, str],
    ) -> Any:
        if not clicks or base is None:
            return (no_update,) * 6
        view = View(**state)
        say, found = view.language, service.inventory(view.city)
        rows = gathered(base["rows"], ids, values, kinds)
        said = [kept(row, kind) for row, kind in zip(rows, kinds, strict=True)]
        draft, own = edited(found, base["reference"], int(base["year"]), said)
        faults = draft.faults(found.metered)
        if faults:
            mine = [EntryFault(at.row - own.start, at.column, at.message) for at in faults if at.row in own]
            others = [f"{draft.places[at.row]}: {fault_words(at, say)}" for at in faults if at.row not in own]
            cell = _cell(service, found, base["reference"], base["year"])
            words = [say("entries.not_saved"), *others]
            form = cell_form(cell, rows, say, kinds=kinds, faults=mine)
            return no_update, form, {**base, "rows": rows}, [html.P(text) for text in words], "", no_update
        try:
            stored = service.replace_inventory(view.city, draft, replaced="all", version=base["version"])
        except _WRITING as error:
            words = [say("entries.not_saved"), *_error_words(error, say)]
            return no_update, no_update, no_update, [html.P(text) for text in words], "", no_update
        return False, no_update, no_update, "", _saved(service, view.city, stored, say), changed + 1

    @app.callback(
        Output("inventory-offer", "children"),
        Output("inventory-offered", "data"),
        Output("inventory-upload", "contents"),
        Input("inventory-upload", "contents"),
        State("inventory-upload", "filename"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def uploaded(contents: str | None, name: str | None, state: dict[str, str]) -> Any:
        if not contents:
            return no_update, no_update, no_update
        view, name = View(**state), name or "CSV"
        say = view.language
        try:
            text = file_text(contents)
            found = service.inventory(view.city)
            made, whole = offer(found, EntryDraft.from_csv(text, name), name, say)
        except InputError as error:
            heading = say("entries.file.refused", name=name)
            return _refused(heading, _error_words(error, say), _discard(say)), None, None
        return made, {"text": text, "version": found.version} if whole else None, None

    @app.callback(
        Output("inventory-offer", "children", allow_duplicate=True),
        Output("inventory-offered", "data", allow_duplicate=True),
        Output("inventory-said", "children", allow_duplicate=True),
        Output("inventory-changed", "data", allow_duplicate=True),
        Output("inventory-year", "value"),
        Input("inventory-take", "n_clicks"),
        State("inventory-offered", "data"),
        State("inventory-year", "value"),
        State("inventory-changed", "data"),
        State("visit", "data"),
        prevent_initial_call=True,
    )
    @off_loop
    def take(
        clicks: int | None, offered: dict[str, str] | None, year: str, changed: int, state: dict[str, str]
    ) -> Any:
        if not clicks or not offered:
            return (no_update,) * 5
        view = View(**state)
        say = view.language
        draft = EntryDraft.from_csv(offered["text"])
        try:
            stored = service.replace_inventory(view.city, draft, version=offered["version"])
        except _WRITING as error:
            return (
                _refused(say("entries.not_saved"), _error_words(error, say)),
                None,
                "",
                no_update,
                no_update,
            )
        named = {str(row.year) for row in draft.rows if row is not None and row.year is not None}
        shown = max(named) if named and year not in named else no_update
        return [], None, _saved(service, view.city, stored, say), changed + 1, shown

    @app.callback(
        Output("inventory-offer", "children", allow_duplicate=True),
        Output("inventory-offered", "data", allow_duplicate=True),
        Input("inventory-drop", "n_clicks"),
        prevent_initial_call=True,
    )
    @off_loop
    def drop(clicks: int | None) -> Any:
        return ([], None) if clicks else (no_update, no_update)


PAGE = Page("inventory", "/inventory", 5, content, register, entries)
