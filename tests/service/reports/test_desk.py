"""Reports from random periods: sums, lineage, versions, and the same bytes each time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from energy.carbon.gpc import REFERENCES
from energy.domain.city import LOCAL_GENERATION, City
from energy.domain.errors import InputError, UnknownError
from energy.domain.factors import FactorRegistry
from energy.domain.period import Account, DataSource, Period
from energy.domain.report import Figure, Report, ReportKey, figure_id
from energy.domain.report_document import report_document, report_of
from energy.feeds.documents import json_bytes
from energy.feeds.factors import load_factors
from energy.feeds.officer import OfficerInputs
from energy.feeds.reports.cells import SETTINGS
from energy.service.reports.desk import Desk, changes, content_hash
from energy.service.reports.figures import figure as figure_of
from energy.service.reports.registry import READING_ORDER, Context, chosen, reports
from energy.store import Store
from tests.carbon.periods import build, periods, table, with_tables
from tests.dashboard.builders import town

CITY = replace(town(), id="reference", name="Reference City", grid_zone="DE")
PERIOD = build(7, date(2016, 10, 29), 3)


def context(period: Period, name: str, **choices: str) -> Context:
    return Context(
        city=CITY,
        period=period,
        factors=load_factors(),
        officer=OfficerInputs(),
        choices=chosen(reports()[name], choices),
        cancelled_mwh={},
        other=lambda _: None,
        code_version="0",
    )


def made(period: Period, name: str, **choices: str) -> Report:
    return reports()[name].make(context(period, name, **choices))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def desk(store: Store, load: Callable[[City, str, str], Period] = lambda *_: PERIOD) -> Desk:
    return Desk(store.reports, load, lambda _: OfficerInputs(), lambda _: load_factors(), store.runs)


@pytest.mark.parametrize("name", sorted(reports()))
def test_every_report_says_the_same_twice_and_comes_back_from_its_document(name: str) -> None:
    first, second = (json_bytes(report_document(made(PERIOD, name))) for _ in range(2))
    assert first == second
    document = json.loads(first)
    assert json_bytes(report_document(report_of(document))) == first


@pytest.mark.parametrize("name", sorted(reports()))
@given(period=periods())
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
def test_parts_make_their_figures_and_every_figure_is_cited(name: str, period: Period) -> None:
    report = made(period, name)
    figures = report.figures
    methods = {method.id for method in report.methods}
    factors = {factor.key for factor in report.factors}
    for key, figure in figures.items():
        assert set(figure.parts) <= figures.keys(), key
        assert figure.method in {"", *methods}, key
        assert set(figure.factors) <= factors, key
        parts = [figures[part].value for part in figure.parts]
        known = [value for value in parts if value is not None]
        if figure.rule == "sum" and len(known) == len(parts) and figure.value is not None:
            scale = max(1.0, sum(abs(value) for value in known))
            assert math.isclose(sum(known), figure.value, rel_tol=1e-9, abs_tol=1e-9 * scale), key
        if figure.low is not None and figure.high is not None:
            assert figure.low <= figure.high, key


BY_END = ("_low_kg", "_high_kg", "_low_g_per_kwh", "_high_g_per_kwh")
CARBON = {"traced", "marginal", "cfe"}
"""Ledgers that start from the upstream intensity or mix."""


@pytest.mark.parametrize("name", sorted(reports()))
@given(period=periods())
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
def test_every_figure_carries_its_share_of_estimated_input(name: str, period: Period) -> None:
    """All of the upstream intensity is estimated, whether or not days are missing; then none of it is."""
    report = made(period, name)
    for key, found in report.figures.items():
        empty = not found.value or found.method == "ev" or found.ledger == "marginal"
        if found.ledger in CARBON and not key.endswith("annual_match"):
            assert found.estimated_share == pytest.approx(1.0) or empty, key
        shares = [report.figures[part].estimated_share for part in found.parts]
        if shares and found.rule != "ratio":  # no figure is surer than all of its parts, nor less sure
            assert min(shares) - 1e-9 <= found.estimated_share <= max(shares) + 1e-9, key
    if period.missing and name in ("district-carbon", "ev-carbon"):
        assert any("estimated in 100.0% of the hours" in notice["en"] for notice in report.notices)
    sure = replace(period, upstream={**period.upstream, "estimated_share": np.zeros(period.time.steps)})
    figures = made(sure, name).figures.values()
    # what is left of the traced figure once the official one is taken out rests on both
    assert all(f.estimated_share == 0.0 for f in figures if f.ledger in CARBON and not f.factors)


WITHOUT = {
    "grid-average": ("sources give no range", "entries are single numbers"),
    "market-based": ("sources give no range",),
    "marginal": ("is taken at one value",),
    "entered": ("entries are single numbers",),
    "traced": ("sources give no range",),
}
"""What a report says where a figure of carbon has no interval, by ledger; traced ones beside the official."""


def of_carbon(report: Report) -> dict[str, Figure]:
    return {
        key: found
        for key, found in report.figures.items()
        if found.ledger in WITHOUT and found.unit and found.value is not None
    }


@pytest.mark.parametrize("name", sorted(reports()))
@given(period=periods())
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
def test_every_figure_of_carbon_has_its_interval_or_the_report_says_why(name: str, period: Period) -> None:
    report = made(period, name)
    said = " ".join(notice["en"] for notice in report.notices)
    for key, found in of_carbon(report).items():
        if found.low is None or found.high is None:
            assert any(why in said for why in WITHOUT[found.ledger]), key
            assert found.ledger != "traced" or found.factors, key
        else:
            assert found.value is not None
            assert found.low <= found.value <= found.high, key
    # days of before the ends were kept: no interval, and said
    nothing = tuple(replace(day, read_ends=lambda: None) for day in period.by_day)

    def without(of: Account) -> Account:
        tables = ({k: v for k, v in t.items() if not k.endswith(BY_END)} for t in (of.districts, of.city))
        return Account(*tables)

    actual = without(period.actual)
    upstream = {key: values for key, values in period.upstream.items() if not key.endswith(BY_END)}
    old = replace(
        period, actual=actual, planned=actual, uncontrolled=without(period.uncontrolled), by_day=nothing,
        upstream=upstream, without_ends=tuple(day.day for day in period.days),
    )  # fmt: skip
    report = made(old, name)
    traced = [found for found in of_carbon(report).values() if found.ledger == "traced"]
    assert all(found.low is None or found.low == found.high == 0.0 for found in traced)
    says = any("were stored without the low and high ends" in notice["en"] for notice in report.notices)
    assert says == bool(traced)
    unknown = made(replace(old, without_ends=()), name).notices
    assert any("has no range" in notice["en"] for notice in unknown) == bool(traced)


@given(period=periods())
@settings(max_examples=3)
def test_a_ledger_says_the_same_in_every_report(period: Period) -> None:
    """Sums across reports, districts and hours, to 1e-9."""
    found = {name: made(period, name).figures for name in reports()}
    pairs = [
        ("district-carbon", "city/energy_mwh", "kpi", "actual/end_use_mwh", 1.0),
        ("district-carbon", "balance/ev_driven_kg", "ev-carbon", "city/Reference City/driven_kg", 1.0),
        ("city-inventory", "total/BASIC/all", "market-based", "city/grid_average_kg", 1e-3),
        ("city-inventory", "difference/city/official_kg", "market-based", "city/grid_average_kg", 1.0),
    ]
    for district in period.districts:
        at = f"district/{district}"
        pairs.append(("district-carbon", f"{at}/energy_mwh", "kpi", f"{at}/end_use_mwh", 1.0))
        pairs.append(
            (
                "market-based",
                f"{at}/grid_average_kg",
                "city-inventory",
                f"difference/{district}/official_kg",
                1.0,
            )
        )
    for first, key, second, other, scale in pairs:
        left, right = found[first][key].value, found[second][other].value
        assert left is not None, key
        assert right is not None, other
        assert left == pytest.approx(right * scale, rel=1e-9, abs=1e-9), (key, other)
    series = made(period, "district-carbon", resolution="hour").tables[2]
    for k, district in enumerate(period.districts):
        for unit, column in (("energy_mwh", 1 + 2 * k), ("emissions_kg", 2 + 2 * k)):
            hours = np.nansum(np.array([row[column] for row in series.rows], dtype=float))
            whole = found["district-carbon"][f"district/{district}/{unit}"].value
            assert hours == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_an_unknown_share_of_estimates_is_no_zero() -> None:
    with pytest.raises(ValueError, match="the estimated share of its input is nan"):
        figure_of("a", 1.0, "kg", estimated_share=math.nan)


def test_unknown_reports_and_choices_are_named(store: Store) -> None:
    with pytest.raises(InputError, match="district-carbon"):
        desk(store).make(CITY, "district-carbo", "2016-10")
    with pytest.raises(InputError) as refused:
        desk(store).make(CITY, "district-carbon", "2016-10", choices={"resolution": "week", "x": "y"})
    assert len(refused.value.faults) == 2


def test_a_report_is_kept_once_and_a_change_makes_a_version_that_names_it(store: Store) -> None:
    shelf = desk(store)
    report, first = shelf.make(CITY, "district-carbon", "2016-10")
    assert shelf.make(CITY, "district-carbon", "2016-10")[1] == first
    assert first.content == content_hash(report_document(report))
    other = build(7, date(2016, 10, 29), 3)
    other.actual.districts["emissions_kg"][:, 1] *= 2.0
    _, second = desk(store, lambda *_: other).make(CITY, "district-carbon", "2016-10")
    assert second.number == 2
    changed = {change.key for change in second.changes}
    assert {"district/east/emissions_kg", "city/emissions_kg", "district/east/carbon_g_per_kwh"} <= changed
    assert not any("/west/" in key for key in changed)
    key = ReportKey("reference", "district-carbon", PERIOD.label)
    assert shelf.difference(key, 1, 2) == second.changes
    assert report_document(shelf.stored(key, 1)[0]) == report_document(report)
    assert [item.edition.number for item in shelf.list("reference")] == [1, 2]
    with pytest.raises(InputError, match="by: is empty"):
        shelf.approve(key, 1, "  ")
    assert shelf.approve(key, 1, "N. Officer").approved_by == "N. Officer"
    assert shelf.publish(key, 1).state == "published"


def test_any_figure_leads_to_its_parts_inputs_and_runs(store: Store) -> None:
    shelf = desk(store)
    report, edition = shelf.make(CITY, "district-carbon", "2016-10")
    id_ = figure_id("reference", report.name, report.period, "city/emissions_kg", edition.content)
    tree = shelf.explain(id_)
    assert tree["figure"]["value"] == report.figures["city/emissions_kg"].value
    assert len(tree["figure"]["parts"]) == len(PERIOD.districts)
    assert tree["figure"]["inputs"][0]["name"] == "upstream intensity"
    assert [run["input_hash"] for run in tree["runs"]] == ["sha256:0", "sha256:1", "sha256:2"]
    with pytest.raises(UnknownError, match="in no stored report"):
        shelf.explain("fig-0")


def test_a_figure_leads_to_the_inputs_and_factors_its_days_used_not_to_those_of_today(store: Store) -> None:
    """Two days of one import, one of the next; the city has gone on to a third."""
    factors = load_factors()
    pv = factors.generation("pv")
    local = DataSource(LOCAL_GENERATION, "factors", "4", 0.0, factors=(pv,))

    def upstream(number: int) -> DataSource:
        return DataSource("upstream intensity", "series", f"import {number}", 0.0, hash=f"sha256:{number}")

    days = tuple(
        replace(day, sources=(upstream(number), local))
        for day, number in zip(PERIOD.days, (1, 1, 2), strict=True)
    )
    period, city = replace(PERIOD, days=days), replace(CITY, sources=(upstream(3), local))
    report, edition = desk(store, lambda *_: period).make(city, "kpi", PERIOD.label)
    stated = [(used.name, used.version, used.hash) for used in report.inputs]
    assert stated == [
        ("upstream intensity", "import 1 (2016-10-29 … 2016-10-30, 2 d)", "sha256:1"),
        (LOCAL_GENERATION, "4", ""),
        ("upstream intensity", "import 2 (2016-10-31 … 2016-10-31, 1 d)", "sha256:2"),
    ]
    assert [factor.key for factor in report.factors] == [pv.key]
    at = figure_id(city.id, "kpi", report.period, "actual/footprint_kg", edition.content)
    tree = desk(store).explain(at)["figure"]
    assert [used["hash"] for used in tree["inputs"]] == ["sha256:1", "", "sha256:2"]
    assert [factor["id"] for factor in tree["factors"]] == [pv.id]
    assert report_document(
        desk(store).stored(ReportKey(city.id, "kpi", report.period))[0]
    ) == report_document(report)


CONTRACTS = (
    "id,supplier,zone,start,end,share,g_per_kwh,source,exclusive\n"
    "a,works,FR,2016-01-01,2016-12-31,0.5,50,label,true\n"
    "b,works,DE,2016-01-01,2016-12-31,x,50,label,true\n"
)
CERTIFICATES = (
    "id,issuer,device,technology,zone,start,end,mwh,g_per_kwh\n"
    "GO-1,UBA,farm,wind_onshore,DE,2016-10-30T12:00:00+01:00,2016-10-30T13:00:00+01:00,5,0\n"
)
INVENTORY = (
    "reference,tonnes,gas,data_source,year,activity_quality\n"
    "III.1.2,2,CH4,waste office,2016,L\nIII.2.2,-1,CH4,waste office,2016,H\nIII.3.2,x,CH4,,2016,H\n"
)


def with_files(store: Store, period: Period = PERIOD, **files: str) -> Desk:
    return replace(desk(store, lambda *_: period), officer=lambda _: OfficerInputs(**files))


def test_every_fault_of_all_instruments_comes_at_once_and_nothing_is_kept(store: Store) -> None:
    again = (
        CERTIFICATES
        + CERTIFICATES.splitlines()[1]
        + "\n"
        + CERTIFICATES.splitlines()[1].replace(",5,", ",-5,")
    )
    for choices in ({"matching": "hourly"}, {}):
        with pytest.raises(InputError) as refused:
            with_files(store, contracts=CONTRACTS, certificates=again).make(
                CITY, "market-based", "2016-10", choices=choices
            )
        for part in (
            "contracts.csv: line 2: is of zone 'FR'",
            "contracts.csv: line 3: share: 'x'",
            "certificates.csv: line 3: certificate 'GO-1' is listed twice",
            "certificates.csv: line 4: mwh: '-5'",
        ):
            assert part in str(refused.value)
    with pytest.raises(InputError) as refused:
        with_files(store, inventory=INVENTORY).make(CITY, "city-inventory", "2016-10")
    assert "inventory.csv: line 3: is negative (-1000 kg)" in str(refused.value)
    assert "inventory.csv: line 4: tonnes: 'x'" in str(refused.value)
    assert store.reports.list("reference") == ()


def test_a_published_cancellation_stays_claimed(store: Store) -> None:
    """What a published version has cancelled stays used, also where a later draft does without it."""
    key = ReportKey("reference", "market-based", PERIOD.label)
    shelf = with_files(store, certificates=CERTIFICATES)
    report, _ = shelf.make(CITY, "market-based", PERIOD.label)
    used = report.figures["cancelled/GO-1"].value
    assert used == pytest.approx(5.0)
    shelf.approve(key, 1, "N. Officer")
    shelf.publish(key, 1)
    assert with_files(store).make(CITY, "market-based", PERIOD.label)[1].number == 2
    later = build(7, date(2016, 12, 1), 2)
    again, _ = with_files(store, later, certificates=CERTIFICATES).make(CITY, "market-based", later.label)
    assert not any(name.startswith("cancelled/") for name in again.figures)


def test_periods_that_overlap_in_part_do_not_share_a_certificate(store: Store) -> None:
    """A month within its year is a view of the same use; three days and the three a day later are two."""
    rows = CERTIFICATES.replace(",5,", ",500,")
    first, second = (build(7, date(2016, 10, day), 3) for day in (29, 30))
    used = []
    for period in (first, second):
        report, _ = with_files(store, period, certificates=rows).make(CITY, "market-based", period.label)
        used.append(report.figures["cancelled/GO-1"].value)
    day = build(7, date(2016, 10, 30), 1)
    inside, _ = with_files(store, day, certificates=rows).make(CITY, "market-based", day.label)
    assert 0.0 < inside.figures["cancelled/GO-1"].value <= min(used)
    apart = build(7, date(2016, 12, 1), 2)
    last, _ = with_files(store, apart, certificates=rows).make(CITY, "market-based", apart.label)
    spent = {row[0]: row[4] for row in last.tables[1].rows}["GO-1"]
    assert spent == pytest.approx(500.0 - sum(used) - last.figures["cancelled/GO-1"].value)


def test_an_old_draft_is_not_approved_where_its_certificates_are_used_by_now(store: Store) -> None:
    rows = CERTIFICATES.replace(",5,", ",5.0,")
    shelf = with_files(store, certificates=rows)
    shelf.make(CITY, "market-based", PERIOD.label)
    with_files(store).make(CITY, "market-based", PERIOD.label)  # version 2 does without
    later = build(7, date(2016, 12, 1), 2)
    other = ReportKey("reference", "market-based", later.label)
    with_files(store, later, certificates=rows).make(CITY, "market-based", later.label)
    key = ReportKey("reference", "market-based", PERIOD.label)
    with pytest.raises(InputError) as refused:
        shelf.approve(key, 1, "N. Officer")
    assert str(refused.value) == (
        f"market-based {PERIOD.label} version 1: cancels 5 MWh of 'GO-1', but 5 of its 5 MWh are cancelled "
        "by other reports by now; make a new version instead"
    )
    assert shelf.approve(key, 2, "N. Officer").state == "approved"
    assert shelf.approve(other, 1, "N. Officer").state == "approved"
    with pytest.raises(InputError, match="has no version 9; the newest is 2"):
        shelf.approve(key, 9, "N. Officer")


def test_every_kilogram_of_the_market_leads_to_what_covers_it() -> None:
    figures = made(PERIOD, "market-based").figures
    total = figures["city/market_based_kg"]
    assert [part.rsplit("/", 1)[1] for part in total.parts] == ["contract_kg", "certificate_kg", "rest_kg"]
    assert total.value == pytest.approx(sum(figures[part].value for part in total.parts))
    assert figures["city/rest_kg"].factors
    assert figures["city/certificate_kg"].inputs == ("certificates.csv",)


def test_a_certificate_is_cancelled_by_one_city_only(store: Store) -> None:
    """It is known by issuer and id, whichever city of the store has used it."""
    with_files(store, certificates=CERTIFICATES).make(CITY, "market-based", PERIOD.label)
    neighbour, period = replace(CITY, id="neighbour"), replace(PERIOD, city="neighbour")
    beside = with_files(store, period, certificates=CERTIFICATES)
    with pytest.raises(InputError) as refused:
        beside.make(neighbour, "market-based", PERIOD.label)
    assert str(refused.value).startswith(
        "certificates.csv: line 2: certificate 'GO-1' of UBA is cancelled already by city 'reference' "
        f"(market-based {PERIOD.label}, version 1); each can be cancelled only once"
    )
    other = with_files(store, period, certificates=CERTIFICATES.replace("UBA", "RTE"))
    assert other.make(neighbour, "market-based", PERIOD.label)[0].figures["cancelled/GO-1"].value
    with_files(store).make(CITY, "market-based", PERIOD.label)  # the reference city does without it
    with_files(store, period).make(neighbour, "market-based", PERIOD.label)
    assert beside.make(neighbour, "market-based", PERIOD.label)[1].number == 3


def test_the_hourly_score_takes_only_what_is_certified_for_its_hour() -> None:
    year = "GO-2,UBA,farm,wind,DE,2016-01-01T00:00:00+01:00,2017-01-01T00:00:00+01:00,1e6,0\n"
    header, hour = CERTIFICATES.replace("wind_onshore", "wind").splitlines()

    def figures(*rows: str) -> dict[str, Figure]:
        officer = OfficerInputs(certificates="\n".join((header, *rows)))
        return kind.make(replace(context(PERIOD, "market-based"), officer=officer)).figures

    kind = reports()["market-based"]
    none, by_year, by_hour = (figures(*rows) for rows in ((), (year,), (hour,)))
    assert by_year["city/cfe_score"].value == none["city/cfe_score"].value
    assert by_year["city/annual_match"].value > by_hour["city/annual_match"].value
    assert by_hour["city/cfe_score"].value > none["city/cfe_score"].value


def test_instruments_of_a_technology_that_no_factor_knows_are_named() -> None:
    officer = OfficerInputs(certificates=CERTIFICATES)
    report = reports()["market-based"].make(replace(context(PERIOD, "market-based"), officer=officer))
    assert any("count as carbon-free nowhere: wind_onshore" in notice["en"] for notice in report.notices)


def test_a_cell_is_as_good_as_its_weakest_line() -> None:
    header = "reference,amount,unit,gas,factor,factor_source,data_source,year,activity_quality,factor_quality"
    grades = (
        ("III.1.2", "CH4", "H"),
        ("III.1.2", "N2O", "L"),
        ("III.2.2", "CH4", "M"),
        ("III.2.2", "N2O", "H"),
    )
    rows = [f"{reference},2,t,{gas},0.1,IPCC,waste office,2016,H,{grade}" for reference, gas, grade in grades]
    officer = OfficerInputs(inventory="\n".join((header, *rows)))
    report = reports()["city-inventory"].make(replace(context(PERIOD, "city-inventory"), officer=officer))
    assert report.figures["gpc/III.1.2"].factor_quality == "L"
    assert report.figures["gpc/III.2.2"].factor_quality == "M"


def test_the_inventory_has_the_columns_of_the_ecrf_and_a_row_per_reference() -> None:
    """Reference, sector, scope, notation key, seven gases, total, biogenic CO2, quality, explanation."""
    table = made(PERIOD, "city-inventory").tables[0]
    assert [column.id for column in table.columns] == [
        "reference", "sector", "sub_sector", "title", "scope", "level", "notation",
        "co2_t", "ch4_t", "n2o_t", "hfcs_t", "pfcs_t", "sf6_t", "nf3_t", "co2e_t", "co2b_t",
        "activity", "factor_quality", "explanation",
    ]  # fmt: skip
    position = {column.id: k for k, column in enumerate(table.columns)}
    assert [row[0] for row in table.rows] == list(REFERENCES)
    for row in table.rows:
        total, key = row[position["co2e_t"]], row[position["notation"]]
        assert isinstance(total, Figure)
        assert (total.value is None) == bool(key)  # a number or a notation key, never both
        assert key in {"", "NO", "NE", "IE", "C"}
        assert bool(key) <= bool(row[position["explanation"]])
        assert (row[position["co2_t"]] is None) == bool(key)


def test_a_path_that_has_ended_is_told_from_one_that_has_not_begun() -> None:
    targets = {
        "target": [
            {"id": "past", "base": 10.0, "base_year": 2000, "milestones": [{"year": 2010, "reduction": 0.5}]},
            {"id": "next", "base": 10.0, "base_year": 2020, "milestones": [{"year": 2030, "reduction": 0.5}]},
        ]
    }
    officer = OfficerInputs(targets=targets)
    figures = reports()["targets"].make(replace(context(PERIOD, "targets"), officer=officer)).figures
    assert figures["target/past/path"].value == 5.0
    assert figures["target/past/budget_left"].explanation == "the path ended in 2010"
    assert figures["target/next/budget_left"].explanation == "the path begins in 2020"


def test_the_years_end_has_the_spread_of_its_months_and_the_range_of_the_factor() -> None:
    target = {"id": "city", "base": 10.0, "base_year": 2000, "milestones": [{"year": 2030, "reduction": 0.5}]}
    officer, known = OfficerInputs(targets={"target": [target]}), load_factors()
    ranged = replace(
        known,
        factors=tuple(
            replace(factor, low=0.9 * factor.value, high=1.1 * factor.value)
            if factor.kind == "grid"
            else factor
            for factor in known.factors
        ),
    )

    def of(factors: FactorRegistry, first: date) -> Report:
        given = context(build(7, first, 3), "targets", gaps="estimate")
        return reports()["targets"].make(replace(given, officer=officer, factors=factors))

    for first, months in ((date(2016, 10, 30), 2), (date(2016, 10, 28), 1)):
        plain, wide = of(known, first), of(ranged, first)
        so_far, end = (wide.figures[f"target/city/{name}"] for name in ("so_far", "year_end"))
        assert so_far.value is not None
        assert (so_far.low, so_far.high) == pytest.approx((0.9 * so_far.value, 1.1 * so_far.value))
        assert plain.figures["target/city/so_far"].low is None
        narrow = plain.figures["target/city/year_end"]
        assert (end.low is None, narrow.low is None) == (months == 1, months == 1)
        if (
            end.low is not None
            and narrow.low is not None
            and end.high is not None
            and narrow.high is not None
        ):
            assert (end.low, end.high) == pytest.approx((0.9 * narrow.low, 1.1 * narrow.high))
        said = any("fewer than two of its months" in notice["en"] for notice in wide.notices)
        assert said == (months == 1)


def test_what_the_inventory_says_of_itself_is_in_both_languages() -> None:
    """The officer's own words stay as they are."""
    rows = "reference,notation,explanation\nII.2.1,NO,no railway\n"
    officer = OfficerInputs(inventory=rows)
    report = reports()["city-inventory"].make(replace(context(PERIOD, "city-inventory"), officer=officer))
    gpc, lines = report.tables[0], report.tables[2]
    said = {row[0]: row[-1] for row in gpc.rows}
    assert said["I.1.1"] == {"en": "no figure has been entered", "ja": "入力値がない"}
    assert "I.1.2に含まれる" in said["I.1.3"]["ja"]
    assert (said["II.2.1"], said["I.1.2"]) == ("no railway", "")
    assert ("I.1.2", {"en": "grid electricity", "ja": "系統電力"}) in [row[:2] for row in lines.rows]


def test_other_layouts_have_the_keys_of_their_own_cells() -> None:
    """A column that the layout lacks is empty; one whose cells all say NO or IE says so, not NE."""
    header = "reference,notation,explanation"
    rows = ("II.2.1,NO,no railway runs on fuel", "II.2.2,NO,no railway runs on electricity")
    officer = OfficerInputs(inventory="\n".join((header, *rows)))
    report = reports()["city-inventory"].make(replace(context(PERIOD, "city-inventory"), officer=officer))
    figures = report.figures
    assert (figures["japan/railway/direct"].notation, figures["crf/rail/direct"].notation) == ("NO", "NO")
    assert figures["crf/rail/outside"].notation == "NE"
    assert "japan/railway/outside" not in figures
    assert figures["crf/residential_buildings/outside"].notation == "IE"
    assert all(figure.estimated_share <= 1.0 for figure in figures.values())


def test_a_figure_that_comes_or_goes_is_a_change() -> None:
    report = made(PERIOD, "district-carbon")
    balance = report.tables[1]
    shorter = replace(balance, rows=balance.rows[:-1])
    gone = changes(report, replace(report, tables=(report.tables[0], shorter, *report.tables[2:])))
    assert [(change.key, change.after) for change in gone] == [("balance/residual_kg", "–")]


def test_an_interval_that_moves_is_a_change() -> None:
    """As where only the range of a factor was corrected."""
    report = made(PERIOD, "district-carbon")
    balance = report.tables[1]
    narrow, wide = (figure_of("a", 5.0, "kg", low=low, high=9.0) for low in (4.0, 3.99999))

    def said(*figures: Figure) -> tuple[tuple[str, str], ...]:
        before, after = (
            replace(report, tables=(replace(balance, rows=(("", figure),)),)) for figure in figures
        )
        return tuple((change.before, change.after) for change in changes(before, after))

    assert said(narrow, narrow) == ()
    assert said(narrow, wide) == (("5 (4 … 9)", "5 (3.99999 … 9)"),)
    assert said(narrow, figure_of("a", 5.0, "kg")) == (("5 (4 … 9)", "5 (–)"),)


def test_missing_days_are_told_and_in_no_sum() -> None:
    period = build(3, date(2016, 6, 29), 4, gap=True)
    report = made(period, "district-carbon")
    assert any("1 days have no stored plan" in notice["en"] for notice in report.notices)
    series = report.tables[2]
    assert any(isinstance(row[1], float) and math.isnan(row[1]) for row in series.rows)
    total = report.figures["city/energy_mwh"]
    assert isinstance(total, Figure)
    assert total.value is not None


@settings(max_examples=10, deadline=None)
@given(period=periods(missing=True))
def test_missing_days_are_estimated_on_request_and_flagged(period: Period) -> None:
    """More energy than left out, its share of estimates that of the hours; the trace is compared with what
    it knows of."""
    left_out, filled = (made(period, "city-inventory", hours=rule) for rule in ("left-out", "same-hour-mean"))
    gaps = np.isnan(period.actual.city["end_use_kg"]).mean()
    for name, figure in filled.figures.items():
        before = left_out.figures[name]
        assert (figure.value is None) == (before.value is None)
        if name.startswith("difference/"):
            assert figure.value == before.value
        if name in ("gpc/I.1.2", "gpc/I.2.2") and figure.value is not None and before.value is not None:
            assert figure.value > before.value
            assert figure.estimated_share > 0.0
    assert any(f"{gaps:.1%} of the hours" in notice["en"] for notice in filled.notices)
    assert filled.settings["hours"] == "same-hour-mean"


@pytest.mark.parametrize(("first_month", "share"), [("1", None), ("4", 2 / 366)])
def test_entries_of_fiscal_years_count_by_the_share_that_the_period_covers(
    first_month: str, share: float | None
) -> None:
    """Two days of March 2016: of the fiscal year 2015 from April, of no part of the year 2015."""
    wanted = context(build(7, date(2016, 3, 28), 2), "city-inventory", first_month=first_month)
    entry = OfficerInputs(
        inventory="reference,tonnes,data_source,year,activity_quality\nIII.1.1,366,city,2015,H\n"
    )
    made = reports()["city-inventory"].make(replace(wanted, officer=entry)).figures["gpc/III.1.1"]
    assert made.value == (None if share is None else pytest.approx(366 * share, rel=1e-3))


def test_reports_stand_as_an_officer_reads_them_and_every_choice_has_words() -> None:
    assert tuple(reports())[: len(READING_ORDER)] == READING_ORDER
    plain = re.compile(r"\d+|[HML]|AR\d")
    for kind in reports().values():
        for choice in kind.choices:
            assert choice.title == SETTINGS[choice.name]
            assert all(value in SETTINGS or plain.fullmatch(value) for value in choice.values), choice.name


def test_stations_stand_beside_evs_and_add_up() -> None:
    kinds = {"car1": "hydrogen_station", "car2": "swap_station"}
    assets = tuple(replace(asset, kind=kinds.get(asset.id, asset.kind)) for asset in PERIOD.assets)
    kg = table(PERIOD, "driven_mwh") * 1000 / 55 * [key == "car1" for key in PERIOD.storages]
    report = made(replace(with_tables(PERIOD, hydrogen_kg=kg), assets=assets), "ev-carbon")
    figures = report.figures
    per_kg, per_kwh = (figures[f"stations/car1/{key}"].value for key in ("kg_per_kg", "g_per_kwh"))
    assert per_kg is not None
    assert per_kwh is not None
    assert per_kg == pytest.approx(per_kwh * 55 / 1000)
    kinds_of = ("ev", "hydrogen_station", "swap_station")
    for key in ("charged_kg", "driven_kg", "change_kg"):
        parts = [figures[f"transport/{kind}/{key}"].value or 0.0 for kind in kinds_of]
        assert figures[f"transport/all/{key}"].value == pytest.approx(sum(parts))
    assert {table.id for table in report.tables} >= {"stations", "transport"}
    assert json_bytes(report_document(report_of(report_document(report)))) == json_bytes(
        report_document(report)
    )
    assert "stations" not in {table.id for table in made(PERIOD, "ev-carbon").tables}


def test_the_marginal_ledger_goes_down_to_single_assets() -> None:
    figures = made(PERIOD, "district-carbon", marginal="assets").figures
    of_assets, of_districts = (
        [figure.value for key, figure in figures.items() if re.fullmatch(rf"marginal/{kind}/.+/kg", key)]
        for kind in ("asset", "district")
    )
    assert len(of_assets) == len(PERIOD.assets)
    assert sum(filter(None, of_assets)) == pytest.approx(sum(filter(None, of_districts)), rel=1e-9)
    assert not any(key.startswith("marginal/asset/") for key in made(PERIOD, "district-carbon").figures)
