"""Pickles of users' objects: promises become slots, what pickle can't do goes to dill, what nobody can do is named."""

import io
import pickle
import sys
import types
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import dill

from jobsys.errors import PicklingError, PromiseError

_FAILURES: Final = (pickle.PicklingError, TypeError, AttributeError, NotImplementedError, ValueError, RecursionError)

_slots: ContextVar[dict[Hashable, int] | None] = ContextVar("slots", default=None)
_values: ContextVar[Callable[[int], Any] | None] = ContextVar("values", default=None)
_travelling: ContextVar[object] = ContextVar("travelling", default=None)


def slot(source: Hashable) -> int:
    """Give the slot under which ``source`` stands in the pickle that is being made."""
    slots = _slots.get()
    if slots is None:
        raise PicklingError(f"the promise of {source} can travel only inside a job's arguments or return value")
    return slots.setdefault(source, len(slots))


def fill(number: int) -> Any:
    """Give the value for a slot of the pickle that is being read."""
    values = _values.get()
    if values is None:
        raise PromiseError("a promise was unpickled outside of a job: it has no value here")
    return values(number)


def travels(candidate: object) -> bool:
    """Tell whether ``candidate`` is the very object that ``dump`` was called for."""
    return _travelling.get() is candidate


def dump(value: Any, what: str) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle a value; return its bytes and the sources of the promises in it, by slot.

    Raises:
        PicklingError: something in it can't be pickled; ``what`` and the path to the culprit are named.
    """
    try:
        return _attempt(_quick, value)
    except PicklingError:
        raise
    except _FAILURES:
        pass  # dill knows more: lambdas, closures, nested classes
    try:
        return _attempt(_thorough, value)
    except PicklingError:
        raise
    except Exception as error:
        raise PicklingError(f"{what} can't be pickled: {culprit(value)}") from error


def load(data: bytes, values: Callable[[int], Any]) -> Any:
    """Unpickle; ``values`` gives what a slot stands for."""
    token = _values.set(values)
    try:
        return pickle.loads(data)  # noqa: S301 - the digest of what is loaded was recorded by the leader
    finally:
        _values.reset(token)


def _attempt(dumps: Callable[[Any], bytes], value: Any) -> tuple[bytes, tuple[Any, ...]]:
    slots: dict[Hashable, int] = {}
    token, travelling = _slots.set(slots), _travelling.set(value)
    try:
        return dumps(value), tuple(slots)
    finally:
        _slots.reset(token)
        _travelling.reset(travelling)


def _quick(value: Any) -> bytes:
    return pickle.dumps(value, protocol=5)


class _Pickler(dill.Pickler):  # type: ignore[misc]
    """dill, but what can be imported by its name on the worker travels by that name, also from ``__main__``."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (types.FunctionType, type)) and importable(value):
            return value.__qualname__
        return NotImplemented


def _thorough(value: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, recurse=True).dump(value)
    return stream.getvalue()


def importable(value: Any) -> bool:
    """Tell whether a function or class is found under its module and qualified name."""
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def culprit(value: Any) -> str:
    """Find the innermost part of a value that can't be pickled, and name the way to it."""
    path, seen = "", {id(value)}
    while True:
        for step, part in _parts(value):
            if id(part) not in seen and not _picklable(part):
                seen.add(id(part))
                path, value = path + step, part
                break
        else:
            break
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    text = repr(value)
    return f"{'its part ' + path + ' is' if path else 'it is'} a {kind} ({text[:80]}{'…' if len(text) > 80 else ''})"


def _picklable(value: Any) -> bool:
    try:
        _attempt(_thorough, value)
    except Exception:  # noqa: BLE001 - any error of a user's __reduce__ means no
        return False
    return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif not isinstance(value, (type, types.ModuleType)):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f" -> closure variable {name!r}", cell.cell_contents
    for index, default in enumerate(function.__defaults__ or ()):
        yield f" -> default {index}", default
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f" -> global {name!r}", function.__globals__[name]
