"""A session: ``__main__`` without a file, as in a REPL, a notebook, or behind ``-c``. What jobs use of it is shipped by value, once a run.

Owns the questions whether there is one and what travels by which name, and the one namespace that stands for it on a worker. Pickles
nothing: on the leader its names are noted while jobs are pickled, and then the code is shipped that the workers' namespace is made of.
"""

import builtins
import dis
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

_MAIN: Final = "__main__"
_SHIPPED: Final = "__jobsys_session__"
"""In a worker's namespace: the names that every worker has."""
_READS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"})
_EVERY_MODULE_HAS: Final = frozenset({*vars(types.ModuleType(_MAIN)), "__annotations__", "__builtins__", "__file__", _SHIPPED})
_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)
_by_value: ContextVar[bool] = ContextVar("by_value", default=False)


def is_session(main: types.ModuleType | None) -> bool:
    """Tell whether a ``__main__`` is in no file: not a script, which may be gone by now, nor a module, nor an archive."""
    if main is None or getattr(main, "__spec__", None) is not None:
        return False
    file = getattr(main, "__file__", None)
    return file is None or file.rpartition("/")[2].startswith("<")  # "<stdin>"


def current() -> types.ModuleType | None:
    """Give the session that this process is, or stands for; None if it has a script."""
    main = sys.modules.get(_MAIN)
    return main if is_session(main) else None


def start_session() -> types.ModuleType:
    """Make an empty ``__main__`` on a worker, for the namespace of the leader's session."""
    main = types.ModuleType(_MAIN)
    main.__dict__.update({"__builtins__": builtins, _SHIPPED: frozenset()})
    sys.modules[_MAIN] = main
    return main


def is_started() -> bool:
    """Tell whether ``__main__`` was made by ``start_session``: then its names are those that arrive in pickles, else they are a user's."""
    return _SHIPPED in vars(sys.modules[_MAIN])


def complete(names: Mapping[str, Any]) -> None:
    """Finish a worker's session by what the leader shipped: every worker has these names."""
    bring(names)
    vars(sys.modules[_MAIN])[_SHIPPED] = frozenset(vars(sys.modules[_MAIN]))


@contextmanager
def noting() -> Iterator[dict[str, str]]:
    """Note which of the session's names a run's jobs use: each with the function without a name that uses it, if it was that."""
    names: dict[str, str] = {}
    token = _noted.set(names)
    try:
        yield names
    finally:
        _noted.reset(token)


@contextmanager
def by_value() -> Iterator[None]:
    """Pickle what the session defines as what it is, for the workers' namespace."""
    token = _by_value.set(True)
    try:
        yield
    finally:
        _by_value.reset(token)


def noted() -> dict[str, str]:
    """Give what was noted so far for the run that starts."""
    return _noted.get() or {}


def travels_by_name(qualname: str) -> bool:
    """Tell whether a worker finds this name, now or because it is noted hereby."""
    name = qualname.partition(".")[0]
    if is_started():
        return name in vars(sys.modules[_MAIN])[_SHIPPED]
    _note(name)
    return not _by_value.get()


def to_bring(values: dict[str, Any], function: str) -> dict[str, Any]:
    """Choose from the globals that a function uses those that must travel with it: the others are found by name."""
    if is_started():
        return {name: value for name, value in values.items() if name not in vars(sys.modules[_MAIN])[_SHIPPED]}
    for name in values:
        _note(name, function)
    return values if _by_value.get() else {}


def _note(name: str, function: str = "") -> None:
    names = _noted.get()
    if names is not None:
        names.setdefault(name, function)


def namespace() -> dict[str, Any]:
    """Give the globals of what the session defines."""
    return vars(sys.modules[_MAIN])


def found(qualname: str) -> Any:
    """Give what ``__main__`` calls by a name; None if there is nothing."""
    value: Any = sys.modules[_MAIN]
    for part in qualname.split("."):
        value = getattr(value, part, None)
    return value


def name_of(value: Any) -> str | None:
    """Give the name by which the session knows a function, a class or the like as its own; None if it has none."""
    name: str = getattr(value, "__qualname__", None) or value.__name__
    return name if value.__module__ == _MAIN and found(name) is value else None


def bring(names: Mapping[str, Any]) -> None:
    """Write into the namespace, but never over what the user's own session has."""
    space = namespace()
    for name, value in names.items():
        if is_started() or name not in space:
            space[name] = value


def mentioned(code: types.CodeType, space: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Give the globals that a function and those inside it read, and the submodules that they reach through these.

    What is not there is left out: that is an error only if it is run.
    """
    names, attributes = _reads(code)
    values = {name: space[name] for name in names if name in space and not _is_the_shells(name, space[name])}
    reached: list[str] = []
    waiting = [value.__name__ for value in values.values() if isinstance(value, types.ModuleType)]
    while waiting:
        module = waiting.pop()
        inside = [f"{module}.{name}" for name in attributes if f"{module}.{name}" in sys.modules]
        waiting += inside
        reached += inside
    return values, tuple(reached)


@lru_cache(maxsize=4096)
def _reads(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the globals that code reads, and everything that it mentions."""
    names = [each.argval for each in dis.get_instructions(code) if each.opname in _READS]
    attributes = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _reads(constant)
            names += inner[0]
            attributes += inner[1]
    return tuple(name for name in dict.fromkeys(names) if name not in _EVERY_MODULE_HAS), tuple(dict.fromkeys(attributes))


def _is_the_shells(name: str, value: Any) -> bool:
    """Tell whether a name stands for a builtin that IPython has replaced in its own process: it has its own ``open``."""
    if not hasattr(builtins, name):
        return False
    home = getattr(value, "__globals__", {}).get("__name__") or type(value).__module__
    return str(home).startswith("IPython.")
