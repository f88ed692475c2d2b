"""The form of one cell of the inventory: its entries of a year as fields, and what the fields hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import dash_mantine_components as dmc
from dash import html

from dashboard.entry_table import EntryCell, fault_words, level_tag, scope_words, sentence
from dashboard.frame import Component
from dashboard.language import Language
from dashboard.report_tables import said
from energy.carbon.gpc import SUB_SECTORS, Reference
from energy.carbon.inventory_entries import EntryFault, Gas, InventoryEntry
from energy.domain.report import Grade, Notation

Cells = dict[str, str]
"""A row of the table: its filled cells by column, as text."""

KINDS = ("amount", "tonnes", "key")
"""How an entry says what it says: an amount with its factor, tonnes, or a notation key."""
_OF_AMOUNT = ("amount", "unit", "factor", "factor_source", "factor_quality")
_OF_NUMBER = ("activity", "carrier", "gas", "data_source", "activity_quality")
_NUMBERS = ("amount", "factor", "tonnes", "year")
_NEXT_GAS = {"CO2": "CH4", "CH4": "N2O", "N2O": "CO2b"}


def kind_of(cells: Mapping[str, str], reference: Reference) -> str:
    """How an entry says it; a new one as is usual in its sector."""
    if cells.get("notation"):
        return "key"
    if cells.get("tonnes"):
        return "tonnes"
    if any(cells.get(column) for column in _OF_AMOUNT):
        return "amount"
    return "amount" if reference.sector in ("I", "II") else "tonnes"


def kept(cells: Mapping[str, str], kind: str) -> Cells:
    """`cells` without what an entry of this kind does not say; numbers as the table takes them."""
    left: set[str] = set()
    if kind != "amount":
        left |= set(_OF_AMOUNT)
    if kind != "tonnes":
        left.add("tonnes")
    left |= {"notation"} if kind != "key" else set(_OF_NUMBER) - {"activity"}
    plain = {
        column: _number(value) if column in _NUMBERS else value.strip()
        for column, value in cells.items()
        if column not in left
    }
    return {column: value for column, value in plain.items() if value}


def _number(text: str) -> str:
    """Full-width digits and thousands separators are taken; anything else is left for the check to name."""
    plain = unicodedata.normalize("NFKC", text).strip().replace("−", "-")
    return plain.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d*)?", plain) else plain


def another(entries: Sequence[Mapping[str, str]], reference: Reference, year: int, kind: str) -> Cells:
    """A new entry: after one with a number, the next gas of the same activity; else an empty one."""
    if not entries or kind == "key":
        fuel = {"carrier": "fuel"} if reference.sector in ("I", "II") and reference.scope == 1 else {}
        return {"reference": reference.id, "year": str(year), "gas": "CO2", **fuel}
    last = dict(entries[-1])
    gas = _NEXT_GAS.get(last.get("gas", ""), "CO2")
    same = {key: value for key, value in last.items() if key not in ("factor", "tonnes", "factor_quality")}
    return {**same, "gas": gas}


def form_title(reference: Reference, year: int, say: Language) -> str:
    """Which cell, of which year."""
    return say(
        "entries.form.title",
        reference=reference.id,
        name=said(SUB_SECTORS[reference.sub_sector], say),
        year=year,
    )


def cell_form(
    cell: EntryCell,
    entries: Sequence[Mapping[str, str]],
    say: Language,
    *,
    kinds: Sequence[str] = (),
    faults: Sequence[EntryFault] = (),
    read_only: bool = False,
) -> list[Component]:
    """What the cell counts, what meters fill, and a block of fields for each entry, each fault at its field.

    `kinds` are those chosen for the first of the entries; the others have their usual one. `faults` count
    rows as `entries` does.
    """
    reference = cell.reference
    parts: list[Component] = [
        html.P([level_tag(reference, say), " ", scope_words(reference, say)], className="note form-lead")
    ]
    if cell.metered:
        parts.append(
            html.P([html.Span(say("entries.locked"), className="tag locked"), " ", say("entries.beside")],
                   className="finding")
        )  # fmt: skip
    if not entries:
        parts.append(html.P(say("entries.form.none"), className="note"))
    parts += [
        _block(
            k,
            row,
            kinds[k] if k < len(kinds) else kind_of(row, reference),
            cell,
            say,
            [fault for fault in faults if fault.row == k],
            read_only=read_only,
        )
        for k, row in enumerate(entries)
    ]
    return parts


def _block(
    k: int,
    cells: Mapping[str, str],
    kind: str,
    cell: EntryCell,
    say: Language,
    faults: Sequence[EntryFault],
    *,
    read_only: bool,
) -> Component:
    wrong: dict[str, str] = {}
    for fault in faults:
        chosen = "notation" if kind == "key" and not fault.column else fault.column
        at = chosen if chosen in _FIELDS else ""
        words = sentence(say.engine(fault.message)) if at else fault_words(fault, say)
        wrong[at] = f"{wrong[at]} {words}" if at in wrong else words

    def field(column: str) -> Component:
        return _field(k, column, cells, wrong.get(column, ""), cell, say, read_only=read_only)

    choice = len(_carriers_of(cells, cell)) > 1 or "carrier" in wrong

    def part(name: str, columns: Sequence[str], shown: bool) -> Component:
        return html.Div(
            [field(column) for column in columns],
            id={"type": "entry-part", "part": name, "k": k},
            className=f"entry-fields entry-{name}-fields" + (" with-carrier" if choice else ""),
            hidden=not shown,
        )

    return html.Fieldset(
        className="entry-block" + (" faulty" if faults else ""),
        children=[
            html.Legend(say("entries.form.entry", number=k + 1)),
            html.Div(
                className="entry-head",
                children=[
                    dmc.SegmentedControl(
                        id={"type": "entry-kind", "k": k},
                        value=kind,
                        data=[{"value": name, "label": say(f"entries.kind.{name}")} for name in KINDS],
                        disabled=read_only,
                        color="#0f172a",
                        **{"aria-label": say("entries.kind")},
                    ),
                    html.Span(className="push"),
                    html.Button(
                        say("entries.remove"),
                        id={"type": "entry-remove", "k": k},
                        className="button plain",
                        n_clicks=0,
                        hidden=read_only,
                    ),
                ],
            ),
            *([html.P(wrong[""], className="entry-fault", role="alert")] if "" in wrong else []),
            part("what", ("activity", *(["carrier"] if choice else []), "gas", "year"), kind != "key"),
            part("amount", ("amount", "unit", "factor", "factor_source", "factor_quality"), kind == "amount"),
            part("tonnes", ("tonnes",), kind == "tonnes"),
            part("source", ("data_source", "activity_quality"), kind != "key"),
            part("key", ("notation", "key_year"), kind == "key"),
            html.Div([field("explanation")], className="entry-fields"),
        ],
    )


_FIELDS = frozenset({*InventoryEntry.model_fields} - {"reference", "scope"})
_CHOICES: Mapping[str, Sequence[str]] = {
    "gas": get_args(Gas),
    "activity_quality": get_args(Grade),
    "factor_quality": get_args(Grade),
    "notation": get_args(Notation),
}


def carriers(reference: Reference, *, metered: bool) -> list[str]:
    """What a cell's energy may be carried by; electricity that meters count is not offered."""
    if reference.sector not in ("I", "II"):
        return []
    if reference.scope == 1:
        return ["fuel"]
    grid = [*([] if metered else ["electricity"]), "heat", "steam", "cooling"]
    return [*grid, "fuel"] if reference.sector == "II" and reference.scope == 3 else grid


def _carriers_of(cells: Mapping[str, str], cell: EntryCell) -> list[str]:
    """What is offered, and what the entry has; one is no choice."""
    offered, held = carriers(cell.reference, metered=cell.metered), cells.get("carrier", "")
    return [*offered, held] if held and held not in offered else offered


def _field(
    k: int,
    name: str,
    cells: Mapping[str, str],
    error: str,
    cell: EntryCell,
    say: Language,
    *,
    read_only: bool,
) -> Component:
    column = name.removeprefix("key_")  # a key's year is another field than a number's: it may be empty
    common: dict[str, Any] = {
        "id": {"type": "entry", "k": k, "column": name},
        "label": say(f"entries.field.{column}"),
        "value": cells.get(column, ""),
        "error": error or None,
        "disabled": read_only,
        "className": f"field-{name}",
    }
    if name == "carrier":
        data = [
            {"value": option, "label": say(f"entries.carrier.{option}")}
            for option in _carriers_of(cells, cell)
        ]
        return dmc.Select(**{**common, "value": cells.get(column) or None}, data=data, clearable=True)
    if column in _CHOICES:
        data = [{"value": option, "label": _choice(column, option, say)} for option in _CHOICES[column]]
        return dmc.Select(**{**common, "value": cells.get(column) or None}, data=data)
    if column == "explanation":
        return dmc.Textarea(**common, autosize=True, minRows=2, placeholder=say("entries.hint.explanation"))
    hints = {
        "activity": "entries.hint.activity",
        "unit": "entries.hint.unit",
        "factor": "entries.hint.factor",
        "key_year": "entries.hint.key_year",
    }
    hint = {"placeholder": say(hints[name])} if name in hints else {}
    numeric = {"inputProps": {"inputMode": "decimal"}} if column in _NUMBERS else {}
    return dmc.TextInput(**common, **hint, **numeric)


def _choice(column: str, option: str, say: Language) -> str:
    if column == "gas":
        return say("entries.gas.CO2b") if option == "CO2b" else option
    words = say(f"entries.key.{option}") if column == "notation" else say(f"entries.grade.{option}")
    return f"{option} · {words}"


def gathered(
    base: Sequence[Mapping[str, str]],
    ids: Sequence[Mapping[str, Any]],
    values: Sequence[Any],
    kinds: Sequence[str],
) -> list[Cells]:
    """The entries as the fields hold them; columns without a field stay as in `base`."""
    rows = [dict(row) for row in base]
    for at, value in zip(ids, values, strict=True):
        k, name = at["k"], at["column"]
        if (name == "year" and kinds[k] == "key") or (name == "key_year" and kinds[k] != "key"):
            continue
        rows[k][name.removeprefix("key_")] = "" if value is None else str(value)
    return rows
