"""A session: ``__main__`` without a file, as in a REPL, a notebook, or behind ``-c``. What it defines travels by value.

Owns the questions whether there is one and what it calls by a name, and the one namespace that stands for it on a worker. Pickles nothing.
"""

import builtins
import dis
import sys
import types
from collections.abc import Mapping
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import Any, Final, TypeAlias

Written: TypeAlias = tuple[int, dict[str, int]]
"""How deep the pickle lies that is being read, and how deep the one lay that a name was last written from."""

_MAIN: Final = "__main__"
_STARTED: Final = "__jobsys_session__"
_READS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"})
_EVERY_MODULE_HAS: Final = frozenset({*vars(types.ModuleType(_MAIN)), "__annotations__", "__builtins__", "__file__", _STARTED})
_written: ContextVar[Written | None] = ContextVar("written", default=None)


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
    main.__dict__.update({"__builtins__": builtins, _STARTED: True})
    sys.modules[_MAIN] = main
    return main


def is_started() -> bool:
    """Tell whether ``__main__`` was made by ``start_session``: then its names are those that arrive in pickles, else they are a user's."""
    return _STARTED in vars(sys.modules[_MAIN])


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
    """Write into the namespace: over what another pickle brought, but never over what the user's own session has.

    Of the pickles that are read inside of one another, the outermost is the job itself, which sees the globals as they were when it
    was made; a value that it is given adds what it needs.
    """
    space = namespace()
    if not is_started():
        for name, value in names.items():
            space.setdefault(name, value)
        return
    depth, written = _written.get() or (0, {})
    for name, value in names.items():
        if written.get(name, depth) >= depth:
            space[name], written[name] = value, depth


def enter() -> Token[Written | None] | None:
    """Begin to read a pickle, perhaps inside of another; give what ``leave`` wants. Costs nothing where there is no session."""
    if not is_started():
        return None
    around = _written.get()
    return _written.set((0, {}) if around is None else (around[0] + 1, around[1]))


def leave(token: Token[Written | None] | None) -> None:
    """End what ``enter`` began."""
    if token is not None:
        _written.reset(token)


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
