"""The cells of a city's inventory in one year: what fills each of them, and what is still open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dash import html

from dashboard.frame import Component, key_figure
from dashboard.language import Language
from dashboard.report_tables import said
from energy.carbon.gpc import REFERENCES, SECTORS, SUB_SECTORS, Reference
from energy.carbon.inventory_entries import GWP, EntryFault, InventoryEntry
from energy.domain.report import Grade, Notation, Report
from energy.service.inventory import CityInventory

Filled = Literal["metered", "entered", "key", "open"]
_LOWEST_FIRST: tuple[Grade, ...] = ("L", "M", "H")
SHOWN = ("all", "open", "entered", "metered")


@dataclass(frozen=True)
class Metered:
    """What a version of the year's inventory report says of metered cells.

    Attributes:
        days: that it covers, of `all_days`. tonnes: CO2e by reference, of meters alone. notations: of cells
            that have a notation key.
    """

    version: int
    days: int
    all_days: int
    tonnes: Mapping[str, float]
    notations: Mapping[str, Notation]


def metered_by(report: Report, version: int) -> Metered:
    """The metered part of a ``city-inventory``."""
    (lines,) = (table for table in report.tables if table.id == "lines")
    at = {column.id: k for k, column in enumerate(lines.columns)}
    tonnes: dict[str, float] = {}
    for row in lines.rows:
        reference, value = row[at["reference"]], row[at["co2e_t"]]
        if row[at["origin"]] == "metered" and isinstance(reference, str) and isinstance(value, float):
            tonnes[reference] = tonnes.get(reference, 0.0) + value
    notations = {
        key.removeprefix("gpc/"): figure.notation
        for key, figure in report.figures.items()
        if key.startswith("gpc/") and figure.notation is not None
    }
    days = round((report.end - report.start).total_seconds() / 86_400)
    return Metered(version, len(report.days), days, tonnes, notations)


@dataclass(frozen=True)
class EntryCell:
    """A cell of the GPC in one year.

    Attributes:
        metered: the city's assets fill it with electricity. metered_t, metered_notation: what the year's
            report says of that. entries: its rows. faults: of its rows, which they count in the stored table.
    """

    reference: Reference
    metered: bool
    metered_t: float | None
    metered_notation: Notation | None
    entries: tuple[InventoryEntry, ...]
    faults: tuple[EntryFault, ...]

    @property
    def filled(self) -> Filled:
        """By what the cell is filled: meters come first, since they lock it."""
        if self.metered:
            return "metered"
        if any(entry.notation is None for entry in self.entries):
            return "entered"
        return "key" if self.entries else "open"

    @property
    def entered_t(self) -> float:
        """What is entered, t CO2e with the potentials of AR5."""
        return sum(entry.kg * GWP["AR5"][entry.gas] for entry in self.entries) / 1000.0

    @property
    def notation(self) -> Notation | None:
        return next((entry.notation for entry in self.entries if entry.notation), None)


def entry_cells(found: CityInventory, year: int, reported: Metered | None = None) -> tuple[EntryCell, ...]:
    """Every cell of the GPC in its order; a key without a year is of every year."""
    faults = found.faults
    cells = []
    for key, reference in REFERENCES.items():
        mine = rows_of(found, key, year)
        rows = [found.draft.rows[k] for k in mine]
        cells.append(
            EntryCell(
                reference,
                key in found.metered,
                None if reported is None else reported.tonnes.get(key),
                None if reported is None else reported.notations.get(key),
                tuple(row for row in rows if row is not None),
                tuple(fault for fault in faults if fault.row in mine),
            )
        )
    return tuple(cells)


def rows_of(found: CityInventory, reference: str, year: int) -> list[int]:
    """Which rows of the stored table are of a cell and a year, or of every year."""
    return [
        k
        for k, cells in enumerate(found.draft.cells)
        if cells.get("reference") == reference and cells.get("year", "") in ("", str(year))
    ]


def entry_figures(cells: Sequence[EntryCell], say: Language) -> list[Component]:
    """What is filled of each level, what is entered, and what is open."""
    basic = [cell for cell in cells if cell.reference.level == "BASIC"]
    plus = [cell for cell in cells if cell.reference.level == "BASIC+"]
    counted = [*basic, *plus]
    open_cells = [cell for cell in counted if cell.filled == "open"]
    total = sum(cell.entered_t for cell in counted)
    return [
        _share(say("entries.kpi.basic"), basic, say),
        _share(say("entries.kpi.plus"), plus, say),
        key_figure(say("entries.kpi.sum"), say.figures(total, 4), "t CO₂e", say("entries.kpi.sum_note")),
        key_figure(
            say("entries.kpi.open"),
            say.number(len(open_cells)),
            say("entries.cells"),
            say("entries.kpi.open_note"),
            "worse" if open_cells else "better",
        ),
    ]


def _share(label: str, cells: Sequence[EntryCell], say: Language) -> Component:
    counts = {kind: sum(cell.filled == kind for cell in cells) for kind in ("metered", "entered", "key")}
    return key_figure(
        label,
        say.number(sum(counts.values())),
        say("entries.of", count=say.number(len(cells))),
        say("entries.by", **{kind: say.number(count) for kind, count in counts.items()}),
    )


def entry_table(cells: Sequence[EntryCell], shown: str, say: Language, *, read_only: bool) -> Component:
    """The cells by sector, each with a button to its form; `shown` is one of `SHOWN`."""
    bodies = []
    for sector, words in SECTORS.items():
        of_sector = [cell for cell in cells if cell.reference.sector == sector]
        listed = [cell for cell in of_sector if _is_shown(cell, shown)]
        if not listed:
            continue
        filled = sum(cell.filled != "open" for cell in of_sector)
        heading = html.Tr(
            html.Th(
                [
                    html.Span(sector, className="entry-sector"),
                    said(words, say),
                    html.Span(
                        say("entries.filled", count=say.number(filled), all=say.number(len(of_sector))),
                        className="note",
                    ),
                ],
                colSpan=6,
                scope="rowgroup",
            ),
            className="sector",
        )
        rows = [
            _row(cell, say, read_only=read_only, first=k == 0 or _sub(listed[k - 1]) != _sub(cell))
            for k, cell in enumerate(listed)
        ]
        bodies.append(html.Tbody([heading, *rows]))
    if not bodies:
        return html.P(say("table.nothing"), className="note")
    columns = ("cell", "what", "level", "value", "source", "edit")
    heads = [
        html.Th(say(f"entries.column.{name}"), className=f"entry-{name}", scope="col") for name in columns
    ]
    return html.Table([html.Thead(html.Tr(heads)), *bodies], className="entries")


def _is_shown(cell: EntryCell, shown: str) -> bool:
    if shown == "entered":
        return bool(cell.entries)
    return shown == "all" or cell.filled == shown


def _sub(cell: EntryCell) -> str:
    return cell.reference.sub_sector


def _row(cell: EntryCell, say: Language, *, read_only: bool, first: bool) -> Component:
    reference = cell.reference
    do = f"entries.do.{_action(cell, read_only=read_only)}"
    what: list[Any] = [html.Span(scope_words(reference, say), className="entry-scope")]
    if first:
        what.insert(0, html.Strong(said(SUB_SECTORS[reference.sub_sector], say)))
    return html.Tr(
        [
            html.Td(reference.id, className="entry-cell"),
            html.Td(what, className="entry-what"),
            html.Td(level_tag(reference, say), className="entry-level"),
            html.Td(_value(cell, say), className="entry-value"),
            html.Td(_source(cell, say), className="entry-source"),
            html.Td(
                html.Button(
                    say(do),
                    id={"type": "entry-cell", "reference": reference.id},
                    className="button plain",
                    n_clicks=0,
                    hidden=read_only and not cell.entries,
                    title=say("entries.beside_note") if do == "entries.do.beside" else "",
                    **{"aria-label": f"{reference.id}: {say(do)}"},
                ),
                className="entry-edit",
            ),
        ],
        className=f"entry-row {cell.filled}" + (" faulty" if cell.faults else ""),
    )


def _action(cell: EntryCell, *, read_only: bool) -> str:
    if read_only:
        return "show"
    if cell.entries or cell.faults:
        return "change"
    return "beside" if cell.metered else "enter"


def scope_words(reference: Reference, say: Language) -> str:
    """The scope and what the cell counts."""
    scope = say("entries.scope", scope=reference.scope)
    title = said(reference.title, say)
    return scope if title == said(SUB_SECTORS[reference.sub_sector], say) else f"{scope} · {title}"


def level_tag(reference: Reference, say: Language) -> Component:
    """Which totals a cell counts in."""
    kind = {"BASIC": "basic", "BASIC+": "plus", "territorial": "territorial", "other": "other"}[
        reference.level
    ]
    return html.Span(
        say(f"entries.level.{kind}"), className=f"tag level-{kind}", title=say(f"entries.level.{kind}_note")
    )


def _value(cell: EntryCell, say: Language) -> list[Component]:
    """t CO2e and data quality; a notation key; that meters fill it; or that it is open."""
    lines: list[Component] = []
    if cell.metered:
        metered: list[Component] = [html.Span(say("entries.locked"), className="tag locked")]
        if cell.metered_notation is not None:
            metered.append(_key(cell.metered_notation, say))
        elif cell.metered_t is not None:
            metered.append(_tonnes(cell.metered_t, say))
        lines.append(html.Div(metered))
    if any(entry.notation is None for entry in cell.entries):
        quality = html.Span(_quality(cell.entries), className="note", title=say("entries.quality"))
        lines.append(html.Div([_tonnes(cell.entered_t, say, plus=cell.metered), quality]))
    elif cell.notation is not None:
        lines.append(html.Div(_key(cell.notation, say)))
    if not lines and not cell.faults:
        lines.append(html.Div(say("entries.open"), className="note"))
    return lines


def _key(notation: Notation, say: Language) -> Component:
    return html.Strong(notation, title=say(f"entries.key.{notation}"))


def _tonnes(value: float, say: Language, *, plus: bool = False) -> Component:
    number = ("+ " if plus else "") + say.figures(value, 4)
    return html.Span([html.Span(number, className="num"), html.Span(" t", className="note")])


def _quality(entries: Sequence[InventoryEntry]) -> str:
    """The lowest quality of activity and factor: ``M / L``."""
    pairs = ([e.activity_quality for e in entries], [e.factor_quality for e in entries])
    grades = [[grade for grade in _LOWEST_FIRST if grade in pair][:1] for pair in pairs]
    return " / ".join(grade for found in grades for grade in found)


def _source(cell: EntryCell, say: Language) -> list[Component]:
    lines: list[Component] = [
        html.Span(
            [html.Span("▲ ", **{"aria-hidden": "true"}), fault_words(fault, say)], className="entry-fault"
        )
        for fault in cell.faults
    ]
    sources: dict[str, list[str]] = {}
    for entry in cell.entries:
        what = entry.activity or (say(f"entries.carrier.{entry.carrier}") if entry.carrier else "")
        text = " · ".join(part for part in (what, entry.data_source, entry.explanation) if part)
        sources.setdefault(text, []).append("" if entry.notation else entry.gas)
    for text, gases in sources.items():
        named = ", ".join(dict.fromkeys(gas for gas in gases if gas))
        lines.append(html.Span([text, html.Span(f" {named}", className="note")] if named else text))
    if cell.metered and not cell.entries:
        lines.append(html.Span(say(_metered_words(cell.reference)), className="note"))
    return lines


def _metered_words(reference: Reference) -> str:
    if reference.id == "I.4.4":
        return "entries.metered.generation"
    if reference.scope == 3:
        return "entries.metered.losses"
    return "entries.metered.charging" if reference.sector == "II" else "entries.metered.use"


def fault_words(fault: EntryFault, say: Language) -> str:
    """A fault in the reader's language, with the column it is about."""
    words = say.engine(fault.message)
    return f"{say(f'entries.field.{fault.column}')}: {words}" if fault.column else sentence(words)


def sentence(words: str) -> str:
    """The words of an engine, which stand after a place, as a sentence of their own."""
    return words[:1].upper() + words[1:]
