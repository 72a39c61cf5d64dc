"""A database of its own for each test, of either kind."""

import os
import uuid

import pytest
from sqlalchemy import create_engine, text

from jobsys.server.database import Database, init_db
from server import postgres  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def postgresql():
    if reason := postgres.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with postgres.postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """Give the URL of a database that is empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobsys.sqlite'}"
        return
    server = request.getfixturevalue("postgresql")
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def database(database_url):
    made = Database(database_url)
    init_db(made)
    yield made
    made.close()
