"""Reading rows of CSV text into document models: every fault of every row at once, each with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
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

    @classmethod
    def read(cls, text: str) -> tuple[Self, list[Fault]]:
        """The rows that can be read, and what is wrong with the others: for checks that shall name
        everything at once. `InputError` where rows cannot be told apart."""
        if not text.strip():
            return cls(), []
        rows, lines, faults = _read(text, cls.ROW, cls.FILE)
        return cls.model_validate({"rows": rows, "lines": lines}), faults

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
        InputError: a header that lacks or repeats a column or has one that is not known; and every row of
            another length and every cell that cannot be read.
    """
    rows, lines, faults = _read(text, model, name)
    if faults:
        raise InputError(faults)
    return tuple(rows), tuple(lines)


def read_cells(
    text: str, model: type[Document], name: str
) -> tuple[list[dict[str, str]], list[int], dict[int, Fault]]:
    """The filled cells of each row by column, as text, the line on which it begins, and by position what is
    wrong with rows of another length than the header: no cells are known of these.

    As `read_rows`, but whether a cell can be what `model` asks for is left to `read_row`.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    uneven: dict[int, Fault] = {}
    try:
        header = [cell.strip() for cell in next(reader, [])]
        faults = _header_faults(header, model, name)
        if faults:
            raise InputError(faults)
        line = reader.line_num + 1
        for cells in reader:
            at, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                message = f"has {len(cells)} cells, the header {len(header)}; quote cells that hold a comma"
                uneven[len(rows)] = Fault("", message)
                cells = []
            rows.append({key: cell.strip() for key, cell in zip(header, cells, strict=False) if cell.strip()})
            lines.append(at)
    except csv.Error as error:
        raise InputError(
            Fault(f"{name}: line {reader.line_num}", f"{error}; save the table as CSV in UTF-8")
        ) from None
    return rows, lines, uneven


def read_row(model: type[Row], cells: Mapping[str, str]) -> tuple[Row | None, list[Fault]]:
    """A row of text as `model`; or None, and what is wrong with it by column."""
    try:
        return model.model_validate_strings(dict(cells), strict=False), []
    except ValidationError as error:
        return None, faults_of(error, model)


def written(model: type[Document], rows: Iterable[Document]) -> str:
    """`rows` of text and numbers as the CSV that `read_rows` takes, every column of `model`, every digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(model.model_fields)
    writer.writerows([_cell(getattr(row, key)) for key in model.model_fields] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _read(text: str, model: type[Row], name: str) -> tuple[list[Row], list[int], list[Fault]]:
    """The rows that can be read, the lines on which they begin, and what is wrong with the others."""
    rows: list[Row] = []
    lines: list[int] = []
    faults: list[Fault] = []
    cells, places, uneven = read_cells(text, model, name)
    for k, (filled, line) in enumerate(zip(cells, places, strict=True)):
        row, wrong = (None, [uneven[k]]) if k in uneven else read_row(model, filled)
        faults += [Fault(f"{name}: line {line}", str(fault)) for fault in wrong]
        if row is not None:
            rows.append(row)
            lines.append(line)
    return rows, lines, faults


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
        Fault(at, f"column {key!r} occurs {header.count(key)} times")
        for key in dict.fromkeys(header)
        if header.count(key) > 1
    ]
    faults += [
        Fault(at, f"column {key!r} is missing; add it")
        for key, field in fields.items()
        if field.is_required() and key not in header
    ]
    return faults
