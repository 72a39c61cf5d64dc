"""What is drawn: boxes and arrows. A box stands for one job, or for many that look alike."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from jobsys.history import History, JobHistory

STATES: Final = ("failed", "running", "up", "ready", "waiting", "done")
"""The states of a job, in the order in which they matter to who looks at a picture."""
KINDS: Final = ("child", "follow-on", "service", "value", "after")
"""Why one job comes after another; of two reasons, the first one in this list is drawn."""


class Box(msgspec.Struct):
    """One job, or several."""

    key: int
    name: str
    jobs: list[int]
    states: dict[str, int]
    seconds: float = 0.0
    failed_attempts: int = 0
    knot: bool = False
    recursive: bool = False  # some of its jobs come after others of them

    @property
    def state(self) -> str:
        """The state that matters most."""
        return next((state for state in STATES if state in self.states), "waiting")


class Arrow(NamedTuple):
    """From one box to another; ``jobs`` are at its end."""

    source: int
    target: int
    kind: str
    jobs: int = 1


class Picture(msgspec.Struct):
    """What is drawn; ``order`` holds pairs of boxes of which the second must stand below the first though no arrow says so."""

    title: str
    boxes: dict[int, Box]
    arrows: list[Arrow]
    order: list[tuple[int, int]]
    jobs: int
    states: dict[str, int]


def by_job(title: str, history: History, running: Collection[int]) -> Picture:
    """Make a picture with a box for every job."""
    jobs = {number: job for number, job in history.jobs.items() if not job.superseded}
    boxes = {number: _box(job, number in running) for number, job in jobs.items()}
    arrows = [arrow for job in jobs.values() for arrow in _arrows(job, jobs)]
    states = Counter(state for box in boxes.values() for state in box.states)
    return Picture(title, boxes, arrows, list(_unseen_order(jobs)), len(boxes), dict(states))


def _box(job: JobHistory, running: bool) -> Box:
    state = "running" if running else str(job.state)
    return Box(job.number, job.name, [job.number], {state: 1}, job.seconds, job.failures, job.knot)


def _arrows(job: JobHistory, jobs: dict[int, JobHistory]) -> Iterator[Arrow]:
    """Give one arrow for each job that this one comes after, leaving out those that others imply."""
    found: dict[int, str] = {}
    named: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("service", () if job.service_of is None else (job.service_of,)),
        ("follow-on", job.follows),
        ("child", job.parents),
        ("value", job.refs),
        ("after", job.after),
    )
    for kind, sources in named:
        for source in sources:
            if source in jobs:
                found.setdefault(source, kind)
    siblings = {above for other in (*job.refs, *job.after) if other in jobs for above in (*jobs[other].parents, jobs[other].service_of)}
    for source, kind in found.items():
        # a child that takes the value of a sibling, or of its parent's service, comes after its parent anyhow
        if kind != "child" or source not in siblings:
            yield Arrow(source, job.number, kind)


def _unseen_order(jobs: dict[int, JobHistory]) -> Iterator[tuple[int, int]]:
    """Let what waits for a whole subtree, or for values inside a value, stand below all of it."""
    below: dict[int, list[int]] = {}
    for job in jobs.values():
        for parent in job.parents:
            below.setdefault(parent, []).append(job.number)
    for job in jobs.values():
        waits_for = [end for parent in job.follows for end in _subtree(parent, below)]
        waits_for += [end for other in job.after for end in _subtree(other, below)]
        waits_for += _inside(job.refs, jobs)
        for other in dict.fromkeys(waits_for):
            if other != job.number and other in jobs:
                yield other, job.number


def _subtree(top: int, below: dict[int, list[int]]) -> Iterator[int]:
    if top == 0:
        return
    seen, waiting = {top}, [top]
    while waiting:
        for child in below.get(waiting.pop(), ()):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                yield child


def _inside(refs: tuple[int, ...], jobs: dict[int, JobHistory]) -> list[int]:
    seen: dict[int, None] = {}
    waiting = list(refs)
    while waiting:
        job = jobs.get(waiting.pop())
        for ref in job.value_refs if job is not None else ():
            if ref not in seen:
                seen[ref] = None
                waiting.append(ref)
    return list(seen)
