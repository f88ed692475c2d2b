"""A range of days: the same as day by day, resumed after a kill, planned again from the first stale day."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from energy.domain.city import City
from energy.domain.errors import Fault, InputError
from energy.domain.period import ends_of
from energy.domain.progress import Progress
from energy.service.cities import init_city, open_city
from energy.service.city_day import Information
from energy.service.days import DayOutcome, DaysOperation
from energy.service.period import load_period
from energy.service.service import Service
from energy.store import Store

Stored = dict[str, tuple[str, bytes]]
FIRST, LAST = "2016-06-20", "2016-06-22"
DAYS = (FIRST, "2016-06-21", LAST)
OPERATE = ("-c", "from energy.cli import main; main()", "operate", "--from", FIRST, "--to", LAST)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A city of 33 buses by the hour; its cache is shared, each test has a store of its own."""
    folder = tmp_path_factory.mktemp("days")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(folder / "home"))
        init_city(folder / "city", "pandapower:case33bw")
        settings = folder / "city" / "city.toml"
        settings.write_text(settings.read_text("utf-8").replace('"PT15M"', '"PT1H"'), "utf-8")
        yield folder / "city"


def service_of(directory: Path, store: Path) -> Service:
    return Service(Store.open(f"sqlite:///{store}"), [open_city(directory)])


def kept_bytes(store: Path, city: str) -> Stored:
    """Documents and accounts by day, as they are stored."""
    opened = Store.open(f"sqlite:///{store}")
    found = {}
    for accounts in opened.day_accounts(city, "2016-01-01", "2016-12-31"):
        plan = opened.plan(city, accounts.run.day)
        assert plan is not None
        tables = accounts.unpack()
        numbers = b"".join(tables[name].tobytes() for name in sorted(tables))
        found[accounts.run.day] = (json.dumps(plan.document, sort_keys=True) + accounts.start_hash, numbers)
    opened.close()
    return found


@pytest.fixture(scope="module")
def filled(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the days, planned one by one."""
    store = tmp_path_factory.mktemp("one") / "store.db"
    service = service_of(directory, store)
    for day in DAYS:
        service.plan(*service.city_ids(), day)
    service.close()
    return store


@pytest.fixture(scope="module")
def day_by_day(directory: Path, filled: Path) -> tuple[str, Stored]:
    city = open_city(directory).id
    return city, kept_bytes(filled, city)


def test_a_range_that_was_killed_goes_on_where_it_stopped(
    directory: Path, tmp_path: Path, day_by_day: tuple[str, Stored]
) -> None:
    city, expected = day_by_day
    file, output = tmp_path / "store.db", tmp_path / "summary.json"
    command = [sys.executable, *OPERATE, "--city", str(directory), "-o", str(output)]
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{file}"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    began = time.monotonic()
    for line in process.stderr:
        if "day 2 of 3: dispatch" in line:
            break
        assert time.monotonic() - began < 120, "the second day never came"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stderr.close()
    assert not output.exists()
    assert kept_bytes(file, city).keys() <= {FIRST}  # whole days or none

    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert kept_bytes(file, city) == expected
    summary = json.loads(output.read_text(encoding="utf-8"))
    assert summary == {
        "schema": "wattshed.operation/1",
        "city": city,
        "information": "perfect",
        "from": FIRST,
        "to": LAST,
        "days": 3,
        "planned": 2,
        "kept": 1,
        "secure": 3,
        "unresolved": [],
        "failed": [],
    }


def test_days_are_planned_again_from_the_first_whose_start_has_changed(
    directory: Path, tmp_path: Path, day_by_day: tuple[str, Stored]
) -> None:
    city, expected = day_by_day
    service = service_of(directory, tmp_path / "store.db")
    assert service.operate_days(city, FIRST, LAST)["planned"] == 3
    assert service.operate_days(city, FIRST, LAST)["kept"] == 3
    service.plan(city, "2016-06-19")  # from now on the first day starts from what this one leaves
    changed = service.operate_days(city, FIRST, LAST)
    assert changed["planned"] >= 1
    service.close()
    after = kept_bytes(tmp_path / "store.db", city)
    assert after[FIRST] != expected[FIRST]
    again = service_of(directory, tmp_path / "again.db")
    again.operate_days(city, "2016-06-19", LAST)
    again.close()
    assert kept_bytes(tmp_path / "again.db", city) == after


def test_tanks_carry_both_ends_of_their_carbon_from_day_to_day(directory: Path, filled: Path) -> None:
    city, store = open_city(directory), Store.open(f"sqlite:///{filled}")
    period = load_period(store, city, f"{FIRST}/{LAST}")
    assert period.without_ends == ()
    column = [[asset.id for asset in period.assets].index(name) for name in period.storages]
    days = list(period.by_day)
    widths = []
    for k in range(3):
        made = [day.carbon if k == 0 or day.ends is None else day.ends[k - 1] for day in days]
        for before, after in pairwise(made):
            np.testing.assert_allclose(after.opening_kg, before.tank_kg[-1], rtol=1e-12)
        flows = sum((day.drawn_kg - day.injected_kg)[:, column].sum(axis=0) for day in made)
        held = made[0].opening_kg + flows - sum(day.driven_kg.sum(axis=0) for day in made)
        np.testing.assert_allclose(held, made[-1].tank_kg[-1], rtol=1e-9, atol=1e-9 * held.max())
        widths.append(made[-1].tank_kg[-1].sum())
        series = {
            name: period.actual.city[name] if k == 0 else ends_of(period.actual.city, name)[k - 1]
            for name in ("sources_kg", "end_use_kg", "losses_kg", "exports_kg", "ev_driven_kg")
        }
        changes = sum(day.tank_change_kg.sum() for day in made)
        booked = sum(values.sum() for name, values in series.items() if name != "sources_kg")
        assert booked + changes == pytest.approx(series["sources_kg"].sum(), rel=1e-9)
    value, low, high = widths
    assert low < value < high
    store.close()


def test_days_stored_in_an_older_format_are_planned_again(
    directory: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(shutil.copy(filled, tmp_path))
    service = service_of(directory, file)
    (city,) = service.city_ids()
    assert service.operate_days(city, FIRST, FIRST)["kept"] == 1
    monkeypatch.setattr("energy.service.city_day.ACCOUNTS_FORMAT", 1)
    assert service.operate_days(city, FIRST, FIRST)["planned"] == 1
    service.close()


def test_tanks_without_ends_leave_the_next_day_without_an_interval(
    directory: Path, filled: Path, tmp_path: Path
) -> None:
    """As a store has them that is older than the ends: not zero, not the carbon itself, and said."""
    file = Path(shutil.copy(filled, tmp_path))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE carry_overs SET carbon_low_kg = NULL, carbon_high_kg = NULL")
    service = service_of(directory, file)
    (city,) = service.city_ids()
    plan = service.plan(city, LAST)
    service.close()
    assert any(
        "figures have no interval; operate the days before" in text for text in plan.document["notices"]
    )
    store = Store.open(f"sqlite:///{file}")
    period = load_period(store, open_city(directory), LAST)
    (day,) = period.by_day
    assert day.ends is None
    assert np.isfinite(period.actual.city["end_use_kg"]).all()
    for end in ends_of(period.actual.city, "end_use_kg"):
        assert np.isnan(end).all()
    carry = store.carry_over(city, "2016-06-23")
    assert carry is not None
    assert not carry.carbon_range_kg
    store.close()


def test_a_day_without_a_schedule_is_told_and_the_next_goes_on(directory: Path) -> None:
    def operate_day(_city: City, day: date, _information: Information, _progress: Progress) -> DayOutcome:
        if day.isoformat() == "2016-06-21":
            raise InputError([Fault("b1", "cannot end full"), Fault("grid", "is too weak")])
        return DayOutcome(day.isoformat(), "planned", "secure" if day.day == 20 else "unresolved")

    shown: list[float] = []
    operation = DaysOperation(operate_day)
    city = open_city(directory)
    summary = operation.run(city, FIRST, LAST, "perfect", lambda share, _: shown.append(share))
    assert (summary["planned"], summary["secure"], summary["unresolved"]) == (2, 1, [LAST])
    assert summary["failed"] == [
        {
            "day": "2016-06-21",
            "faults": [
                {"path": "b1", "message": "cannot end full"},
                {"path": "grid", "message": "is too weak"},
            ],
        }
    ]
    assert shown[-1] == 1.0
    with pytest.raises(InputError, match="2016-06-20 is before 2016-06-22; swap"):
        operation.run(city, LAST, FIRST, "perfect", lambda *_: None)
    with pytest.raises(InputError, match="outside the data"):
        operation.run(city, "2015-12-31", FIRST, "perfect", lambda *_: None)
