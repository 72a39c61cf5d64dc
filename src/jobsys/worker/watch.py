"""What the host does to keep workers within their limits: measure, compare, say what was exceeded. Kills nothing itself."""

import time
from collections.abc import Iterable
from typing import Final

import msgspec

from jobsys import processes, slots
from jobsys.requirements import format_bytes
from jobsys.slots import Slot

TICK: Final = 0.1
"""Seconds between two looks at a job that has a limit of memory, or has begun just now."""
SLOW_TICK: Final = 1.0
"""The same of one that is allowed everything and has run for long."""

STOOD_STILL: Final = 2.0
"""Seconds by which a look that comes too late shows that the host was stopped, and its workers with it, as schedulers suspend tasks."""


class Excess(msgspec.Struct, frozen=True):
    """A limit that a job broke."""

    job: int
    reason: str  # the value of a Reason
    message: str
    memory: int | None = None
    limit: int | None = None


def measure(pid: int, slot: Slot) -> Excess | None:
    """Look at what a worker does now; note its memory, and tell if it broke a limit."""
    if slot[slots.STATE] != slots.RUNNING:
        return None
    job, ran = slot[slots.JOB], _ran(slot, time.monotonic_ns())
    excess = _measure_memory(pid, slot, job)
    limit = slot[slots.TIME_LIMIT]
    if excess is None and limit and ran > limit:
        excess = Excess(job, "time limit", f"ran longer than its walltime of {limit / 1e9:g} s; ask for more with walltime=")
    return excess if is_running(slot, job) else None


def pause(rows: Iterable[Slot], now: int) -> float:
    """Tell how many seconds may pass until the next look at these workers; ``now`` is the monotonic clock's, in nanoseconds."""
    return min((_pause(row, now) for row in rows if row[slots.STATE] == slots.RUNNING), default=TICK)


def _pause(slot: Slot, now: int) -> float:
    """A tenth of a job's age is fine enough for the peak of its memory."""
    if slot[slots.MEMORY_LIMIT]:
        return TICK
    age = _ran(slot, now) / 1e9
    seconds = min(SLOW_TICK, age / 10)
    if slot[slots.TIME_LIMIT]:
        seconds = min(seconds, slot[slots.TIME_LIMIT] / 1e9 - age)
    return max(TICK, seconds)


def excuse(rows: Iterable[Slot], seconds: float) -> None:
    """Take note for how long jobs and their host stood still, which no job has for longer than it is there: it counts for no walltime."""
    now = time.monotonic_ns()
    for row in rows:
        if row[slots.STATE] == slots.RUNNING:
            job = row[slots.JOB]
            still = _still(row, job) + int(seconds * 1e9)
            row[slots.STILL] = min(still, max(0, now - row[slots.BEGUN]))
            row[slots.STILL_JOB] = job


def _still(slot: Slot, job: int) -> int:
    return slot[slots.STILL] if slot[slots.STILL_JOB] == job else 0


def _ran(slot: Slot, now: int) -> int:
    """Tell for how many nanoseconds the job has run, less those for which it stood still."""
    return now - slot[slots.BEGUN] - _still(slot, slot[slots.JOB])


def is_running(slot: Slot, job: int) -> bool:
    """Tell whether a worker is in the middle of a job; certain if the worker stands still."""
    return slot[slots.STATE] == slots.RUNNING and slot[slots.JOB] == job


def _measure_memory(pid: int, slot: Slot, job: int) -> Excess | None:
    family = processes.family(pid)
    baseline = slot[slots.BASELINE]
    used = max(0, sum(map(processes.resident, family)) - baseline)
    limit = slot[slots.MEMORY_LIMIT]
    if limit and used > limit and len(family) > 1:  # a fork shares pages with its parent: count them once
        used = max(0, sum(map(processes.proportional, family)) - baseline)
    slot[slots.MEMORY] = used
    if slot[slots.PEAK_JOB] != job:
        slot[slots.PEAK] = used
        slot[slots.PEAK_JOB] = job
    elif used > slot[slots.PEAK]:
        slot[slots.PEAK] = used
    if not limit or used <= limit:
        return None
    message = f"used {format_bytes(used)} of memory, more than the {format_bytes(limit)} it asked for; ask for more with memory="
    return Excess(job, "memory", message, used, limit)
