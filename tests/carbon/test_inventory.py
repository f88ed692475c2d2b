"""The inventory: the GPC's cells complete, no kWh twice, every gap with its notation key and reason."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.difference import difference
from energy.carbon.gpc import CRF_ROWS, JAPAN_ROWS, REFERENCES, SECTORS, SUB_SECTORS
from energy.carbon.grid_average import grid_average
from energy.carbon.inventory import GASES_OF, Cell, Inventory, Quality, inventory, metered_references
from energy.carbon.inventory_entries import GWP, InventoryEntries, InventoryEntry, read_entries
from energy.carbon.rates import Rate, rate
from energy.carbon.year_end import year_share
from energy.domain.documents import parse
from energy.domain.errors import Fault, InputError
from energy.domain.factors import Factor
from energy.domain.period import Period
from energy.domain.tables import written
from energy.domain.time import TimeGrid
from tests.builders import GAS
from tests.carbon.periods import build, periods, table
from tests.carbon.test_grid_average import factor, flat

QUALITY = Quality("H", "M")
WASTE = {
    "reference": "III.1.2",
    "tonnes": 2.0,
    "gas": "CH4",
    "data_source": "waste office",
    "year": 2016,
    "activity_quality": "L",
}


def read(period: Period, *rows: dict) -> tuple[InventoryEntry, ...]:
    """`rows` through the officer's file, checked as a report does."""
    entries = parse(InventoryEntries, {"rows": list(rows)}).rows
    return read_entries(written(InventoryEntry, entries), metered_references(period))


def made(period: Period, *rows: dict, value: float = 500.0, **options: object) -> Inventory:
    ledger = grid_average(period, flat(period, value), flat(period, value / 20))
    entries = read(period, *rows)
    technologies = {name: flat(period, 0.0) for name in ("pv_rooftop", "wind_onshore")}
    options = {"quality": QUALITY, "generation": technologies, **options}
    return inventory(ledger, period, entries, **options)


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_references_are_those_of_the_gpc_field_by_field() -> None:
    """The list of GPC 1.1 as its reporting template (eCRF) has it: 53 references with sector, sub-sector,
    scope, and what counts in BASIC, in BASIC+ beyond it, and in the territorial total alone."""
    with (Path(__file__).parent / "gpc_references.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["reference"] for row in listed] == list(REFERENCES)
    for row in listed:
        found = REFERENCES[row["reference"]]
        assert row == {
            "reference": found.id,
            "sector": SECTORS[found.sector]["en"],
            "sub_sector": SUB_SECTORS[found.sub_sector]["en"],
            "scope": str(found.scope),
            "level": found.level,
            "emissions_from": found.title["en"],
        }
        assert found.id.startswith(f"{found.sub_sector}.") or found.id == found.sub_sector
    scopes = {number: [r.id for r in REFERENCES.values() if r.scope == number] for number in (1, 2, 3)}
    assert len(scopes[2]) == 11  # I.1 to I.6 and II.1 to II.5
    assert all(REFERENCES[key].level == "BASIC" for key in scopes[2])


def test_references_are_those_of_the_gpc() -> None:
    """Table 4.2 and 4.3 of GPC 1.1: counted by sector, with scopes and levels of cells that are special."""
    sectors = [reference.sector for reference in REFERENCES.values()]
    counts = {name: sectors.count(name) for name in dict.fromkeys(sectors)}
    assert counts == {"I": 21, "II": 14, "III": 12, "IV": 2, "V": 3, "VI": 1}
    levels = {key: (r.scope, r.level) for key, r in REFERENCES.items()}
    assert levels["I.1.2"] == (2, "BASIC")
    assert levels["I.1.3"] == (3, "BASIC+")
    assert levels["I.4.4"] == levels["III.1.3"] == (1, "territorial")
    assert levels["III.1.2"] == (3, "BASIC")
    assert levels["II.1.3"] == (3, "BASIC+")
    assert levels["V.3"] == (1, "BASIC+")
    assert levels["VI.1"] == (3, "other")
    assert "II.5.3" not in REFERENCES
    for rows in (CRF_ROWS, JAPAN_ROWS):
        used = [
            (key, gas)
            for row in rows
            for key in row.references
            for gas in GASES_OF[row.gases]
            if gas != "CO2b"
        ]
        assert len(used) == len(set(used)), "a gas of a cell occurs twice"
        used = [key for key, _ in used]
        basic = {key for key, reference in REFERENCES.items() if reference.level == "BASIC"}
        assert basic <= set(used)


@settings(max_examples=15)
@given(periods(), st.floats(0.0, 1500.0))
def test_electricity_stands_once_in_the_cells_of_its_classes(period: Period, value: float) -> None:
    found = made(period, value=value)
    ledger = grid_average(period, flat(period, value), flat(period, value / 20))
    city = ledger.city()
    scope2 = [cell for cell in found.cells.values() if cell.reference.scope == 2 and cell.lines]
    assert close(sum(cell.co2e_kg for cell in scope2), city.scope2.kg)
    assert close(sum(line.amount for cell in scope2 for line in cell.lines), city.scope2.mwh)
    losses = [cell for cell in found.cells.values() if cell.reference.scope == 3 and cell.lines]
    assert close(sum(cell.co2e_kg for cell in losses), city.losses.kg)
    assert close(found.cells["II.1.2"].lines[0].amount, ledger.by_class()["transport"].scope2.mwh)
    assert close(found.total_kg("BASIC"), city.scope2.kg)
    assert close(found.total_kg("BASIC+"), city.scope2.kg + city.losses.kg)
    for total in ("BASIC", "BASIC+", "territorial"):
        assert close(sum(found.total_kg(total, sector=name) for name in SECTORS), found.total_kg(total))
    # the other layouts hold the same figures: those of the CRF all but generation, Japan's no losses
    crf = found.laid_out(CRF_ROWS)
    assert close(
        np.nansum([row for name, row in crf.items() if name != "generation"]), found.total_kg("BASIC+")
    )
    assert close(np.nansum(list(found.laid_out(JAPAN_ROWS).values())), found.total_kg("BASIC"))
    assert set(found.cells) == set(REFERENCES)


GASES = ("CO2", "CH4", "N2O", "HFCs", "PFCs", "SF6", "NF3", "CO2e")


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(REFERENCES)), st.sampled_from(GASES)), unique=True, max_size=9)
)
def test_every_layout_holds_every_gram_of_basic_once(chosen: list[tuple[str, str]]) -> None:
    """Whatever gases are entered in whatever cells: the CRF has BASIC+ once, Japan's layout BASIC, with
    industrial processes and land, and without losses and journeys."""
    period = build(2, date(2016, 6, 29), 1)
    metered = metered_references(period)
    rows = [
        {**WASTE, "reference": key, "gas": gas, "tonnes": 1.0 + k}
        | ({"carrier": "heat"} if REFERENCES[key].scope == 2 else {})
        for k, (key, gas) in enumerate(chosen)
        if key not in metered
    ]
    found = made(period, *rows)
    crf, japan = found.laid_out(CRF_ROWS), found.laid_out(JAPAN_ROWS)
    crf.pop("generation")
    assert close(np.nansum(list(crf.values())), found.total_kg("BASIC+"))
    outside = {key for key, r in REFERENCES.items() if r.scope == 3 and r.sector in ("I", "II")}
    outside |= {key for key, r in REFERENCES.items() if r.sub_sector == "VI.1" or r.level == "territorial"}
    kept = sum(cell.co2e_kg for key, cell in found.cells.items() if cell.lines and key not in outside)
    assert close(np.nansum(list(japan.values())), kept)


def test_generation_is_territorial_and_never_basic() -> None:
    period = build(2, date(2016, 6, 29), 1)
    technologies = {"pv_rooftop": flat(period, 0.0), "wind_onshore": flat(period, 700.0)}
    with_, without = made(period, generation=technologies), made(period)
    assert with_.cells["I.4.4"].co2e_kg > 0
    assert {line.activity["en"] for line in with_.cells["I.4.4"].lines} == {
        "generation: pv_rooftop",
        "generation: wind_onshore",
    }
    for total in ("BASIC", "BASIC+"):
        assert with_.total_kg(total) == without.total_kg(total)
    assert with_.total_kg("territorial") == with_.cells["I.4.4"].co2e_kg
    unknown = made(period, generation={"pv_rooftop": flat(period, 0.0)}).cells["I.4.4"]
    assert (unknown.notation, unknown.lines) == ("NE", ())
    assert "wind_onshore" in unknown.explanation["en"]


@settings(max_examples=15)
@given(periods(), st.floats(0.0, 1500.0))
def test_generation_never_enters_basic(period: Period, value: float) -> None:
    """Whatever local plants emit per kWh, no total but the territorial one knows of it."""
    plants = {name: flat(period, value) for name in ("pv_rooftop", "wind_onshore")}
    found, clean = made(period, generation=plants), made(period)
    for total in ("BASIC", "BASIC+"):
        assert found.total_kg(total) == clean.total_kg(total)
        assert not REFERENCES["I.4.4"].counts_in(total)
    generated = np.nansum(table(period, "injected_mwh")[:, [3, 4]])
    assert close(found.total_kg("territorial"), generated * value)


@settings(max_examples=15)
@given(periods(), st.sets(st.integers(0, 3)))
def test_a_missing_factor_is_an_estimate_or_not_estimated_and_never_zero(
    period: Period, lacking: set[int]
) -> None:
    """On any of the days there is no factor: NE with the reason; or, with a stand-in, flagged."""
    days = sorted({instant.astimezone(period.zone).date() for instant in period.time})
    known = factor(500.0)
    gone = {days[k] for k in lacking if k < len(days)}

    def find(day: date) -> Factor:
        if day in gone:
            raise InputError(Fault("zone 'DE'", f"has no factor on {day}"))
        return known

    def stand_in(day: date) -> Factor:
        return replace(known, estimated=True, note="nearest", version=2) if day in gone else known

    counted = {day for day in gone if str(day) not in period.missing}
    cells = inventory(
        grid_average(period, rate(period.time, period.zone, find)), period, quality=QUALITY
    ).cells
    flagged = inventory(
        grid_average(period, rate(period.time, period.zone, stand_in)), period, quality=QUALITY
    ).cells
    for key in ("I.1.2", "I.2.2", "I.3.2", "I.5.2"):
        assert flagged[key].co2e_kg > 0
        if counted:
            assert (cells[key].notation, cells[key].lines) == ("NE", ())
            assert "has no factor on" in cells[key].explanation["en"]
            assert 0.0 < flagged[key].amount.estimated_share <= 1.0 + 1e-9
            assert flagged[key].lines[0].factor_quality == "L"
        else:
            assert cells[key].co2e_kg == pytest.approx(flagged[key].co2e_kg)


DAY = 1.0 / 366.0
"""A day's share of 2016: what its inventory takes of entries of the year."""


def test_entries_fill_their_cells_and_totals_with_the_gwp_of_choice() -> None:
    period = build(2, date(2016, 6, 29), 1)
    bare = made(period)
    found = made(period, GAS, {**GAS, "gas": "CH4", "factor": 0.01}, WASTE)
    assert found.cells["I.1.1"].co2e_kg == pytest.approx(DAY * (202_000.0 + 10.0 * 28.0))
    assert found.cells["I.1.1"].gas_kg("CH4") == pytest.approx(DAY * 10.0)
    assert found.total_kg("BASIC") - bare.total_kg("BASIC") == pytest.approx(DAY * (202_280.0 + 56_000.0))
    assert "I.1.1" in bare.without("BASIC")
    assert "I.1.1" not in found.without("BASIC")
    later = made(period, WASTE, gwp="AR6").cells["III.1.2"]
    assert later.co2e_kg == pytest.approx(DAY * 2000.0 * GWP["AR6"]["CH4"])
    japan = found.laid_out(JAPAN_ROWS)
    assert japan["residential"][0] == pytest.approx(DAY * 202_000.0)  # energy-related CO2 is CO2 alone
    assert japan["combustion_other_gases"][0] == pytest.approx(DAY * 280.0)
    assert found.notations(JAPAN_ROWS[5]) == {"II.2.1": "NE", "II.2.2": "NE"}
    biogenic = made(period, {**GAS, "gas": "CO2b"}).cells["I.1.1"]
    assert (biogenic.co2e_kg, biogenic.gas_kg("CO2b")) == (0.0, pytest.approx(DAY * 202_000.0))
    heat = made(period, {**GAS, "reference": "I.1.2", "carrier": "heat"}).cells["I.1.2"]
    assert [line.origin for line in heat.lines] == ["metered", "entered"]
    nothing = {"reference": "II.2.1", "notation": "NO", "explanation": "no railway"}
    assert made(period, nothing).cells["II.2.1"].notation == "NO"


def test_a_gas_that_no_line_states_is_not_zero() -> None:
    """A factor of CO2, or of CO2e, says nothing of methane; nor does an entry of CO2 of refrigerants."""
    period = build(2, date(2016, 6, 29), 1)
    cement = {**WASTE, "reference": "IV.1", "gas": "CO2"}
    found = made(period, GAS, {**WASTE, "gas": "CO2e"}, cement)
    assert [found.cells["I.1.1"].gas_kg(gas) for gas in ("CH4", "N2O", "CO2b", "CO2e")] == [None] * 4
    assert found.cells["III.1.2"].gas_kg("CO2") is None
    assert found.cells["I.1.2"].gas_kg("CH4") is None
    japan = found.laid_out(JAPAN_ROWS)
    assert np.isnan([japan["fluorinated_gases"][0], japan["combustion_other_gases"][0]]).all()
    assert japan["industrial_processes"][0] == pytest.approx(found.cells["IV.1"].co2e_kg)


def test_entries_count_in_their_own_year_only() -> None:
    """A part of a year takes its part, flagged; the whole year all of it; another year nothing."""
    period = build(2, date(2016, 6, 29), 1)
    line = made(period, GAS).cells["I.1.1"].lines[0]
    assert (line.estimated_share, line.activity_quality) == (1.0, "L")
    assert made(period, GAS).cells["I.1.1"].amount.estimated_share == 1.0
    assert line.explanation["en"] == "0.002732 of the figure of 2016, by the hours of the period"
    last = made(period, {**GAS, "year": 2015}).cells["I.1.1"]
    assert (last.notation, last.lines) == ("NE", ())
    assert last.explanation["en"].startswith("entered for 2015, not for")
    for rows in ((GAS, {**GAS, "year": 2015}), ({**GAS, "year": 2015}, GAS)):
        assert made(period, *rows).cells["I.1.1"].co2e_kg == line.co2e_kg
    none = {"reference": "I.1.1", "notation": "NO", "explanation": "none", "year": 2015}
    assert made(period, GAS, none).cells["I.1.1"].co2e_kg == line.co2e_kg
    start = datetime(2016, 1, 1, tzinfo=period.zone)
    year = replace(period, time=TimeGrid(start, timedelta(hours=1), 366 * 24))
    assert year_share(year, 2016) == 1.0
    assert year_share(year, 2015) == year_share(year, 2017) == 0.0
    assert year_share(year, 2016, 4) == pytest.approx(275 * 24 / (365 * 24), abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "I.1.9"}, "reference 'I.1.9' is not of the GPC; did you mean"),
        ({"scope": 2}, "I.1.1 is scope 1, not 2"),
        ({"notation": "NE", "explanation": "why"}, "a number and notation key NE"),
        ({"amount": None}, "a factor but no amount"),
        ({"factor": None}, "an amount but no factor"),
        ({"amount": None, "factor": None}, "has no number"),
        ({"tonnes": 3.0}, "tonnes as well as an amount"),
        ({"unit": " "}, "has no unit"),
        ({"factor_source": ""}, "the factor has no source"),
        ({"data_source": ""}, "the number has no source"),
        ({"year": None}, "has no year"),
        ({"activity_quality": None}, "data quality is missing"),
        ({"factor": -1.0}, "is negative"),
        ({"reference": "II.2.2"}, "needs its carrier"),
        ({"reference": "I.1.2", "carrier": "electricity"}, "would count it twice"),
        ({"reference": "II.1.2", "carrier": "electricity"}, "would count it twice"),
        ({"reference": "I.4.4", "carrier": ""}, "would count it twice"),
    ],
)
def test_what_is_wrong_with_an_entry_is_named_with_its_line(changes: dict, message: str) -> None:
    period = build(2, date(2016, 6, 29), 1)
    with pytest.raises(InputError) as refused:
        made(period, WASTE, {**GAS, **changes})
    assert "inventory.csv: line 3: " in str(refused.value)
    assert message in str(refused.value)


def test_contradictions_between_rows_and_keys_without_reason_are_refused_at_once() -> None:
    period = build(2, date(2016, 6, 29), 1)
    with pytest.raises(InputError) as refused:
        made(
            period,
            GAS,
            {"reference": "I.1.1", "notation": "NO", "explanation": "none"},
            {"reference": "II.2.1", "notation": "NO"},
            {"reference": "I.1.2", "notation": "C", "explanation": "secret"},
        )
    text = str(refused.value)
    assert "line 3: I.1.1 has a number in another row" in text
    assert "line 4: notation key NO needs an explanation" in text
    assert "line 5: I.1.2 is reported from the city's own meters" in text
    assert made(period, {**WASTE, "reference": "V.2", "tonnes": -5.0}).cells["V.2"].co2e_kg < 0


def test_entries_come_from_a_file() -> None:
    text = "reference,tonnes,gas,data_source,year,activity_quality,notation,explanation\n"
    entries = read_entries(text + "III.1.2,2,CH4,waste office,2016,L,,\n\nII.2.1,,,,,,NO,none\n")
    assert [row.reference for row in entries] == ["III.1.2", "II.2.1"]
    with pytest.raises(InputError, match=r"inventory\.csv: line 3: notation key NO needs"):
        read_entries(text + "\nII.2.1,,,,,,NO,\n")


@pytest.mark.parametrize("number", [{"tonnes": 1e306}, {"amount": 1e308, "factor": 1e10, "tonnes": None}])
def test_an_entry_beyond_the_world_is_refused(number: dict) -> None:
    row = {**GAS, **WASTE, "reference": "I.1.1", **number}
    with pytest.raises(InputError, match="more than the world emits"):
        read(build(1, date(2016, 6, 21), 1), row)


def test_what_meters_cannot_tell_has_a_notation_key() -> None:
    period = build(2, date(2016, 6, 29), 1)

    def none(day: date) -> Factor:
        raise InputError(Fault("zone 'DE'", f"is not known for {day}"))

    unknown: Rate = rate(period.time, period.zone, none)
    heat = {**GAS, "reference": "I.1.2", "carrier": "heat"}
    entries = read(period, heat)
    found = inventory(grid_average(period, unknown), period, entries, quality=QUALITY)
    assert found.cells["I.1.2"].notation == "NE"  # the heat alone would be half the truth
    assert "is not known for 2016-06-29" in found.cells["I.1.2"].explanation["en"]
    assert found.cells["I.1.3"].notation == "NE"
    assert found.without("BASIC")["II.1.2"] == "NE"
    japan = made(period, losses_within_factor=True)
    assert {japan.cells[key].notation for key in ("I.1.3", "I.4.3", "II.1.3")} == {"IE"}
    delivered = grid_average(period, flat(period, 500.0, delivered=True), flat(period, 25.0))
    assert inventory(delivered, period, quality=QUALITY).cells["I.1.3"].notation == "IE"
    with pytest.raises(ValueError, match="either lines or a notation key"):
        Cell(REFERENCES["I.1.1"], ())


def test_charging_behind_a_buildings_meter_is_included_there() -> None:
    period = build(2, date(2016, 6, 29), 1)
    homes = replace(
        period,
        assets=tuple(
            replace(asset, classes={"residential": 1.0}) if asset.kind == "ev" else asset
            for asset in period.assets
        ),
    )
    found, apart = made(homes), made(period)
    assert found.cells["II.1.2"].notation == found.cells["II.1.3"].notation == "IE"
    assert "I.1.2" in found.cells["II.1.2"].explanation["en"]
    assert close(found.total_kg("BASIC"), apart.total_kg("BASIC"))
    moved = apart.cells["II.1.2"].co2e_kg
    assert close(found.cells["I.1.2"].co2e_kg, apart.cells["I.1.2"].co2e_kg + moved)


@settings(max_examples=15)
@given(periods(), st.floats(0.0, 1500.0))
def test_the_difference_to_the_traced_figure_is_explained_to_the_gram(period: Period, value: float) -> None:
    ledger = grid_average(period, flat(period, value), flat(period, value / 20))
    found = difference(ledger, period)
    for place in found.values():
        explained = place.official_kg + place.level_kg + place.timing_kg + place.local_kg
        assert close(place.traced_kg, explained)
    for name in ("official_kg", "level_kg", "timing_kg", "local_kg", "traced_kg", "traced_losses_kg"):
        parts = sum(getattr(place, name) for key, place in found.items() if key != "city")
        assert parts == pytest.approx(getattr(found["city"], name), rel=1e-9, abs=1e-6)
    assert close(found["city"].official_kg, ledger.city().scope2.kg)


def test_gaps_are_told_with_the_cell_they_are_in() -> None:
    period = build(2, date(2016, 6, 28), 3, gap=True)
    left_out = made(period).cells["I.1.2"].lines[0]
    assert left_out.explanation["en"] == "covers 48 of 72 hours; the others are left out"
    ledger = grid_average(period, flat(period, 500.0, estimated=True, note="a guess"), gaps="same-hour-mean")
    line = inventory(ledger, period, quality=QUALITY, gaps="same-hour-mean").cells["I.1.2"].lines[0]
    assert line.explanation["en"].startswith("24 of 72 hours are estimated (same-hour-mean); grid-de@")
    assert line.explanation["en"].endswith(": a guess")
    assert (line.activity_quality, line.factor_quality) == ("L", "L")
