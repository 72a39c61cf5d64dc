"""The leader's loop against a batch system that does what the test says."""

from typing import Any

import pytest

from jobsys.batch.base import BatchState, BatchUpdate, RunningJob
from jobsys.errors import LeaseLostError, StorageError
from jobsys.events import AttemptFailed, Committed, Policy, Reason, RunCanceled
from jobsys.jobstores import Lease
from jobsys.journal import pages, replay, take_over
from jobsys.leader import Leader
from jobsys.leader.listener import Listener
from jobsys.message import Report, Said, encode_message
from jobsys.record import SELF, Blob, JobRecord
from jobsys.requirements import Requirements
from jobsys.storage.faulty import Fault, FaultyStorage
from scripted import ScriptedBatch, done, ended, failed, journaled, lead  # type: ignore[import-not-found]
from states import state  # type: ignore[import-not-found]


def test_it_runs_to_the_end(store):
    leader, batch = lead(store, lambda job, order: [done(job, order)], ["a", "b", "c"])
    leader.run()
    leader.close()
    assert leader.progress.finished
    assert [order.name for order in batch.orders] == ["a", "b", "c"]
    assert len(journaled(store, Committed)) == 4
    assert batch.stopped


def test_what_follows_from_an_event_waits_for_the_journal(store):
    """A job that needs another's value is submitted only after that value is durable."""
    second = JobRecord("second", Blob(0, 0, 1), refs=(0,))

    def react(job, order):
        if order.name == "second":
            assert store.read(order.values[1].blob) == b"first value"
        return [done(job, order, b"first value")]

    leader, batch = lead(store, react, ["first", second])
    leader.run()
    assert [order.name for order in batch.orders] == ["first", "second"]


def test_the_first_commit_wins(store):
    """An attempt that was given up for lost comes back after the second one committed."""
    first: list[Any] = []

    def react(job, order):
        if order.name == "b":
            return [done(job, order), BatchUpdate(first[0][0].id, BatchState.COMPLETED, done(first[0][0], first[0][1], b"late").payload)]
        if not first:
            first.append((job, order))
            return [ended(job, Reason.LOST)]
        return [done(job, order, b"early")]

    leader, _ = lead(store, react, ["a", JobRecord("b", Blob(0, 0, 1), after=(0,))])
    leader.run()
    commits = [event for event in journaled(store, Committed) if event.report.job == 1]
    assert [store.peek(event.payload) for event in commits] == [b"early"]
    assert leader.progress.finished


def test_two_commits_of_one_attempt_count_once(store):
    leader, _ = lead(store, lambda job, order: [done(job, order), done(job, order, b"again")])
    leader.run()
    assert len([event for event in journaled(store, Committed) if event.report.job == 1]) == 1


def test_an_attempt_can_not_report_for_another(store):
    """A job that has got hold of its worker's socket speaks for itself at most."""
    first: list[Any] = []

    def react(job, order):
        if order.name == "a":
            first.append(order)
            return []
        forged = done(job, first[0], b"forged").payload
        return (
            [BatchUpdate(job.id, BatchState.COMPLETED, forged)] if order.attempt == 1 else [done(job, order), done(batch.jobs[0], first[0])]
        )

    leader, batch = lead(store, react, ["a", "b"])
    batch.jobs = []
    submit = batch.submit
    batch.submit = lambda jobs: (batch.jobs.extend(jobs), submit(jobs))
    leader.run()
    assert leader.progress.finished
    assert [event.message for event in journaled(store, AttemptFailed)] == ["it reported for another attempt"]
    assert [store.read(Blob.of(b"v", event.payload.where, event.payload.offset)) for event in journaled(store, Committed)[1:]] == [
        b"v",
        b"v",
    ]


def test_a_failed_attempt_is_followed_by_another_and_leaves_no_files(store):
    def react(job, order):
        if order.attempt == 1:
            with store.write_file(order.job, order.token, "left"):
                pass
            return [failed(job, order)]
        assert not list(store.storage.list("files/"))
        return [done(job, order)]

    leader, batch = lead(store, react)
    leader.run()
    assert [order.attempt for order in batch.orders] == [1, 2]
    assert len({order.token for order in batch.orders}) == 2
    assert leader.progress.finished


def test_lost_attempts_are_not_charged(store):
    leader, batch = lead(
        store,
        lambda job, order: [ended(job, Reason.LOST) if order.attempt < 5 else done(job, order)],
        policy=Policy(retries=0, backoff=0.0),
    )
    leader.run()
    assert leader.progress.finished
    assert len(batch.orders) == 5
    assert not any(event.charged for event in journaled(store, AttemptFailed))


def test_an_attempt_that_loses_its_worker_for_ever_fails_in_the_end(store):
    leader, batch = lead(store, lambda job, order: [ended(job, Reason.LOST)], policy=Policy(max_losses=3, backoff=0.0))
    leader.run()
    assert leader.progress.failed == [1]
    assert len(batch.orders) == 4


def test_more_memory_is_asked_for_up_to_what_there_is(store):
    asked = []

    def react(job, order):
        asked.append(order.requirements.memory)
        return [ended(job, Reason.MEMORY, memory=900, limit=order.requirements.memory, message="used too much")]

    job = JobRecord("a", Blob(0, 0, 1), Requirements(memory=100))
    leader, _ = lead(store, react, [job], policy=Policy(max_memory=350))
    leader.run()
    assert asked == [100, 200, 350]
    [shown] = leader.failures
    assert shown.reason == "memory"
    assert "no more than 350 B" in shown.message


def test_a_job_that_no_machine_can_run_fails_by_name_and_the_others_run(store):
    big = JobRecord("big", Blob(0, 0, 1), Requirements(cores=9))
    leader, batch = lead(store, lambda job, order: [done(job, order)], [big, "small"])
    leader.run()
    assert [order.name for order in batch.orders] == ["small"]
    assert [(shown.name, shown.message) for shown in leader.failures] == [("big", "8 cores at most")]


def test_a_failure_shows_the_end_of_its_log(store):
    log = b"\n".join(b"line %d" % number for number in range(100))
    leader, _ = lead(store, lambda job, order: [failed(job, order, log=Blob(0, 0, len(log)), payload=log)], policy=Policy(retries=0))
    leader.run()
    [shown] = leader.failures
    assert shown.host == "h"
    assert "line 99" in shown.log
    assert "line 1\n" not in shown.log
    [event] = journaled(store, AttemptFailed)
    assert store.read(event.log) == log


def test_an_order_never_begun_is_given_again_at_no_charge(store):
    def react(job, order):
        return [BatchUpdate(job.id, BatchState.RETURNED)] if order.token.endswith(".1") else [done(job, order)]

    leader, batch = lead(store, react)
    leader.run()
    assert [order.attempt for order in batch.orders] == [1, 1]
    assert not journaled(store, AttemptFailed)


def test_a_replaced_leader_stops_and_shows_nothing(store):
    def react(job, order):
        take_over(store, Lease(2, "other", "host", 2, 0.0, 0.0), Policy(), *replay(store))
        store.write_status(b"the other's")
        return [done(job, order)]

    leader, batch = lead(store, react)
    with pytest.raises(LeaseLostError):
        leader.run()
    leader.close()
    assert store.read_status() == b"the other's"
    assert batch.stopped
    assert replay(store)[0].accepts(1)


def test_a_canceled_run_says_so_in_the_journal(store):
    leader, _ = lead(store, lambda job, order: [])
    leader.cancel("somebody said so")
    leader.run()
    [event] = journaled(store, RunCanceled)
    assert event.reason == "somebody said so"


def test_a_request_in_the_store_stops_the_run(store):
    leader, _batch = lead(store, lambda job, order: [])
    store.ask_to_stop(b"stopped by a test")
    leader.run()
    assert leader.canceled == "stopped by a test"


@pytest.mark.parametrize("how", [lambda job, order: done(job, order, b""), failed, lambda job, order: ended(job, Reason.LOST)])
def test_a_service_that_is_forgotten_leaves_nothing(store, how):
    """The checkpoint beside whose successors it ran runs again, and makes another one."""
    service = JobRecord("service", Blob(0, 0, 1), child_of=(), service_of=SELF)
    child = JobRecord("child", Blob(0, 0, 1), refs=(0,), retries=0)
    services = []

    def react(job, order):
        if order.service:
            services.append((job, order))
            with store.write_file(order.job, order.token, "left"):
                pass
            return [BatchUpdate(job.id, BatchState.MESSAGE, encode_message(Said(order.job, 1, service_value=Blob(0, 0, 1)), b"s"))]
        if order.name == "child":
            return [failed(job, order) if len(services) == 1 else done(job, order)]
        return [done(job, order, jobs=(service, child))]

    leader, batch = lead(store, react, [JobRecord("client", Blob(0, 0, 1), checkpoint=True, retries=1)])
    batch.tell = lambda id, message: batch.news.extend(
        (how if each is services[0] else done)(*each) for each in services if each[0].id == id
    )
    leader.run()
    assert leader.progress.finished
    assert len(services) == 2
    assert [key for key in store.storage.list("files/") if key.startswith(f"files/{services[0][1].job}-")] == []


@pytest.mark.parametrize("how", ["failed", "lost"])
def test_a_service_that_was_up_is_not_started_again(store, how):
    """Its client's child has its value; another start would give another one."""
    service = JobRecord("service", Blob(0, 0, 1), child_of=(), service_of=0)
    child = JobRecord("child", Blob(0, 0, 1), child_of=(0,), refs=(1,))

    def react(job, order):
        if not order.service:
            return [done(job, order)] if order.name == "client" else []
        said = Said(order.job, order.attempt, service_value=Blob.of(b"addr"))
        up = BatchUpdate(job.id, BatchState.MESSAGE, encode_message(said, b"addr"))
        return [up, failed(job, order) if how == "failed" else ended(job, "lost")]

    leader, batch = lead(store, react, [JobRecord("client", Blob(0, 0, 1)), service, child], stop_on_failure=True)
    leader.run()
    assert [order.name for order in batch.orders].count("service") == 1
    assert [(event.job, event.retry) for event in journaled(store, AttemptFailed)] == [(2, False)]


def test_services_come_up_before_clients_and_stop_after_them(store):
    client = JobRecord("client", Blob(0, 0, 1))
    service = JobRecord("service", Blob(0, 0, 1), child_of=(), service_of=0)
    child = JobRecord("child", Blob(0, 0, 1), child_of=(0,), refs=(1,))
    seen = []

    def react(job, order):
        seen.append(order.name)
        if order.service:
            batch_of[0].service = (job, order)
            said = Said(order.job, order.attempt, service_value=Blob.of(b"addr"))
            return [BatchUpdate(job.id, BatchState.MESSAGE, encode_message(said, b"addr"))]
        if order.name == "child":
            assert store.read(order.values[order.refs[0]].blob) == b"addr"
        return [done(job, order)]

    batch_of = []
    leader, batch = lead(store, react, [client, service, child])
    batch_of.append(batch)
    batch.tell = lambda id, message: batch.news.append(done(batch.service[0], batch.service[1], b""))
    leader.run()
    assert seen == ["client", "service", "child"]
    assert leader.progress.finished


def test_listeners_hear_of_what_is_durable(store):
    heard: list[Any] = []

    class Ear(Listener):
        def on_event(self, event, name):
            heard.append((type(event).__name__, name))
            assert event in [found for page in pages(store) for found in page.events]

        def on_log(self, job, name, level, text):
            heard.append((job, name, level, text))

        def close(self):
            heard.append("closed")

    def react(job, order):
        said = BatchUpdate(job.id, BatchState.MESSAGE, encode_message(Said(order.job, order.attempt, "hello", 30)))
        return [said, done(job, order)]

    leader, _ = lead(store, react, listeners=[Ear()])
    leader.run()
    leader.close()
    assert (1, "a", 30, "hello") in heard
    assert heard[-2:] == [("Committed", "a"), "closed"]


def test_finished_jobs_leave_the_leaders_memory(store, monkeypatch):
    total = JobRecord("total", Blob(0, 0, 1), refs=tuple(range(3000)))
    records = [JobRecord("a", Blob(0, 0, 1)) for _ in range(3000)]
    batch = ScriptedBatch(lambda job, order: [done(job, order)])
    lease = Lease(1, "owner", "host", 1, 0.0, 0.0)
    leader = Leader(store, lease, take_over(store, lease, Policy(), *replay(store)), batch)
    monkeypatch.setattr(batch, "updates", lambda timeout: [batch.news.popleft() for _ in range(len(batch.news))])
    first = Report(0, 1, 0.0, 0.0, value=Blob(0, 0, 1), refs=(3000,), jobs=(*records, total))
    leader.start((first, b"x"))
    leader.run()
    assert leader.progress.finished
    assert len(leader.progress.nodes) <= 3
    assert leader._attempts.out == {}


def test_a_replaced_leader_deletes_no_files(store):
    """It believes that an attempt is lost; the leader after it has taken in that very attempt's commit."""
    kept = []

    def react(job, order):
        with store.write_file(order.job, order.token, "result") as (stream, file):
            stream.write(b"written")
        kept.append(file)
        take_over(store, Lease(2, "other", "host", 2, 0.0, 0.0), Policy(), *replay(store))
        return [ended(job, Reason.LOST)]

    leader, _ = lead(store, react)
    with pytest.raises(LeaseLostError):
        leader.run()
    leader.close()
    with store.read_file(kept[0]) as stream:
        assert stream.read() == b"written"


def test_what_could_not_be_written_is_not_shown(store):
    """The run is done in this leader's eyes, but the journal does not know: nobody may read that it is done."""
    leader, _ = lead(store, lambda job, order: [done(job, order)])
    store.storage = FaultyStorage(store.storage, [Fault("put", 1)])
    with pytest.raises(StorageError, match="planned"):
        leader.run()
    assert leader.progress.finished
    leader.close()
    assert b'"done"' not in (store.read_status() or b"")
    assert replay(store)[0].accepts(1)


def test_the_heart_beats(store, monkeypatch):
    monkeypatch.setattr("jobsys.leader.leader.BEAT", 0.0)
    leader, _ = lead(store, lambda job, order: [done(job, order)], ["a", JobRecord("b", Blob(0, 0, 1), refs=(0,))])
    leader.run()
    assert store.last_beat(1)["count"] >= 2


def test_snapshots_stand_for_the_journal_before_them(store, monkeypatch):
    monkeypatch.setattr("jobsys.leader.leader.SNAPSHOT_EVERY", -1000)
    compared = []

    def react(job, order):
        if store.snapshots():
            whole, last = replay(store, see=lambda event: None)
            assert store.snapshots()[0] <= last
            assert state(replay(store)[0]) == state(whole)
            compared.append(order.name)
        return [done(job, order)]

    chain = [JobRecord(name, Blob(0, 0, 1), refs=(number - 1,) if number else ()) for number, name in enumerate("abcd")]
    leader, _ = lead(store, react, chain)
    leader.run()
    assert compared == ["b", "c", "d"]


def test_an_attempt_that_ended_without_a_report_is_told_in_full(store):
    update: dict[str, Any] = {"exit_status": -9, "message": "killed by signal 9", "log": b"last words\n", "memory": 123}
    leader, _ = lead(
        store,
        lambda job, order: [BatchUpdate(job.id, BatchState.ENDED, reason=Reason.KILLED, **update)],
        policy=Policy(retries=0),
    )
    leader.run()
    [event] = journaled(store, AttemptFailed)
    assert event.log is not None
    assert store.read(event.log) == b"last words\n"
    assert (event.host, event.reason, event.exit_status, event.memory) == ("host", "killed", -9, 123)
    [shown] = leader.failures
    assert (shown.host, shown.exit_status, shown.message) == ("host", -9, "killed by signal 9")
    assert "last words" in shown.log


def test_a_value_that_nobody_needs_any_more_is_deleted(store):
    kept: list[Blob] = []

    def react(job, order):
        if order.name == "b":
            assert store.read(kept[0]) == b"large"
            return [done(job, order)]
        kept.append(store.write_value(order.job, order.token, b"large"))
        report = Report(order.job, order.attempt, 1.0, 0.5, token=order.token, value=kept[0])
        return [BatchUpdate(job.id, BatchState.COMPLETED, encode_message(report))]

    started = take_over(store, Lease(1, "owner", "host", 1, 0.0, 0.0), Policy(), *replay(store))
    leader = Leader(store, Lease(1, "owner", "host", 1, 0.0, 0.0), started, ScriptedBatch(react))
    records = (JobRecord("a", Blob(0, 0, 1)), JobRecord("b", Blob(0, 0, 1), refs=(0,)))
    leader.start((Report(0, 1, 0.0, 0.0, value=Blob(0, 0, 1), refs=(1,), jobs=records), b"x"))
    leader.run()
    assert leader.progress.finished
    assert list(store.storage.list("values/")) == []


def test_the_batch_system_has_only_so_many_attempts_at_once(store, monkeypatch):
    monkeypatch.setattr(ScriptedBatch, "window", 16)
    most = []

    def react(job, order):
        most.append(len(batches[0].news) if batches else 0)
        return [done(job, order)]

    batches: list[ScriptedBatch] = []
    leader, batch = lead(store, react, ["a"] * 100)
    batches.append(batch)
    leader.run()
    assert len(most) == 100
    assert max(most) < 16


def test_a_large_window_is_filled_in_portions_and_news_are_looked_at_in_between(store, monkeypatch):
    monkeypatch.setattr(ScriptedBatch, "window", 40)
    monkeypatch.setattr("jobsys.leader.leader.AT_ONCE", 10)
    monkeypatch.setattr("jobsys.leader.leader.PORTION", 3)
    looks = []

    def updates(batch, timeout):
        looks.append((len(batch.orders), timeout))
        if len(batch.orders) < 40:
            return []
        return [batch.news.popleft() for _ in range(min(2, len(batch.news)))]

    monkeypatch.setattr(ScriptedBatch, "updates", updates)
    leader, _ = lead(store, lambda job, order: [done(job, order)], ["a"] * 50)
    leader.run()
    assert leader.progress.finished
    assert looks[:6] == [(10, 0.0), (20, 0.0), (30, 0.0), (40, 0.25), (40, 0.25), (44, 0.25)]  # 3 or more are worth a submission


def test_of_many_running_jobs_some_are_shown_and_all_are_counted(store, monkeypatch):
    monkeypatch.setattr("jobsys.leader.view.SHOWN_RUNNING", 3)
    leader, batch = lead(store, lambda job, order: [], ["a"] * 10)
    leader._submit()
    batch.running_now = {id: RunningJob("h", 7, 1.0) for id in range(1, 9)}
    status = leader.status()
    assert (status.running_count, [job.job for job in status.running]) == (8, [1, 2, 3])


def test_a_log_that_is_not_to_be_found_costs_nothing_else(store):
    def react(job, order):
        return [failed(job, order, log=Blob("logs/1-gone", 0, 10)) if order.attempt == 1 else done(job, order)]

    leader, _ = lead(store, react)
    leader.run()
    assert leader.progress.finished


def test_an_order_brings_what_was_committed_a_moment_ago(store):
    seen = {}

    def react(job, order):
        seen[order.name] = order
        return [done(job, order, b"value of " + order.name.encode())]

    records = (JobRecord("one", Blob.of(b"x")), JobRecord("two", Blob.of(b"x"), refs=(0,)), JobRecord("three", Blob.of(b"x"), refs=(0, 1)))
    leader, _ = lead(store, react, records)
    leader.run()
    assert leader.progress.finished
    assert seen["one"].near == {SELF: b"x"}
    assert seen["two"].near == {1: b"value of one"}
    assert seen["three"].near == {2: b"value of two"}, "the other one, and the body, were written before"
