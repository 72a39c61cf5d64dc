"""Pickles of users' objects: promises become slots, what has no name travels as code, what nobody can pickle is named."""

import importlib
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from jobsys import standins
from jobsys.classes import reduced
from jobsys.culprit import describe
from jobsys.errors import PicklingError

_MISSING: Final = r"(Can't get attribute|Can't resolve path) '(.*?)' on <module '(.*?)'"


def dump(value: Any, what: str, labels: Sequence[str] = ()) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle a value as it is now; return its bytes and the sources of the promises in it, by slot.

    Args:
        value: what to pickle.
        what: how to call it in error messages.
        labels: how to call its parts there, where it is a tuple.

    Raises:
        PicklingError: something in it can't be pickled; ``what`` and the way to the culprit are named.
    """
    try:
        return _attempt(_QuickPickler, value, [])
    except PicklingError as error:
        raise PicklingError(f"{what} can't be pickled: {error}") from error
    except RecursionError as error:
        raise PicklingError(_too_deep(what)) from error
    except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything; what it was shows in the second attempt
        thorough = importlib.import_module("jobsys.thorough").ThoroughPickler  # which imports dill, and so is slow to load
    trail: list[Any] = []
    try:
        return _attempt(thorough, value, trail)
    except PicklingError as error:
        raise PicklingError(f"{what} can't be pickled: {error}") from error
    except RecursionError as error:
        raise PicklingError(_too_deep(what)) from error
    except Exception as error:
        raise PicklingError(f"{what} can't be pickled: {describe(trail, labels, error)}") from error


def load(data: bytes, values: Callable[[int], Any]) -> Any:
    """Unpickle; ``values`` gives what a slot stands for.

    Raises:
        PicklingError: what the pickle names is not there on this side.
    """
    token = standins.values.set(values)
    try:
        return pickle.loads(data)  # noqa: S301 - the digest of what is loaded was recorded by the leader
    except (AttributeError, ImportError) as error:
        raise PicklingError(_not_there(error)) from error
    finally:
        standins.values.reset(token)


class _QuickPickler(pickle.Pickler):
    """Python's own pickler, for which functions without a name travel as code."""

    def reducer_override(self, value: Any) -> Any:
        return reduced(value)


class _Pieces:
    """Keeps what a pickler writes as it comes: a large value is copied once, at the end, and not each time that a buffer grows."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []
        self.write = self.pieces.append


def _attempt(pickler: Any, value: Any, trail: list[Any]) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle with slots of this attempt's own: those of an earlier one that failed mean nothing."""
    slots = standins.Slots()
    stream = _Pieces()
    token, travelling = standins.slots.set(slots), standins.travelling.set(value)
    try:
        if pickler is _QuickPickler:
            _QuickPickler(stream, 5).dump(value)
        else:
            made = pickler(stream)
            made.trail = trail
            made.dump(value)
        return b"".join(stream.pieces), tuple(slots.sources)
    finally:
        standins.slots.reset(token)
        standins.travelling.reset(travelling)


def _not_there(error: AttributeError | ImportError) -> str:
    found = re.match(_MISSING, str(error))
    what = f"{found[2]!r} is not in the module {found[3]!r} on this side" if found else f"a part of it is not there on this side ({error})"
    return (
        f"a value or an argument can't be unpickled: {what}. Was it renamed or removed since, is it made while the program runs, or "
        f"replaced after the import? Put it back under its name; --restart --same-code goes on with the code as it was"
    )


def _too_deep(what: str) -> str:
    return (
        f"{what} can't be pickled: it is nested too deeply (Python's recursion limit is {sys.getrecursionlimit()}); pass a flat list, or "
        "give such a structure a __reduce__ of its own"
    )
