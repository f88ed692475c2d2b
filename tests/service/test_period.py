"""Stored days joined to a period: hours, missing days, what differs between days."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.carbon.ev import ev_ledger
from energy.carbon.marginal import marginal
from energy.domain.errors import InputError, UnknownError
from energy.domain.period import ENDS, end_name, ends_of
from energy.domain.plan import SeriesTable
from energy.domain.records import DayAccounts
from energy.service.period import days_of, load_period
from energy.store import Store
from tests.builders import accounts_of, carry_of, city_of, plan_of, run_of
from tests.carbon.periods import table

CITY = city_of()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def save(store: Store, day: str, information: str = "perfect", **options: Any) -> DayAccounts:
    plan = plan_of(day, information=information)
    accounts = accounts_of(plan, **options)
    store.save_plan(plan, run_of(plan), carry_of(plan), accounts)
    return accounts


@pytest.mark.parametrize(
    ("label", "first", "last"),
    [
        ("2016", "2016-01-01", "2016-12-31"),
        ("2016-02", "2016-02-01", "2016-02-29"),
        ("2016-12", "2016-12-01", "2016-12-31"),
        ("2016-06-21", "2016-06-21", "2016-06-21"),
        ("2016-06-01/2016-06-15", "2016-06-01", "2016-06-15"),
    ],
)
def test_a_label_is_a_year_a_month_a_day_or_two_days(label: str, first: str, last: str) -> None:
    assert tuple(day.isoformat() for day in days_of(label)) == (first, last)


@pytest.mark.parametrize("label", ["", "june", "2016-13", "2016-6", "2016-06-31", "16", "2016-W25"])
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="is not a period; write a year"):
        days_of(label)


@pytest.mark.parametrize(("label", "hours"), [("2016-03-27", 23), ("2016-10-30", 25), ("2016-03", 743)])
def test_hours_follow_the_local_clocks(store: Store, label: str, hours: int) -> None:
    save(store, f"{label}-27" if len(label) == 7 else label)
    assert load_period(store, CITY, label).time.steps == hours


def test_missing_days_are_nan_and_listed(store: Store) -> None:
    days = {day: save(store, day) for day in ("2016-03-26", "2016-03-28")}
    period = load_period(store, CITY, "2016-03-25/2016-03-28")
    assert period.missing == ("2016-03-25", "2016-03-27")
    assert [run.day for run in period.days] == ["2016-03-26", "2016-03-28"]
    assert period.time.steps == 24 + 24 + 23 + 24
    missing = np.r_[0:24, 48:71]
    present = np.setdiff1d(np.arange(95), missing)
    for values in (
        table(period, "drawn_mwh"),
        table(period, "tank_kg"),
        table(period, "bus_carbon_g_per_kwh"),
        period.upstream["renewable_share"],
    ):
        assert np.isnan(values[missing]).all()
        assert np.isfinite(values[present]).all()
    assert period.covered == pytest.approx(48 / 95)
    energy = period.actual.districts["energy_mwh"]
    first = days["2016-03-26"].tables["planned.district"]
    for k, district in enumerate(period.districts):
        np.testing.assert_array_equal(energy[24:48, k], first.column(f"energy_mwh/{district}"))
    np.testing.assert_array_equal(
        period.uncontrolled.city["cost"][71:], days["2016-03-28"].tables["uncontrolled.city"].column("cost")
    )
    assert period.planned is period.actual
    assert [day.opening_kg.tolist() for day in period.by_day] == [[200.0] * len(period.storages)] * 2


def test_what_a_city_no_longer_has_is_zero_on_those_days(store: Store) -> None:
    save(store, "2016-06-21", storages=("b1",), districts=("boundary", "harbour"))
    save(store, "2016-06-22", house="old_town")
    period = load_period(store, CITY, "2016-06-21/2016-06-22")
    assert period.districts == ("boundary", "harbour", "old_town")
    assert period.storages == ("b1", "ev1")
    tank_mwh = table(period, "tank_mwh")
    assert (tank_mwh[:24, 1] == 0).all()
    assert (tank_mwh[24:, 1] > 0).all()
    old_town = period.actual.districts["emissions_kg"][:, 2]
    assert (old_town[:24] == 0).all()
    assert (old_town[24:] > 0).all()
    # the house moved: it stands once per district, and each part has its days
    houses = [k for k, asset in enumerate(period.assets) if asset.id == "house"]
    assert [period.assets[k].district for k in houses] == ["harbour", "old_town"]
    drawn_kg = table(period, "drawn_kg")
    assert (drawn_kg[24:, houses[0]] == 0).all()
    assert (drawn_kg[:24, houses[1]] == 0).all()
    assert period.assets[houses[0]].classes == {"residential": 0.75, "commercial": 0.25}


def test_of_days_stored_without_the_ends_no_interval_is_known(store: Store) -> None:
    """Neither zero nor the value itself, and the period names them."""
    save(store, "2016-06-21", ranged=False)
    kept = save(store, "2016-06-22")
    period = load_period(store, CITY, "2016-06-21/2016-06-22")
    assert period.without_ends == ("2016-06-21",)
    for account, name in (
        (period.actual.districts, "emissions_kg"),
        (period.uncontrolled.city, "end_use_kg"),
    ):
        assert np.isfinite(account[name]).all()
        for end in ends_of(account, name):
            assert np.isnan(end[:24]).all()
            assert np.isfinite(end[24:]).all()
    before, after = period.by_day
    assert before.ends is None
    assert after.ends is not None
    assert [end.opening_kg.tolist() for end in after.ends] == [[100.0, 100.0], [300.0, 300.0]]
    for end, carbon in zip(ENDS, after.ends, strict=True):
        for name in ("drawn_kg", "injected_kg", "driven_kg", "tank_kg"):
            np.testing.assert_array_equal(getattr(carbon, name), kept.tables[end_name(name, end)].values)
    assert ev_ledger(period, kinds=("battery",)).city().ends is None
    later = ev_ledger(load_period(store, CITY, "2016-06-22"), kinds=("battery",)).city()
    assert later.ends is not None
    assert later.ends[0].driven_kg != later.driven_kg


def test_days_of_different_coupling_are_refused_by_name(store: Store) -> None:
    save(store, "2016-06-20")
    save(store, "2016-06-21")
    save(store, "2016-06-22", coupling="aggregated")
    with pytest.raises(
        InputError, match=r"coupling.*'aggregated' on 2016-06-22, 'direct' on 2016-06-20"
    ) as caught:
        load_period(store, CITY, "2016-06")
    assert len(caught.value.faults) == 1
    assert load_period(store, CITY, "2016-06-20/2016-06-21").coupling == "direct"


def test_days_ahead_have_what_was_planned_beside_what_came(store: Store) -> None:
    accounts = save(store, "2016-06-21", "day-ahead")
    period = load_period(store, CITY, "2016-06-21", "day-ahead")
    for name in ("actual", "planned", "uncontrolled"):
        cost = getattr(period, name).city["cost"]
        np.testing.assert_array_equal(cost, accounts.tables[f"{name}.city"].column("cost"))
    with pytest.raises(UnknownError, match="no stored day in 2016-06-21 with perfect information"):
        load_period(store, CITY, "2016-06-21")
    with pytest.raises(InputError, match="'none' is not known; give one of perfect, day-ahead"):
        load_period(store, CITY, "2016-06-21", "none")


def test_days_that_are_no_whole_number_of_hours_are_refused(store: Store) -> None:
    save(store, "2016-04-03")
    lord_howe = replace(CITY, zone=ZoneInfo("Australia/Lord_Howe"))
    with pytest.raises(InputError, match=r"day 2016-04-03.*not a whole number of hours"):
        load_period(store, lord_howe, "2016-04-03")


def test_the_days_of_a_period_are_never_in_memory_together(store: Store) -> None:
    """Reading three weeks and going through them takes hardly more memory than three days."""
    storages = tuple(f"b{k}" for k in range(300))
    for day in range(1, 22):
        plan = plan_of(f"2016-02-{day:02d}")
        accounts = accounts_of(plan, storages=storages)
        tables = {
            name: SeriesTable(table.columns, np.ones_like(table.values))
            for name, table in accounts.tables.items()
        }
        store.save_plan(plan, run_of(plan), carry_of(plan), replace(accounts, tables=tables))
    highest = {}
    for last in (1, 3, 21):  # what is made once, at the first call, is not counted
        tracemalloc.start()
        try:
            period = load_period(store, CITY, f"2016-02-01/2016-02-{last:02d}")
            charged = ev_ledger(period, marginal(period), ["battery"]).city().charged_mwh
            highest[last] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert charged == 24 * last * len(storages)
    assert highest[21] < 1.5 * highest[3]
