"""The officer's own numbers: rows of ``inventory.csv``, checked against the GPC.

A row is one gas of one activity in one cell: an amount with its factor, tonnes as measured or reported, or
a notation key with the reason for it. All faults of all rows are named at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from energy.carbon.gpc import REFERENCES
from energy.domain.documents import Document, Identifier, Items, nearest
from energy.domain.errors import Fault, InputError
from energy.domain.report import Grade, Notation
from energy.domain.tables import RowsDocument

Gas = Literal["CO2", "CH4", "N2O", "HFCs", "PFCs", "SF6", "NF3", "CO2e", "CO2b"]
"""HFCs and PFCs are mixtures: their kg count as CO2e. CO2b is biogenic CO2: reported, in no total."""
GwpSet = Literal["AR4", "AR5", "AR6"]
Carrier = Literal["", "electricity", "heat", "steam", "cooling", "fuel"]

_EQUIVALENT: Mapping[Gas, float] = {"CO2": 1.0, "HFCs": 1.0, "PFCs": 1.0, "CO2e": 1.0, "CO2b": 0.0}
GWP: Mapping[GwpSet, Mapping[Gas, float]] = {
    "AR4": {**_EQUIVALENT, "CH4": 25.0, "N2O": 298.0, "SF6": 22_800.0, "NF3": 17_200.0},
    "AR5": {**_EQUIVALENT, "CH4": 28.0, "N2O": 265.0, "SF6": 23_500.0, "NF3": 16_100.0},
    "AR6": {**_EQUIVALENT, "CH4": 27.9, "N2O": 273.0, "SF6": 24_300.0, "NF3": 17_400.0},
}
"""kg CO2e per kg over 100 years: IPCC AR4 WG1 table 2.14, AR5 WG1 table 8.A.1, AR6 WG1 table 7.SM.7."""

LARGEST_KG = 1e14
"""Of one row: about twice what the world emits in a year."""
REMOVALS = "V.2"
"""The one cell whose number may be negative: land takes carbon up."""


class InventoryEntry(Document):
    """One row.

    Attributes:
        reference: of the GPC, ``I.1.1``; scope: checked against it where given.
        activity: what it is, ``natural gas``. carrier: of grid-supplied energy (scope 2 and its losses):
            electricity, heat, steam or cooling.
        amount, unit, factor: kg of `gas` per unit; or tonnes: of `gas`, where there is no activity figure.
        factor_source, data_source, year: where both come from, and the year of the activity.
        activity_quality, factor_quality: H, M or L. notation: NO, NE, IE or C instead of a number.
    """

    reference: Identifier
    scope: int | None = None
    activity: str = ""
    carrier: Carrier = ""
    amount: Annotated[float | None, Field(ge=0)] = None
    unit: str = ""
    gas: Gas = "CO2e"
    factor: float | None = None
    tonnes: float | None = None
    factor_source: str = ""
    data_source: str = ""
    year: Annotated[int | None, Field(ge=1900, le=2200)] = None
    activity_quality: Grade | None = None
    factor_quality: Grade | None = None
    notation: Notation | None = None
    explanation: str = ""

    @property
    def kg(self) -> float:
        """Of the row's gas."""
        if self.tonnes is not None:
            return self.tonnes * 1000.0
        return (self.amount or 0.0) * (self.factor or 0.0)


class InventoryEntries(RowsDocument):
    """``inventory.csv``: its `rows`."""

    FILE = "inventory.csv"
    ROW = InventoryEntry
    rows: Items[InventoryEntry] = ()


@dataclass(frozen=True, slots=True)
class EntryFault:
    """What is wrong with row `row`, counted from 0: in `column`, or in all of it where that is empty."""

    row: int
    column: str
    message: str


def read_entries(text: str, reported: Collection[str] = ()) -> tuple[InventoryEntry, ...]:
    """The rows of the text of ``inventory.csv``, if all of them hold.

    Args:
        reported: references that Wattshed fills with electricity itself: a number for it there would
            count twice.

    Raises:
        InputError: every fault of every row, unreadable cells included.
    """
    entries, unread = InventoryEntries.read(text)
    found = [Fault(entries.place(fault.row), fault.message) for fault in entry_faults(entries.rows, reported)]
    if unread or found:
        raise InputError([*unread, *found])
    return entries.rows


def entry_faults(
    rows: Sequence[InventoryEntry | None], reported: Collection[str] = ()
) -> tuple[EntryFault, ...]:
    """Every fault of every row, as `read_entries`; None is a row that could not be read: passed over."""
    faults = [
        EntryFault(k, column, message)
        for k, row in enumerate(rows)
        if row is not None
        for column, message in _faults(row, reported)
    ]
    return (*faults, *_contradictions(rows))


def _faults(row: InventoryEntry, reported: Collection[str]) -> Iterator[tuple[str, str]]:
    reference = REFERENCES.get(row.reference)
    if reference is None:
        known = nearest(row.reference, REFERENCES)
        yield "reference", f"reference {row.reference!r} is not of the GPC; {known}"
    elif row.scope is not None and row.scope != reference.scope:
        yield "scope", f"{row.reference} is scope {reference.scope}, not {row.scope}; correct one of the two"
    grid = reference is not None and reference.sector in ("I", "II") and reference.scope == 2
    numbers = [row.amount is not None or row.factor is not None, row.tonnes is not None]
    if row.notation is not None:
        if any(numbers):
            yield "notation", f"has a number and notation key {row.notation}; give one of the two"
        if not row.explanation.strip():
            yield "explanation", f"notation key {row.notation} needs an explanation"
        if row.reference in reported:
            yield "notation", f"{row.reference} is reported from the city's own meters; take the row out"
        return
    if not any(numbers):
        yield "", "has no number; give amount and factor, tonnes, or a notation key with its explanation"
        return
    if all(numbers):
        yield "tonnes", "has tonnes as well as an amount or factor; give one of the two"
    elif row.tonnes is None and row.amount is None:
        yield "amount", "has a factor but no amount"
    elif row.tonnes is None and row.factor is None:
        yield "factor", "has an amount but no factor"
    if row.tonnes is None and not row.unit.strip():
        yield "unit", "the amount has no unit; name it, as in MWh, TJ, t, m³"
    if row.tonnes is None and not row.factor_source.strip():
        yield "factor_source", "the factor has no source; name it (factor_source)"
    if not row.data_source.strip():
        yield "data_source", "the number has no source; name it (data_source)"
    if row.year is None:
        yield "year", "the number has no year; give the year of the data"
    if row.activity_quality is None or (row.tonnes is None and row.factor_quality is None):
        column = "activity_quality" if row.activity_quality is None else "factor_quality"
        yield column, "the data quality is missing; give H, M or L for activity and factor"
    if not abs(row.kg) <= LARGEST_KG:
        column = "amount" if row.tonnes is None else "tonnes"
        yield (
            column,
            f"is {row.kg:g} kg, more than the world emits ({LARGEST_KG:g} kg); check amount and unit",
        )
    if row.kg < 0 and row.reference != REMOVALS:
        column = "factor" if row.tonnes is None else "tonnes"
        yield column, f"is negative ({row.kg:g} kg); only {REMOVALS} may be, for what land takes up"
    if grid and row.carrier in ("", "fuel"):
        yield "carrier", "grid-supplied energy needs its carrier: electricity, heat, steam or cooling"
    if row.reference in reported and row.carrier in ("", "electricity") and not _journeys(row):
        again = (
            f"the electricity of {row.reference} is reported from the city's own meters already; a number "
            "here would count it twice. Take the row out, or add what is missing to the city's assets"
        )
        yield "reference", again


def _journeys(row: InventoryEntry) -> bool:
    """II.1.3 holds two things: losses, and transboundary journeys on fuel, which are the officer's."""
    return row.reference == "II.1.3" and row.carrier == "fuel"


def _contradictions(rows: Sequence[InventoryEntry | None]) -> Iterator[EntryFault]:
    """A number that stands twice; and rows of one cell and year that say a number and a notation key, where
    a key without a year is of all."""
    known = [(k, row) for k, row in enumerate(rows) if row is not None]
    numbered = {(row.reference, year) for _, row in known if not row.notation for year in (row.year, None)}
    keys: dict[tuple[str, int | None], str] = {}
    seen = set()
    for k, row in known:
        if row.notation is None:
            same = row.model_dump(exclude={"scope", "activity_quality", "factor_quality", "explanation"})
            number = tuple(same.values())
            if number in seen and (row.tonnes is not None or row.amount is not None):
                yield EntryFault(k, "", f"{row.reference} has the same number in another row; take one out")
            seen.add(number)
            continue
        cell = (row.reference, row.year)
        if cell in numbered:
            yield EntryFault(
                k, "notation", f"{row.reference} has a number in another row; take {row.notation} out"
            )
        if cell in keys:
            yield EntryFault(
                k, "notation", f"{row.reference} has a notation key already ({keys[cell]}); keep one"
            )
        keys[cell] = row.notation
