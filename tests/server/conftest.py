"""A database of its own for each test."""

import pytest

from jobsys.server.database import Database, init_db


@pytest.fixture
def database(tmp_path):
    made = Database(f"sqlite:///{tmp_path / 'jobsys.sqlite'}")
    init_db(made)
    yield made
    made.close()
