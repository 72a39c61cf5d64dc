"""Servers that do not keep create-once are found out when a run's store is made; who knows that of a server can use it all the same."""

import re

import pytest

import jobsys
from jobsys.errors import JobsysError, NoSuchJobStoreError, StorageError, UsageError
from jobsys.jobstores import locators
from jobsys.jobstores.base import FORMAT, StoreInfo
from s3 import many  # type: ignore[import-not-found]
from s3.racy import racy  # type: ignore[import-not-found]
from s3.servers import Server  # type: ignore[import-not-found]


@pytest.fixture(params=["racy", "rclone"])
def place(request, s3_place):
    """A place on a server that lets several writers win."""
    if request.param != "racy":
        return s3_place(request.getfixturevalue(request.param))
    endpoint = request.getfixturevalue("racy_endpoint")
    return s3_place(Server("racy", endpoint, "any", "any"))


@pytest.fixture
def racy_endpoint():
    with racy() as endpoint:
        yield endpoint


def run(place, **options):
    return jobsys.run(many.workflow(3), place, batch_system="inline", progress="off", **options)


def test_it_is_refused_when_a_run_begins_and_works_by_its_weaker_mode(place):
    with pytest.raises(JobsysError) as raised:
        run(place)
    assert re.fullmatch(
        r"the server of s3://\S+/probe/\S+ does not keep 'If-None-Match: \*' when several write at once "
        r"\(of 8 writers \d were told that they made the object\): two leaders could both go on with a run there\. "
        r"Use another server or bucket, or, if you see to it that a run never has two leaders, --s3-unfenced",
        str(raised.value),
    )
    left = [key for key in locators.locate(place).storage.list("") if not key.startswith("probe/")]  # rclone lists for a while what is gone
    assert left == [], "nothing was written that stays"
    assert run(place, s3_unfenced=True) == many.EXPECTED[:3]
    with pytest.raises(UsageError, match="was begun with --s3-unfenced, which its server needs: give it again"):
        run(place, restart=True)
    assert run(place, s3_unfenced=True, restart=True) == many.EXPECTED[:3]
    locators.locate(place).destroy()
    with pytest.raises(NoSuchJobStoreError):
        locators.open_store(place)


def test_a_large_server_of_its_own_kind_is_found_out_too(swift, s3_place, monkeypatch):
    place = s3_place(swift)
    info = StoreInfo(FORMAT, 1.0, "1")
    with pytest.raises(StorageError, match="does not keep 'If-None-Match: "):
        locators.create(place, info)
    monkeypatch.setenv("JOBSYS_S3_UNFENCED", "1")
    store = locators.create(place, info)
    assert store.append(1, b"mine")
    assert not store.append(1, b"another's")
    store.destroy()
    assert list(store.storage.list("")) == []


def test_a_server_that_keeps_it_passes_and_nothing_is_left(ceph, s3_place):
    storage = locators.locate(s3_place(ceph)).storage
    storage.prove()
    assert list(storage.list("")) == []


def test_a_lost_answer_of_the_winner_is_not_taken_for_a_broken_server(ceph, faults, s3_place):
    storage = locators.locate(s3_place(ceph, faults.endpoint)).storage
    faults.set({"do": "lost", "match": "^PUT", "p": 0.2}, {"do": "reset", "match": "^PUT", "p": 0.1})
    storage.prove()
    assert sum(faults.hits()) > 0
