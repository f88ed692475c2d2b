"""The ledgers side by side: one shape for every rule, cut and resolution; sums to 1e-9; nothing left out."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings

from energy.carbon.breakdown import BY, RESOLUTIONS
from energy.domain.city import EV_SESSIONS
from energy.domain.errors import InputError
from energy.domain.period import DataSource, Period
from energy.domain.report import Figure, Report, Table
from energy.feeds.officer import OfficerInputs
from energy.service.reports import ledgers as module
from energy.service.reports.ledger_columns import ALL, LEDGER
from energy.service.reports.registry import reports
from tests.carbon.periods import build, periods
from tests.service.reports.test_desk import CITY, PERIOD, context

LEDGERS = LEDGER.values[1:]
CARBON = ("traced_kg", "grid_average_kg", "market_based_kg", "marginal_kg")
INSTRUMENTS = OfficerInputs(
    contracts="id,consumer,supplier,zone,technology,start,end,share,g_per_kwh,source,exclusive\n"
    "green,class:residential,works,DE,hydro,2016-01-01,2016-12-31,0.5,10,label,true\n"
)


def made(period: Period, **choices: str) -> Report:
    asked = context(period, "ledgers", **choices)
    asked = replace(asked, officer=INSTRUMENTS, city=replace(CITY, station_of_bus={2: 1}))
    return reports()["ledgers"].make(asked)


def table(report: Report, name: str) -> Table:
    return next(table for table in report.tables if table.id == name)


def column(found: Table, name: str) -> dict[str, float]:
    """The numbers of a column by the place of their row, added up over intervals."""
    position = {item.id: k for k, item in enumerate(found.columns)}
    sums: dict[str, float] = {}
    for row in found.rows:
        cell, place = row[position[name]], str(row[position["place"]])
        value = cell.value if isinstance(cell, Figure) else cell
        if isinstance(value, float) and math.isfinite(value):
            sums[place] = sums.get(place, 0.0) + value
    return sums


@given(period=periods())
@settings(max_examples=5, deadline=None)
def test_every_cut_of_every_ledger_is_one_sum(period: Period) -> None:
    """Districts, connections, kinds and assets each add up to the same city, over any intervals."""
    city = {name: column(table(made(period, by="city"), "places"), name).get("city") for name in CARBON}
    for by in BY:
        report = made(period, by=by)
        found, above = table(report, "places"), column(table(report, "places"), "energy_mwh")
        assert above
        for name in CARBON:
            values = column(found, name)
            assert values.get("city") == pytest.approx(city[name], rel=1e-9, abs=1e-6)
            leaves = [value for place, value in values.items() if place != "city" and "station" not in place]
            if by != "city" and leaves:
                assert sum(leaves) == pytest.approx(city[name], rel=1e-9, abs=1e-6)
    for resolution in ("month", "day", "hour"):
        series = table(made(period, by="connection", resolution=resolution), "series")
        whole = table(made(period, by="connection"), "places")
        for name in (*CARBON, "energy_mwh", "net_mwh", "covered_mwh"):
            expected = column(whole, name)
            assert column(series, name) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(("by", "resolution"), [*itertools.product(BY, RESOLUTIONS)])
def test_every_ledger_has_every_cut_at_every_resolution(by: str, resolution: str) -> None:
    """Each figure with its ledger, method, share of estimates and days; ledgers share no figure."""
    report = made(PERIOD, by=by, resolution=resolution)
    figures = report.figures
    assert {figure.ledger for figure in figures.values()} == {*LEDGERS, "none"}
    for figure in figures.values():
        parts = [figures[part] for part in figure.parts]
        assert {part.ledger for part in parts} <= {figure.ledger}, "ledgers are never added together"
        assert {part.days for part in parts} <= {figure.days}
        assert figure.days is not None
        assert (figure.method == "") == (figure.ledger == "none")
        if figure.value and figure.ledger in ("traced", "cfe"):
            assert figure.estimated_share == pytest.approx(1.0)
    tables = ["places"] if resolution == "total" else ["series", "places"]
    assert [found.id for found in report.tables] == tables


def test_what_is_synthetic_is_an_estimate_in_every_ledger() -> None:
    """An EV's use rests on drawn sessions, so do all figures of it; a load's energy does not."""
    city = replace(CITY, sources=(*CITY.sources, DataSource(EV_SESSIONS, "drawn", "1", 1.0)))
    for ledger in LEDGERS:
        asked = context(PERIOD, "ledgers", by="kind", ledger=ledger)
        for key, figure in reports()["ledgers"].make(replace(asked, city=city)).figures.items():
            if key.startswith("kind/ev/") and figure.value:
                assert figure.estimated_share == pytest.approx(1.0), key
            if key in ("kind/load/energy_mwh", "kind/load/used_mwh", "kind/load/net_mwh"):
                assert figure.estimated_share == 0.0


def test_certificates_are_shown_and_not_cancelled() -> None:
    rows = "id,issuer,device,technology,zone,start,end,mwh,g_per_kwh\n"
    rows += "GO-1,UBA,farm,wind_onshore,DE,2016-06-29T12:00:00+02:00,2016-06-29T13:00:00+02:00,5,0\n"
    asked = replace(context(PERIOD, "ledgers"), officer=OfficerInputs(certificates=rows))
    report = reports()["ledgers"].make(asked)
    assert report.figures["city/covered_mwh"].value == pytest.approx(5.0)
    assert any("cancels none" in notice["en"] for notice in report.notices)
    assert not any("cancels none" in notice["en"] for notice in made(PERIOD).notices)
    spent = reports()["ledgers"].make(replace(asked, cancelled_mwh={"GO-1": 5.0}))
    assert spent.figures["city/covered_mwh"].value == 0.0


@pytest.mark.parametrize("ledger", LEDGERS)
def test_one_ledger_alone_says_what_it_says_beside_the_others(ledger: str) -> None:
    together, alone = (
        made(PERIOD, by="asset", ledger=ALL).figures,
        made(PERIOD, by="asset", ledger=ledger).figures,
    )
    of_ledger = {key for key, figure in together.items() if figure.ledger == ledger}
    assert of_ledger
    assert {key for key, figure in alone.items() if figure.ledger != "none"} == of_ledger
    for key in of_ledger:
        assert alone[key] == together[key]
    assert any(figure.unit == "MWh" for figure in alone.values())


def test_figures_are_those_of_the_ledgers_own_reports() -> None:
    side = made(PERIOD).figures
    for district in PERIOD.districts:
        for name, other, key in (
            ("grid_average_kg", "city-inventory", f"difference/{district}/official_kg"),
            ("traced_kg", "city-inventory", f"difference/{district}/traced_kg"),
            ("marginal_kg", "district-carbon", f"marginal/district/{district}/kg"),
            ("market_based_kg", "market-based", f"district/{district}/market_based_kg"),
            ("cfe_score", "market-based", f"district/{district}/cfe_score"),
        ):
            asked = replace(context(PERIOD, other), officer=INSTRUMENTS)
            there = reports()[other].make(asked).figures.get(key)
            here = side[f"district/{district}/{name}"]
            if there is not None and there.value is not None:
                assert here.value == pytest.approx(there.value, rel=1e-9, abs=1e-6), (name, district)


def test_connections_are_nested_and_a_station_is_the_sum_of_what_it_contains() -> None:
    report = made(PERIOD, by="connection")
    found = table(report, "places")
    within = {row[0]: row[2] for row in found.rows}
    assert within == {
        "station/1": "city", "bus/1": "station/1", "bus/2": "station/1", "bus/3": "city", "city": "",
    }  # fmt: skip
    station = report.figures["station/1/traced_kg"]
    assert station.parts == ("bus/1/traced_kg", "bus/2/traced_kg")
    assert report.figures["city/traced_kg"].parts == ("station/1/traced_kg", "bus/3/traced_kg")
    assert report.figures["station/1/cfe_score"].parts == ()
    assert found.note is not None
    assert "nested" in found.note["en"]


def test_an_interval_without_a_stored_day_is_not_known_and_no_zero() -> None:
    period = build(3, date(2016, 6, 29), 3, gap=True)
    report = made(period, by="city", resolution="day")
    (gap,) = period.missing
    figure = report.figures[f"city/{gap}/traced_kg"]
    assert (figure.value, figure.notation) == (None, "NE")
    assert figure.days == (gap, gap), "it rests on no run of other days"
    series = table(report, "series")
    position = [item.id for item in series.columns].index("known_hours")
    assert [row[position] for row in series.rows] == [24.0, 0.0, 24.0]


def test_a_long_table_holds_bare_numbers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers; what contains others keeps its figures."""
    full = made(PERIOD, by="asset", resolution="hour")
    monkeypatch.setattr(module, "FIGURES_MOST", 60)
    bare = made(PERIOD, by="asset", resolution="hour")
    assert not any(isinstance(cell, Figure) for row in table(bare, "series").rows for cell in row)
    assert set(bare.figures) == {
        key for key in full.figures if key.count("/") == 1 and key.startswith("city/")
    }
    for name in ("energy_mwh", *CARBON):
        for found in ("series", "places"):
            assert column(table(bare, found), name) == column(table(full, found), name)
    note = table(bare, "series").note
    assert note is not None
    assert "without id" in note["en"]
    assert "ID" in note["ja"]


def test_what_no_report_can_hold_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS_MOST", 1000)
    with pytest.raises(InputError) as refused:
        made(PERIOD, by="asset", resolution="hour")
    text = str(refused.value)
    assert "9 places × 73 intervals × 12 columns are 7,884 cells; a report holds 1,000" in text
    assert "shorter period, a coarser resolution, one ledger (ledger=traced)" in text
    assert made(PERIOD, by="city", resolution="day").tables
