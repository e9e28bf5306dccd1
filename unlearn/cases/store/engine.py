"""Connections and transactions, the same on SQLite and PostgreSQL. Knows no table."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from weakref import finalize

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError,
)
from sqlalchemy.orm import Session

from unlearn.cases.store.ahead import UNREAD, wait_in_line
from unlearn.errors import BadInput, Unavailable
from unlearn.locks import hold

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
BUSY_MILLISECONDS = 30_000
ALONE_SECONDS = 1.0
SETTLE_MILLISECONDS = 1_000
"""How long others wait at most while the log is emptied."""
LOG_PAGES = 4000
"""SQLite's write-ahead log goes into the file when it has so many pages (16 MB): rarely, and a page that many writers
changed only once."""
UNDEFINED_TABLE = "42P01"
"""PostgreSQL's word for tables that nobody made yet; SQLite calls that an operational error."""
COLLISIONS = ("40P01", "40001")
"""PostgreSQL's words for a deadlock, and for what can't be put in an order."""
MIGRATION_LOCK, LEDGER_LOCK, FINGERPRINT_LOCK, ERRAND_LOCK = 7_410_001, 7_410_002, 7_410_008, 7_410_009
"""Keys of PostgreSQL's advisory locks; on SQLite a writing transaction is alone anyway."""


class Store:
    """The case database. `reading` and `writing` give a session whose transaction ends with the block."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.engine = create_engine(parsed, json_serializer=as_json, hide_parameters=True)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise BadInput(f"UNLEARN_DATABASE_URL can't be used: {error}") from None
        self._away = False
        self._let_go: Callable[[], object] = lambda: None
        self._turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.engine.dialect.name == "sqlite":
            _prepare_sqlite(self.engine)
            if parsed.database:
                self._let_go = finalize(self, os.close, _hold_shared(Path(parsed.database)))
            # SQLite's own waiting looks again after ever longer pauses, so that threads who write starve each other.
            self._turn = threading.Lock()
        else:
            _prepare_postgresql(self.engine)
            wait_in_line(self.engine)

    @property
    def writers(self) -> int:
        """How many transactions of one process may write at once to advantage: one commits while another looks."""
        return 1 if self.engine.dialect.name == "sqlite" else 2

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database."""
        with self._session() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or changes nothing if the block raises."""
        with self._turn, self._session(writes=True) as session:
            yield session
            session.commit()

    @contextmanager
    def _session(self, **options: Any) -> Iterator[Session]:
        """A session in a transaction. A connection that was lost while it waited shows at BEGIN, and is replaced."""
        with self._answering(), Session(self.engine, expire_on_commit=False) as session:
            try:
                session.connection(execution_options=options)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                session.rollback()
                session.connection(execution_options=options)
            yield session

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn an error of the connection into Unavailable, which strangers may read: what it says goes to the log."""
        try:
            yield
        except (OperationalError, InterfaceError, TimeoutError) as error:
            if not self._away:  # once an outage
                log.warning("the database does not answer: %s", _short(error))
            self._away = True
            raise Unavailable("the database does not answer; the log says why") from error
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) != UNDEFINED_TABLE:
                raise
            raise Unavailable("the database does not answer: its tables are missing") from error
        self._away = False

    def migrate(self, revision: str = "head") -> None:
        """Bring the tables to the newest revision, or up to an older one; processes that start at once wait.

        Raises:
            Unavailable: the database can't be reached.
            BadInput: a newer version of this program made its tables.
        """
        try:
            if revision != "head" or self._revision() != _newest():
                self._revise(command.upgrade, revision)
        except SQLAlchemyError as error:
            raise Unavailable(f"the database can't be prepared: {_short(error)}") from error
        except CommandError as error:
            raise BadInput(
                f"a newer version of this program made the database's tables; install that one ({error})"
            ) from None

    def migrate_down(self, revision: str) -> None:
        """Take the tables back to an older revision; what it has no place for is lost.

        For an operator who goes back to an older version of the program; no command and no process does it by itself.

        Raises:
            BadInput: there is no such revision.
        """
        try:
            self._revise(command.downgrade, revision)
        except CommandError as error:
            raise BadInput(f"the database can't be taken back: {error}") from None

    def _revision(self) -> str | None:
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def _revise(self, move: Callable[[Config, str], None], revision: str) -> None:
        config = _config()
        with (
            self.engine.connect().execution_options(writes=True) as connection,
            _keys_unchecked(connection),
            connection.begin(),
        ):
            lock(connection, MIGRATION_LOCK)
            config.attributes["connection"] = connection
            move(config, revision)

    def check(self) -> None:
        """Ask the database for an answer.

        Raises:
            Unavailable: it gives none.
        """
        with self.reading() as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))

    def settle(self) -> bool:
        """Let nothing of what was deleted stay in SQLite's write-ahead log; False if others were in the way."""
        if self.engine.dialect.name != "sqlite":
            return True
        with self._turn, self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout={SETTLE_MILLISECONDS}").close()
            try:
                [busy, *_] = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                driver.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}").close()
        return not busy

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._let_go()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@cache
def _newest() -> str | None:
    """The newest revision; to find it all of them are read, which takes longer than to see that a database has it."""
    return ScriptDirectory.from_config(_config()).get_current_head()


@contextmanager
def _keys_unchecked(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by making it anew, which foreign keys to the old one must not forbid meanwhile."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF").close()
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON").close()


def hold_alone(file: Path) -> int:
    """Hold an SQLite database that no process has open, so that none opens it; the descriptor to close afterwards.

    Raises:
        Unavailable: somebody has it open.
    """
    what = f"another process has the database '{file}' open; stop the API, the workers and every command on it first"
    return hold(_lock_of(file), ALONE_SECONDS, what)


def _hold_shared(file: Path) -> int:
    what = f"the database '{file}' is being replaced; wait for the restore to end"
    return hold(_lock_of(file), BUSY_MILLISECONDS / 1000, what, shared=True)


def _lock_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


def collided(error: BaseException) -> bool:
    """Whether the database took a transaction back because it and another waited for each other."""
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) in COLLISIONS


def lock(connection: Connection, key: int) -> None:
    """Hold the advisory lock `key` until the transaction ends (PostgreSQL)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key}, execution_options=UNREAD)


def _short(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _prepare_postgresql(engine: Engine) -> None:
    """Transactions begin where we say, as on SQLite; those that only read see one state."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # the driver's own BEGIN comes with the first statement

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN" if writes else "BEGIN ISOLATION LEVEL REPEATABLE READ")


def _prepare_sqlite(engine: Engine) -> None:
    """WAL, foreign keys, patience, zeros over what is deleted; transactions begin where we say, and a writing one
    takes its lock at once."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late and only before writes
        own = f"busy_timeout={BUSY_MILLISECONDS}", f"wal_autocheckpoint={LOG_PAGES}"
        for pragma in (*own, "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        _write_ahead(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _write_ahead(connection: Any) -> None:
    """Switch to the write-ahead log; SQLite does not wait for a process that switches right now, so we do."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def as_json(value: Any) -> str:
    """As it is kept.

    Raises:
        ValueError: a number that is none.
    """
    return json.dumps(value, allow_nan=False)  # PostgreSQL and every reader of an export would choke on NaN
