"""The factor registry: every value with its source, nothing overwritten, and never a silent zero."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from energy.domain.factors import Factor, changes, in_force, overlaps
from energy.feeds.factors import (
    RELEASE,
    UNITS,
    FactorTable,
    append_factors,
    factor_history,
    factors_named,
    load_factors,
    parse_factors,
    read_own_factors,
)

IPCC_AR5_MEDIANS = {
    "coal": (820, 740, 910),
    "gas": (490, 410, 650),
    "biomass": (230, 130, 420),
    "pv_utility": (48, 18, 180),
    "csp": (27, 8.8, 63),
    "wind": (11, 7, 56),
    "wind_offshore": (12, 8, 35),
    "hydro": (24, 1, 2200),
    "nuclear": (12, 3.7, 110),
    "geothermal": (38, 6, 79),
}
HEADER = (
    "id,kind,zone,operator,value,unit,gas_basis,basis,source,data_year,publication_year,"
    "valid_from,valid_to,version,note\n"
)


def own(*rows: str) -> FactorTable:
    return parse_factors(HEADER + "\n".join(rows) + "\n", "factors.csv", origin="factors.csv")


def faults_of(*rows: str) -> list[str]:
    with pytest.raises(InputError) as refused:
        own(*rows)
    return [str(fault) for fault in refused.value.faults]


MINE = "mine,grid,DE,,400,g/kWh,CO2,direct,city's own balance,2016,2017,2016-01-01,2016-12-31,1,"


def test_life_cycle_medians_and_ranges() -> None:
    registry = load_factors()
    for technology, figures in IPCC_AR5_MEDIANS.items():
        factor = registry.generation(technology)
        assert (factor.g_per_kwh, factor.low, factor.high) == figures
        assert "Annex III" in factor.source
    assert registry.generation("pv").g_per_kwh == 41
    assert registry.generation("pv").renewable
    assert not registry.generation("nuclear").renewable


def test_every_factor_names_its_source_and_lies_in_its_range() -> None:
    for factor in factor_history():
        assert factor.source
        assert factor.gas_basis
        assert factor.low is None or factor.low <= factor.value
        assert factor.high is None or factor.value <= factor.high
        assert factor.note or not factor.estimated, f"{factor.id}: an estimate says how it came about"
        assert factor.data_year <= factor.publication_year


@pytest.mark.parametrize(
    ("fuel", "kg_per_tj"),
    [
        ("anthracite", 98_300),
        ("lignite", 101_000),
        ("natural_gas", 56_100),
        ("diesel", 74_100),
        ("fuel_oil", 77_400),
    ],
)
def test_combustion_factors_of_ipcc_2006(fuel: str, kg_per_tj: float) -> None:
    factor = load_factors().combustion(fuel)
    assert (factor.value, factor.unit) == (kg_per_tj, "kg/TJ")
    assert "Table 2.2" in factor.source


@pytest.mark.parametrize(
    ("zone", "day", "g_per_kwh"),
    [
        ("JP", date(2024, 4, 1), 423),
        ("JP-TK", date(2025, 3, 31), 423),
        ("GB", date(2023, 12, 31), 207.07),
        ("GB", date(2024, 1, 1), 207.05),
        ("DE", date(2016, 6, 21), 527),
        ("DE", date(2020, 6, 21), 369),
        ("DE-LU", date(2024, 2, 29), 363),
    ],
)
def test_official_grid_averages_by_zone_and_day(zone: str, day: date, g_per_kwh: float) -> None:
    factor = load_factors().grid_average(zone, day)
    assert factor.g_per_kwh == pytest.approx(g_per_kwh, rel=1e-12)
    assert factor.basis == "direct"


def test_members_of_the_european_union_have_a_life_cycle_average() -> None:
    registry = load_factors()
    members = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
    for zone in members.split():
        factor = registry.grid_average(zone, date(2023, 7, 1), "life-cycle")
        assert factor.gases == "CO2e", zone
        assert 20 < factor.g_per_kwh < 900, zone


def test_a_supplier_and_its_menus() -> None:
    registry = load_factors()
    day = date(2024, 10, 1)
    assert registry.supplier("四国電力", "メニューC(残差)", day).g_per_kwh == 464
    assert registry.supplier("四国電力", "メニューA", day).g_per_kwh == 0
    assert registry.supplier("東京電力", "", date(2014, 5, 1)).g_per_kwh == 521
    with pytest.raises(InputError, match=r"'四国電'.*did you mean '四国電力'"):
        registry.supplier("四国電", "", day)
    with pytest.raises(InputError, match="has no menu 'メニューZ'"):
        registry.supplier("四国電力", "メニューZ", day)


def test_losses_are_per_kwh_delivered_in_either_unit() -> None:
    assert load_factors().transmission_losses("GB", date(2022, 3, 1)).g_per_kwh == pytest.approx(17.69)
    share = "loss,losses,DE,,4.1,%,CO2,direct,operator's annual report,2016,2017,2016-01-01,2016-12-31,1,"
    losses = load_factors(own=own(share, MINE)).transmission_losses("DE", date(2016, 5, 1))
    assert losses.g_per_kwh == pytest.approx(0.041 * 400)
    assert losses.unit == "g/kWh"
    assert "mine@2016-01-01 v1" in losses.note


def test_losses_counted_in_the_average_are_not_counted_again() -> None:
    registry = load_factors()
    assert registry.grid_average("DE", date(2016, 5, 1)).delivered
    assert not registry.grid_average("GB", date(2022, 5, 1)).delivered
    for zone, day in (("DE", date(2016, 5, 1)), ("JP-TK", date(2024, 5, 1))):
        with pytest.raises(InputError, match="are counted in the grid average already"):
            registry.transmission_losses(zone, day)
    with pytest.raises(InputError, match="has no direct factor of network losses"):
        registry.transmission_losses("NL", date(2021, 5, 1))


def test_what_is_missing_is_named_and_never_zero() -> None:
    registry = load_factors()
    with pytest.raises(InputError, match="'fusion': has no life-cycle emission factor"):
        registry.generation("fusion")
    with pytest.raises(InputError, match="per fuel"):
        _ = registry.combustion("lignite").g_per_kwh
    with pytest.raises(InputError, match="'coal': has no combustion factor"):
        registry.combustion("coal")
    with pytest.raises(InputError, match="'XX': has no direct grid average"):
        registry.grid_average("XX", date(2020, 1, 1))
    with pytest.raises(InputError, match="has no direct residual mix"):
        registry.residual_mix("DE", date(2020, 1, 1))
    with pytest.raises(InputError, match="not known for 2013-06-01, only for"):
        registry.grid_average("DE", date(2013, 6, 1))


def test_a_stand_in_is_the_nearest_in_time_and_marked() -> None:
    registry = load_factors()
    factor = registry.grid_average("EU", date(2019, 11, 1), stand_in=True)
    assert (factor.data_year, factor.estimated) == (2020, True)
    assert "stands in for 2019-11-01" in factor.note
    assert registry.grid_average("EU", date(2019, 2, 1), stand_in=True).data_year == 2018
    assert registry.grid_average("DE", date(2030, 1, 1), stand_in=True).data_year == 2024
    assert registry.grid_average("DE", date(2000, 1, 1), stand_in=True).data_year == 2014
    with pytest.raises(InputError, match="'XX'"):
        registry.grid_average("XX", date(2022, 12, 1), stand_in=True)


# -- versions ------------------------------------------------------------------------------------------


def test_the_version_names_the_bytes_of_all_releases_up_to_it() -> None:
    digest = hashlib.sha256()
    for release in range(1, RELEASE + 1):
        digest.update(files("energy.feeds").joinpath("factor_releases", f"{release}.csv").read_bytes())
        assert load_factors(release).version == f"{release}+{digest.hexdigest()[:12]}"
    assert load_factors().version == load_factors(RELEASE).version
    with pytest.raises(InputError, match="no factor has version 0"):
        load_factors(version=0)
    with pytest.raises(InputError, match=f"no factor has version {RELEASE + 1}"):
        load_factors(version=RELEASE + 1)


def test_a_published_release_never_changes() -> None:
    """Reports name these hashes; what they name must still be there in every later version."""
    published = {1: "1+a5ca1df54097", 2: "2+9ae5e176e5cb", 3: "3+ce6b9849d1d8"}
    for release, name in published.items():
        assert load_factors(release).version == name
        assert factors_named(name).factors == load_factors(release).factors


def test_an_old_release_does_not_know_what_came_later() -> None:
    assert {factor.version for factor in load_factors(1).factors} == {1}
    assert any(factor.id == "grid-japan" for factor in load_factors(1).factors)
    assert not any(factor.id == "grid-japan" for factor in load_factors(2).factors)
    day = date(2020, 6, 1)
    assert [load_factors(release).grid_average("DE", day).value for release in (2, 3)] == [366, 369]


def test_changes_name_each_factor_old_and_new() -> None:
    table = own(
        MINE,
        "mine,grid,DE,,410,g/kWh,CO2,direct,corrected balance,2016,2018,2016-01-01,2016-12-31,2,",
        "new,grid,FR,,60,g/kWh,CO2,direct,x,2016,2018,2016-01-01,,2,",
    )
    before, after = (load_factors(own=table.up_to(version)) for version in (1, 2))
    entries = {entry["id"]: entry for entry in changes(before.factors, after.factors)}
    assert entries["mine"]["change"] == "changed"
    assert entries["mine"]["fields"]["value"] == [400, 410]
    assert entries["mine"]["fields"]["source"] == ["city's own balance", "corrected balance"]
    assert entries["new"] == {
        "id": "new",
        "valid_from": "2016-01-01",
        "change": "added",
        "value": 60,
        "unit": "g/kWh",
    }
    assert {e["change"] for e in changes(after.factors, before.factors)} == {"changed", "withdrawn"}
    assert changes(after.factors, after.factors) == []


# -- a city's own factors ------------------------------------------------------------------------------


def test_the_citys_own_comes_before_the_packaged_one() -> None:
    registry = load_factors(own=own(MINE))
    assert registry.grid_average("DE", date(2016, 6, 1)).value == 400
    assert registry.grid_average("DE", date(2017, 6, 1)).value == 485
    assert registry.version.startswith(load_factors().version + ", own 1+")


def test_a_correction_leaves_the_old_version_loadable(tmp_path: Path) -> None:
    target, correction = tmp_path / "factors.csv", tmp_path / "new.csv"
    target.write_text(HEADER + MINE + "\n", encoding="utf-8")
    first = load_factors(own=read_own_factors(target, "factors.csv"))
    correction.write_text(
        "id,kind,zone,value,unit,gas_basis,basis,source,data_year,publication_year,valid_from,valid_to,menu\n"
        "mine,grid,DE,0.41,kg/kWh,CO2,direct,corrected,2016,2018,2016-01-01,2016-12-31,\n",
        encoding="utf-8-sig",
    )
    table = append_factors(target, correction)
    assert load_factors(own=table).grid_average("DE", date(2016, 6, 1)).value == 410
    read_again = read_own_factors(target, "factors.csv")
    assert read_again == table
    again = factors_named(first.version, read_again)
    assert again.version == first.version
    assert again.grid_average("DE", date(2016, 6, 1)).value == 400
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".csv"] == []


def test_a_changed_old_row_is_noticed() -> None:
    name = load_factors(own=own(MINE)).version
    with pytest.raises(InputError, match="its rows now make"):
        factors_named(name, own(MINE.replace("400", "399")))
    with pytest.raises(InputError, match="names no version"):
        factors_named("newest")


def test_nothing_is_written_where_anything_is_wrong(tmp_path: Path) -> None:
    target, source = tmp_path / "factors.csv", tmp_path / "new.csv"
    target.write_text(HEADER + MINE + "\n", encoding="utf-8")
    before = target.read_bytes()
    source.write_text(
        HEADER
        + "good,grid,FR,,60,g/kWh,CO2,direct,x,2016,2018,2016-01-01,,1,\n"
        + "mine,grid,DE,,410,g/kWh,CO2,direct,x,2016,2018,2016-07-01,,1,\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="'mine': is valid from 2016-07-01 while"):
        append_factors(target, source)
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["factors.csv", "new.csv"]


def test_a_withdrawn_factor_is_gone_but_not_forgotten() -> None:
    table = own(MINE, MINE.replace("400", "withdrawn").replace(",1,", ",2,"))
    assert load_factors(own=table).grid_average("DE", date(2016, 6, 1)).value == 527
    assert load_factors(own=table.up_to(1)).grid_average("DE", date(2016, 6, 1)).value == 400


@pytest.mark.parametrize(
    ("value", "unit", "g_per_kwh"),
    [
        ("0.4", "kg/kWh", 400),
        ("400", "kg/MWh", 400),
        ("400", "t/GWh", 400),
        ("0.4", "t/MWh", 400),
        ("0.0004", "t/kWh", 400),
        ("882", "lbs/MWh", 400.06847),
    ],
)
def test_units_are_converted(value: str, unit: str, g_per_kwh: float) -> None:
    (factor,) = own(MINE.replace("400,g/kWh", f"{value},{unit}")).rows
    assert factor.unit == "g/kWh"
    assert factor.value == pytest.approx(g_per_kwh, abs=1e-4)


def test_a_wrong_unit_is_named_with_the_likely_one() -> None:
    assert faults_of(MINE.replace("400,g/kWh", "0.4,g/kWh")) == [
        "factors.csv row 2 (mine): is 0.4 g/kWh; no grid is that clean: is it in kg/kWh or t/MWh?"
    ]
    (fault,) = faults_of(MINE.replace("400,g/kWh", "400,kg/kWh"))
    assert "is 400000 g/kWh, plausible is 0 to 2000; is it in g/kWh or kg/MWh or t/GWh or lbs/MWh" in fault
    (fault,) = faults_of(MINE.replace("g/kWh", "g/kwh"))
    assert "unit is 'g/kwh'; give one of g/kWh" in fault
    (fault,) = faults_of(MINE.replace("g/kWh", "kg/TJ"))
    assert "kind grid needs one like g/kWh" in fault


def test_all_faults_come_at_once() -> None:
    faults = faults_of(
        MINE.replace("400", "many"),
        MINE.replace("mine", "").replace("CO2", "CO2 and so on"),
        "b,market,DE,,1e9,g/kWh,CO2,both,,20x6,2017,2016-13-01,2015-01-01,1,",
        "c,supplier,,,400,g/kWh,CO2,direct,x,2016,2017,2016-01-01,2015-01-01,1,",
    )
    text = "\n".join(faults)
    for expected in (
        "value is 'many'; a finite number",
        "id is empty",
        "gas_basis is 'CO2 and so on'",
        "kind is 'market'",
        "basis is 'both'",
        "source is empty",
        "data_year is '20x6'",
        "valid_from is '2016-13-01'",
        "plausible is 0 to 2000",
        "operator is empty",
        "valid_to 2015-01-01 is before valid_from 2016-01-01",
    ):
        assert expected in text, expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,value\na\n", "has 1 values, the header 2"),
        ("id,value\na,1\n", "has no column 'unit'"),
        (HEADER.replace("note", "nota") + MINE + "\n", "unknown column 'nota'; did you mean 'note'"),
        (HEADER + MINE + "\n" + MINE + "\n", "repeats row 2"),
        (HEADER.replace("note", "value"), "'value' occurs twice"),
    ],
)
def test_tables_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_factors(text, "factors.csv", origin="factors.csv")


def test_a_row_cut_off_hides_no_other_row(tmp_path: Path) -> None:
    rows = (MINE[:20], MINE.replace(",400,", ",-5,"))
    assert [fault.split(":")[0] for fault in faults_of(*rows)] == [
        "factors.csv row 2",
        "factors.csv row 3 (mine)",
    ]
    source = tmp_path / "new.csv"
    source.write_text(
        HEADER.replace(",version,", ",") + "\n".join(rows).replace(",1,", ","), encoding="utf-8"
    )
    with pytest.raises(InputError) as refused:
        append_factors(tmp_path / "factors.csv", source)
    assert [fault.path for fault in refused.value.faults] == ["new.csv row 2", "new.csv row 3 (mine)"]


def test_overlaps_are_told_with_every_other_fault_and_nothing_is_written(tmp_path: Path) -> None:
    target, source = tmp_path / "factors.csv", tmp_path / "new.csv"
    later = MINE.replace("2016-01-01", "2016-06-01")
    wrong = MINE.replace("mine", "other").replace(",400,", ",-5,")
    source.write_text(HEADER + "\n".join((MINE, later, wrong)) + "\n", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        append_factors(target, source)
    assert "'mine': is valid from 2016-06-01 while mine@2016-01-01 v1 is until" in str(refused.value)
    assert "-5 g/kWh, plausible is 0 to 2000; check its sign and unit" in str(refused.value)
    source.write_text(HEADER + MINE + "\n" + MINE.replace("mine", "yours") + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"'yours': covers the same as mine@2016-01-01 v1 from 2016-01-01"):
        append_factors(target, source)
    assert not target.exists()


def test_two_of_the_citys_own_for_one_zone_are_ambiguous() -> None:
    registry = load_factors(own=own(MINE, MINE.replace("mine", "yours")))
    with pytest.raises(InputError, match=r"is ambiguous: mine@2016-01-01 v1, yours@2016-01-01 v1"):
        registry.grid_average("DE", date(2016, 6, 1))


# -- what always holds ---------------------------------------------------------------------------------

DAYS = st.integers(0, 400).map(lambda offset: date(2016, 1, 1) + timedelta(days=offset))


@st.composite
def factor_rows(draw: st.DrawFn) -> Factor:
    start = draw(DAYS)
    length = draw(st.none() | st.integers(0, 60))
    return Factor(
        id=draw(st.sampled_from(["a", "b"])),
        technology="",
        renewable=False,
        value=draw(st.integers(10, 900)),
        low=None,
        high=None,
        unit="g/kWh",
        gas_basis="CO2",
        basis="direct",
        estimated=False,
        source="x",
        data_year=2016,
        publication_year=2016,
        valid_from=start,
        version=draw(st.integers(1, 3)),
        note="",
        kind="grid",
        valid_to=None if length is None else start + timedelta(days=length),
        zone="DE",
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(factor_rows(), max_size=6), DAYS)
def test_without_overlaps_one_id_has_at_most_one_value_a_day(rows: list[Factor], day: date) -> None:
    active = in_force(rows)
    if not overlaps(active):
        for key in ("a", "b"):
            assert sum(factor.id == key and factor.valid_on(day) for factor in active) <= 1
    else:
        clashing = [
            (one, other)
            for k, one in enumerate(active)
            for other in active[k + 1 :]
            if one.id == other.id and (one.valid_on(other.valid_from) or other.valid_on(one.valid_from))
        ]
        assert clashing


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([name for name, (unit, _) in UNITS.items() if unit == "g/kWh"]), st.floats(2, 1999))
def test_unit_round_trips_keep_the_value(unit: str, g_per_kwh: float) -> None:
    written = g_per_kwh / UNITS[unit][1]
    (factor,) = own(MINE.replace("400,g/kWh", f"{written!r},{unit}")).rows
    assert factor.value == pytest.approx(g_per_kwh, rel=1e-11)
