"""Reading rows of CSV text into document models: every fault of every row at once, each with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import ValidationError

from energy.domain.documents import Document, Items, faults_of, nearest
from energy.domain.errors import Fault, InputError

Row = TypeVar("Row", bound=Document)


class RowsDocument(Document):
    """A table of an officer's file: subclasses have its `rows`. `lines` are those of the file on which
    each row begins; without them rows follow the header one by one."""

    FILE: ClassVar[str]
    ROW: ClassVar[type[Document]]
    lines: Items[int] = ()

    @classmethod
    def from_csv(cls, text: str) -> Self:
        """Read the file's text; none at all is a table without rows. `InputError` with every fault."""
        if not text.strip():
            return cls()
        rows, lines = read_rows(text, cls.ROW, cls.FILE)
        return cls.model_validate({"rows": rows, "lines": lines})

    def place(self, row: int) -> str:
        """Where row `row` stands, for messages."""
        return f"{self.FILE}: line {self.lines[row] if self.lines else row + 2}"


def read_rows(text: str, model: type[Row], name: str) -> tuple[tuple[Row, ...], tuple[int, ...]]:
    """The rows of a table with a header line, as `model`, and the line on which each begins.

    Columns are the fields of `model`, in any order; those with a default may be left out, as may cells
    (empty) and whole lines. Numbers have a decimal point and no separators.

    Args:
        name: of the file, for messages.

    Raises:
        InputError: a header that lacks or repeats a column or has one that is not known; and every cell
            that cannot be read.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        faults = _header_faults(header, model, name)
        if faults:
            raise InputError(faults)
        rows, lines = [], []
        line = reader.line_num + 1
        for cells in reader:
            at, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                faults.append(
                    Fault(
                        f"{name}: line {at}",
                        f"has {len(cells)} cells, the header {len(header)}; quote cells that hold a comma",
                    )
                )
                continue
            filled = {key: cell.strip() for key, cell in zip(header, cells, strict=True) if cell.strip()}
            found = _row(model, filled, f"{name}: line {at}", faults)
            if found is not None:
                rows.append(found)
                lines.append(at)
    except csv.Error as error:
        raise InputError(
            Fault(f"{name}: line {reader.line_num}", f"{error}; save the table as CSV in UTF-8")
        ) from None
    if faults:
        raise InputError(faults)
    return tuple(rows), tuple(lines)


def _row(model: type[Row], filled: Mapping[str, Any], at: str, faults: list[Fault]) -> Row | None:
    try:
        return model.model_validate_strings(filled, strict=False)
    except ValidationError as error:
        faults += [Fault(at, f"{fault.path}: {fault.message}") for fault in faults_of(error, model)]
        return None


def _header_faults(header: list[str], model: type[Document], name: str) -> list[Fault]:
    fields = model.model_fields
    at = f"{name}: line 1"
    if not any(header):
        return [Fault(at, f"is empty; a header with {', '.join(fields)} is needed")]
    faults = [
        Fault(at, f"column {key!r} is not known; {nearest(key, fields)}")
        for key in header
        if key not in fields
    ]
    faults += [
        Fault(at, f"column {key!r} is there {header.count(key)} times")
        for key in dict.fromkeys(header)
        if header.count(key) > 1
    ]
    faults += [
        Fault(at, f"column {key!r} is missing; add it")
        for key, field in fields.items()
        if field.is_required() and key not in header
    ]
    return faults
