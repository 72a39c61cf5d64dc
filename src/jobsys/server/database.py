"""The servers' database: SQLite in a file, or PostgreSQL; made and brought up to date by migrations."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from jobsys.errors import UsageError
from jobsys.server.tables import SECRETS

BUSY: Final = 30.0
"""Seconds for which a writer waits for another one."""
_LOCK: Final = 0x6A6F6273  # of PostgreSQL's advisory locks, for migrations
_KEY: Final = "pages"


class Database:
    """An engine with what both kinds of database need to behave alike."""

    def __init__(self, url: str, pool: int = 10) -> None:
        """Connect to ``sqlite:///path`` or ``postgresql+psycopg://user@host/name``; nothing is read yet.

        Raises:
            UsageError: the URL makes no sense, or leads to a database that is neither.
        """
        self.url = url
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise UsageError(
                f"{url!r} is no URL of a database: write sqlite:////path/to/file or postgresql+psycopg://user@host/name"
            ) from error
        if parsed.drivername in {"postgresql", "postgres"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.kind = parsed.get_backend_name()
        if self.kind not in {"sqlite", "postgresql"}:
            raise UsageError(f"the database {parsed.render_as_string()!r} is neither SQLite nor PostgreSQL")
        self.shown = parsed.render_as_string()  # without the password
        self.engine: Engine = create_engine(parsed, pool_size=pool, max_overflow=pool, pool_pre_ping=self.kind == "postgresql")
        if self.kind == "sqlite":
            event.listen(self.engine, "connect", _prepare)
            event.listen(self.engine, "begin", _begin)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See one state of the database."""
        with self.engine.connect().execution_options(reading=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Change it, in one durable transaction; waits for who else is writing."""
        with self.engine.begin() as connection:
            yield connection

    def insert(self, table: Any) -> Any:
        """Give an ``INSERT`` that can say what to do about what is there already."""
        return sqlite.insert(table) if self.kind == "sqlite" else postgresql.insert(table)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    """Have SQLite keep what was acknowledged through a power cut, and let readers go on beside a writer."""
    connection.isolation_level = None  # transactions begin when SQLAlchemy says so
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(BUSY * 1000)}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    """Take the lock of a writer at once: a reader that becomes a writer may fail for good."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE")


def init_db(database: Database) -> None:
    """Make the tables, or bring them up to date; safe for several processes at once.

    Raises:
        UsageError: the database can't be reached, or a newer version of jobsys has changed it.
    """
    try:
        _migrate(database)
        with database.writing() as connection:
            made = database.insert(SECRETS).values(name=_KEY, value=secrets.token_hex(32)).on_conflict_do_nothing()
            connection.execute(made)
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip()
        raise UsageError(f"the database {database.shown} can't be used: {cause}") from error


def _migrate(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("jobsys.server").joinpath("migrations")))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with database.engine.begin() as connection:
        if database.kind == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        found = _revision(connection)
        if found is not None and found not in known:
            raise UsageError(
                f"the database {database.shown} was changed by a newer jobsys (revision {found}): use that, or another database"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def page_key(database: Database) -> bytes:
    """Give the key by which page tokens are signed; the same in all processes of a server."""
    with database.reading() as connection:
        return bytes.fromhex(connection.execute(select(SECRETS.c.value).where(SECRETS.c.name == _KEY)).scalar_one())
