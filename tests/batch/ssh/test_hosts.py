"""When a host is started, asked for a sign of life, given up: driven by a clock that the test sets."""

from typing import Any

import pytest

from jobsys import framing
from jobsys.batch.machine import Machine
from jobsys.batch.ssh.hosts import RemoteHost
from jobsys.batch.wire import Hello
from jobsys.requirements import Requirements

HELLO = Hello("its own name", 1, "1.0", Machine(cores=2, memory=8 * 10**9, disk=10**9))


class Line:
    """A connection that only notes what is sent."""

    def __init__(self):
        self.sent: list[int] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data[0])


def started(now=0.0, *, hello=True, patience=30.0) -> tuple[RemoteHost, Any]:
    host, line = RemoteHost("a", 0, patience, 600.0), Line()
    host.start(now, lambda: line)  # type: ignore[arg-type, return-value]
    if hello:
        host.greet(HELLO, now)
    return host, line


def test_it_is_started_once_and_up_when_its_agent_has_said_hello():
    host = RemoteHost("a", 0, 30.0, 600.0)
    assert host.should_start(0.0)
    host, _ = started(hello=False)
    assert not host.should_start(1e6)
    assert host.untried
    assert not host.up
    host.greet(HELLO, 1.0)
    assert host.up
    assert not host.untried


def test_it_is_pinged_every_five_seconds_once_it_is_up():
    host, line = started(hello=False)
    host.ping(100.0)
    assert line.sent == []
    host.greet(HELLO, 100.0)
    for now in (100.0, 104.9, 105.0, 109.0, 110.0):
        host.ping(now)
    assert line.sent == [framing.PING] * 3
    assert host.next_time() == 115.0


def test_it_is_lost_when_pings_stay_without_an_answer_for_as_long_as_patience_lasts():
    host, _ = started()
    host.ping(0.0)
    assert host.silence(29.0) == ""
    host.heard()
    host.ping(29.0)
    assert host.silence(58.9) == ""
    assert "30 s" in host.silence(59.0)


def test_a_leader_that_did_not_look_for_long_blames_no_host():
    host, _ = started()
    host.ping(0.0)
    host.heard()
    assert host.silence(1_000.0) == ""


def test_it_has_longer_to_start():
    host, _ = started(hello=False)
    assert host.silence(599.0) == ""
    assert host.next_time() == 600.0
    assert "600 s" in host.silence(600.0)


def test_it_is_tried_again_after_one_two_and_four_seconds_then_given_up():
    host, line = started(hello=False)
    now = 0.0
    for pause in (1.0, 2.0, 4.0):
        host.fail("why", now, final=False)
        assert not host.given_up
        assert host.next_time() == now + pause
        assert not host.should_start(now + pause - 0.1)
        now += pause
        assert host.should_start(now)
        host.start(now, lambda: line)
    host.fail("the last", now, final=False)
    assert host.given_up
    assert host.next_time() is None
    assert host.cause == "the last"


def test_a_host_that_was_there_is_tried_for_minutes_but_nobody_has_to_wait_for_it():
    host, line = started()
    now = 0.0
    for failure in range(1, 16):
        host.fail("it starts again", now, final=False)
        assert not host.given_up
        assert host.hopeless == (failure > 3)
        pause = (host.next_time() or 0.0) - now
        assert pause == min(2.0 ** (failure - 1), 60.0)
        now += pause
        host.start(now, lambda: line)
    assert now > 600.0
    host.fail("it does not come", now, final=False)
    assert host.given_up


@pytest.mark.parametrize(("life", "failures"), [(59.0, 3), (60.0, 1)])
def test_a_minute_of_life_makes_good_for_earlier_failures(life, failures):
    host, line = started()
    host.fail("once", 0.0, final=False)
    host.fail("twice", 0.0, final=False)
    host.start(10.0, lambda: line)
    host.greet(HELLO, 10.0)
    host.fail("again", 10.0 + life, final=False)
    assert host.failures == failures


def test_what_cannot_get_better_is_not_tried_again():
    host, _ = started()
    host.fail("another version", 1.0, final=True)
    assert host.given_up
    assert not host.can_ever(Requirements())


def test_a_host_that_will_be_tried_again_still_counts():
    host, _ = started()
    host.fail("the network", 1.0, final=False)
    assert not host.up
    assert host.can_ever(Requirements(cores=2))
    assert not host.can_ever(Requirements(cores=3))
