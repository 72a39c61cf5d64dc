"""``@job``: a function whose calls make jobs and return promises."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

from jobsys import session
from jobsys.calls import check_call
from jobsys.closures import importable, is_guarded
from jobsys.errors import GraphError, PicklingError
from jobsys.job import FunctionJob, Options, check_function, function_name, made, parameters
from jobsys.promise import Promise

P = ParamSpec("P")
R = TypeVar("R")
_MOST_WRAPPERS: Final = 20


class JobFunction(Generic[P, R]):
    """A function whose calls make jobs; made by ``@job``."""

    def __init__(self, function: Callable[P, R], options: Options) -> None:
        """Wrap ``function``; every call asks for ``options``."""
        if isinstance(function, classmethod):
            raise GraphError(f"{function_name(function.__func__)}: write @classmethod above @job, not below")
        self._binds = not isinstance(function, staticmethod)
        if isinstance(function, staticmethod):
            function = function.__func__
        check_function(function)
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self._bound: tuple[Any, ...] = ()
        self._original: JobFunction[P, R] = self

    def __call__(self, /, *args: Any, **kwargs: Any) -> Promise[R]:
        """Make a job of this call and promise its value; inside a running job it becomes that job's child."""
        job = self.as_job(*args, **kwargs)
        children = made.get()
        if children is not None:
            children.append(job)
        return Promise(job)

    def as_job(self, /, *args: Any, **kwargs: Any) -> FunctionJob:
        """Make a job of this call for the graph API: it runs where it is added."""
        options = self.options
        if "after" in kwargs and "after" not in parameters(self.function):
            options = Options.read({"after": kwargs.pop("after")}, options)
        args = self._bound + args
        check_call(self.function, args, kwargs)
        return FunctionJob.prepared((self._original, args, kwargs), options)

    def with_requirements(self, **options: Any) -> JobFunction[P, R]:
        """Give the same function with other options: requirements, name, after, retries, checkpoint."""
        return self._changed(options=Options.read(options, self.options))

    def call(self, /, *args: Any, **kwargs: Any) -> R:
        """Call the function itself, here and now: no job is made."""
        return self.function(*self._bound, *args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> JobFunction[..., R]:
        """Bind like a function: the instance travels as the first argument."""
        return self if instance is None or not self._binds else self._changed(bound=(*self._bound, instance))

    def __repr__(self) -> str:
        """Name the function."""
        return f"<job function {function_name(self.function)}>"

    def __reduce__(self) -> Any:
        """Travel by name where the worker finds it in the shipped code by that, else as the function that it wraps."""
        original = self._original
        if self is not original:
            return _again, (original, self.options, self._bound)
        name = self.__dict__.get("__qualname__")
        if name is not None:
            if importable(self):
                return name
            hops = None if is_guarded(self.__module__, name) else _wrappers_around(self, name)
            if hops is not None:
                return _found, (self.__module__, name, hops)
            if self.__module__ == "__main__" and session.current() is not None:
                known = session.name_of(self)
                return _session_job, (), (self.function, self.options, self._binds, known), None, None, _complete_session_job
        return _rebuilt, (self.function, self.options, self._binds)

    def _changed(self, options: Options | None = None, bound: tuple[Any, ...] | None = None) -> JobFunction[P, R]:
        other: JobFunction[P, R] = JobFunction.__new__(JobFunction)
        other.__dict__.update(self.__dict__)
        other.options = self.options if options is None else options
        other._bound = self._bound if bound is None else bound
        return other


def _wrappers_around(function: JobFunction[Any, Any], name: str) -> int | None:
    """Count the wrappers between what a module calls by the function's name and the function; None if it is not in there."""
    found: Any = _named(function.__module__, name)
    for hops in range(_MOST_WRAPPERS):
        if isinstance(found, JobFunction) and found.function is function.function:
            return hops
        found = _unwrapped(found)
    return None


def _named(module: str, qualname: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = inspect.getattr_static(found, part, None)
    return found


def _unwrapped(found: Any) -> Any:
    return getattr(found, "__func__", None) or getattr(found, "__wrapped__", None)


def _found(module: str, qualname: str, hops: int) -> JobFunction[Any, Any]:
    importlib.import_module(module)
    found = _named(module, qualname)
    for _ in range(hops):
        found = _unwrapped(found)
    if not isinstance(found, JobFunction):
        raise PicklingError(f"the module {module!r} has no job function {qualname!r} on this side")
    return found._original  # noqa: SLF001 - its own class


def _rebuilt(function: Callable[..., Any], options: Options, binds: bool) -> JobFunction[Any, Any]:
    return JobFunction(function if binds else staticmethod(function), options)


def _session_job() -> JobFunction[Any, Any]:
    return JobFunction.__new__(JobFunction)


def _complete_session_job(made: JobFunction[Any, Any], state: tuple[Callable[..., Any], Options, bool, str | None]) -> None:
    function, options, binds, name = state
    made.__init__(function if binds else staticmethod(function), options)  # type: ignore[misc]  # begun above, since it may refer to itself
    if name is not None and "." not in name:
        session.bring({name: made})


def _again(original: JobFunction[Any, Any], options: Options, bound: tuple[Any, ...]) -> JobFunction[Any, Any]:
    return original._changed(options, bound)  # noqa: SLF001 - its own class


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**options: Any) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(function: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a function's calls jobs: ``@job``, or ``@job(cores=2, memory="1G", retries=3)``.

    Args:
        function: the function; its arguments and its value must be picklable (closures and classes made on the way are, too).
        options: cores, memory, disk, accelerators, walltime, preemptible, name, retries, checkpoint.

    Raises:
        RequirementError: a requirement can't be read.
        GraphError: this is no ordinary function.
    """
    read = Options.read(options) if options else Options()

    def wrap(function: Callable[P, R]) -> JobFunction[P, R]:
        return function.with_requirements(**options) if isinstance(function, JobFunction) else JobFunction(function, read)

    return wrap if function is None else wrap(function)
