"""The page Inventory: what fills each cell, what the form makes of its fields, faults in both languages."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from dashboard.entry_form import another, carriers, cell_form, gathered, kept, kind_of
from dashboard.entry_table import entry_cells, entry_figures, entry_table, fault_words, rows_of
from dashboard.language import LANGUAGES, Language
from dashboard.pages.inventory import edited, file_text, offer, years_of
from energy.carbon.gpc import REFERENCES
from energy.domain.errors import InputError
from energy.service.inventory import CityInventory, EntryDraft
from tests.dashboard.test_pages import words
from tests.service.test_inventory import FAULTS

EXAMPLE = (Path(__file__).parents[2] / "docs" / "examples" / "inventory.csv").read_text("utf-8")
HEADER = EXAMPLE.split("\n", 1)[0]
METERED = ("I.1.2", "I.1.3", "I.4.4", "II.1.2", "II.1.3")


def stored(text: str = EXAMPLE, metered: tuple[str, ...] = METERED) -> CityInventory:
    return CityInventory("town", EntryDraft.from_csv(text, "stored inventory.csv"), "sha256:0", metered, "")


def spoken(component: object) -> str:
    return "\n".join(words(component))


def test_every_cell_of_the_gpc_says_what_fills_it() -> None:
    cells = {cell.reference.id: cell for cell in entry_cells(stored(), 2016)}
    assert list(cells) == list(REFERENCES)
    assert {key: cells[key].filled for key in ("I.1.1", "I.1.2", "I.4.4", "II.2.1", "I.2.1")} == {
        "I.1.1": "entered", "I.1.2": "metered", "I.4.4": "metered", "II.2.1": "key", "I.2.1": "open",
    }  # fmt: skip
    assert cells["I.1.1"].entered_t == pytest.approx(182_000 * (0.20196 + 0.018e-3 * 28))
    assert cells["I.1.2"].entered_t == pytest.approx(6090.0)
    assert cells["V.2"].entered_t == -950.0
    later = {cell.reference.id: cell.filled for cell in entry_cells(stored(), 2017)}
    assert (later["I.1.1"], later["II.2.1"]) == ("open", "key"), "a key without a year is of every year"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_table_locks_what_meters_fill_and_marks_levels(lang: str) -> None:
    say = Language(lang)
    cells = entry_cells(stored(), 2016)
    text = spoken(entry_table(cells, "all", say, read_only=False))
    assert text.count(say("entries.locked")) >= len(METERED)
    for reference in REFERENCES:
        assert f"\n{reference}\n" in text
    levels = [say(f"entries.level.{name}") for name in ("basic", "plus", "territorial", "other")]
    assert all(level in text for level in levels)
    open_cells = spoken(entry_table(cells, "open", say, read_only=False))
    assert "\nI.2.1\n" in open_cells
    assert "\nI.1.1\n" not in open_cells
    assert say("entries.by", metered=2, entered=3, key=1) in spoken(entry_figures(cells, say))


def test_an_entry_that_cannot_stand_is_red_in_its_row() -> None:
    faulty = stored(EXAMPLE.replace("gas works,2016,H,L", ",2016,H,L"))
    cell = next(cell for cell in entry_cells(faulty, 2016) if cell.reference.id == "I.1.1")
    assert [(fault.row, fault.column) for fault in cell.faults] == [(1, "data_source")]
    text = spoken(entry_table(entry_cells(faulty, 2016), "all", Language("en"), read_only=False))
    assert "Source of the data: the number has no source; name it (data_source)" in text


def test_fields_become_the_row_of_their_kind() -> None:
    base = [{"reference": "I.1.1", "year": "2016", "scope": "1"}]
    fields = {
        "activity": "gas",
        "amount": "１,２３４.5",
        "unit": " MWh ",
        "factor": "−2",
        "tonnes": "9",
        "notation": "NO",
        "explanation": "why",
        "year": "2016",
        "key_year": "",
        "carrier": None,
    }
    ids = [{"k": 0, "column": column} for column in fields]
    (row,) = gathered(base, ids, list(fields.values()), ["amount"])
    number = {"year": "2016", "amount": "1234.5", "unit": "MWh", "factor": "-2"}
    said = {"reference": "I.1.1", "scope": "1", "activity": "gas", "explanation": "why"}
    assert kept(row, "amount") == {**said, **number}
    (row,) = gathered(base, ids, list(fields.values()), ["key"])
    assert kept(row, "key") == {**said, "notation": "NO"}
    assert kept({"tonnes": "1,5", "amount": "3"}, "tonnes") == {"tonnes": "1,5"}, "left for the check to name"
    waste, homes = REFERENCES["III.1.1"], REFERENCES["I.1.1"]
    assert (kind_of({}, waste), kind_of({}, homes), kind_of({"tonnes": "1"}, homes)) == (
        "tonnes", "amount", "tonnes",
    )  # fmt: skip
    first = another([], homes, 2016, "")
    assert first == {"reference": "I.1.1", "year": "2016", "gas": "CO2", "carrier": "fuel"}
    assert another([{**first, "amount": "5", "factor": "2"}], homes, 2016, "amount") == {
        **first, "gas": "CH4", "amount": "5",
    }  # fmt: skip
    assert "electricity" not in carriers(REFERENCES["I.1.2"], metered=True)
    assert "electricity" in carriers(REFERENCES["I.2.2"], metered=False)
    assert "fuel" in carriers(REFERENCES["II.1.3"], metered=True)


def test_a_change_of_one_cell_leaves_every_other_row_in_its_place() -> None:
    found = stored(EXAMPLE + "I.1.1,old gas,fuel,1,MWh,CO2,202,,IPCC,works,2015,H,M,,\n")
    assert rows_of(found, "I.1.1", 2016) == [0, 1]
    new = [{"reference": "I.1.1", "year": "2016", "tonnes": "5"}]
    draft, own = edited(found, "I.1.1", 2016, new)
    assert own == range(1)
    assert [dict(row) for row in draft.cells] == [*new, *(dict(row) for row in found.draft.cells[2:])]
    draft, own = edited(found, "III.1.1", 2016, [])
    assert draft.cells == found.draft.cells
    assert [option["label"] for option in years_of(found, "2016", 2016)[:2]] == ["2016 (6)", "2015 (1)"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_file_is_offered_or_refused_row_by_row(lang: str) -> None:
    say = Language(lang)
    made, whole = offer(
        stored(), EntryDraft.from_csv(EXAMPLE.replace("2016", "2017"), "new.csv"), "new.csv", say
    )
    assert whole
    assert say(
        "entries.file.offer",
        name="new.csv",
        count=say.count("entries.entry", 7),
        years={"en": "year 2017", "ja": "2017年"}[lang],
        replaced=1,
        kept=6,
    ) in spoken(made), "the key of every year is replaced, the six numbers of 2016 stay"
    rows = "\n".join((HEADER, *(row for row, _, _ in FAULTS)))
    made, whole = offer(stored(), EntryDraft.from_csv(rows, "bad.csv"), "bad.csv", say)
    assert not whole
    text = spoken(made)
    assert say("entries.file.faults", rows=len(FAULTS), count=len(FAULTS)) in text


def test_every_fault_of_an_entry_is_known_in_japanese() -> None:
    say = Language("ja")
    more = (
        "I.1.1,gas,fuel,1,MWh,CO2,202,3,IPCC,works,2016,H,M,,", "I.1.1,gas,fuel,1,,CO2,,,,,,,,,",
        "I.1.1,gas,fuel,,MWh,CO2,202,,,works,2016,H,,,", "I.2.2,grid,,1,MWh,CO2,2,,x,works,2016,H,M,,",
        "I.1.2,,,,,,,,,,,,,IE,in I.2.2", "I.3.1,x,,,,XX,,1,,x,y,Q,,,", "II.4.1,,,,,,,,,,,,,NO,a",
        "II.4.1,,,,,,,,,,,,,NE,b",
    )  # fmt: skip
    draft = EntryDraft.from_csv("\n".join((HEADER, *(row for row, _, _ in FAULTS), *more, more[0], more[0])))
    faults = draft.faults(METERED)
    assert len(faults) > 30
    for fault in faults:
        text = fault_words(fault, say)
        assert not re.search(r"[a-z]{3,} [a-z]{3,}", text), text


def test_a_file_in_another_encoding_says_what_to_do() -> None:
    def upload(data: bytes) -> str:
        return "data:text/csv;base64," + base64.b64encode(data).decode()

    assert file_text(upload("説明".encode("utf-8-sig"))) == "説明"
    with pytest.raises(InputError, match="is not UTF-8 at byte 0; save it as UTF-8"):
        file_text(upload("説明".encode("cp932")))
    with pytest.raises(InputError, match="cut off"):
        file_text("data:text/csv;base64,A")
    made, whole = offer(stored(), EntryDraft.from_csv(HEADER), "empty.csv", Language("en"))
    assert not whole
    assert "The file has no rows." in spoken(made)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_faults_stand_at_their_fields(lang: str) -> None:
    say = Language(lang)
    found = stored(EXAMPLE.replace("gas works,2016,H,L", ",2016,H,L"))
    cell = next(cell for cell in entry_cells(found, 2016) if cell.reference.id == "I.1.1")
    rows = [dict(found.draft.cells[k]) for k in rows_of(found, "I.1.1", 2016)]
    form = cell_form(cell, rows, say, faults=cell.faults)
    wrong = {
        (part.id["k"], part.id["column"]): part.error
        for block in form
        for part in getattr(block, "_traverse", list)()
        if getattr(part, "error", None)
    }
    assert list(wrong) == [(1, "data_source")]
    locked = next(cell for cell in entry_cells(found, 2016) if cell.reference.id == "I.1.2")
    assert say("entries.beside") in spoken(cell_form(locked, [], say))
