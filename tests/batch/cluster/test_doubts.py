"""Which news is held back, and for how long."""

import math

import pytest

from jobsys.batch.base import BatchState, BatchUpdate, Reason
from jobsys.batch.cluster.doubts import SECONDS, Doubts


def ended(id: int, reason: Reason) -> BatchUpdate:
    return BatchUpdate(id, BatchState.ENDED, reason=reason)


@pytest.mark.parametrize("reason", SECONDS)
def test_what_may_be_the_schedulers_doing_is_held_for_a_while(reason: Reason) -> None:
    doubts = Doubts()
    assert doubts.sift([ended(1, reason)], 10.0) == []
    assert doubts
    assert doubts.due == 10.0 + SECONDS[reason]
    assert doubts.cleared(10.0 + SECONDS[reason] - 0.01) == []
    assert doubts.cleared(10.0 + SECONDS[reason]) == [ended(1, reason)]
    assert not doubts
    assert doubts.due is None


def test_what_is_beyond_doubt_is_told_at_once() -> None:
    doubts = Doubts()
    news = [
        BatchUpdate(1, BatchState.RUNNING),
        BatchUpdate(2, BatchState.COMPLETED, b"done"),
        BatchUpdate(3, BatchState.RETURNED),
        ended(4, Reason.MEMORY),
        ended(5, Reason.TIME_LIMIT),
        ended(6, Reason.CANCELED),
    ]
    assert doubts.sift(news, 10.0) == news
    assert not doubts


def test_only_what_was_held_for_long_enough_is_told() -> None:
    doubts = Doubts()
    doubts.sift([ended(1, Reason.KILLED)], 10.0)
    doubts.sift([ended(2, Reason.FAILED)], 10.5)
    assert doubts.due == 10.5 + SECONDS[Reason.FAILED] < 10.0 + SECONDS[Reason.KILLED]
    assert doubts.cleared(10.5 + SECONDS[Reason.FAILED]) == [ended(2, Reason.FAILED)]
    assert doubts.cleared(math.inf) == [ended(1, Reason.KILLED)]
