"""What a leader and an agent tell each other, as payloads of frames: both ends of each. Which frame carries what stands in `framing`.

Times travel as seconds that have passed, never as times of day: the clocks of two hosts differ.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason, RunningJob
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements

Unreadable: Final = msgspec.MsgspecError

_Job = tuple[int, str, Requirements, bytes, bool]
_News = tuple[int, BatchState, bytes, int | None, Reason | None, int | None, str, bytes, int | None, int | None, float | None]
_Run = tuple[int, int | None, float, int | None]

_encode: Final = msgspec.msgpack.Encoder().encode
_jobs: Final = msgspec.msgpack.Decoder(list[_Job])
_updates: Final = msgspec.msgpack.Decoder(list[_News])
_running: Final = msgspec.msgpack.Decoder(list[_Run])


class Hello(msgspec.Struct, frozen=True):
    """Who an agent is: its host as that one calls itself, its process, its jobsys, and what jobs may use there."""

    host: str
    pid: int
    version: str
    machine: Machine


_hello: Final = msgspec.msgpack.Decoder(Hello)


def pack_hello(hello: Hello) -> bytes:
    """Write who an agent is."""
    return _encode(hello)


def unpack_hello(payload: bytes) -> Hello:
    """Read who an agent is."""
    return _hello.decode(payload)


def pack_jobs(jobs: Sequence[BatchJob]) -> bytes:
    """Write jobs."""
    return _encode([(job.id, job.name, job.requirements, job.order, job.service) for job in jobs])


def unpack_jobs(payload: bytes) -> list[BatchJob]:
    """Read jobs."""
    return [BatchJob(*fields) for fields in _jobs.decode(payload)]


def pack_updates(updates: Sequence[BatchUpdate]) -> bytes:
    """Write news, all but the host's name."""
    return _encode([
        (new.id, new.state, new.payload, new.pid, new.reason, new.exit_status, new.message, new.log, new.memory, new.limit, new.seconds)
        for new in updates
    ])  # fmt: skip


def unpack_updates(payload: bytes, host: str) -> list[BatchUpdate]:
    """Read news of a host; the leader's name for it is the one that a person gave."""
    return [
        BatchUpdate(id, state, data, host, pid, reason, status, message, log, memory, limit, seconds)
        for id, state, data, pid, reason, status, message, log, memory, limit, seconds in _updates.decode(payload)
    ]


def pack_running(running: Mapping[int, RunningJob]) -> bytes:
    """Write which jobs run."""
    now = time.time()
    return _encode([(id, job.pid, now - job.since, job.memory) for id, job in running.items()])


def unpack_running(payload: bytes, host: str) -> dict[int, RunningJob]:
    """Read which jobs run on a host."""
    now = time.time()
    return {id: RunningJob(host, pid, now - seconds, memory) for id, pid, seconds, memory in _running.decode(payload)}
