"""Statistics of a run: how many jobs, how long, how much, function by function. Pure: from a history to numbers."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from jobsys.history import DONE, Attempt, History, JobHistory
from jobsys.progress import State
from jobsys.requirements import format_bytes


class FunctionStats(msgspec.Struct):
    """The jobs of one name. Times in seconds, memory in bytes."""

    name: str
    jobs: int
    done: int
    failed: int  # jobs that failed for good
    attempts: int
    failed_attempts: int
    reasons: dict[str, int]  # why attempts failed
    seconds: float  # of all attempts
    wasted: float  # of the attempts that failed
    mean: float
    median: float
    p95: float
    max: float
    cpu: float
    cpu_share: float | None  # CPU time / (time x cores asked for), of what was committed
    memory_max: int | None
    memory_asked: int | None
    wait_mean: float
    wait_max: float
    hint: str = ""


class Summary(msgspec.Struct):
    """The statistics of a run."""

    locator: str
    jobs: int
    done: int
    failed: int
    attempts: int
    failed_attempts: int
    leaders: int
    elapsed: float  # while a leader was at work
    seconds: float
    wasted: float
    cpu: float
    cores_mean: float
    cores_peak: float
    efficiency: float | None
    hosts: dict[str, int]  # host -> attempts
    functions: list[FunctionStats]


SORTS: Final[dict[str, Callable[[FunctionStats], object]]] = {
    "time": lambda function: -function.seconds,
    "name": lambda function: function.name,
    "jobs": lambda function: -function.jobs,
    "failed": lambda function: -function.failed_attempts,
    "mean": lambda function: -function.mean,
    "max": lambda function: -function.max,
    "cpu": lambda function: -function.cpu,
    "memory": lambda function: -(function.memory_max or 0),
    "wait": lambda function: -function.wait_mean,
}
"""What functions can be sorted by; the largest comes first."""

_ENOUGH_TO_JUDGE: Final = 1.0
"""Seconds below which the use of cores says nothing: operating systems count CPU time in hundredths."""


def summarize(locator: str, history: History, sort: str = "time") -> Summary:
    """Make the statistics of a run."""
    named: defaultdict[str, list[JobHistory]] = defaultdict(list)
    for job in history.jobs.values():
        if not job.knot:
            named[job.name].append(job)
    functions = sorted((_function(name, jobs) for name, jobs in named.items()), key=SORTS[sort])  # type: ignore[arg-type]
    attempts = [(attempt, job.requirements.cores) for job in history.jobs.values() for attempt in job.attempts]
    elapsed = history.elapsed
    core_seconds = sum(attempt.seconds * cores for attempt, cores in attempts)
    mean, peak = core_seconds / elapsed if elapsed else 0.0, busiest(attempts)
    return Summary(
        locator=locator,
        jobs=sum(function.jobs for function in functions),
        done=sum(function.done for function in functions),
        failed=sum(function.failed for function in functions),
        attempts=len(attempts),
        failed_attempts=sum(function.failed_attempts for function in functions),
        leaders=len(history.leaders),
        elapsed=elapsed,
        seconds=sum(function.seconds for function in functions),
        wasted=sum(function.wasted for function in functions),
        cpu=sum(function.cpu for function in functions),
        cores_mean=mean,
        cores_peak=peak,
        efficiency=min(1.0, mean / peak) if peak else None,
        hosts=dict(Counter(attempt.host for attempt, _ in attempts if attempt.host)),
        functions=functions,
    )


def _function(name: str, jobs: Sequence[JobHistory]) -> FunctionStats:
    attempts = [attempt for job in jobs for attempt in job.attempts]
    good = [attempt for attempt in attempts if attempt.outcome == DONE]
    times = sorted(attempt.seconds for attempt in good)
    waits = [attempt.waited for attempt in attempts if attempt.ready]
    peaks = [attempt.memory for attempt in attempts if attempt.memory is not None]
    asked = [job.requirements.memory for job in jobs if job.requirements.memory is not None]
    reserved = sum(attempt.seconds * job.requirements.cores for job in jobs for attempt in job.attempts if attempt.outcome == DONE)
    cpu = sum(attempt.cpu for attempt in good)
    seconds = sum(attempt.seconds for attempt in attempts)
    made = FunctionStats(
        name=name,
        jobs=len(jobs),
        done=sum(job.state is State.DONE for job in jobs),
        failed=sum(job.state is State.FAILED for job in jobs),
        attempts=len(attempts),
        failed_attempts=len(attempts) - len(good),
        reasons=dict(Counter(attempt.outcome for attempt in attempts if attempt.outcome != DONE)),
        seconds=seconds,
        wasted=sum(attempt.seconds for attempt in attempts if attempt.outcome != DONE),
        mean=sum(times) / len(times) if times else 0.0,
        median=quantile(times, 0.5),
        p95=quantile(times, 0.95),
        max=times[-1] if times else 0.0,
        cpu=cpu,
        cpu_share=cpu / reserved if reserved >= _ENOUGH_TO_JUDGE else None,
        memory_max=max(peaks, default=None),
        memory_asked=max(asked, default=None),
        wait_mean=sum(waits) / len(waits) if waits else 0.0,
        wait_max=max(waits, default=0.0),
    )
    made.hint = _hint(made, max((job.requirements.cores for job in jobs), default=1.0))
    return made


def _hint(function: FunctionStats, cores: float) -> str:
    """Say what the jobs ask for and don't use."""
    hints = []
    peak, asked = function.memory_max, function.memory_asked
    # a margin of a third, and small sums left alone: it is no use to ask for 40 MB instead of 100
    if peak and asked and asked > 2 * peak and asked - peak > 200e6:
        hints.append(f"used at most {format_bytes(peak)} of the {format_bytes(asked)} asked for: memory='{_enough(peak)}' would do")
    share = function.cpu_share
    if share is not None and cores > 1 and share < 0.5 and function.seconds > _ENOUGH_TO_JUDGE:
        hints.append(f"used {share * cores:.1f} of {cores:g} cores")
    if function.wasted > 0.2 * function.seconds and function.seconds > _ENOUGH_TO_JUDGE:
        hints.append(f"{100 * function.wasted / function.seconds:.0f} % of the time went into attempts that failed")
    return "; ".join(hints)


def _enough(peak: int) -> str:
    wanted = peak * 4 / 3
    return f"{math.ceil(wanted / 1e8) * 100}M" if wanted <= 9e8 else f"{math.ceil(wanted / 1e8) / 10:g}G"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share of the values does not exceed; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def busiest(attempts: Iterable[tuple[Attempt, float]]) -> float:
    """Count the cores in use at the busiest moment."""
    changes = []
    for attempt, cores in attempts:
        if attempt.seconds > 0:
            changes.append((attempt.started, cores))
            changes.append((attempt.ended, -cores))
    changes.sort()  # at the same moment, what ends comes before what begins
    most = now = 0.0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
