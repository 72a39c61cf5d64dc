"""What becomes of tasks that were left to a scheduler by which the run goes on no more."""

from contextlib import suppress

import pytest

from batch.cluster.places import store_at  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.book import Wave
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.scheduler import Ask
from jobsys.errors import BatchSystemError
from jobsys.jobstores import keys
from jobsys.launch import cluster
from jobsys.requirements import Requirements


@pytest.fixture
def left(tmp_path):
    store = store_at(tmp_path / "store")
    office = Office(store.storage, keys.TASKS, store.key.wave)
    scheduler = PretendScheduler(0)
    ask = Ask("jobsys-1", 2, Requirements(), "true")
    office.write_record(ask.name, adopting.record(Wave(ask), scheduler.name, scheduler.submit(ask)))
    return store, office, scheduler


def test_they_are_canceled_once(left, monkeypatch):
    store, office, scheduler = left
    monkeypatch.setattr(cluster, "scheduler", lambda *_: scheduler)
    said: list[str] = []
    cluster.cancel_others(store, said.append, "slurm")
    cluster.cancel_others(store, said.append, "slurm")
    assert (scheduler._queued, scheduler.calls.count("cancel"), said) == (type(scheduler._queued)(), 1, [])
    assert [each.canceled for each in adopting.records(office)] == [True]
    assert cluster.cancel_left(store) == 0


def test_those_of_the_same_scheduler_are_for_its_leader(left):
    store, _, scheduler = left
    cluster.cancel_others(store, print, "pretend")
    assert len(scheduler._queued) == 2


def test_it_is_said_where_they_cannot_be(left, monkeypatch):
    store, office, _ = left

    def gone(*_):
        raise BatchSystemError("there is no program 'scancel'")

    monkeypatch.setattr(cluster, "scheduler", gone)
    said: list[str] = []
    cluster.cancel_others(store, said.append)
    assert said == ["tasks 1 that were left to pretend could not be canceled: there is no program 'scancel'"]
    assert [each.canceled for each in adopting.records(office)] == [False]
    with suppress(BatchSystemError):
        cluster.cancel_left(store)
    assert [each.canceled for each in adopting.records(office)] == [False]
