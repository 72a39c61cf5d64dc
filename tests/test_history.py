"""A run read back from its journal: what became of each job, when it could start, and what it came from."""

import pytest

from jobsys.errors import IntegrityError, NoSuchJobStoreError
from jobsys.events import ServiceUp
from jobsys.history import History, read_history, read_log
from jobsys.jobstores import locate
from jobsys.progress import State
from jobsys.record import Blob
from jobsys.requirements import Requirements
from recorded import BEGIN, SELF, Recorded, job, knot  # type: ignore[import-not-found]


@pytest.fixture
def run(tmp_path) -> Recorded:
    return Recorded(str(tmp_path / "s")).lead()


def history(run: Recorded) -> History:
    return read_history(run.flush().store)


def test_before_anything_happened(tmp_path):
    assert read_history(Recorded(str(tmp_path / "s")).store).jobs == {}


def test_no_store(tmp_path):
    with pytest.raises(NoSuchJobStoreError):
        read_history(locate(str(tmp_path)))


def test_a_damaged_journal_is_told(run):
    run.script(job("a")).flush()
    data = bytearray(run.store.segment(1))
    data[-50] ^= 1
    run.store.storage.delete(["journal/0000000001"])
    run.store.storage.put("journal/0000000001", bytes(data))
    with pytest.raises(IntegrityError, match="segment 1"):
        read_history(run.store)


def test_states(run):
    run.script(job("a"), job("b"), job("c", refs=(0,)), job("d", refs=(1,))).commit(1).fail(2)
    assert {found.name: found.state for found in history(run).jobs.values()} == {
        "a": State.DONE,
        "b": State.FAILED,
        "c": State.READY,
        "d": State.WAITING,
    }


def test_attempts_in_order_with_their_logs(run):
    run.script(job("a")).fail(1, log=b"first", retry=True, message="why", exit_status=3)
    run.commit(1, log=b"second \xff", seconds=2.5, cpu=1.5, memory=77, host="h")
    first, second = history(run).jobs[1].attempts
    assert (first.number, first.outcome, first.message, first.exit_status, first.retry) == (1, "failed", "why", 3, True)
    assert (second.number, second.outcome, second.seconds, second.cpu, second.memory, second.host) == (2, "done", 2.5, 1.5, 77, "h")
    assert [read_log(run.store, attempt) for attempt in (first, second)] == ["first", "second \ufffd"]
    assert history(run).jobs[1].failures == 1


def test_an_attempt_that_said_nothing_has_no_log(run):
    run.script(job("a")).commit(1)
    assert read_log(run.store, history(run).jobs[1].attempts[0]) is None


def test_waiting_counts_from_the_moment_at_which_a_job_could_start(run):
    run.script(job("a"), job("b"), job("c", refs=(0, 1)))
    run.commit(1, at=BEGIN + 1, seconds=2).commit(2, at=BEGIN, seconds=10).commit(3, at=BEGIN + 14, seconds=1)
    assert [found.attempts[0].waited for found in history(run).jobs.values()] == [1, 0, 4]


def test_the_delay_before_a_retry_is_no_waiting(run):
    run.script(job("a")).fail(1, retry=True, delay=5.0).commit(1, at=run.now + 6)
    assert history(run).jobs[1].attempts[1].waited == pytest.approx(1)


def test_what_was_never_seen_to_start_did_not_wait(run):
    run.now += 100
    run.script(job("a")).fail(1, "lost", seconds=0)
    assert history(run).jobs[1].attempts[0].waited == 0


def test_when_a_service_came_up_is_not_known(run):
    run.script(job("client")).commit(1, job("db", service_of=SELF), job("query", child_of=(SELF,)))
    run.add(ServiceUp(2, Blob(1, 0, 1))).commit(3, at=run.now + 50)
    assert history(run).jobs[3].attempts[0].waited == 0
    assert history(run).jobs[2].state is State.UP


def test_references_become_numbers(run):
    run.script(job("a"), job("b")).commit(1).commit(
        2,
        job("db", service_of=SELF),
        job("c", refs=(0,)),
        job("d", child_of=(1,), refs=(1,), after=(1,)),
        knot("e", child_of=(), follow_on_of=(SELF,)),
        refs=(2,),
    )
    jobs = history(run).jobs
    assert (jobs[3].service_of, jobs[3].parents) == (2, ())
    assert (jobs[4].maker, jobs[4].parents, jobs[4].refs) == (2, (2,), (3,))
    assert (jobs[5].parents, jobs[5].refs, jobs[5].after) == ((4,), (4,), (4,))
    assert (jobs[6].follows, jobs[6].knot, jobs[3].knot) == ((2,), True, False)
    assert jobs[2].value_refs == (5,)


def test_requirements_are_those_of_the_next_attempt(run):
    run.script(job("a", requirements=Requirements(memory=10))).fail(1, "memory", retry=True, requirements=Requirements(memory=20))
    assert history(run).jobs[1].requirements.memory == 20


def test_what_a_checkpoint_made_before_it_ran_again_is_superseded(run):
    run.script(job("top", checkpoint=True, retries=1)).commit(1, job("low")).commit(2, job("lowest")).fail(3).commit(1, job("low"))
    found = history(run)
    assert [(job.name, job.superseded) for job in found.jobs.values()] == [("top", False), ("low", True), ("lowest", True), ("low", False)]


def test_leaders_and_the_time_between_them(run):
    run.script(job("a"), job("b")).commit(1, seconds=5).cancel("signal SIGINT").leave()
    assert history(run).canceled == "signal SIGINT"
    run.now += 1000
    run.lead(host="other").commit(2, seconds=3).leave()
    found = history(run)
    assert [(leader.epoch, leader.ended - leader.started) for leader in found.leaders] == [(1, 5), (2, 3)]
    assert found.leaders[1].host == "other"
    assert found.elapsed == 8
    assert found.canceled == ""
    assert [job.attempts[0].epoch for job in found.jobs.values()] == [1, 2]
