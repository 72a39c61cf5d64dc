"""``@job``: a function whose calls make jobs and return promises."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from jobsys.job import FunctionJob, Options, made
from jobsys.pickling import importable
from jobsys.promise import Promise

P = ParamSpec("P")
R = TypeVar("R")


class JobFunction(Generic[P, R]):
    """A function whose calls make jobs; made by ``@job``."""

    def __init__(self, function: Callable[P, R], options: Options) -> None:
        """Wrap ``function``; every call asks for ``options``."""
        self.function = function
        self.options = options
        self._takes_after = "after" in inspect.signature(function).parameters
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Promise[R]:
        """Make a job of this call and promise its value; inside a running job it becomes that job's child."""
        job = self.as_job(*args, **kwargs)
        children = made.get()
        if children is not None:
            children.append(job)
        return Promise(job)

    def as_job(self, *args: Any, **kwargs: Any) -> FunctionJob:
        """Make a job of this call for the graph API: it runs where it is added."""
        options = self.options
        if "after" in kwargs and not self._takes_after:
            options = Options.read({"after": kwargs.pop("after")}, options)
        return FunctionJob.prepared((self, args, kwargs), options)

    def with_requirements(self, **options: Any) -> JobFunction[P, R]:
        """Give the same function with other options: requirements, name, after, retries, checkpoint."""
        other = JobFunction.__new__(JobFunction)
        other.__dict__.update(self.__dict__)
        other.options = Options.read(options, self.options)
        return other

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now: no job is made."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function: the instance travels as the first argument."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        """Name the function."""
        return f"<job function {self.function.__qualname__}>"

    def __reduce__(self) -> Any:
        """Travel by name where it has one; the worker finds it in the shipped code."""
        if importable(self):
            return self.function.__qualname__
        original = _namesake(self)
        if original is not None:
            return _same, (original,)
        return _rebuilt, (self.function,)


def _namesake(function: JobFunction[Any, Any]) -> JobFunction[Any, Any] | None:
    """Find what a module calls by the function's name, where it wraps the same function."""
    found: Any = sys.modules.get(function.function.__module__)
    for part in function.function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, JobFunction) and found.function is function.function else None


def _same(found: JobFunction[Any, Any]) -> JobFunction[Any, Any]:
    return found


def _rebuilt(function: Callable[..., Any]) -> JobFunction[Any, Any]:
    return JobFunction(function, Options())


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**options: Any) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(function: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a function's calls jobs: ``@job``, or ``@job(cores=2, memory="1G", retries=3)``.

    Args:
        function: the function; its arguments and its value must be picklable (dill helps).
        options: cores, memory, disk, accelerators, walltime, preemptible, name, retries, checkpoint.

    Raises:
        RequirementError: a requirement can't be read.
    """
    read = Options.read(options) if options else Options()
    if function is None:
        return functools.partial(JobFunction, options=read)
    return JobFunction(function, read)
