"""The one table of states."""

import pytest

from jobsys.server.states import CANCELABLE, TERMINAL, RunState, may_follow, sources


@pytest.mark.parametrize("before", sorted(TERMINAL))
@pytest.mark.parametrize("after", list(RunState))
def test_what_is_over_stays_as_it_is(before, after):
    assert not may_follow(before, after)


@pytest.mark.parametrize("state", sorted(set(RunState) - TERMINAL))
def test_all_else_can_end_in_an_error_and_be_canceled(state):
    assert may_follow(state, RunState.SYSTEM_ERROR)
    assert may_follow(state, RunState.CANCELED) or may_follow(state, RunState.CANCELING)
    assert state is RunState.CANCELING or state in CANCELABLE


def test_what_is_being_canceled_never_comes_to_a_result():
    assert not any(may_follow(RunState.CANCELING, after) for after in (RunState.COMPLETE, RunState.EXECUTOR_ERROR, RunState.QUEUED))


def test_sources_are_the_other_side_of_the_table():
    for after in RunState:
        assert sources(after) == {before for before in RunState if may_follow(before, after)}
