"""What is known of tasks and of the jobs in them."""

import signal

import pytest

from jobsys.batch.base import BatchJob, BatchState, RunningJob
from jobsys.batch.cluster.book import OVERHEAD, START, Part, Wave, by_native, choices, fits, of_task
from jobsys.batch.cluster.scheduler import Ask, Seen, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements

GB = 10**9


def a_part(requirements: Requirements, jobs: int = 0) -> Part:
    part = Wave(Ask("w", 2, requirements, "")).parts[0]
    for id in range(100, 100 + jobs):
        part.add(BatchJob(id, "j", Requirements(), b""))
    return part


def test_a_task_is_asked_for_what_its_jobs_need_and_some_memory_for_itself():
    asked = of_task(Requirements(cores=2, memory=GB, disk=5, accelerators=1, preemptible=True), 10, 60.0)
    assert asked == Requirements(cores=2, memory=GB + OVERHEAD, disk=5, accelerators=1, preemptible=True)


@pytest.mark.parametrize(
    ("jobs", "walltime", "asked"), [(1, 3600.0, 3600.0 + START), (50, 3600.0, 3690.0 + START), (50, 1.0, 50.0 + START), (1, None, None)]
)
def test_walltime_is_that_of_the_jobs(jobs: int, walltime: float | None, asked: float | None):
    assert of_task(Requirements(walltime=walltime), jobs, 60.0).walltime == asked


def test_what_a_limit_of_time_has_no_room_for_is_tried_with_fewer_jobs_and_then_with_no_time_for_a_start():
    def tried(walltime: float | None, jobs: int):
        return [(each, need.walltime) for each, need in choices(Requirements(walltime=walltime), jobs, 60.0)]

    assert tried(600.0, 50) == [(50, 690.0 + START), (1, 600.0 + START), (1, 600.0)]
    assert tried(10.0, 50) == [(50, 100.0 + START), (3, 30.0 + START), (1, 10.0 + START), (1, 10.0)]
    assert tried(600.0, 1) == [(1, 600.0 + START), (1, 600.0)]
    assert tried(None, 50) == [(50, None)]


@pytest.mark.parametrize(
    ("job", "fitting"),
    [
        (Requirements(cores=2, memory=GB, walltime=100.0), True),
        (Requirements(cores=1, memory=GB // 2, walltime=10.0), True),
        (Requirements(cores=3, memory=GB, walltime=100.0), False),
        (Requirements(cores=2, memory=GB + 1, walltime=100.0), False),
        (Requirements(cores=2, walltime=100.0), False),  # by default there may be more
        (Requirements(cores=2, memory=GB), False),  # it may take for ever
        (Requirements(cores=2, memory=GB, walltime=131.0), False),
        (Requirements(cores=2, memory=GB, walltime=100.0, accelerators=1), False),
        (Requirements(cores=2, memory=GB, walltime=100.0, disk=1), False),
        (Requirements(cores=2, memory=GB, walltime=100.0, preemptible=True), False),
    ],
)
def test_a_successor_fits_when_every_requirement_does(job: Requirements, fitting: bool):
    part = a_part(of_task(Requirements(cores=2, memory=GB, walltime=100.0), 1, 60.0))
    part.since = 1000.0
    assert fits(job, part, 1000.0) is fitting


def test_a_task_that_is_soon_over_takes_no_more():
    part = a_part(of_task(Requirements(walltime=100.0), 1, 60.0))
    part.since = 1000.0
    assert fits(Requirements(walltime=10.0), part, 1100.0)
    assert not fits(Requirements(walltime=100.0), part, 1100.0)


def test_only_what_had_begun_is_charged_with_the_end_of_its_task():
    part = a_part(Requirements(), 3)
    part.since = 1.0
    part.running({2: RunningJob("n1", 5, 0.0)})
    news = list(part.remainder(Seen(TaskState.ENDED, Reason.MEMORY, -9, "out of memory")))
    assert [(each.id, each.state, each.reason) for each in news] == [
        (100, BatchState.RETURNED, None),
        (101, BatchState.ENDED, Reason.MEMORY),
        (102, BatchState.RETURNED, None),
    ]
    assert not part.jobs


def test_the_first_is_meant_where_none_was_said_to_run():
    part = a_part(Requirements(), 2)
    part.since = 1.0
    states = [each.state for each in part.remainder(Seen(TaskState.ENDED, Reason.LOST))]
    assert states == [BatchState.ENDED, BatchState.RETURNED]


def test_nothing_had_begun_in_a_task_that_never_spoke():
    part = a_part(Requirements(), 2)
    assert {each.state for each in part.remainder(Seen(TaskState.ENDED, Reason.FAILED, 1))} == {BatchState.RETURNED}


@pytest.mark.parametrize(("seen", "told"), [(Reason.FAILED, Reason.LOST), (Reason.CANCELED, Reason.KILLED), (None, Reason.LOST)])
def test_a_job_is_not_blamed_for_its_task(seen: Reason | None, told: Reason):
    part = a_part(Requirements(), 1)
    part.since = 1.0
    part.running({1: RunningJob("n1", 5, 0.0)})
    (end,) = part.remainder(Seen(TaskState.ENDED, seen, 1))
    assert end.reason is told


@pytest.mark.parametrize(
    ("leaving", "seen", "told"),
    [
        (signal.SIGUSR2, None, Reason.TIME_LIMIT),  # it was warned, and ended by itself
        (signal.SIGXCPU, None, Reason.TIME_LIMIT),
        (signal.SIGUSR2, Reason.PREEMPTED, Reason.PREEMPTED),  # some schedulers warn of that by the same signal
        (signal.SIGTERM, None, Reason.LOST),
    ],
)
def test_a_task_that_was_warned_of_its_time_and_left_has_hit_the_limit(leaving: int, seen: Reason | None, told: Reason):
    part = a_part(Requirements(), 2)
    part.since, part.leaving = 1.0, leaving
    part.running({1: RunningJob("n1", 5, 0.0)})
    end, other = part.remainder(Seen(TaskState.ENDED, seen, 0))
    assert end.reason is told
    assert other.state is BatchState.RETURNED


def test_a_job_that_had_hardly_begun_has_hit_no_limit():
    part = a_part(Requirements(), 1)
    part.since, part.leaving = 1.0, signal.SIGUSR2
    (end,) = part.remainder(Seen(TaskState.ENDED))
    assert end.reason is Reason.LOST


def test_a_canceled_job_ends_as_such_whatever_ended_its_task():
    part = a_part(Requirements(), 2)
    part.canceled = {1}
    assert [each.reason for each in part.remainder(Seen(TaskState.ENDED, Reason.CANCELED))] == [Reason.CANCELED, None]


def test_ids_in_a_task_are_never_used_twice():
    part = a_part(Requirements())
    assert part.add(BatchJob(7, "j", Requirements(), b""), 40) == 40
    part.pop(40)
    assert part.add(BatchJob(8, "j", Requirements(), b"")) == 41


def test_tasks_are_sorted_by_their_native_ids():
    wave = Wave(Ask("w", 3, Requirements(), ""))
    assert by_native(wave.parts) == {}
    wave.native = "12"
    assert by_native(wave.parts) == {"12": [0, 1, 2]}
    assert wave.parts[1].shown() == "12_1"


def test_nobody_knows_how_long_an_adopted_task_still_has():
    wave = Wave(Ask("w", 1, of_task(Requirements(walltime=10), 5, 60.0), ""))
    (part,) = wave.parts
    part.since = 100.0
    assert fits(Requirements(walltime=10), part, 101.0)
    part.adopted = True
    assert not fits(Requirements(walltime=10), part, 101.0)


def test_a_job_that_its_own_run_has_stopped_is_charged_nothing():
    part = a_part(Requirements(), 1)
    part.since = 1.0
    part.running({1: RunningJob("n1", 5, 0.0)})
    part.wave.canceled = True
    (end,) = part.remainder(Seen(TaskState.ENDED, Reason.CANCELED))
    assert end.state is BatchState.RETURNED
