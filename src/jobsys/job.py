"""What a script makes: jobs, the edges between them, and promises of their values. Runs nothing, stores nothing."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final, Self, cast

import msgspec

from jobsys import standins
from jobsys.calls import check_call
from jobsys.errors import GraphError, PicklingError, RequirementError
from jobsys.promise import Promise, promise_job
from jobsys.record import printable
from jobsys.requirements import Requirements, parse_accelerators, parse_bytes, parse_cores, parse_flag, parse_seconds
from jobsys.spelling import do_you_mean

_serial = itertools.count()

made: ContextVar[list[Job] | None] = ContextVar("made", default=None)
"""The jobs that the running job has made by calling job functions; None where no job runs."""


loading: ContextVar[bool] = ContextVar("loading", default=False)
"""True while a worker imports the user's script."""


@dataclass(frozen=True, slots=True)
class PromisedRequirement:
    """A requirement computed from values that are not there yet: ``PromisedRequirement(lambda size: 2 * size, promise)``."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Compute the requirement as ``function(*args)`` once every promise in ``args`` has a value."""
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "args", args)


_PARSERS: Final[dict[str, Callable[[Any], Any]]] = {
    "cores": parse_cores,
    "memory": lambda value: parse_bytes(value, "memory", least=1),
    "disk": lambda value: parse_bytes(value, "disk"),
    "accelerators": parse_accelerators,
    "walltime": parse_seconds,
    "preemptible": lambda value: parse_flag(value, "preemptible"),
}
REQUIREMENTS: Final = frozenset(_PARSERS)
_OWN: Final = frozenset({"_serial", "_edges", "_options", "_committed_by"})
OPTIONS: Final = REQUIREMENTS | {"name", "after", "retries", "checkpoint"}


class Edges(msgspec.Struct):
    """A job's place in the graph: only what points upwards, as it is stored."""

    parents: list[Job] = []
    follows: list[Job] = []
    after: tuple[Job, ...] = ()
    service_of: Job | None = None
    service_parent: Job | None = None
    successors: list[Job] = []


class Job:
    """A unit of work that is stored, scheduled, retried and committed as one. Subclass it and write ``run``.

    Its value is what ``run`` returns. Children run after ``run``; follow-ons after the children and all that came of them;
    services run beside both. ``run`` may add more of each.

    A subclass may be a dataclass, and need not call ``super().__init__()`` if it has no options to hand on.

    Raises:
        RequirementError: a requirement can't be read.
        GraphError: an option does not exist.
    """

    _serial: int
    _edges: Edges | None = None
    _options: Options  # set below, where Options is defined
    _committed_by: Job | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a ``run`` that has no place for the context, while the class is made.

        Raises:
            GraphError: it is one.
        """
        super().__init_subclass__(**kwargs)
        run = vars(cls).get("run")
        if isinstance(run, FunctionType) and run.__code__.co_argcount < 2 and not run.__code__.co_flags & inspect.CO_VARARGS:
            raise GraphError(f"{cls.__qualname__}.run must take the running job's context: write def run(self, context)")

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make it a job before its ``__init__`` is called, if that is called at all."""
        made = super().__new__(cls)
        object.__setattr__(made, "_serial", next(_serial))  # a frozen dataclass refuses the plain way, here and below
        return made

    def __init__(self, **options: Any) -> None:
        """Take requirements (cores, memory, disk, accelerators, walltime, preemptible) and name, after, retries, checkpoint."""
        if options:
            read = Options.read(options)
            object.__setattr__(self, "_options", read)
            if read.after:
                self._place().after = read.after

    def run(self, context: Any) -> Any:
        """Do the work; ``context`` is the running job's Context. The value must be picklable and may contain promises."""
        raise NotImplementedError(f"{type(self).__qualname__} must define run(self, context)")

    def rv(self, *path: Any) -> Promise[Any]:
        """Promise what ``run`` will return, or the part of it at ``path``."""
        return Promise(self, path)

    @property
    def name(self) -> str:
        """The name under which status, statistics and logs show the job."""
        return self._options.name or self._default_name()

    @property
    def checkpoint(self) -> bool:
        """Whether the job is run again, with all that came of it, when one of its descendants fails for good."""
        return self._options.checkpoint

    def add_child(self, job: Job) -> Job:
        """Run ``job`` after this one's ``run``; return it."""
        self._add(job, _checked(job, "add_child")._place().parents)
        return job

    def add_follow_on(self, job: Job) -> Job:
        """Run ``job`` after this one's children and all their successors; return it."""
        self._add(job, _checked(job, "add_follow_on")._place().follows)
        return job

    def add_service(self, service: Service, parent: Service | None = None) -> Promise[Any]:
        """Run ``service`` beside this job's successors, after ``parent`` is up; promise what its ``start`` returns."""
        if not isinstance(service, Service):
            raise GraphError(f"add_service got {service!r}, which is no service: give a jobsys.Service, or add a job with add_child")
        place = service._place()
        if place.service_of is not None:
            raise GraphError(f"service {service.name!r} was added to {place.service_of.name!r} already; make a second one")
        if parent is not None and parent._place().service_of is not self:
            raise GraphError(f"the parent service {parent.name!r} is no service of {self.name!r}; add it first")
        place.service_of, place.service_parent = self, parent
        self._place().successors.append(service)
        return service.rv()

    def add_child_fn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``function(*args, **kwargs)`` as a child; options are taken from ``kwargs`` unless it has such a parameter."""
        return self.add_child(FunctionJob.split(function, args, kwargs))

    def add_follow_on_fn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``function(*args, **kwargs)`` as a follow-on; options among ``kwargs`` as for ``add_child_fn``."""
        return self.add_follow_on(FunctionJob.split(function, args, kwargs))

    def encapsulate(self) -> Job:
        """Make this job and all that comes of it look like one job: what is added to the result runs after all of it."""
        return EncapsulatedJob(self)

    def __repr__(self) -> str:
        """Name the job."""
        return f"job {self.name!r}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Travel as the body of a record only: inside arguments, a job's promise is meant."""
        if not standins.travels(self):
            raise PicklingError(f"{self!r} can't travel inside arguments or values: pass its promise, job.rv()")
        reduced: Any = super().__reduce_ex__(protocol)
        make, args, state, *rest = reduced
        return make, args, _without_place(state), *rest

    def _default_name(self) -> str:
        return type(self).__qualname__

    def _place(self) -> Edges:
        if self._edges is None:
            object.__setattr__(self, "_edges", Edges())
        return cast("Edges", self._edges)

    def _add(self, job: Job, kind: list[Job]) -> None:
        if job is self:
            raise GraphError(f"{self!r} can't come after itself")
        if isinstance(job, Service):
            raise GraphError(f"{job!r} is a service: add it with add_service")
        if any(known is self for known in kind):
            raise GraphError(f"{job!r} was added to {self!r} already")
        kind.append(self)
        self._place().successors.append(job)


def _checked(job: Any, adding: str) -> Job:
    """Refuse what people add in place of a job."""
    if isinstance(job, Job):
        return job
    if isinstance(job, Promise):
        raise GraphError(f"{adding} got {job!r}, whose job has its place already: make the job with function.as_job(…) and add that")
    raise GraphError(f"{adding} got {job!r}, which is no job: give a jobsys.Job, or call {adding}_fn(function, …)")


@dataclass(frozen=True, slots=True)
class Options:
    """What a job asks for, read and checked."""

    requirements: Requirements = Requirements()
    promised: tuple[tuple[str, Any], ...] = ()
    name: str = ""
    after: tuple[Job, ...] = ()
    retries: int | None = None
    checkpoint: bool = False

    @classmethod
    def read(cls, options: dict[str, Any], base: Options | None = None) -> Options:
        """Read options as a script writes them; what is not given stays as in ``base``.

        Raises:
            RequirementError: a value can't be read.
            GraphError: there is no such option, or ``after`` names something that is no job.
        """
        base = base or cls()
        if unknown := options.keys() - OPTIONS:
            wrong = sorted(unknown)[0]
            meant = do_you_mean(wrong, OPTIONS) or f"; there are {', '.join(sorted(OPTIONS))}"
            raise GraphError(f"a job has no option {wrong!r}{meant}")
        given = {key: value for key, value in options.items() if key in REQUIREMENTS and value is not None}
        promised = {key: value for key, value in given.items() if isinstance(value, (Promise, PromisedRequirement))}
        fixed = {key: _PARSERS[key](value) for key, value in given.items() if key not in promised}
        kept = {key: value for key, value in base.promised if key not in fixed}
        retries = options.get("retries")
        return cls(
            requirements=msgspec.structs.replace(base.requirements, **fixed) if fixed else base.requirements,
            promised=tuple({**kept, **promised}.items()),
            name=printable(str(options.get("name") or base.name)),
            after=base.after + _jobs(options.get("after")),
            retries=base.retries if retries is None else parse_retries(retries),
            checkpoint=parse_flag(options.get("checkpoint", base.checkpoint), "checkpoint"),
        )


Job._options = Options()


def _without_place(state: Any) -> Any:
    """Leave the place in the graph behind: the record has it."""
    if isinstance(state, dict):
        return {key: value for key, value in state.items() if key not in _OWN}
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):  # attributes, and slots
        return _without_place(state[0]), state[1]
    return state


def check_function(function: Any) -> None:
    """Refuse what can't be a job: a call of it would not return its value.

    Raises:
        GraphError: names the function and the way out.
    """
    if not callable(function):
        raise GraphError(
            f"{function!r} is no function: write @job, or @job(memory=…, cores=…); a FunctionJob takes a function, not its call"
        )
    name = function_name(function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        raise GraphError(f"{name} is async, and a job is an ordinary function: call asyncio.run(…) inside of one")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise GraphError(f"{name} has a yield, and what it returns can't travel: collect the values and return the list")


def function_name(function: Any) -> str:
    """Name a function or anything that can be called, without what only says that it is nested."""
    while not hasattr(function, "__qualname__") and (hasattr(function, "func") or hasattr(function, "function")):
        function = function.func if hasattr(function, "func") else function.function
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name.replace("<locals>.", "")


def parameters(function: Callable[..., Any]) -> Collection[str]:
    """Name the parameters of a function; none where they are not known, as of many that are written in C."""
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):
        return ()


def parse_retries(value: Any) -> int:
    """Read how often a job is tried again."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequirementError(f"retries={value!r}: give a whole number from 0 on")
    return value


def _jobs(after: Any) -> tuple[Job, ...]:
    if after is None:
        return ()
    found: list[Job] = []
    for item in after if isinstance(after, (list, tuple, set, frozenset)) else [after]:
        job = promise_job(item) if isinstance(item, Promise) else item
        if not isinstance(job, Job):
            raise GraphError(f"after={item!r}: give a promise, a job, or a list of them")
        found.append(job)
    return tuple(found)


class FunctionJob(Job):
    """A job that calls a function."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Call ``function(*args, **kwargs)`` where and when the job runs."""
        check_function(function)
        check_call(function, args, kwargs or {})
        super().__init__(**options)
        self.call = (function, args, kwargs or {})

    @classmethod
    def split(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> FunctionJob:
        """Tell the job's options from the function's own keyword arguments."""
        taken = OPTIONS.intersection(kwargs)
        if taken:
            taken = taken.difference(parameters(function))
        return cls(function, args, {key: value for key, value in kwargs.items() if key not in taken}, **{key: kwargs[key] for key in taken})

    @classmethod
    def prepared(cls, call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]], options: Options) -> FunctionJob:
        """Make a job of options that are read already."""
        job = cls.__new__(cls)
        if options.after:
            job._edges = Edges(after=options.after)
        job._options = options
        job.call = call
        return job

    def run(self, context: Any) -> Any:  # noqa: ARG002
        """Call the function."""
        function, args, kwargs = self.call
        return function(*args, **kwargs)

    def _default_name(self) -> str:
        return function_name(self.call[0])


class VirtualJob(Job):
    """A job without work: a knot in the graph, which no worker sees."""


class EncapsulatedJob(VirtualJob):
    """A knot, the encapsulated job as its child, and a second knot that takes what is added later."""

    def __init__(self, job: Job) -> None:
        """Wrap ``job``."""
        super().__init__(name=f"{job.name} (encapsulated)")
        self.inner = job
        super().add_child(job)
        self.tail = super().add_follow_on(VirtualJob(name=f"after {job.name}"))

    def rv(self, *path: Any) -> Promise[Any]:
        """Promise what the encapsulated job returns."""
        return self.inner.rv(*path)

    def add_child(self, job: Job) -> Job:
        """Run ``job`` after all of the encapsulated subtree."""
        return self.tail.add_child(job)

    def add_follow_on(self, job: Job) -> Job:
        """Run ``job`` after all that was added as children."""
        return self.tail.add_follow_on(job)

    def add_service(self, service: Service, parent: Service | None = None) -> Promise[Any]:
        """Run ``service`` beside what was added to the whole."""
        return self.tail.add_service(service, parent)


class Service(Job):
    """A job that runs beside its client's successors: write ``start``, ``stop`` and, if useful, ``check``."""

    def start(self, context: Any) -> Any:
        """Start the service; what is returned is promised to its clients."""
        raise NotImplementedError(f"{type(self).__qualname__} must define start(self, context)")

    def stop(self, context: Any) -> None:
        """Stop the service; called in any case once ``start`` was."""
        raise NotImplementedError(f"{type(self).__qualname__} must define stop(self, context)")

    def check(self, context: Any) -> bool:  # noqa: ARG002
        """Tell whether the service still works; asked about once a second. False, or raising, fails it."""
        return True

    def add_child(self, job: Job) -> Job:
        """Refuse: a service ends when its client's successors do."""
        raise GraphError(f"service {self.name!r} can't have children: {job!r}")

    def add_follow_on(self, job: Job) -> Job:
        """Refuse: a service ends when its client's successors do."""
        raise GraphError(f"service {self.name!r} can't have follow-ons: {job!r}")
