"""How many jobs a task gets."""

from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster.sizing import MOST, PROBE, UNKNOWN, Times, jobs_a_task, kept
from jobsys.requirements import Requirements

SECONDS = st.floats(0, 1e6)


@given(st.integers(1, 10**7), st.none() | SECONDS, SECONDS)
def test_a_task_gets_one_job_at_least_and_never_more_than_there_are(jobs: int, expected: float | None, task: float):
    assert 1 <= jobs_a_task(jobs, expected, task) <= min(jobs, MOST)


def test_long_jobs_have_a_task_each_short_ones_share_one():
    assert jobs_a_task(1000, 3600.0, 60.0) == 1
    assert jobs_a_task(1000, 0.001, 60.0) == 1000
    assert jobs_a_task(100_000, 0.001, 60.0) == MOST
    assert jobs_a_task(100_000, 1.0, 60.0) == 60
    assert jobs_a_task(100_000, 1.0, 600.0) == 600


def test_work_for_a_minute_is_shared_out_rather_than_run_in_a_row():
    assert jobs_a_task(40, 1.5, 60.0) == 3  # 14 tasks of 4.5 s, not one of a minute


def test_each_has_its_own_where_that_was_asked_for():
    assert jobs_a_task(1000, 0.001, 0) == 1


def test_nothing_is_known_at_first():
    assert jobs_a_task(10_000, None, 60.0) == UNKNOWN
    assert jobs_a_task(3, None, 60.0) == 3


@given(SECONDS, st.integers(0, 1000), SECONDS, st.integers(0, 1000), SECONDS)
def test_no_more_is_kept_than_waits(elapsed: float, finished: int, running: float, waiting: int, task: float):
    assert 0 <= kept(elapsed, finished, running, waiting, task) <= waiting


def test_a_first_job_that_takes_long_runs_alone():
    assert kept(PROBE / 2, 0, PROBE / 2, 49, 90.0) == 49
    assert kept(PROBE, 0, PROBE, 49, 90.0) == 0


def test_what_fits_stays():
    assert kept(10.0, 10, 0.5, 49, 60.0) == 49
    assert kept(30.0, 10, 0.5, 49, 60.0) == 10
    assert kept(70.0, 10, 0.5, 49, 60.0) == 0


def test_run_times_are_learnt_by_name_and_requirements():
    times, one, two = Times(), Requirements(cores=1), Requirements(cores=2)
    times.learn("a", one, 10.0)
    times.learn("a", one, 20.0)
    assert times.expected("a", one) == 12.0
    assert times.expected("a", two) is None
    assert times.expected("b", one) is None


def test_the_first_that_is_known_replaces_a_guess_and_no_guess_what_is_known():
    times, one = Times(), Requirements()
    times.guess("a", one, 60.0)
    assert times.expected("a", one) == 60.0
    times.learn("a", one, 3.0)
    times.guess("a", one, 60.0)
    assert times.expected("a", one) == 3.0
