"""The officer's entries of a city's inventory: read as they stand, checked whole, replaced whole.

What is stored is ``inventory.csv`` in the city's directory; reports read it as it stands when they are made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, ValidationError

from energy.carbon.inventory_entries import EntryFault, InventoryEntry, entry_faults
from energy.domain.city import City
from energy.domain.documents import Document, Items, faults_of, parse
from energy.domain.errors import ChangedError, Fault, InputError, ReadOnlyError
from energy.domain.tables import read_cells, read_row, written
from energy.feeds.officer import INVENTORY_FILE, read_inventory, write_inventory
from energy.service.cities import reference_city_directory
from energy.service.day_accounts import fed_references
from energy.service.documents import Answer

Replaced = Literal["years", "all"]
"""What new rows take the place of: stored rows of the years they name, or all."""


@dataclass(frozen=True)
class EntryDraft:
    """Rows as somebody wrote them, whether they hold or not.

    Attributes:
        cells: of each row, its filled cells by column, as text. rows: the same as read; None where a cell
            cannot be, and then `unread` says why. places: where each row stands, for messages.
        between: what parts a place and a column in messages.
    """

    cells: tuple[Mapping[str, str], ...] = ()
    rows: tuple[InventoryEntry | None, ...] = ()
    unread: tuple[EntryFault, ...] = ()
    places: tuple[str, ...] = ()
    between: str = ", "

    @classmethod
    def from_csv(cls, text: str, name: str = INVENTORY_FILE) -> EntryDraft:
        """The table of a CSV text; none at all has no rows. `InputError` where its rows or columns cannot be
        told apart; of a row of another length than the header no cells are known."""
        if not text.strip():
            return cls()
        cells, lines, uneven = read_cells(text, InventoryEntry, name)
        return cls.from_cells(cells, tuple(f"{name}: line {line}" for line in lines), uneven)

    @classmethod
    def from_cells(
        cls,
        cells: Sequence[Mapping[str, str]],
        places: Sequence[str],
        uneven: Mapping[int, Fault] = MappingProxyType({}),
    ) -> EntryDraft:
        """Rows of text, as a form has them; of those in `uneven` it is known already what is wrong."""
        read = [
            (None, [uneven[k]]) if k in uneven else read_row(InventoryEntry, row)
            for k, row in enumerate(cells)
        ]
        return cls(
            tuple(cells),
            tuple(row for row, _ in read),
            tuple(EntryFault(k, at.path, at.message) for k, (_, wrong) in enumerate(read) for at in wrong),
            tuple(places),
        )

    @classmethod
    def from_document(cls, document: Any) -> EntryDraft:
        """``{"rows": [{"reference": …}, …]}``; `InputError` where it is no such object."""
        given = parse(InventoryRequest, document).rows
        rows: list[InventoryEntry | None] = []
        unread: list[EntryFault] = []
        for k, row in enumerate(given):
            try:
                rows.append(InventoryEntry.model_validate(row))
            except ValidationError as error:
                rows.append(None)
                unread += [EntryFault(k, at.path, at.message) for at in faults_of(error, InventoryEntry)]
        cells = tuple({key: str(value) for key, value in row.items()} for row in given)
        places = tuple(f"rows[{k}]" for k in range(len(given)))
        return cls(cells, tuple(rows), tuple(unread), places, between=".")

    def over(self, stored: EntryDraft) -> EntryDraft:
        """These rows, then those of `stored` that they do not replace: of years that they do not name, and
        keys for every year of cells for which they have none such."""
        named = [row for row in self.rows if row is not None]
        years = {row.year for row in named} - {None}
        always = {row.reference for row in named if row.year is None}
        kept = [
            k
            for k, row in enumerate(stored.rows)
            if row is not None
            and (row.reference not in always if row.year is None else row.year not in years)
        ]
        return EntryDraft(
            self.cells + tuple(stored.cells[k] for k in kept),
            self.rows + tuple(stored.rows[k] for k in kept),
            self.unread,
            self.places + tuple(stored.places[k] for k in kept),
            self.between,
        )

    def faults(self, metered: Sequence[str]) -> tuple[EntryFault, ...]:
        """Everything wrong with the rows, in their order; `metered` are references that the city's own
        meters fill."""
        return tuple(sorted((*self.unread, *entry_faults(self.rows, metered)), key=lambda fault: fault.row))

    def refusal(self, faults: Sequence[EntryFault]) -> InputError:
        """`faults` with the place and column of each."""
        return InputError(
            [
                Fault(
                    self.places[fault.row] + (self.between + fault.column if fault.column else ""),
                    fault.message,
                )
                for fault in faults
            ]
        )


@dataclass(frozen=True)
class CityInventory:
    """What is stored of a city.

    Attributes:
        version: hash of the stored file, empty where there is none. metered: references that the city's
            assets fill with electricity. read_only: why nothing can be stored; empty where it can.
    """

    city: str
    draft: EntryDraft
    version: str
    metered: tuple[str, ...]
    read_only: str

    @property
    def faults(self) -> tuple[EntryFault, ...]:
        """Of the stored rows: a file edited by hand may have some."""
        return self.draft.faults(self.metered)

    def entries(self) -> tuple[InventoryEntry, ...]:
        """The stored rows; `InputError` with every fault of theirs."""
        found = self.faults
        if found:
            raise self.draft.refusal(found)
        return tuple(row for row in self.draft.rows if row is not None)

    def csv(self) -> str:
        """The stored rows as CSV, every column; a header alone where there is none."""
        return written(InventoryEntry, self.entries())

    def document(self) -> dict[str, Any]:
        """``wattshed.inventory/1``."""
        rows = [
            {key: value for key, value in row.model_dump(exclude_none=True).items() if value != ""}
            for row in self.entries()
        ]
        return {
            "schema": "wattshed.inventory/1",
            "city": self.city,
            "version": self.version,
            "metered": list(self.metered),
            "read_only": self.read_only,
            "rows": rows,
        }


class InventoryRequest(Document):
    """Rows that shall be stored; each is read by itself, so that the faults of all come at once."""

    rows: Items[dict[str, Any]]


class InventoryDocument(Answer):
    """``wattshed.inventory/1``: the officer's entries of a city."""

    schema_: Literal["wattshed.inventory/1"] = Field(alias="schema")
    city: str
    version: str = Field(description="Hash of the stored table; empty where there is none.")
    metered: Items[str] = Field(description="References that the city's own assets fill with electricity.")
    read_only: str = Field(description="Why nothing can be stored; empty where it can.")
    rows: Items[InventoryEntry]


def city_inventory(city: City, directory: Path | None) -> CityInventory:
    """What stands in the city's directory now. `InputError` for a file that is no table in UTF-8."""
    text, version = read_inventory(directory)
    return CityInventory(
        city.id,
        EntryDraft.from_csv(text, f"stored {INVENTORY_FILE}"),
        version,
        fed_references(city),
        _read_only(city, directory),
    )


def checked_over(stored: CityInventory, draft: EntryDraft, replaced: Replaced) -> EntryDraft:
    """What would be stored if `draft` took the place of what it replaces.

    Raises:
        InputError: the stored rows that would stay cannot be read; or there is no row to say which years.
    """
    if replaced == "all":
        return draft
    stored.entries()
    if not draft.rows:
        raise InputError(
            Fault(INVENTORY_FILE, "has no row, so names no year; replace all to leave no entry at all")
        )
    return draft.over(stored.draft)


def replace_inventory(
    city: City, directory: Path | None, draft: EntryDraft, *, replaced: Replaced, version: str | None
) -> CityInventory:
    """Store `draft` in place of what it replaces, whole or not at all; the new state.

    Args:
        version: of the state that the draft was made from; None where that does not matter.

    Raises:
        ReadOnlyError: the city's directory takes no entries.
        ChangedError: another version is stored by now.
        InputError: every fault of every row.
    """
    reason = _read_only(city, directory)
    if directory is None or reason:
        raise ReadOnlyError(reason)
    if version is not None and read_inventory(directory)[1] != version:
        raise ChangedError(
            f"the entries of {city.name} were changed since they were read; read them again, then change them"
        )
    metered = fed_references(city)
    whole = draft
    if replaced == "years":
        whole = checked_over(city_inventory(city, directory), draft, replaced)
    faults = whole.faults(metered)
    if faults:
        raise whole.refusal(faults)
    rows = [row for row in whole.rows if row is not None]
    new = len(draft.rows)
    write_inventory(directory, written(InventoryEntry, rows[new:] + rows[:new]))
    return city_inventory(city, directory)


def _read_only(city: City, directory: Path | None) -> str:
    if directory is None:
        return f"{city.name} has no directory to store entries in; serve it from one (--city DIR)"
    if directory.resolve() == reference_city_directory().resolve():
        return (
            f"{city.name} is built in and takes no entries; serve a copy of its directory, or a city of your "
            "own (wattshed init DIR)"
        )
    if not os.access(directory, os.W_OK):
        return f"the directory of {city.name} cannot be written; allow it, or serve a copy of the directory"
    return ""
