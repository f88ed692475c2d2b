"""Rows of CSV text: read back as written, or refused with the line of each fault."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.domain.documents import Document, Instant, Items
from energy.domain.errors import InputError
from energy.domain.tables import RowsDocument, read_rows


class Item(Document):
    id: str
    mwh: float
    count: int | None = None
    good: bool = False
    at: Instant | None = None


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=8)


@given(st.lists(st.tuples(words, st.floats(-1e9, 1e9), st.integers(-5, 5), st.booleans()), max_size=5))
def test_what_is_written_is_read(items: list[tuple]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("mwh", "id", "good", "count"))
    writer.writerows((repr(mwh), name, good, count) for name, mwh, count, good in items)
    rows, lines = read_rows("\ufeff" + text.getvalue(), Item, "items.csv")
    assert [(row.id, row.mwh, row.count, row.good) for row in rows] == items
    assert lines == tuple(range(2, 2 + len(items)))


def test_lines_are_those_of_the_file() -> None:
    text = 'id,mwh,at\n\n"two\nlines",1,2016-06-01T00:00:00+02:00\n,,\nb,2,\n'
    rows, lines = read_rows(text, Item, "items.csv")
    assert lines == (3, 6)
    assert rows[0].at is not None
    assert rows[0].at.isoformat() == "2016-05-31T22:00:00+00:00"
    assert rows[1].at is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["items.csv: line 1: is empty; a header with id, mwh"]),
        (
            "id,mwhh,id\n",
            ["'mwhh' is not known; did you mean 'mwh'?", "'id' occurs 2 times", "'mwh' is missing"],
        ),
        (
            "id,mwh\na,1,2\nb,x\n,3\nc,nan\n",
            ["line 2: has 3 cells", "line 3: mwh: 'x'", "line 4: id: is missing"],
        ),
        (
            "id,mwh,at\na,nan,2016-06-01T00:00:00\n",
            ["line 2: mwh: ", "line 2: at: '2016-06-01T00:00:00' has no"],
        ),
        ('id,mwh\n"a,1\n', ["save the table as CSV in UTF-8"]),
    ],
)
def test_all_faults_are_named_at_once(text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        read_rows(text, Item, "items.csv")
    assert all(part in str(refused.value) for part in parts), refused.value


def test_a_row_cut_off_hides_no_other_row() -> None:
    class ItemsFile(RowsDocument):
        FILE, ROW = "items.csv", Item
        rows: Items[Item] = ()

    table, faults = ItemsFile.read("id,mwh\na,1\nb\nc,x\nd,2\n")
    assert [(row.id, table.place(k)) for k, row in enumerate(table.rows)] == [
        ("a", "items.csv: line 2"),
        ("d", "items.csv: line 5"),
    ]
    assert [fault.path for fault in faults] == ["items.csv: line 3", "items.csv: line 4"]
    assert faults[0].message == "has 1 cells, the header 2; quote cells that hold a comma"
