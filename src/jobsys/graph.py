"""Jobs in memory become records and pickled bodies, in one step and checked. Knows no store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from jobsys import pickling
from jobsys.errors import GraphError
from jobsys.job import FunctionJob, Job, PromisedRequirement, Service, VirtualJob, made
from jobsys.promise import Promise
from jobsys.record import SELF, Blob, JobRecord, Part
from jobsys.requirements import Requirements

LAUNCHER: Final = Requirements(cores=0.1, memory=256 * 10**6)
"""What the small job asks for that computes promised requirements."""


SPILL: Final = 256 * 1024
"""Bytes from which on a value, a body or all jobs of a commit are an object of their own, and do not travel through the leader."""
_RECORD: Final = 120
"""Bytes that a record takes, about."""


_CALL: Final = ("its function", "args", "kwargs")


class Keeper(Protocol):
    """Keeps what is too large for a message."""

    def value(self, data: bytes) -> Blob:
        """Keep a value, or a body."""

    def graph(self, bodies: Iterable[bytes], records: Sequence[JobRecord]) -> tuple[Part, ...]:
        """Keep all jobs of a commit."""


class Encoded(NamedTuple):
    """A commit's jobs and value: records, or where they lie; the bytes that the blobs of both point into, and the value's slots."""

    jobs: tuple[JobRecord, ...]
    parts: tuple[Part, ...]
    payload: list[bytes]
    value: Blob
    refs: tuple[int, ...]


def encode(value: Any, made_jobs: Sequence[Job], owner: Job | None, what: str, aside: Keeper) -> Encoded:
    """Turn what an attempt returned, and the jobs it made, into what its commit stores.

    Args:
        value: what was returned; promises in it become slots.
        made_jobs: jobs that run as children of ``owner`` whether or not anything refers to them.
        owner: the job that commits; None for a script on the leader.
        what: how to call the value in error messages.
        aside: keeps what is large.

    Raises:
        GraphError: the graph has a cycle, or a promise of a job that does not belong to it.
        PicklingError: something in it can't be pickled.
    """
    pickled, sources = pickling.dump(value, what)
    if not sources and not made_jobs and owner is not None and owner._edges is None:
        payload = _Payload(aside)
        return Encoded((), (), payload.pieces, payload.add(pickled), ())  # most jobs: nothing to collect
    collected = _Collector(owner)
    collected.add(sources)
    collected.add(made_jobs)
    if owner is not None:
        collected.add(_successors(owner))
    collected.walk()
    made = [collected.bodies[serial] for serial in sorted(collected.bodies)]
    numbers = {job._serial: number for number, (job, _, _) in enumerate(made)}
    if owner is not None:
        numbers[owner._serial] = SELF
        if any(source is owner for source in sources):
            raise GraphError(f"{owner!r} returns the promise of its own value")
    payload = _Payload(aside)
    records = tuple([_record(job, payload.add(body), needs, numbers) for job, body, needs in made])
    check_acyclic(records, [job.name for job, _, _ in made])
    parts: tuple[Part, ...] = ()
    if payload.size + _RECORD * len(records) >= SPILL and records:
        parts, records, payload = aside.graph(payload.pieces, records), (), _Payload(aside)
    place = payload.add(pickled)
    for job, _, _ in made:
        object.__setattr__(job, "_committed_by", owner)
    return Encoded(records, parts, payload.pieces, place, tuple([_number(source, numbers) for source in sources]))


class _Payload:
    """Lays bytes one after the other."""

    def __init__(self, aside: Keeper) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self._aside = aside

    def add(self, data: bytes) -> Blob:
        if len(data) >= SPILL:
            return self._aside.value(data)
        place = Blob.of(data, 0, self.size)
        if data:
            self.pieces.append(data)
            self.size += len(data)
        return place


class _Collector:
    """Finds every job that belongs to a commit, and pickles each once."""

    def __init__(self, owner: Job | None) -> None:
        self.owner = owner
        self.bodies: dict[int, tuple[Job, bytes, tuple[Job, ...]]] = {}  # by serial number: a user's class may define equality
        self._queue: list[Job] = []
        self._seen: set[int] = set() if owner is None else {owner._serial}

    def add(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job._serial not in self._seen:
                self._seen.add(job._serial)
                self._queue.append(job)

    def walk(self) -> None:
        while self._queue:
            job = self._queue.pop()
            if job._committed_by is not None and job._committed_by is not self.owner:
                raise GraphError(
                    f"{job!r} was made by another job, {job._committed_by.name!r}, which has ended: a promise can be used only by what "
                    f"is made together with its job; return it, or pass it on as an argument"
                )
            if isinstance(job, Service) and job._place().service_of is None:
                raise GraphError(f"{job!r} is a service that no job has: add it with client.add_service(service), and run the client")
            if job._options.promised:
                _split(job)
            body, sources = _body(job)
            self.bodies[job._serial] = (job, body, sources)
            self.add(sources)
            if job._edges is not None:
                self.add(_neighbours(job))


def _neighbours(job: Job) -> Iterator[Job]:
    edges = job._place()
    yield from edges.parents
    yield from edges.follows
    yield from edges.after
    yield from edges.successors
    if edges.service_of is not None:
        yield edges.service_of


def _successors(job: Job) -> Sequence[Job]:
    return () if job._edges is None else job._edges.successors


def _body(job: Job) -> tuple[bytes, tuple[Job, ...]]:
    if isinstance(job, VirtualJob):
        return b"", ()
    if job._options.promised:
        return pickling.dump(_launcher(job), f"the call of {job.name!r}", ("launcher", "its promised requirements or arguments ", ""))
    if isinstance(job, FunctionJob):
        return pickling.dump(job.call, f"the call of {job.name!r}", _CALL)
    return pickling.dump(job, f"{job!r}")


def _record(job: Job, body: Blob, needs: tuple[Job, ...], numbers: dict[int, int]) -> JobRecord:
    options = job._options
    edges = job._edges
    requirements = LAUNCHER if options.promised else options.requirements
    refs = tuple([_number(source, numbers) for source in needs])
    if edges is None:
        return JobRecord(job.name, body, requirements, refs, checkpoint=options.checkpoint, retries=options.retries)
    parents = tuple(_number(parent, numbers) for parent in edges.parents)
    follows = tuple(_number(parent, numbers) for parent in edges.follows)
    if not parents and not follows and edges.service_of is None:
        parents = (SELF,)
    if options.checkpoint and edges.successors:
        raise GraphError(f"checkpoint {job.name!r} must have no successors yet when it is made; add them in its run")
    return JobRecord(
        name=job.name,
        body=body,
        requirements=requirements,
        refs=refs,
        after=tuple(_number(other, numbers) for other in edges.after),
        child_of=parents,
        follow_on_of=follows,
        service_of=None if edges.service_of is None else _number(edges.service_of, numbers),
        service_parent=None if edges.service_parent is None else _number(edges.service_parent, numbers),
        checkpoint=options.checkpoint,
        retries=options.retries,
    )


def _number(job: Job, numbers: dict[int, int]) -> int:
    return numbers[job._serial]


def _split(job: Job) -> None:
    """Put a knot behind a job with promised requirements, so that its successors wait for the real one."""
    edges = job._place()
    if not edges.successors:
        return
    tail = VirtualJob(name=f"after {job.name}")
    tail._place().successors = edges.successors
    for successor in edges.successors:
        place = successor._place()
        place.parents = [tail if parent is job else parent for parent in place.parents]
        place.follows = [tail if parent is job else parent for parent in place.follows]
        place.service_of = tail if place.service_of is job else place.service_of
    edges.successors = []
    job.add_follow_on(tail)


def _launcher(job: Job) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    if isinstance(job, Service):
        raise GraphError(f"service {job.name!r} can't have promised requirements; compute them in a job that adds the service")
    options = job._options
    wanted = {
        key: (value.function, value.args) if isinstance(value, PromisedRequirement) else (None, (value,)) for key, value in options.promised
    }
    fixed = {"name": job.name, "retries": options.retries, "checkpoint": options.checkpoint}
    if isinstance(job, FunctionJob):
        return _launch_call, (job.call, wanted, options.requirements, fixed), {}
    # the inner pickle is opaque to the outer one, so promises in the job's own attributes can't become slots of it
    body, sources = pickling.dump(job, f"{job!r}")
    return _launch_job, (body, [Promise(source) for source in sources], wanted, options.requirements, fixed), {}


def _evaluated(wanted: dict[str, Any], fixed: Requirements) -> dict[str, Any]:
    known = {name: getattr(fixed, name) for name in fixed.__struct_fields__}
    return known | {key: args[0] if function is None else function(*args) for key, (function, args) in wanted.items()}


def _launch_call(call: Any, wanted: dict[str, Any], fixed: Requirements, options: dict[str, Any]) -> Promise[Any]:
    """Run in the small job: make the real one, with what was computed."""
    function, args, kwargs = call
    return _launched(FunctionJob(function, args, kwargs, **_evaluated(wanted, fixed), **options))


def _launch_job(body: bytes, values: list[Any], wanted: dict[str, Any], fixed: Requirements, options: dict[str, Any]) -> Promise[Any]:
    job: Job = pickling.load(body, values.__getitem__)
    real = Job(**_evaluated(wanted, fixed), **options)
    job._options = real._options
    return _launched(job)


def _launched(job: Job) -> Promise[Any]:
    children = made.get()
    if children is None:
        raise GraphError(f"{job!r} with promised requirements was launched outside of a job")
    children.append(job)
    return job.rv()


def check_acyclic(records: Sequence[JobRecord], names: Sequence[str]) -> None:
    """Refuse a graph in which a job would wait for itself.

    Raises:
        GraphError: names the jobs on the cycle.
    """
    if all(_only_backwards(record, number) for number, record in enumerate(records)):
        return
    waits = _waits(records)
    done: set[tuple[int, str]] = set()
    for start in waits:
        cycle = _find_cycle(start, waits, done)
        if cycle:
            jobs = list(dict.fromkeys(names[number] for number, _ in cycle if number >= 0))
            raise GraphError(f"the jobs wait for each other in a circle: {' -> '.join([*jobs, jobs[0]])}")


def _only_backwards(record: JobRecord, number: int) -> bool:
    plain = record.child_of == (SELF,) and not record.follow_on_of and record.service_of is None and SELF not in record.after
    return plain and all(ref < number for ref in record.refs) and all(ref < number for ref in record.after)


def _waits(records: Sequence[JobRecord]) -> dict[tuple[int, str], list[tuple[int, str]]]:
    """Say which moment waits for which: S(tart), R(un done), C(hildren done), F(inished, subtree and all)."""
    waits: dict[tuple[int, str], list[tuple[int, str]]] = {}

    def wait(who: tuple[int, str], *what: tuple[int, str]) -> None:
        waits.setdefault(who, []).extend(what)

    for number in range(SELF, len(records)):
        wait((number, "R"), (number, "S"))
        wait((number, "C"), (number, "R"))
        wait((number, "F"), (number, "C"))
    for number, record in enumerate(records):
        start = (number, "S")
        wait(start, *((ref, "R") for ref in record.refs), *((other, "F") for other in record.after))
        for parent in record.child_of:
            wait(start, (parent, "R"))
            wait((parent, "C"), (number, "F"))
        for parent in record.follow_on_of:
            wait(start, (parent, "C"))
            wait((parent, "F"), (number, "F"))
        if record.service_of is not None:
            wait(start, (record.service_of, "R"))
    return waits


def _find_cycle(
    start: tuple[int, str], waits: dict[tuple[int, str], list[tuple[int, str]]], done: set[tuple[int, str]]
) -> list[tuple[int, str]]:
    path: list[tuple[int, str]] = []
    on_path: set[tuple[int, str]] = set()
    stack: list[tuple[tuple[int, str], Iterator[tuple[int, str]]]] = []

    def enter(moment: tuple[int, str]) -> None:
        path.append(moment)
        on_path.add(moment)
        stack.append((moment, iter(waits.get(moment, ()))))

    if start not in done:
        enter(start)
    while stack:
        moment, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            stack.pop()
            path.pop()
            on_path.discard(moment)
            done.add(moment)
        elif following in on_path:
            return path[path.index(following) :]
        elif following not in done:
            enter(following)
    return []
