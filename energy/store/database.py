"""Reaching a database: SQLite or PostgreSQL behind one engine, migrated, its errors in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from energy.domain.errors import StoreError

BUSY_SECONDS = 10
"""How long a process waits for another one that writes."""
_MIGRATION_LOCK = 0x57A7
"""The PostgreSQL advisory lock under which one process at a time migrates."""


class Database:
    """A migrated database; every failure is a `StoreError` with cause and remedy.

    SQLite runs in WAL mode with ``synchronous=FULL`` (what was acknowledged survives a power cut) and
    enforced foreign keys. All other SQL serves both.
    """

    def __init__(self, url: str) -> None:
        """Open the database at `url`, creating an SQLite file where there is none, and migrate it."""
        self.url = _normalised(url)
        self.name = self.url.render_as_string(hide_password=True)
        if self.url.get_backend_name() == "sqlite" and self.url.database:
            try:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"store {self.name}: its folder cannot be made: {error.strerror}") from None
        self._migrate()
        self._engine = self._connector(foreign_keys=True)
        self._writer = self._engine.execution_options(exclusive=True)
        self._reader = self._engine
        if self._engine.dialect.name == "postgresql":  # SQLite reads one state of the database anyway
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout."""
        with self._explained(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection whose changes are stored all together when the block ends well, or not at all.

        One writer at a time; readers go on reading the old state.
        """
        with self._explained(), self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("LOCK TABLE plans IN SHARE ROW EXCLUSIVE MODE"))
            yield connection

    def _connector(self, *, foreign_keys: bool, **options: Any) -> Engine:
        try:
            engine = create_engine(self.url, **options)
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            raise StoreError(
                f"store {self.name}: no driver for this kind of database ({error}). Leave DATABASE_URL "
                "unset for SQLite, or give postgresql://… and install wattshed[postgres]"
            ) from None
        if engine.dialect.name == "sqlite":

            @event.listens_for(engine, "connect")
            def configure(connection: sqlite3.Connection, _record: object) -> None:
                connection.isolation_level = None  # transactions begin where we say, below
                for pragma in (
                    f"busy_timeout={BUSY_SECONDS * 1000}",
                    "journal_mode=WAL",
                    "synchronous=FULL",
                    f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
                ):
                    connection.execute(f"PRAGMA {pragma}")

            @event.listens_for(engine, "begin")
            def begin(connection: Connection) -> None:
                # a writer takes its lock at once: upgrading a read lock fails where another one writes
                exclusive = connection.get_execution_options().get("exclusive", False)
                connection.exec_driver_sql("BEGIN IMMEDIATE" if exclusive else "BEGIN")

        return engine

    def _migrate(self) -> None:
        """Bring the schema up to this version; processes that open at once wait for each other.

        Foreign keys are off meanwhile: SQLite alters a table by copying and dropping it, and the drop
        would take the rows that refer to it along.
        """
        engine = self._connector(foreign_keys=False, poolclass=NullPool)
        config = Config()
        config.set_main_option("script_location", "energy.store:migrations")
        scripts = ScriptDirectory.from_config(config)
        known = {script.revision for script in scripts.walk_revisions()}

        def revision(connection: Connection) -> str | None:
            found = MigrationContext.configure(connection).get_current_revision()
            if found is not None and found not in known:
                raise StoreError(
                    f"store {self.name} holds schema {found}; this version of Wattshed knows schemas up "
                    f"to {scripts.get_current_head()}. Install the newer version that wrote it, or use "
                    "another WATTSHED_HOME or DATABASE_URL"
                )
            return found

        with self._explained():
            with engine.begin() as connection:
                if revision(connection) == scripts.get_current_head():
                    return
            with engine.execution_options(exclusive=True).begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                if revision(connection) != scripts.get_current_head():
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(f"store {self.name}: {_cause_and_remedy(error)}") from error


def _normalised(url: str) -> URL:
    """`url` with the PostgreSQL driver we ship, whichever way the scheme was written."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise StoreError(
            "DATABASE_URL is not a database URL; write it like postgresql://user@host:5432/wattshed or "
            "sqlite:////folder/wattshed.db"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


_REMEDIES = {
    "database is locked": f"another process has been writing for over {BUSY_SECONDS} s; wait, or end it",
    "file is not a database": "the file is damaged or something else; restore it from a backup, or move "
    "it away and a new store is made",
    "malformed": "the file is damaged; restore it from a backup, or move it away and a new store is made",
    "unable to open database file": "check that the folder exists and may be written",
    "readonly database": "allow writing to the file and its folder",
    "disk is full": "make room on the disk",
    "disk I/O error": "check the disk and its free space",
    "connection refused": "check DATABASE_URL and that the server runs",
    "does not exist": "create the database and role, or correct DATABASE_URL",
    "password authentication failed": "correct user and password in DATABASE_URL",
    "could not translate host name": "correct the host in DATABASE_URL",
    "failed to resolve host": "correct the host in DATABASE_URL",
}


def _cause_and_remedy(error: SQLAlchemyError) -> str:
    cause = str(getattr(error, "orig", None) or error).strip()
    for sign, remedy in _REMEDIES.items():
        if sign.lower() in cause.lower():
            return f"{cause.splitlines()[0]}; {remedy}"
    return f"{cause}; check the database and try again"
