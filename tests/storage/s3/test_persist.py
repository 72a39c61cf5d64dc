"""Patience with a server: within a budget of time, with pauses that grow and differ."""

import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.s3.answers import BusyError, PassingError, RangeError, RefusedError
from jobsys.storage.s3.persist import Persistence, pause


class Time:
    """A clock that goes on by sleeping, and by attempts that take their time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def failing(self, times: int, each: float = 0.0) -> Callable[[], int]:
        left = [times]

        def attempt() -> int:
            self.now += each
            left[0] -= 1
            if left[0] >= 0:
                raise PassingError("SlowDown")
            return 17

        return attempt

    def persistence(self, first: float = 5.0, patience: float = 60.0) -> Persistence:
        return Persistence(lambda: self.now, self.sleep, lambda: 1.0, (first, patience))


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_up_to_a_bound(failures: int, chance: float) -> None:
    assert 0 < pause(failures, 0.0) <= pause(failures, chance) <= pause(failures + 1, 1.0) <= 10.0


def test_chance_makes_pauses_differ() -> None:
    assert pause(5, 1.0) / pause(5, 0.0) == pytest.approx(4.0)


def test_what_passes_is_waited_for() -> None:
    time = Time()
    assert time.persistence()(time.failing(6)) == 17
    assert time.slept == sorted(time.slept)
    assert len(time.slept) == 6


def test_an_error_for_good_is_raised_at_once() -> None:
    time = Time()

    def attempt() -> None:
        raise StorageError("AccessDenied")

    with pytest.raises(StorageError, match="AccessDenied"):
        time.persistence()(attempt)
    assert time.slept == []


def test_one_waits_longer_for_a_server_that_has_answered() -> None:
    waited = []
    for known in (False, True):
        time = Time()
        persist = time.persistence()
        if known:
            persist(lambda: None)
        with pytest.raises(PassingError):
            persist(time.failing(10_000))
        waited.append(time.now - 100.0)
    assert 5 < waited[0] < 16
    assert 60 < waited[1] < 71


@pytest.mark.parametrize("said", [NotFoundError, RefusedError, RangeError])
def test_that_something_is_not_there_is_an_answer_too(said: type[StorageError]) -> None:
    persist = Time().persistence()

    def attempt() -> None:
        raise said("none")

    with pytest.raises(said):
        persist(attempt)
    assert persist.answered


def test_a_server_that_hangs_is_asked_more_than_once() -> None:
    time = Time()
    assert time.persistence()(time.failing(3, each=120.0)) == 17


def test_what_can_not_be_mended_is_not_tried_again() -> None:
    time = Time()
    with pytest.raises(PassingError):
        time.persistence()(time.failing(5), lambda error: False)
    assert time.slept == []


def test_a_person_is_told_once_why_nothing_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    time = Time()
    persist = time.persistence()
    persist(lambda: None)
    persist(time.failing(3))
    assert not caplog.records
    persist(time.failing(12))
    assert [record.getMessage() for record in caplog.records] == ["Trying again for up to 1 minutes: SlowDown"]
    persist(time.failing(9))
    assert len(caplog.records) == 1, "not for each of many that wait"
    time.now += 120.0
    persist(time.failing(12))
    assert len(caplog.records) == 2


def test_a_server_that_says_itself_that_it_is_busy_is_there() -> None:
    time = Time()
    left = 20

    def attempt() -> int:
        nonlocal left
        left -= 1
        if left:
            raise BusyError("SlowDown")
        return 17

    assert time.persistence(first=1.0, patience=600.0)(attempt) == 17


def test_who_is_in_a_hurry_is_not_kept_waiting() -> None:
    time = Time()
    persistence = time.persistence(patience=600.0)
    persistence(lambda: 1)
    began = time.now
    persistence.hurry()
    persistence.hurry()
    with pytest.raises(PassingError):
        persistence(time.failing(1000))
    assert 10.0 < time.now - began <= 20.0 + 1.0
    slept = len(time.slept)
    with pytest.raises(PassingError):
        persistence(time.failing(1))
    assert len(time.slept) == slept, "nothing is tried again any more"


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("each", [0.0, 60.0])
def test_who_is_asked_by_others_has_less_patience(known: bool, each: float) -> None:
    time = Time()
    persist = time.persistence()
    if known:
        persist(lambda: None)
    persist.wait_at_most(30.0)
    with pytest.raises(PassingError):
        persist(time.failing(10_000, each))
    assert 30.0 <= time.now - 100.0 - each <= 30.0 + 11.0 + each
