"""The resident leader over a batch system that does what the test says."""

import pytest

from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason
from jobsys.errors import RequirementError
from jobsys.sandbox import spec
from jobsys.server import tasks
from jobsys.server.leases import LeaderLostError
from jobsys.server.resident import RECONCILE, Resident
from jobsys.server.states import RunState
from jobsys.server.tasks import NewTask
from server.asking import find, take  # type: ignore[import-not-found]

S = RunState
DOCUMENT = b'{"executors": [{"image": "x", "command": ["true"]}], "resources": {"ram_gb": 1.5, "backend_parameters": {"max_retries": "1"}}}'


class Scripted:
    """Keeps what it is given, and tells what it is told to."""

    window = 100

    def __init__(self, left=()):
        self.submitted = []
        self.canceled = []
        self.news = []
        self.left = list(left)
        self.refused = ""

    def adopt(self):
        return self.left

    def check(self, requirements):
        if self.refused:
            raise RequirementError(self.refused)

    def submit(self, jobs):
        self.submitted += jobs

    def updates(self, timeout):
        told, self.news = self.news, []
        return told

    def cancel(self, ids):
        self.canceled += ids

    def say(self, id, *said):
        self.news += [BatchUpdate(id, BatchState.MESSAGE, spec.encode(each)) for each in said]

    def end(self, id, state, reason=""):
        self.news.append(BatchUpdate(id, BatchState.COMPLETED, spec.encode(spec.Result(state, 9.0, reason))))

    def lose(self, id, reason, message=""):
        self.news.append(BatchUpdate(id, BatchState.ENDED, reason=reason, message=message, host="h"))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lead(database, clock):
    def lead(batch):
        with database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM leases")
        lease = take(database, clock)
        resident = Resident(database, lease, batch, spec.Site(), clock)
        resident._take_over()
        return resident

    return lead


def submit(database, count=1):
    with database.writing() as connection:
        return tasks.submit(connection, [NewTask("", f"t{number}", DOCUMENT, {}) for number in range(count)], 1.0)


def state(database, id):
    with database.reading() as connection:
        return find(connection, id).state


def log(database, id):
    with database.reading() as connection:
        seq = find(connection, id).seq
        return attempts_of(connection, seq)


def attempts_of(connection, seq):
    return tasks.attempts(connection, [seq]).get(seq, [])


def test_a_task_from_its_beginning_to_its_end(database, lead):
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    resident.turn(0)
    (job,) = batch.submitted
    order = spec.decode_order(job.order)
    assert (order.limits.memory, job.requirements.cores) == (1_500_000_000, 1.0)
    assert job.requirements.memory > order.limits.memory, "the sandbox must come to its limit first"
    assert (order.id, order.attempt, order.task.executors[0].command) == (id, 1, ["true"])
    assert state(database, id) is S.QUEUED
    batch.say(job.id, spec.Staging(1.0, "host1"))
    resident.turn(0)
    assert state(database, id) is S.INITIALIZING
    batch.say(job.id, spec.Running(2.0), spec.Started(0, 2.5), spec.Printed(0, "a", ""), spec.Printed(0, "ab", "e"))
    resident.turn(0)
    assert state(database, id) is S.RUNNING
    assert log(database, id)[0]["executions"][0]["stdout"] == "ab"
    batch.say(job.id, spec.Ended(0, 3.0, 0, "abc", "e"), spec.Noted("well"))
    batch.end(job.id, "COMPLETE")
    resident.turn(0)
    assert state(database, id) is S.COMPLETE
    (attempt,) = log(database, id)
    assert (attempt["started"], attempt["ended"], attempt["system_logs"]) == (1.0, 9.0, ["well"])
    assert (attempt["executions"][0]["stdout"], attempt["executions"][0]["exit_code"]) == ("abc", 0)
    assert resident.busy == 0
    resident.turn(0)
    assert len(batch.submitted) == 1


@pytest.mark.parametrize("reason", [Reason.LOST, Reason.PREEMPTED, Reason.KILLED])
def test_a_lost_worker_means_another_attempt_until_there_were_enough(database, lead, reason):
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    for turn in (1, 2):
        resident.turn(0)
        resident.turn(0)
        job = batch.submitted[-1]
        assert spec.decode_order(job.order).attempt == turn == len(batch.submitted)
        batch.say(job.id, spec.Staging(1.0, f"host{turn}"))
        batch.lose(job.id, reason, "gone")
        resident.turn(0)
    assert state(database, id) is S.SYSTEM_ERROR
    first, second = log(database, id)
    assert "run again" in first["system_logs"][0]
    assert second["metadata"] == {"host": "host2", "failure_reason": str(reason)}
    assert "gone" in second["system_logs"][0]


def test_too_much_memory_is_no_reason_to_try_again(database, lead):
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    resident.turn(0)
    batch.lose(batch.submitted[0].id, Reason.MEMORY, "used 2 GB")
    resident.turn(0)
    assert state(database, id) is S.SYSTEM_ERROR
    assert "used 2 GB" in log(database, id)[0]["system_logs"][0]


def test_what_no_machine_has_is_an_end_with_a_reason(database, lead):
    batch = Scripted()
    batch.refused = "there is not that much"
    resident = lead(batch)
    (id,) = submit(database)
    resident.turn(0)
    assert (state(database, id), batch.submitted, resident.busy) == (S.SYSTEM_ERROR, [], 0)
    assert log(database, id)[0]["system_logs"] == ["there is not that much"]


@pytest.fixture
def ending(database, lead):
    """Give a task that runs and is to be canceled: its leader, its batch system, its id and its batch job."""
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    resident.turn(0)
    job = batch.submitted[0]
    batch.say(job.id, spec.Staging(1.0, "h"))
    resident.turn(0)
    with database.writing() as connection:
        tasks.move(connection, 1, S.CANCELING, 5.0)
    return resident, batch, id, job


def test_cancel_reaches_what_runs(database, ending):
    resident, batch, id, job = ending
    resident.turn(0)
    assert batch.canceled == [job.id]
    batch.lose(job.id, Reason.CANCELED)
    resident.turn(0)
    assert state(database, id) is S.CANCELED


@pytest.mark.parametrize("end", ["COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR"])
def test_a_result_that_comes_behind_a_cancel_does_not_count(database, ending, end):
    resident, batch, id, job = ending
    batch.end(job.id, end)
    resident.turn(0)
    assert state(database, id) is S.CANCELED


@pytest.mark.parametrize("reason", [Reason.LOST, Reason.MEMORY])
def test_a_worker_that_is_lost_behind_a_cancel_is_no_reason_to_run_the_task_again(database, ending, reason):
    resident, batch, id, job = ending
    batch.lose(job.id, reason)
    resident.turn(0)
    assert (state(database, id), resident.busy, len(batch.submitted)) == (S.CANCELED, 0, 1)
    assert log(database, id)[0]["system_logs"] == ["canceled"]


def test_a_queued_task_that_is_canceled_does_not_run(database, lead):
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    resident.turn(0)
    with database.writing() as connection:
        tasks.move(connection, 1, S.CANCELED, 5.0)
    batch.say(batch.submitted[0].id, spec.Staging(1.0, "h"))
    resident.turn(0)
    assert set(batch.canceled) == {batch.submitted[0].id}
    batch.lose(batch.submitted[0].id, Reason.CANCELED)
    resident.turn(0)
    assert (state(database, id), resident.busy) == (S.CANCELED, 0)


def test_what_there_is_no_room_for_waits_and_may_be_canceled(database, lead):
    batch = Scripted()
    batch.window = 2
    resident = lead(batch)
    ids = submit(database, 4)
    resident.turn(0)
    assert [job.name for job in batch.submitted] == ["t0", "t1"]
    with database.writing() as connection:
        tasks.move(connection, 3, S.CANCELED, 5.0)
    batch.say(batch.submitted[0].id, spec.Staging(1.0, "h"))
    batch.end(batch.submitted[0].id, "COMPLETE")
    resident.turn(0)
    resident.turn(0)
    assert [job.name for job in batch.submitted] == ["t0", "t1", "t3"]
    assert state(database, ids[2]) is S.CANCELED


def test_a_task_that_is_given_back_is_submitted_again_as_the_same_attempt(database, lead):
    batch = Scripted()
    resident = lead(batch)
    submit(database)
    resident.turn(0)
    batch.news.append(BatchUpdate(batch.submitted[0].id, BatchState.RETURNED))
    resident.turn(0)
    assert [spec.decode_order(job.order).attempt for job in batch.submitted] == [1, 1]


def test_the_next_leader_goes_on_with_what_runs_and_runs_again_what_was_lost(database, lead):
    first = Scripted()
    resident = lead(first)
    runs, lost, queued, ending = submit(database, 4)
    resident.turn(0)
    by_task = {spec.decode_order(job.order).id: job for job in first.submitted}
    for id in (runs, lost, ending):
        first.say(by_task[id].id, spec.Staging(1.0, "h"), spec.Running(2.0))
    resident.turn(0)
    with database.writing() as connection:
        tasks.move(connection, find(connection, ending).seq, S.CANCELING, 5.0)
    stray = BatchJob(-2, "stray", by_task[ending].requirements, by_task[ending].order)
    second = Scripted([BatchJob(-1, "runs", by_task[runs].requirements, by_task[runs].order), stray])
    resident = lead(second)
    resident.turn(0)
    assert second.canceled == [-2]
    assert {(spec.decode_order(job.order).id, spec.decode_order(job.order).attempt) for job in second.submitted} == {(lost, 2), (queued, 1)}
    assert [state(database, id) for id in (runs, lost, queued, ending)] == [S.RUNNING, S.QUEUED, S.QUEUED, S.CANCELED]
    second.end(-1, "COMPLETE")
    resident.turn(0)
    assert state(database, runs) is S.COMPLETE
    assert "the leader ended" in log(database, lost)[0]["system_logs"][0]


def test_what_the_stream_of_events_missed_is_found(database, lead, clock):
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    with database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    resident.turn(0)
    assert batch.submitted == []
    clock.now += RECONCILE + 1
    resident.turn(0)
    assert [job.name for job in batch.submitted] == ["t0"]
    assert state(database, id) is S.QUEUED


def test_one_that_was_replaced_writes_nothing(database, lead, clock):
    batch = Scripted()
    resident = lead(batch)
    (id,) = submit(database)
    resident.turn(0)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE leases SET epoch = 7")
    batch.say(batch.submitted[0].id, spec.Staging(1.0, "h"))
    with pytest.raises(LeaderLostError):
        resident.turn(0)
    assert state(database, id) is S.QUEUED


def test_it_drains(database, lead):
    batch = Scripted()
    resident = lead(batch)
    submit(database)
    resident.turn(0)
    resident.drain()
    submit(database)
    batch.end(batch.submitted[0].id, "COMPLETE")
    resident.run()
    assert len(batch.submitted) == 1
