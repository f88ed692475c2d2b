"""What goes into the store comes out again, exactly, and only whole; on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import threading
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from energy.domain.errors import InputError
from energy.domain.period import DayRun
from energy.domain.plan import Plan, SeriesTable
from energy.domain.records import CarryOver
from energy.store import Store
from energy.store.packing import float64, packed_accounts, stored_accounts
from tests.builders import ASSETS, accounts_of, carry_of, plan_of, run_of

QUARTER = timedelta(minutes=15)


def save(store: Store, plan: Plan) -> None:
    store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))


def same(left: Plan | None, right: Plan) -> bool:
    return (
        left is not None
        and (left.city, left.day, left.information, left.time)
        == (right.city, right.day, right.information, right.time)
        and left.tables.keys() == right.tables.keys()
        and all(
            left.tables[name].columns == table.columns
            and left.tables[name].values.tobytes() == table.values.tobytes()
            for name, table in right.tables.items()
        )
    )


@pytest.mark.parametrize("day", ["2016-06-21", "2016-03-27", "2016-10-30"])
def test_a_plan_comes_back_bit_for_bit(store: Store, day: str) -> None:
    plan = plan_of(day)
    assert plan.time.steps == {"2016-06-21": 96, "2016-03-27": 92, "2016-10-30": 100}[day]
    save(store, plan)
    assert same(store.plan("toy", day), plan)
    assert store.plan("toy", "2016-06-22") is None
    assert store.plan("other", day) is None
    assert store.plan("toy", day, "day-ahead") is None


def test_hourly_accounts_come_back_with_the_run_that_made_them(store: Store) -> None:
    for day in ("2016-03-26", "2016-03-27", "2016-03-29"):
        save(store, plan_of(day))
    save(store, plan_of("2016-03-28", information="day-ahead"))
    found = store.day_accounts("toy", "2016-03-27", "2016-03-31")
    assert [accounts.run.day for accounts in found] == ["2016-03-27", "2016-03-29"]
    accounts, later = found
    assert later.assets is accounts.assets
    assert later.columns is accounts.columns
    run = accounts.run
    plan = plan_of("2016-03-27")
    expected = accounts_of(plan)
    assert (run.status, run.input_hash, run.factors_version) == (
        "secure",
        plan.document["input_hash"],
        expected.factors_version,
    )
    assert run.finished == run_of(plan).finished
    assert run.sources == expected.sources
    for name in ("time", "start_hash", "coupling", "losses", "assets"):
        assert getattr(accounts, name) == getattr(expected, name)
    for held, expected_held in (
        (accounts.opening_mwh, expected.opening_mwh),
        (accounts.opening_kg, expected.opening_kg),
        *zip(accounts.opening_range_kg or (), expected.opening_range_kg or (), strict=True),
    ):
        assert dict(zip(accounts.columns["tank_mwh"], held.tolist(), strict=True)) == expected_held
    tables = accounts.unpack()
    assert tables.keys() == expected.tables.keys()
    for name, table in expected.tables.items():
        assert accounts.columns[name] == table.columns
        assert tables[name].tobytes() == table.values.tobytes()


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(width=64)))
def test_any_float_survives_packing(values: np.ndarray) -> None:
    back = np.frombuffer(zlib.decompress(float64(values)), dtype="<f8").reshape(values.shape)
    assert back.tobytes() == np.ascontiguousarray(values).tobytes()


def test_planning_again_replaces_the_plan_as_a_whole(store: Store) -> None:
    first, second = plan_of(seed=1), plan_of(seed=2)
    for plan in (first, second, second):
        save(store, plan)
    assert same(store.plan("toy", "2016-06-21"), second)
    assert len(store.plans("toy")) == 1
    assert [run.input_hash for run in store.runs("toy", "2016-06-21")] == [
        plan.document["input_hash"] for plan in (first, second, second)
    ]
    energy = store.district_series("toy", second.time.start, second.time.end).energy_mwh
    assert energy.sum() == pytest.approx(second.tables["planned.district.energy_mwh"].values.sum())


def test_plans_of_one_day_with_different_information_stand_side_by_side(store: Store) -> None:
    plans = [plan_of(information=information) for information in ("day-ahead", "perfect")]
    for plan in plans:
        save(store, plan)
    assert [summary.information for summary in store.plans("toy")] == ["day-ahead", "perfect"]
    assert same(store.plan("toy", "2016-06-21", "day-ahead"), plans[0])


def test_a_summary_says_what_the_plan_says(store: Store) -> None:
    plan = plan_of()
    save(store, plan)
    (summary,) = store.plans("toy")
    assert (summary.day, summary.status, summary.rounds, summary.violations) == ("2016-06-21", "secure", 2, 0)
    assert summary.stored == run_of(plan).finished
    assert store.runs("toy", "2016-06-21") == (run_of(plan),)


def test_tanks_carry_over_to_the_next_day_only(store: Store) -> None:
    plan = plan_of("2016-02-29")
    save(store, plan)
    assert store.carry_over("toy", "2016-03-01") == carry_of(plan)
    assert store.carry_over("toy", "2016-02-29") is None
    assert store.carry_over("toy", "2016-03-02") is None


def test_a_carry_over_names_the_same_assets_twice() -> None:
    two, one = {"b1": 1.0, "b2": 1.0}, {"b1": 1.0}
    for carbon, renewable in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="b2"):
            CarryOver(datetime(2016, 1, 1, tzinfo=UTC), two, carbon, renewable)


def test_the_peak_is_that_of_the_days_before_in_the_month(store: Store) -> None:
    plans = {day: plan_of(day) for day in ("2016-05-31", "2016-06-01", "2016-06-20", "2016-06-22")}
    for plan in plans.values():
        save(store, plan)
    before = [
        plans[day].tables["planned.totals"].column("import_mw").max() for day in ("2016-06-01", "2016-06-20")
    ]
    assert store.month_peak_mw("toy", "2016-06-21") == max(before)
    assert store.month_peak_mw("toy", "2016-06-01") is None
    assert store.month_peak_mw("toy", "2016-06-21", "day-ahead") is None


def test_hourly_rollups_add_up_to_the_rows(store: Store) -> None:
    plan = plan_of("2016-10-30")
    save(store, plan)
    raw = store.district_series("toy", plan.time.start, plan.time.end, resolution=QUARTER)
    hours = store.district_series("toy", plan.time.start, plan.time.end)
    assert raw.energy_mwh.shape == (100, 3)
    assert raw.energy_mwh.tobytes() == plan.tables["planned.district.energy_mwh"].values.tobytes()
    for name in ("energy_mwh", "emissions_kg", "loss_emissions_kg", "renewable_mwh"):
        expected = getattr(raw, name).reshape(25, 4, 3).sum(axis=1)
        np.testing.assert_allclose(getattr(hours, name), expected, rtol=1e-12)
    assert raw.renewable_mwh[3, 0] == 0.0
    for asset in ASSETS:
        power = plan.tables["planned.asset_p_kw"].column(asset)
        energy = store.asset_series("toy", asset, plan.time.start, plan.time.end).energy_kwh
        np.testing.assert_allclose(energy, power.reshape(25, 4).mean(axis=1), rtol=1e-12, atol=1e-12)


def test_an_unknown_share_makes_the_hour_unknown_not_zero(store: Store) -> None:
    plan = plan_of()
    plan.tables["planned.district.renewable_share"].values[8, 1] = np.nan
    save(store, plan)
    renewable = store.district_series("toy", plan.time.start, plan.time.end).renewable_mwh
    assert np.argwhere(np.isnan(renewable)).tolist() == [[2, 1]]


def test_what_no_plan_covers_is_nan(store: Store) -> None:
    for day in ("2016-06-20", "2016-06-22"):
        save(store, plan_of(day))
    start = plan_of("2016-06-20").time.start
    series = store.district_series("toy", start, start + timedelta(days=3))
    missing = np.isnan(series.energy_mwh).all(axis=1)
    assert missing.tolist() == [False] * 24 + [True] * 24 + [False] * 24
    daily = store.district_series("toy", start, start + timedelta(days=3), resolution=timedelta(days=1))
    assert np.isnan(daily.energy_mwh).all(axis=1).tolist() == [False, True, False]
    half = store.district_series(
        "toy", start - timedelta(hours=12), start + timedelta(hours=12), resolution=timedelta(days=1)
    )
    assert np.isnan(half.energy_mwh).all()
    assert np.isnan(store.asset_series("toy", "nobody", start, start + timedelta(days=1)).energy_kwh).all()


def test_days_that_start_at_half_past_share_an_hour(store: Store) -> None:
    plans = [plan_of(day, zone="Asia/Kolkata") for day in ("2016-06-20", "2016-06-21")]
    assert plans[0].time.start.minute == 30
    for plan in plans:
        save(store, plan)
    first = plans[0].time.start + timedelta(minutes=30)
    series = store.district_series("toy", first, first + timedelta(hours=47))
    values = np.concatenate([plan.tables["planned.district.energy_mwh"].values for plan in plans])[2:-2]
    np.testing.assert_allclose(series.energy_mwh, values.reshape(47, 4, 3).sum(axis=1), rtol=1e-12)


def test_the_day_as_it_came_is_what_is_accounted(store: Store) -> None:
    plan = plan_of(information="day-ahead", cases=("planned", "actual"))
    save(store, plan)
    series = store.district_series(
        "toy", plan.time.start, plan.time.end, information="day-ahead", resolution=QUARTER
    )
    assert series.energy_mwh.tobytes() == plan.tables["actual.district.energy_mwh"].values.tobytes()
    peak = plan.tables["actual.totals"].column("import_mw").max()
    assert store.month_peak_mw("toy", "2016-06-22", "day-ahead") == peak


def test_intervals_that_split_steps_are_refused(store: Store) -> None:
    plan = plan_of()
    save(store, plan)
    start = plan.time.start
    with pytest.raises(InputError, match="whole steps"):
        store.district_series("toy", start, start + timedelta(hours=1), resolution=timedelta(minutes=20))
    with pytest.raises(InputError, match="whole number"):
        store.district_series("toy", start, start + timedelta(minutes=50))
    with pytest.raises(InputError, match="whole number"):
        store.district_series("toy", start, start)
    with pytest.raises(InputError, match="by the hour"):
        store.asset_series("toy", "pv", start, start + timedelta(hours=1), resolution=QUARTER)


def test_nan_in_a_document_is_refused_and_nothing_is_stored(store: Store) -> None:
    plan = plan_of()
    broken = Plan(
        plan.city, plan.day, plan.information, plan.time, {**plan.document, "x": np.nan}, plan.tables
    )
    with pytest.raises(ValueError, match="JSON"):
        save(store, broken)
    assert store.plans("toy") == ()
    assert store.runs("toy", plan.day) == ()


def test_an_empty_table_keeps_its_shape(store: Store) -> None:
    plan = plan_of()
    tables = {**plan.tables, "planned.curtailed_kw": SeriesTable((), np.zeros((plan.time.steps, 0)))}
    save(store, replace(plan, tables=tables))
    stored = store.plan("toy", plan.day)
    assert stored is not None
    assert stored.tables["planned.curtailed_kw"].values.shape == (96, 0)


def test_a_reader_never_sees_half_of_a_replacement(store: Store) -> None:
    plans = [plan_of(seed=seed) for seed in (1, 2)]
    save(store, plans[0])
    stop = threading.Event()

    def replace_again_and_again() -> None:
        while not stop.is_set():
            for plan in plans:
                save(store, plan)

    writer = threading.Thread(target=replace_again_and_again)
    writer.start()
    try:
        seen = [store.plan("toy", plans[0].day) for _ in range(50)]
    finally:
        stop.set()
        writer.join()
    assert all(any(same(found, plan) for plan in plans) for found in seen)


def test_accounts_that_were_stored_without_the_hash_of_their_start_are_stale() -> None:
    plan = plan_of()
    packed = packed_accounts(accounts_of(plan))
    document = {
        name: value
        for name, value in json.loads(zlib.decompress(packed["document"])).items()
        if name != "start_hash"
    }
    run = DayRun(plan.day, 1, plan.information, "secure", "", "0", "1", plan.time.start)
    found = stored_accounts(run, document, packed["float64"], zlib.decompress, None)
    assert found.start_hash == ""
    assert found.unpack().keys() == accounts_of(plan).tables.keys()


def test_tables_that_were_stored_in_one_are_read_as_those_of_today() -> None:
    plan = plan_of()
    accounts = accounts_of(plan)
    document = json.loads(zlib.decompress(packed_accounts(accounts)["document"]))
    del document["bytes"]
    tables = [accounts.tables[name].values.ravel() for name in sorted(accounts.tables)]
    run = DayRun(plan.day, 1, plan.information, "secure", "", "0", "1", plan.time.start)
    found = stored_accounts(run, document, float64(np.concatenate(tables)), zlib.decompress, None)
    for name, values in found.unpack().items():
        assert values.tobytes() == accounts.tables[name].values.tobytes()
