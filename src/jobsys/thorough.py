"""Pickles with dill, which knows classes that no import finds, and remembers where it failed. Slow to import: loaded when needed."""

import _thread
import io
import socket
from typing import Any, BinaryIO, Final

import dill

from jobsys.classes import reduced
from jobsys.closures import importable

# dill would make another lock, and open the file once more: not what anybody means who passes one
_REFUSED: Final = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO, socket.socket)
_LOCKS: Final = (_thread.LockType, type(_thread.RLock()))


class ThoroughPickler(dill.Pickler):  # type: ignore[misc]
    """dill, but what can be imported on the other side travels by its name, also from ``__main__``."""

    def __init__(self, stream: BinaryIO) -> None:
        """Write to ``stream``; ``trail`` is what is being pickled, each thing inside the one before."""
        super().__init__(stream, protocol=5, recurse=True)
        self.trail: list[Any] = []

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Pickle a part, and keep it on the trail if that fails."""
        depth = len(self.trail)
        self.trail.append(obj)
        super().save(obj, save_persistent_id)
        del self.trail[depth:]

    def reducer_override(self, value: Any) -> Any:
        """Take functions and what has a name from dill's hands, and refuse what has no meaning elsewhere."""
        if isinstance(value, type) and importable(value):
            return value.__qualname__
        if isinstance(value, _REFUSED) or type(value) in _LOCKS:
            raise TypeError(f"cannot pickle {type(value).__qualname__!r} object")
        return reduced(value)
