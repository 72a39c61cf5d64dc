"""What is run: graphs that real jobs would make, written once as they would commit them, and handed out again under each job's name.

A job's name says what it is, and so what its report holds: ``make-1000`` makes a thousand leaves. Its value is the number that its
function would return, so that the value of a whole run can be foretold and compared.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec

from jobsys.batch.base import BatchJob
from jobsys.function import JobFunction, job
from jobsys.graph import encode
from jobsys.job import Job, made
from jobsys.jobstores import Aside, JobStore
from jobsys.message import Report, encode_message
from jobsys.record import Blob, JobRecord, Part

SPREAD = 1000
"""Workflows that one job makes at most."""


@job
def work(*parts: Any) -> Any:
    """Stand for what a job does; it is never called."""
    raise NotImplementedError


class Deed(NamedTuple):
    """What a job commits; ``bodies`` are those of so many jobs that they lie aside."""

    value: Blob
    refs: tuple[int, ...]
    jobs: tuple[JobRecord, ...]
    payload: bytes
    bodies: tuple[bytes, ...] = ()

    def made(self, aside: Aside) -> dict[str, Any]:
        """Give the fields of a report that tell of the jobs, with what is large put aside."""
        return {"parts": aside.graph(self.bodies, self.jobs)} if self.bodies else {"jobs": self.jobs}


class Kept:
    """Keeps the jobs of a large commit for whoever commits them, again and again."""

    def __init__(self) -> None:
        self.bodies: tuple[bytes, ...] = ()
        self.jobs: Sequence[JobRecord] = ()

    def value(self, data: bytes) -> Blob:
        raise ValueError(f"a value or a body of {len(data)} bytes: nothing here is as large")

    def graph(self, bodies: Iterable[bytes], records: Sequence[JobRecord]) -> tuple[Part, ...]:
        self.bodies, self.jobs = tuple(bodies), records
        return ()


@functools.cache
def named(name: str) -> JobFunction[..., Any]:
    return work.with_requirements(name=name)


def written(build: Callable[[], Any]) -> Deed:
    """Write down what a job commits that runs ``build``, as its worker would."""
    children: list[Job] = []
    token, kept = made.set(children), Kept()
    try:
        value = build()
        encoded = encode(value, children, None, "the value", kept)
    finally:
        made.reset(token)
    return Deed(encoded.value, encoded.refs, tuple(kept.jobs) or encoded.jobs, b"".join(encoded.payload), kept.bodies)


# -- what jobs do, by the first part of their names --------------------------------------------------------------------


def _leaf() -> int:
    return 1


def _add(total: str) -> int:
    return int(total)


def _make(width: str) -> int:
    for number in range(int(width)):
        named("leaf")(number)
    return int(width)


def _wave(width: str, left: str) -> int:
    """Make the next jobs that make jobs only when all of these are done, so that not all are there at once."""
    made_now = named(f"make-{width}")()
    if int(left) > 1:
        named(f"wave-{width}-{int(left) - 1}")(after=[made_now])
    return 1


def _tree(leaves: str, width: str) -> Any:
    count, most = int(leaves), int(width)
    if count <= most:
        return named(f"add-{count}")([named("leaf")(number) for number in range(count)])
    shares = _shares(count, min(most, -(-count // most)))
    return named(f"add-{count}")([named(f"tree-{share}-{most}")(place) for place, share in enumerate(shares)])


def _step(left: str) -> int:
    if int(left) > 1:
        named(f"step-{int(left) - 1}")()
    return 1


def _lattice(side: str) -> Any:
    cells: dict[tuple[int, int], Any] = {}
    for row in range(int(side)):
        for column in range(int(side)):
            before = [cells[place] for place in ((row - 1, column), (row, column - 1)) if place in cells]
            cells[row, column] = named(f"add-{row + column + 1}")(*before)
    return cells[int(side) - 1, int(side) - 1]


def _flow(maps: str) -> Any:
    return named(f"add-{maps}")([named("leaf")(number) for number in range(int(maps))])


def _spread(units: str, value: str, *name: str) -> Any:
    return named(f"add-{int(units) * int(value)}")([named("-".join(name))(number) for number in range(int(units))])


DEEDS: dict[str, Callable[..., Any]] = {
    "leaf": _leaf,
    "add": _add,
    "make": _make,
    "wave": _wave,
    "tree": _tree,
    "step": _step,
    "lattice": _lattice,
    "flow": _flow,
    "spread": _spread,
}


@functools.cache
def deed(name: str) -> Deed:
    """Tell what a job of that name commits."""
    kind, *arguments = name.split("-")
    return written(functools.partial(DEEDS[kind], *arguments))


@functools.cache
def below(name: str) -> int:
    """Count the jobs that come of a job of that name."""
    return sum(count * (1 + below(each)) for each, count in Counter(record.name for record in deed(name).jobs).items())


# -- whole workloads ---------------------------------------------------------------------------------------------------


class Workload(NamedTuple):
    """A script's commit, what will come of it, and for people what it is."""

    name: str
    first: Deed
    jobs: int
    value: int  # the sum of what the script gets
    what: str


def _whole(kind: str, names: list[str], value: int, what: str) -> Workload:
    first = written(lambda: [named(name)(number) for number, name in enumerate(names)])
    return Workload(kind, first, len(names) + sum(map(below, names)), value, what)


def _spreads(kind: str, units: int, value: int, name: str, what: str) -> Workload:
    names = [f"spread-{share}-{value}-{name}" for share in _shares(units, -(-units // SPREAD))]
    return _whole(kind, names, units * value, what)


def flat(jobs: int, width: int = 0) -> Workload:
    width = min(width or 10_000, max(1, jobs // 10))
    shares = _shares(jobs, -(-jobs // width))
    return _whole("flat", [f"make-{share}" for share in shares], jobs, f"{len(shares):,} jobs make up to {shares[0]:,} each")


def waves(jobs: int, width: int = 0) -> Workload:
    width = min(width or 10_000, max(1, jobs // 100))
    count = max(1, jobs // (10 * width))
    return _whole("waves", [f"wave-{width}-10"] * count, count, f"{count:,} times 10 jobs, one after the other, that make {width:,} each")


def fan_in(jobs: int, width: int = 0) -> Workload:
    leaves, most = max(1, jobs * 98 // 100), width or 100
    return _whole("fan-in", [f"tree-{leaves}-{most}"], leaves, f"a tree of {most} branches a level, added up by levels")


def chains(jobs: int, width: int = 0) -> Workload:
    count = width or max(1, min(10_000, jobs // 50))
    return _whole("chains", [f"step-{max(1, jobs // count)}"] * count, count, f"{count:,} chains of {jobs // count:,}")


def lattice(jobs: int, width: int = 0) -> Workload:
    side = min(width or 30, max(2, int((jobs / 4) ** 0.5)))
    units = max(1, jobs // side**2)
    return _spreads("lattice", units, 2 * side - 1, f"lattice-{side}", f"{units:,} lattices of {side} x {side}")


def map_reduce(jobs: int, width: int = 0) -> Workload:
    maps = width or 10
    units = max(1, jobs // (maps + 2))
    return _spreads("map-reduce", units, maps, f"flow-{maps}", f"{units:,} workflows of {maps} maps and a reduction")


WORKLOADS: dict[str, Callable[[int, int], Workload]] = {
    "flat": flat,
    "waves": waves,
    "fan-in": fan_in,
    "chains": chains,
    "lattice": lattice,
    "map-reduce": map_reduce,
}


def _shares(total: int, parts: int) -> list[int]:
    least, more = divmod(total, parts)
    return [least + 1] * more + [least] * (parts - more)


# -- the workers -------------------------------------------------------------------------------------------------------


class _Asked(msgspec.Struct):
    job: int
    attempt: int
    token: str
    refs: tuple[int, ...] = ()


class ReportingWorker:
    """Reports as ``worker/execute.py`` does, without having done anything; how long that takes is drawn."""

    def __init__(self, random: Random, mean: float, store: JobStore) -> None:
        self._random, self._mean, self._store = random, mean, store
        self.orders = 0
        self.reads = 0  # of bodies and values, by the workers: nothing the leader does
        self._decode = msgspec.json.Decoder(_Asked).decode

    def accept(self, job: BatchJob) -> tuple[str, int, int, str]:
        asked = self._decode(job.order)
        self.orders += 1
        self.reads += 1 + len(asked.refs)
        return job.name, asked.job, asked.attempt, asked.token

    def begin(self, _: Any) -> tuple[float, tuple[bytes, ...]]:
        return self._random.expovariate(1 / self._mean), ()

    def report(self, work: tuple[str, int, int, str], host: str, began: float, seconds: float) -> bytes:
        name, number, attempt, token = work
        done = deed(name)
        made = done.made(Aside(self._store, number, token))
        report = Report(number, attempt, began, seconds, token=token, cpu=seconds, host=host, value=done.value, refs=done.refs, **made)
        return encode_message(report, done.payload)

    def told(self, work: Any, message: bytes) -> tuple[bool, tuple[bytes, ...]]:
        return False, ()
