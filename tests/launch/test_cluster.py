"""What a scheduler is told to run, and what becomes of tasks that were left to one by which the run goes on no more."""

import json
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from batch.cluster.places import store_at  # type: ignore[import-not-found]
from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchUpdate
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.book import Wave
from jobsys.batch.cluster.mail import Box, Office
from jobsys.batch.cluster.scheduler import Ask
from jobsys.config import Config
from jobsys.errors import BatchSystemError
from jobsys.jobstores import Lease, keys
from jobsys.journal import open_commit
from jobsys.launch import cluster
from jobsys.launch.base import Launch
from jobsys.launch.remote import Remote
from jobsys.message import Failure, Order, Report, encode_message, encode_order
from jobsys.record import Blob
from jobsys.requirements import Requirements
from jobsys.shipment import Shipment


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


def order_of(store, job, token):
    return Order(job, 1, f"job {job}", Blob(0, 0, 0), token, key=store.key.attempt(job, token))


def report_of(job, token, failure=None):
    return encode_message(Report(job, 1, 1.0, 0.5, token=token, failure=failure), b"")


def test_what_they_had_finished_is_found_as_commits_by_a_leader_that_reads_no_letters(tmp_path):
    store = store_at(tmp_path / "store")
    office = Office(store.storage, keys.TASKS, store.key.wave)
    wave = Wave(Ask("jobsys-1", 1, Requirements(), "true"))
    orders = {number: order_of(store, number, f"1-o.{number}") for number in (1, 2, 3, 4)}
    jobs = [BatchJob(number, order.name, Requirements(), encode_order(order)) for number, order in orders.items()]
    office.write_orders("jobsys-1", [wire.pack_jobs(jobs)])
    office.write_record("jobsys-1", adopting.record(wave, "pretend", "7", canceled=True))
    reports = {1: report_of(1, "1-o.1"), 2: report_of(1, "1-o.1"), 3: report_of(3, "1-o.3", Failure("failed", "went wrong"))}
    news = [BatchUpdate(id, BatchState.COMPLETED, report) for id, report in reports.items()]
    Box(store.storage, keys.TASKS, "jobsys-1", 0, store.key.wave("jobsys-1")).write(
        framing.pack(framing.UPDATES, payload=wire.pack_updates(news))
    )
    cluster.keep_finished(store)
    [(_, data)] = store.commits()
    assert open_commit(store.key, data)[0].job == 1
    assert list(store.storage.list(keys.TASKS)) == []


def test_what_could_not_be_canceled_stays(left):
    store, office, _ = left
    cluster.keep_finished(store)
    assert [each.name for each in adopting.records(office)] == ["jobsys-1"]


@pytest.mark.parametrize(("executor", "words"), [("", []), ("some.where:prepare", ["--executor", "some.where:prepare"])])
def test_the_host_that_is_begun_ahead_of_a_task_is_the_one_that_the_task_would_start(tmp_path, monkeypatch, executor, words):
    store = store_at(tmp_path / "store")
    monkeypatch.setattr(cluster, "scheduler", lambda *_: PretendScheduler(0))
    empty: Any = {name: [] for name in ("options", "argv", "roots", "layers", "path")}
    empty |= {name: {} for name in ("interpreter", "needs", "environment")}
    shipped = Shipment(**empty, directory="/", system_site=False, remote=True, main=None, place=None)
    monkeypatch.setattr(cluster, "send", lambda _, way: Remote("python3", ["rest"], way, {}, shipped, ("code/1", "1"), ("core", "2")))
    config = Config.of(store.locator, batch_system="pretend", file_workers="shared", work_dir="/scratch")
    with ExitStack() as stack:
        system: Any = cluster.make(Launch(config, store, Lease(1, "o", "h", 1, 0.0, 0.0), stack, print, executor=executor))
        start = json.loads(system._tasks.script("wave", Requirements()).splitlines()[-2])
        system.shutdown()
    host, command = start["arrive"]["host"], start["arrive"]["command"]
    assert host == {"arguments": ["-m", "jobsys.worker", "--wait", *words], "parent": "/scratch", "without": ["JOBSYS_TASK_SECRET"]}
    assert ("--executor" in command) == bool(executor)
    assert start["environment"].keys() == {"JOBSYS_TASK_SECRET"}
