"""What a leader and an agent tell each other comes out as it went in."""

import time

import pytest

from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason, RunningJob
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements


def test_jobs():
    jobs = [
        BatchJob(1, "square", Requirements(cores=0.5, memory=10**9, walltime=1.5, preemptible=True), b"\x00\xff", True),
        BatchJob(2**63, "", Requirements(), b""),
    ]
    assert wire.unpack_jobs(wire.pack_jobs(jobs)) == jobs


def test_updates_with_the_host_as_the_leader_calls_it():
    sent = [
        BatchUpdate(1, BatchState.ENDED, b"", "its own name", 7, Reason.TIME_LIMIT, -9, "why", b"\xff", 5, 6),
        BatchUpdate(2, BatchState.COMPLETED, b"\x80report"),
    ]
    assert wire.unpack_updates(wire.pack_updates(sent), "node1") == [
        BatchUpdate(1, BatchState.ENDED, b"", "node1", 7, Reason.TIME_LIMIT, -9, "why", b"\xff", 5, 6),
        BatchUpdate(2, BatchState.COMPLETED, b"\x80report", "node1"),
    ]


def test_what_runs_has_run_as_long_here_as_there_whatever_the_clocks_say(monkeypatch):
    there = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: there)
    payload = wire.pack_running({1: RunningJob("its own name", 7, there - 30, None)})
    monkeypatch.setattr(time, "time", lambda: there + 5_000)
    assert wire.unpack_running(payload, "node1") == {1: RunningJob("node1", 7, there + 4_970, None)}


def test_hello():
    hello = wire.Hello("node1", 7, "1.0", Machine(cores=2.5, memory=1, disk=2, accelerators=("GPU-1", "1")))
    assert wire.unpack_hello(wire.pack_hello(hello)) == hello


@pytest.mark.parametrize("read", [wire.unpack_jobs, wire.unpack_hello, lambda data: wire.unpack_updates(data, "h")])
@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\x01", b"Last login: today"])
def test_what_is_something_else_is_refused(read, payload):
    with pytest.raises(wire.Unreadable):
        read(payload)
