"""The officer's entries of a city: read, replaced whole or not at all, every fault in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.carbon.gpc import REFERENCES
from energy.carbon.inventory_entries import GWP, InventoryEntry, read_entries
from energy.domain.city import Scaled, SiteRenewable, Vehicle
from energy.domain.errors import ChangedError, InputError, ReadOnlyError
from energy.domain.tables import read_rows, written
from energy.service.cities import reference_city_directory
from energy.service.day_accounts import fed_references
from energy.service.inventory import EntryDraft
from energy.service.service import Service
from energy.store import Store
from tests.builders import city_of

EXAMPLE = (Path(__file__).parents[2] / "docs" / "examples" / "inventory.csv").read_text("utf-8")
TOWN = replace(
    city_of(),
    renewables=(SiteRenewable("roof", "Roof", 0, "pv", Scaled("load", 1.0)),),
    vehicles=(Vehicle("car", "home", 1, True, 60.0, 6.0, 0.92, 0.92, 20.0, 450.0, ()),),
    loads=(replace(city_of().loads[0], classes={"residential": 1.0}),),
)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    folder = tmp_path / "town"
    folder.mkdir()
    return Service(store, [TOWN], {"toy": folder})


def csv(*rows: str) -> EntryDraft:
    return EntryDraft.from_csv("\n".join((EXAMPLE.split("\n", 1)[0], *rows)))


GAS = "I.1.1,gas,fuel,100,MWh,CO2,202,,IPCC 2006,gas works,{year},H,M,,"


def test_the_example_is_stored_and_read_as_it_stands(service: Service, tmp_path: Path) -> None:
    empty = service.inventory("toy")
    assert (empty.entries(), empty.version, empty.read_only) == ((), "", "")
    assert empty.csv() == ",".join(InventoryEntry.model_fields) + "\n"
    draft = EntryDraft.from_csv(EXAMPLE)
    made = service.replace_inventory("toy", draft)
    assert made.entries() == draft.rows
    assert service.inventory("toy") == made
    assert EntryDraft.from_csv(made.csv()).rows == draft.rows
    assert EntryDraft.from_document({"rows": made.document()["rows"]}).rows == draft.rows
    assert [path.name for path in (tmp_path / "town").iterdir()] == ["inventory.csv"]


numbers = st.floats(0, 1e12, allow_subnormal=False) | st.integers(0, 10**9).map(float)
entries = st.builds(
    InventoryEntry,
    reference=st.sampled_from(list(REFERENCES)),
    activity=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z"))),
    amount=st.none() | numbers,
    factor=st.none() | numbers.map(lambda value: -value),
    tonnes=st.none() | numbers,
    year=st.none() | st.integers(1900, 2200),
    notation=st.none() | st.sampled_from(["NO", "NE", "IE", "C"]),
)


@given(st.lists(entries, max_size=4))
def test_what_is_written_is_read_to_the_last_digit(rows: list[InventoryEntry]) -> None:
    assert list(read_rows(written(InventoryEntry, rows), InventoryEntry, "inventory.csv")[0]) == rows


def test_entries_of_other_years_and_keys_of_other_cells_stay(service: Service) -> None:
    always = "II.2.1,,,,,,,,,,,,,NO,no railway"
    service.replace_inventory("toy", csv(GAS.format(year=2015), GAS.format(year=2016), always))
    made = service.replace_inventory(
        "toy", csv(GAS.format(year=2016).replace(",100,", ",7,"), "II.4.1,,,,,,,,,,,,,NO,no airport")
    )
    found = [(row.reference, row.year, row.amount) for row in made.entries()]
    assert found == [
        ("I.1.1", 2015, 100.0),
        ("II.2.1", None, None),
        ("I.1.1", 2016, 7.0),
        ("II.4.1", None, None),
    ]
    with pytest.raises(InputError, match="names no year"):
        service.replace_inventory("toy", EntryDraft())
    assert (
        service.replace_inventory("toy", csv(GAS.format(year=2017)), replaced="all").entries()[0].year == 2017
    )
    assert service.replace_inventory("toy", EntryDraft(), replaced="all").entries() == ()


def test_a_new_row_must_agree_with_those_that_stay(service: Service) -> None:
    service.replace_inventory("toy", csv("I.1.1,,,,,,,,,,,,,NO,no gas"))
    with pytest.raises(InputError) as refused:
        service.replace_inventory("toy", csv(GAS.format(year=2016)))
    assert [str(fault) for fault in refused.value.faults] == [
        "stored inventory.csv: line 2, notation: I.1.1 has a number in another row; take NO out"
    ]


FAULTS = (
    ("I.1.1,gas,fuel,-1,MWh,CO2,202,,IPCC,works,2016,H,M,,", "amount", "greater than or equal to 0"),
    ("I.1.1,gas,fuel,nan,MWh,CO2,202,,IPCC,works,2016,H,M,,", "amount", "is not a finite number"),
    ("I.1.1,gas,fuel,1,MWh,CO2,-202,,IPCC,works,2016,H,M,,", "factor", "is negative"),
    ("I.1.10,gas,fuel,1,MWh,CO2,202,,IPCC,works,2016,H,M,,", "reference", "is not of the GPC"),
    ("I.1.2,grid,electricity,1,MWh,CO2,2,,x,works,2016,H,M,,", "reference", "count it twice"),
    ("II.1.2,cars,electricity,1,MWh,CO2,2,,x,works,2016,H,M,,", "reference", "count it twice"),
    ("I.1.3,losses,,1,MWh,CO2,2,,x,works,2016,H,M,,", "reference", "count it twice"),
    ("I.4.4,plant,,1,MWh,CO2,2,,x,works,2016,H,M,,", "reference", "count it twice"),
    ("II.2.1,,,,,,,,,,,,,NO,", "explanation", "needs an explanation"),
    *(
        (f"{cell},,,,,CO2,,5,,x,2016,H,,{key},why", "notation", f"a number and notation key {key}")
        for cell, key in (("II.3.1", "NO"), ("II.4.1", "NE"), ("II.5.1", "IE"))
    ),
    ("V.1,cows,,,,CH4,,-5,,x,2016,H,,,", "tonnes", "is negative"),
    ("V.3,rice,,,,CH4,,five,,x,2016,H,,,", "tonnes", "valid number"),
    ("IV.1,cement,,,,CO2,,5,,x,20016,H,,,", "year", "less than or equal to 2200"),
    ("IV.2,,,,,,,,,,,,,,", "", "has no number"),
)


def test_every_fault_comes_at_once_with_row_and_column_and_nothing_is_written(
    service: Service, tmp_path: Path
) -> None:
    kept = service.replace_inventory("toy", csv(GAS.format(year=2015)))
    twice = "III.1.1,landfill,,,,CH4,,310,,waste office,2016,M,,,"
    draft = csv(*(row for row, _, _ in FAULTS), twice, twice)
    with pytest.raises(InputError) as refused:
        service.replace_inventory("toy", draft)
    found = list(refused.value.faults)
    assert len(found) == len(FAULTS) + 1, "\n".join(map(str, found))
    for line, ((_, column, message), fault) in enumerate(zip(FAULTS, found, strict=False), start=2):
        assert fault.path == f"inventory.csv: line {line}" + (f", {column}" if column else "")
        assert message in fault.message
    assert "has the same number in another row" in found[-1].message
    assert service.inventory("toy") == kept
    assert [path.name for path in (tmp_path / "town").iterdir()] == ["inventory.csv"]


def test_meters_fill_what_the_assets_say_and_heat_may_stand_beside_it(service: Service) -> None:
    assert service.inventory("toy").metered == (
        "I.1.2", "I.1.3", "I.4.2", "I.4.3", "I.4.4", "II.1.2", "II.1.3",
    )  # fmt: skip
    made = service.replace_inventory(
        "toy", csv("I.1.2,district heat,heat,1,MWh,CO2e,150,,x,works,2016,H,M,,")
    )
    assert made.entries()[0].carrier == "heat"
    assert "I.4.4" not in fed_references(city_of())


def test_entered_generation_is_in_no_basic_total(tmp_path: Path) -> None:
    """I.4.4 of a city whose plants Wattshed does not see: territorial, whatever the officer enters."""
    service = Service(Store.open(f"sqlite:///{tmp_path / 's.db'}"), [city_of()], {"toy": tmp_path})
    made = service.replace_inventory("toy", csv("I.4.4,plant,fuel,,,CO2,,900,,operator,2016,H,,,"))
    (row,) = made.entries()
    counted = [
        level for level in ("BASIC", "BASIC+", "territorial") if REFERENCES[row.reference].counts_in(level)
    ]
    assert counted == ["territorial"]
    assert row.kg * GWP["AR5"][row.gas] == 900_000.0


def test_who_edits_what_another_changed_is_told(service: Service) -> None:
    first = service.replace_inventory("toy", csv(GAS.format(year=2016)))
    service.replace_inventory("toy", csv(GAS.format(year=2017)), version=first.version)
    with pytest.raises(ChangedError, match="were changed since they were read"):
        service.replace_inventory("toy", csv(GAS.format(year=2018)), version=first.version)
    assert {row.year for row in service.inventory("toy").entries()} == {2016, 2017}


def test_what_is_built_in_or_has_no_directory_takes_no_entries(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    before = sorted(reference_city_directory().iterdir())
    directories: list[tuple[dict[str, Any], str]] = [
        ({"toy": reference_city_directory()}, "is built in and takes no entries; serve a copy"),
        ({}, "has no directory"),
    ]
    for folders, reason in directories:
        service = Service(store, [TOWN], folders)
        assert reason in service.inventory("toy").read_only
        with pytest.raises(ReadOnlyError, match=reason.split(";")[0]):
            service.replace_inventory("toy", csv(GAS.format(year=2016)))
    assert sorted(reference_city_directory().iterdir()) == before


def test_a_row_cut_off_hides_no_other_fault(service: Service, tmp_path: Path) -> None:
    header = EXAMPLE.split("\n", 1)[0]
    text = "\n".join((header, "I.1.1,2016", GAS.format(year=2016).replace("I.1.1", "I.9.9", 1), "I.1"))
    (tmp_path / "town" / "inventory.csv").write_text(text)
    for act in (
        lambda: service.inventory("toy").entries(),
        lambda: service.replace_inventory("toy", EntryDraft.from_csv(text), replaced="all"),
        lambda: read_entries(text),
    ):
        with pytest.raises(InputError) as refused:
            act()
        found = sorted(str(fault).removeprefix("stored ") for fault in refused.value.faults)
        assert [fault[:21] for fault in found] == [f"inventory.csv: line {n}" for n in (2, 3, 4)]
        assert "has 2 cells, the header 15" in found[0]
        assert "'I.9.9' is not of the GPC" in found[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("reference,説明\n".encode("cp932"), "is not UTF-8 at byte 10; save it as UTF-8"),
        (b"reference,tons\nI.1.1,2\n", "column 'tons' is not known; did you mean 'tonnes'?"),
        (b"reference,tonnes\nI.1.1,2,3\n", "line 2: has 3 cells, the header 2"),
        (b"reference,tonnes\nI.1.1,2\n", "line 2, data_source: the number has no source"),
    ],
)
def test_a_file_that_was_spoiled_by_hand_is_not_overwritten_by_the_way(
    service: Service, tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "town" / "inventory.csv"
    path.write_bytes(data)
    for act in (
        lambda: service.inventory("toy").entries(),
        lambda: service.replace_inventory("toy", csv(GAS.format(year=2016))),
    ):
        with pytest.raises(InputError) as refused:
            act()
        assert message in str(refused.value)
    assert path.read_bytes() == data
    service.replace_inventory("toy", csv(GAS.format(year=2016)), replaced="all")
    assert len(service.inventory("toy").entries()) == 1
