"""What the host does to keep workers within their limits: measure, compare, say what was exceeded. Kills nothing itself."""

import time

import msgspec

from jobsys import processes, slots
from jobsys.requirements import format_bytes
from jobsys.slots import Slot


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
    job, begun = slot[slots.JOB], slot[slots.BEGUN]
    excess = _measure_memory(pid, slot, job)
    limit = slot[slots.TIME_LIMIT]
    if excess is None and limit and time.monotonic_ns() - begun > limit:
        excess = Excess(job, "time limit", f"ran longer than its walltime of {limit / 1e9:g} s; ask for more with walltime=")
    return excess if is_running(slot, job) else None


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
