"""What stands for promises in a pickle while it is made or read: numbers, the slots. Pickles nothing itself: a script needs no more."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from jobsys.errors import PicklingError, PromiseError


class Slots:
    """The sources of the promises in one pickle, told apart by identity: a user's class may define equality."""

    def __init__(self) -> None:
        """Begin without any."""
        self.sources: list[Any] = []
        self._numbers: dict[int, int] = {}

    def of(self, source: Any) -> int:
        """Give the number of a source, a new one if need be."""
        number = self._numbers.setdefault(id(source), len(self.sources))
        if number == len(self.sources):
            self.sources.append(source)
        return number


slots: ContextVar[Slots | None] = ContextVar("slots", default=None)
"""Of the pickle that is being made."""
values: ContextVar[Callable[[int], Any] | None] = ContextVar("values", default=None)
"""Gives what the slots of the pickle that is being read stand for."""
travelling: ContextVar[object] = ContextVar("travelling", default=None)
"""What is being pickled."""


def slot(source: Any) -> int:
    """Give the slot under which ``source`` stands in the pickle that is being made.

    Raises:
        PicklingError: none is being made.
    """
    found = slots.get()
    if found is None:
        raise PicklingError(f"the promise of {source} can travel only inside a job's arguments or return value")
    return found.of(source)


def fill(number: int) -> Any:
    """Give the value for a slot of the pickle that is being read.

    Raises:
        PromiseError: none is being read.
    """
    found = values.get()
    if found is None:
        raise PromiseError("a promise was unpickled outside of a job: it has no value here")
    return found(number)


def travels(candidate: object) -> bool:
    """Tell whether ``candidate`` is the very object that is being pickled."""
    return travelling.get() is candidate
