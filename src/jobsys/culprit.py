"""Says which part of a value can't be pickled, and where in it that part is. Pickles nothing."""

import functools
import io
import types
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

_SHOWN: Final = 80
_HINTS: Final = (
    (types.GeneratorType, "make a list of it"),
    (io.IOBase, "pass the file's path and open it where it is used"),
    (types.FrameType, ""),
)


def describe(trail: Sequence[Any], labels: Sequence[str], error: BaseException | None) -> str:
    """Name the last thing of a trail, and the way to it from the first.

    Args:
        trail: what was being pickled when it failed, each inside the one before.
        labels: how to call the parts of the first, where that is a tuple.
        error: why it failed.
    """
    culprit = trail[-1]
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}".removeprefix("builtins.")
    hint = next((f"; {hint}" for known, hint in _HINTS if hint and isinstance(culprit, known)), "")
    cause = "" if error is None else f": {type(error).__name__}: {shown(error, str)}"
    where = _in_global(trail) or f"{_path(trail, labels) or 'it'} is"
    hint = hint or "; make it inside of the function that uses it, or pass what it is made from"
    return f"{where} a {kind} ({shown(culprit)}){cause}{hint}"


def shown(value: Any, write: Any = repr) -> str:
    """Write a value in one short line, whatever its own ``repr`` does."""
    try:
        text = str(write(value))
    except Exception as error:  # noqa: BLE001 - a user's repr, in the middle of another error
        text = f"a {type(value).__qualname__} whose {write.__name__} raises {type(error).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN or write is str else text[:_SHOWN] + "…"


def _in_global(trail: Sequence[Any]) -> str:
    """Write by which global of the last function of a trail the culprit comes along; nothing if it comes by another way."""
    for index in reversed(range(len(trail))):
        function = trail[index]
        if isinstance(function, types.FunctionType):
            steps = ((_step(function, part), place) for place, part in enumerate(trail[index + 1 :], index + 1))
            step, place = next((found for found in steps if found[0]), (None, 0))
            if step is None:
                continue
            _, by_global, name = step.partition("'s global ")
            inside = _path(trail[place:], ()) if by_global else ""
            uses = f"function {function.__qualname__!r} uses the global {name},"
            return (f"{uses} and {name[1:-1]}{inside} is" if inside else uses) if by_global else ""
    return ""


def _path(trail: Sequence[Any], labels: Sequence[str]) -> str:
    """Write the steps that lead down a trail; what only pickle puts in between is passed over."""
    path, owner, before = "", trail[0], trail[0]
    for part in trail[1:]:
        step = _step(owner, part)
        if step is None and isinstance(before, dict) and before is not owner and not isinstance(owner, types.FunctionType):
            step = next((f".{key}" for key, each in before.items() if each is part), None)  # in the state that __getstate__ made
        if step is not None:
            if owner is trail[0] and labels and isinstance(owner, tuple):
                step = labels[next(index for index, each in enumerate(owner) if each is part)]
            path, owner = path + step, part
        before = part
    return path.strip()


def _step(owner: Any, part: Any) -> str | None:
    return next((step for step, found in _parts(owner) if found is part), None)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{shown(key)}]", part
            yield f" key {shown(key)} of it", key
    elif isinstance(value, (list, tuple, deque)):
        names = getattr(value, "_fields", None)
        yield from ((f".{names[index]}" if names else f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f" member {shown(part)}", part) for part in value)
    elif isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, types.MethodType):
        yield from ((".__self__", value.__self__), (".__func__", value.__func__))
    elif isinstance(value, types.CellType):
        yield from _cell_parts("", value)
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), *_parts(value.args), *_parts(value.keywords))
    elif isinstance(value, type):
        yield from ((f".{name}", part) for name, part in vars(value).items())
    else:
        attributes = getattr(value, "__dict__", {})
        yield from ((f".{name}" if name != "__wrapped__" else "", part) for name, part in attributes.items())  # which is the thing itself
        slots = [name for kind in type(value).__mro__ for name, part in vars(kind).items() if isinstance(part, types.MemberDescriptorType)]
        yield from ((f".{name}", getattr(value, name)) for name in slots if hasattr(value, name))


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        step = f" -> {function.__qualname__}'s variable {name!r}"
        yield step, cell
        yield from _cell_parts(step, cell)
    for index, default in enumerate(function.__defaults__ or ()):
        yield f" -> {function.__qualname__}'s default {index}", default
    for key, default in (function.__kwdefaults__ or {}).items():
        yield f" -> {function.__qualname__}'s default {key}", default
    for key, part in function.__globals__.items():
        yield f" -> {function.__qualname__}'s global {key!r}", part


def _cell_parts(step: str, cell: types.CellType) -> Iterator[tuple[str, Any]]:
    try:
        yield step, cell.cell_contents
    except ValueError:
        return  # a variable that has no value yet
