"""Writing without waiting: nothing is lost, doubled or out of order, whatever the pipe takes."""

import fcntl
import os
import resource
from collections.abc import Iterator

import pytest

from jobsys.batch.outlet import Outlet

MUCH = os.urandom(300_000)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor == reading, "only the test closes the reading end"


def test_what_finds_no_room_is_sent_later_and_in_order(pipe):
    reading, writing = pipe
    outlet = Outlet(writing)
    outlet.send(MUCH)
    outlet.send(b"the end")
    assert outlet.stuffed
    seen = b""
    while len(seen) < len(MUCH) + 7:
        seen += os.read(reading, 10_000)
        outlet.flush()
    assert seen == MUCH + b"the end"
    assert not outlet.stuffed


def test_a_reader_that_has_gone_is_no_error(pipe):
    reading, writing = pipe
    outlet = Outlet(writing)
    outlet.send(MUCH)
    os.close(reading)
    outlet.flush()
    assert outlet.broken
    assert not outlet.stuffed
    outlet.send(b"more")
    assert not outlet.stuffed


def test_drain_ends_in_time_where_nobody_reads(pipe):
    outlet = Outlet(pipe[1])
    outlet.send(MUCH)
    outlet.drain(0.05)
    assert outlet.stuffed


def test_a_descriptor_of_any_number_will_do(pipe):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2000)), hard))
    descriptor = fcntl.fcntl(pipe[1], fcntl.F_DUPFD_CLOEXEC, 1030)
    try:
        outlet = Outlet(descriptor)
        outlet.send(MUCH)
        outlet.drain(0.05)
        assert outlet.stuffed
    finally:
        os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
