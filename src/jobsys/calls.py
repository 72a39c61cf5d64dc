"""Checks that a function can be called as a script calls it, before the call travels. Calls nothing."""

import inspect
from collections.abc import Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

from jobsys.errors import GraphError

_STARS: Final = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_signatures: Final[WeakKeyDictionary[FunctionType, inspect.Signature]] = WeakKeyDictionary()


def check_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that do not fit a function's parameters; only plain functions are known to mean what their signature says.

    Raises:
        GraphError: they don't; it names the function and what it takes.
    """
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        return
    if not kwargs and _fits(function.__code__, len(args), len(function.__defaults__ or ())):
        return
    signature = _signatures.get(function)
    if signature is None:
        signature = _signatures[function] = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(str(each.replace(annotation=inspect.Parameter.empty)) for each in signature.parameters.values())
        raise GraphError(f"this call of {function.__qualname__!r} does not fit: {error}; it takes ({takes})") from None


def _fits(code: CodeType, given: int, defaults: int) -> bool:
    """Tell in no time that a call by position is fine, as nearly all are."""
    return not code.co_flags & _STARS and not code.co_kwonlyargcount and code.co_argcount - defaults <= given <= code.co_argcount
