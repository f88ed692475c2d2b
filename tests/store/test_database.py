"""A store that cannot be used says why; a killed or competing process never leaves half of a plan."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from energy.domain.errors import StoreError
from energy.store import Store, database
from energy.store.database import Database
from energy.store.schema import UTC, metadata
from tests.builders import accounts_of, carry_of, plan_of, run_of

ROOT = Path(__file__).parents[2]


def start_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_migrations_make_the_schema_of_the_code(url: str) -> None:
    opened = Database(url)

    def differs(*kinds: object) -> bool | None:
        # UTC is how we read a column that the migration calls DateTime
        return False if isinstance(kinds[-1], UTC) else None

    with opened.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": differs})
        assert compare_metadata(context, metadata) == []
    opened.close()


def test_a_store_of_the_version_before_is_migrated_with_what_it_holds(url: str) -> None:
    """Its plans stay; their tanks have no range, and their days no hourly accounts."""
    plan, store = plan_of(), Store.open(url)
    store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))
    engine = create_engine(database._normalised(url))
    config = Config()
    config.set_main_option("script_location", "energy.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    engine.dispose()
    store.close()
    store = Store.open(url)
    kept = store.plan("toy", plan.day)
    assert kept is not None
    assert kept.document == plan.document
    carry = store.carry_over("toy", "2016-06-22")
    assert carry is not None
    assert carry == replace(carry_of(plan), carbon_range_kg={})
    assert store.day_accounts("toy", plan.day, plan.day) == []
    store.close()


SAVE_SLOWLY = """
import sys, time
from sqlalchemy import Engine, event
from energy.store import Store
from tests.builders import accounts_of, carry_of, plan_of, run_of

@event.listens_for(Engine, "before_cursor_execute")
def slow(connection, cursor, statement, *rest):
    if statement.startswith("INSERT INTO asset_hours"):
        print("writing", flush=True)
        time.sleep(60)

plan = plan_of(seed=2)
Store.open(sys.argv[1]).save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))
"""


def test_a_process_killed_in_the_middle_leaves_the_old_plan(url: str) -> None:
    old = plan_of(seed=1)
    store = Store.open(url)
    store.save_plan(old, run_of(old), carry_of(old), accounts_of(old))
    writer = start_python(SAVE_SLOWLY, url)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    assert store.plan("toy", old.day).document == old.document  # type: ignore[union-attr] # readers go on

    writer.send_signal(signal.SIGKILL)
    writer.wait()

    found = store.plan("toy", old.day)
    assert found is not None
    assert found.document == old.document
    assert found.tables.keys() == old.tables.keys()
    assert len(store.runs("toy", old.day)) == 1
    new = plan_of(seed=2)
    store.save_plan(new, run_of(new), carry_of(new), accounts_of(new))  # its lock is gone too
    assert store.plan("toy", old.day).document == new.document  # type: ignore[union-attr]
    store.close()


OPEN_AND_SAVE = """
import sys
from energy.store import Store
from tests.builders import accounts_of, carry_of, plan_of, run_of

sys.stdin.readline()
store = Store.open(sys.argv[1])
for seed in range(3):
    plan = plan_of(seed=seed)
    store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))
print(len(store.plans("toy")))
"""


def test_processes_that_open_and_write_at_once_wait_for_each_other(url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_SAVE, url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    assert [answer for answer, _ in answers] == ["1\n"] * 3, answers
    assert len(Store.open(url).runs("toy", "2016-06-21")) == 9


def test_a_newer_schema_is_refused_and_left_alone(url: str) -> None:
    Store.open(url).close()
    engine = create_engine(database._normalised(url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"holds schema 9999.*up to \d{4}.*Install the newer"):
        Store.open(url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    engine.dispose()


def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_bytes(b"this is a letter, not a database. " * 100)
    with pytest.raises(StoreError, match=r"store\.db.*not a database.*restore it from a backup"):
        Store.open(f"sqlite:///{file}")


def test_a_file_damaged_inside_is_found_when_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{file}")
    plan = plan_of()
    store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE plan_tables SET float64 = x'00112233'")
    with pytest.raises(StoreError, match=r"damaged.*plan the day again"):
        Store.open(f"sqlite:///{file}").plan("toy", plan.day)


def test_a_store_that_is_locked_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    file = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{file}")
    plan = plan_of()
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked; another process has been writing"):
            store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))
        other.execute("ROLLBACK")
    store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="folder cannot be made"):
        Store.open(f"sqlite:///{tmp_path / 'file' / 'store.db'}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://nobody:s3cret@127.0.0.1:1/none", r"(?i)refused.*check DATABASE_URL"),
        ("postgresql://nobody:s3cret@no-such-host.invalid/none", r"(?i)correct the host in DATABASE_URL"),
        ("oracle://host/none", r"no driver"),
        ("not a url", r"is not a database URL"),
    ],
)
def test_an_unreachable_database_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refused:
        Store.open(url)
    assert refused.value.exit_code == 5
    assert "s3cret" not in str(refused.value)


def test_a_missing_database_says_what_to_make(postgres_url: str) -> None:
    with pytest.raises(StoreError, match="create the database"):
        Store.open(postgres_url + "_missing")


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        UTC().process_bind_param(datetime(2016, 1, 1), create_engine("sqlite://").dialect)  # noqa: DTZ001


def test_sqlite_is_durable_and_keeps_its_references(tmp_path: Path) -> None:
    opened = Database(f"sqlite:///{tmp_path / 'store.db'}")
    with opened.reading() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
