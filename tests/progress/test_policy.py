"""What is done about a failed attempt, reason by reason."""

import msgspec
import pytest

from jobsys.events import AttemptFailed, Policy, Reason
from jobsys.progress import Node
from jobsys.progress.policy import judge
from jobsys.record import Blob
from jobsys.requirements import Requirements

GB = 10**9
POLICY = Policy(retries=2, backoff=1.0, backoff_factor=3.0, max_backoff=20.0, max_losses=3)
CHARGED = (Reason.FAILED, Reason.TIME_LIMIT, Reason.KILLED)
UNCHARGED = (Reason.LOST, Reason.PREEMPTED, Reason.CANCELED)


def node(**fields):
    return Node(1, "job", Blob(1, 0, 1), fields.pop("requirements", Requirements()), **fields)


def failed(reason, message=""):
    return AttemptFailed(1, 1, reason, 0.0, message=message)


def decide(reason, policy=POLICY, limit=None, fits=lambda wanted: True, message="", **fields):
    return judge(policy, node(**fields), failed(reason, message), limit, fits)


@pytest.mark.parametrize("reason", CHARGED)
def test_the_jobs_own_failures_use_up_its_tries_with_growing_delays(reason):
    answers = [decide(reason, failures=before) for before in range(4)]
    assert all(answer.charged for answer in answers)
    assert [answer.retry for answer in answers] == [True, True, False, False]
    assert [answer.delay for answer in answers[:2]] == [1.0, 3.0]


@pytest.mark.parametrize("reason", CHARGED)
def test_losses_use_up_no_tries(reason):
    assert decide(reason, failures=1, losses=100).retry


def test_delays_have_a_limit():
    assert decide(Reason.FAILED, Policy(retries=10**6, max_backoff=20.0), failures=10**5).delay == 20.0
    assert decide(Reason.LOST, Policy(max_losses=10**6, max_backoff=20.0), losses=10**5).delay == 20.0


@pytest.mark.parametrize(("retries", "before", "again"), [(0, 0, False), (1, 0, True), (1, 1, False), (5, 4, True), (5, 5, False)])
def test_a_jobs_own_retries_win_over_the_policys(retries, before, again):
    assert decide(Reason.FAILED, retries=retries, failures=before).retry is again


@pytest.mark.parametrize("reason", UNCHARGED)
def test_what_is_not_the_jobs_fault_is_not_charged_but_limited(reason):
    answers = [decide(reason, losses=before, failures=7) for before in range(4)]
    assert not any(answer.charged for answer in answers)
    assert [answer.retry for answer in answers] == [True, True, True, False]
    assert [answer.delay for answer in answers[:3]] == [0.0, 3.0, 9.0]


@pytest.mark.parametrize("reason", UNCHARGED)
def test_reasons_read_back_from_a_journal_mean_the_same(reason):
    event = msgspec.json.decode(msgspec.json.encode(failed(reason)), type=AttemptFailed)
    assert not judge(POLICY, node(), event, None, lambda wanted: True).charged


def test_more_memory_is_asked_for_in_steps_until_the_policys_limit():
    policy = Policy(retries=0, memory_factor=2.0, max_memory=5 * GB)
    asked = Requirements(cores=3, memory=1 * GB)
    sizes: list[int | None] = []
    while (answer := decide(Reason.MEMORY, policy, requirements=asked, failures=len(sizes))).retry:
        assert answer.charged
        assert answer.requirements is not None
        assert answer.requirements.cores == 3
        asked = answer.requirements
        sizes.append(asked.memory)
    assert sizes == [2 * GB, 4 * GB, 5 * GB]
    assert "no more than 5 GB" in answer.message
    assert answer.requirements is None


def test_the_limit_in_force_counts_where_the_job_asked_for_nothing():
    answer = decide(Reason.MEMORY, limit=3 * GB, message="out of memory")
    assert answer.requirements == Requirements(memory=6 * GB)
    assert answer.message == "out of memory; the next attempt asks for 6 GB instead of 3 GB"


def test_nothing_is_asked_for_that_no_machine_has():
    answer = decide(Reason.MEMORY, limit=3 * GB, fits=lambda wanted: (wanted.memory or 0) <= 3 * GB)
    assert not answer.retry
    assert answer.message.startswith("no more than 3 GB")


def test_a_factor_that_does_not_grow_ends_it():
    assert not decide(Reason.MEMORY, Policy(memory_factor=1.0), limit=GB).retry


@pytest.mark.parametrize(("before", "again"), [(0, True), (1, True), (2, False)])
def test_without_any_known_limit_being_out_of_memory_is_a_failure_like_others(before, again):
    answer = decide(Reason.MEMORY, failures=before)
    assert (answer.retry, answer.charged, answer.requirements) == (again, True, None)
    assert not again or answer.delay > 0


def test_more_memory_is_asked_for_up_to_the_largest_that_there_is():
    judged = judge(
        Policy(),
        node(requirements=Requirements(memory=800)),
        AttemptFailed(1, 1, "memory", 0.0),
        limit=None,
        fits=lambda wanted: (wanted.memory or 0) <= 1000,
    )
    assert judged.retry
    assert judged.requirements is not None
    assert 990 <= (judged.requirements.memory or 0) <= 1000


def test_a_growth_too_small_to_matter_is_not_tried():
    judged = judge(
        Policy(),
        node(requirements=Requirements(memory=990)),
        AttemptFailed(1, 1, "memory", 0.0),
        limit=None,
        fits=lambda wanted: (wanted.memory or 0) <= 1000,
    )
    assert not judged.retry
    assert "--max-retry-memory" in judged.message


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Requirements(), Requirements(memory=7, disk=8, walltime=9.0)),
        (Requirements(memory=1), Requirements(memory=1, disk=8, walltime=9.0)),
    ],
)
def test_defaults_fill_in_what_a_job_does_not_say(asked, expected):
    assert Policy(default_memory=7, default_disk=8, default_walltime=9.0).complete(asked) == expected
    assert Policy().complete(asked) == asked
