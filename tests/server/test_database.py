"""Databases: which there are, and how they are made and brought up to date."""

import threading

import pytest
from sqlalchemy import inspect, text

from jobsys.errors import UsageError
from jobsys.server.database import Database, init_db, page_key
from jobsys.server.tables import METADATA


def test_migrations_make_what_the_tables_say(database):
    found = inspect(database.engine)
    assert set(METADATA.tables) | {"alembic_version"} == set(found.get_table_names())
    for name, table in METADATA.tables.items():
        assert {column["name"] for column in found.get_columns(name)} == set(table.columns.keys())
        unique = {each["name"] for each in found.get_unique_constraints(name)}
        assert {index["name"] for index in found.get_indexes(name)} - unique == {index.name for index in table.indexes}


def test_it_is_made_once_by_several_at_once(database_url):
    failed, start = [], threading.Barrier(4)

    def make():
        mine = Database(database_url)
        try:
            start.wait(10)
            init_db(mine)
        except BaseException as error:
            failed.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    other = Database(database_url)
    init_db(other)
    key = page_key(other)
    init_db(other)
    assert page_key(other) == key
    other.close()


def test_one_of_a_newer_version_is_left_alone(database):
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match=r"newer jobsys .revision 9999"):
        init_db(database)


@pytest.mark.parametrize(
    ("url", "says"),
    [("nonsense", "no URL of a database"), ("mysql://x/y", "neither SQLite nor PostgreSQL"), ("", "no URL of a database")],
)
def test_a_url_that_leads_nowhere(url, says):
    with pytest.raises(UsageError, match=says):
        Database(url)


def test_one_that_cannot_be_opened(tmp_path):
    missing = Database(f"sqlite:///{tmp_path}/no/such/directory/x.sqlite")
    with pytest.raises(UsageError, match="can't be used: unable to open database file"):
        init_db(missing)
    missing.close()


def test_passwords_are_not_shown():
    assert "secret" not in Database("postgresql://me:secret@nowhere/x").shown
