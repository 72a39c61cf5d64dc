"""Says why an attempt failed: the user's own frames, with the paths of the user's own files. Raises nothing itself."""

import functools
import itertools
import os
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from jobsys.errors import JobsysError
from jobsys.message import Failure
from jobsys.record import printable

_OURS: Final = str(Path(__file__).parent.parent) + os.sep
_LONGEST_MESSAGE: Final = 8_000
_LONGEST_TRACEBACK: Final = 64_000


class Explainer:
    """Turns exceptions of jobs into failures."""

    def __init__(self, places: Sequence[tuple[str, str]] = ()) -> None:
        """Show files below the first directory of each pair as files below the second."""
        self._places = [(here.rstrip(os.sep) + os.sep, there.rstrip(os.sep) + os.sep) for here, there in places]

    def failure(self, error: BaseException) -> Failure:
        """Say what happened, and where in the user's code."""
        kind = type(error).__qualname__
        if isinstance(error, SystemExit):
            message = f"the job called sys.exit({error.code!r}): a job ends by returning, and fails by raising"
        elif isinstance(error, JobsysError):  # it speaks for itself
            message = _text(error)
        else:
            message = f"{kind}: {_text(error)}".removesuffix(": ")
        reason = "memory" if isinstance(error, MemoryError) else "failed"
        trace = self._traceback(error)
        return Failure(reason, _cut(printable(message), _LONGEST_MESSAGE), _cut(printable(trace), _LONGEST_TRACEBACK), kind)

    def _traceback(self, error: BaseException) -> str:
        try:
            found = traceback.TracebackException.from_exception(error)
            if isinstance(error, JobsysError):
                _leave_out_internals(found)
            for each in _chain(found):
                each.stack = traceback.StackSummary.from_list([self._placed(frame) for frame in each.stack if not _is_ours(frame)])
            seen = any(each.stack for each in _chain(found))
            return "".join(found.format()) if seen else ""
        except Exception as problem:  # noqa: BLE001 - a user's exception may be broken in any way
            return f"(the traceback of a {type(error).__qualname__} can't be shown: {type(problem).__qualname__})"

    def _placed(self, frame: traceback.FrameSummary) -> traceback.FrameSummary:
        for here, there in self._places:
            if frame.filename.startswith(here):
                frame.filename = there + frame.filename.removeprefix(here)
                break
        return frame


def _chain(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Go through an exception, its causes, and the members of its group."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        waiting += getattr(each, "exceptions", None) or []


def _leave_out_internals(error: traceback.TracebackException) -> None:
    """Of an error that speaks for itself, keep what the user's code did: neither what jobsys called, nor causes that only libraries saw."""
    frames: list[traceback.FrameSummary] = [*itertools.dropwhile(_is_library, list(error.stack))]
    error.stack = traceback.StackSummary.from_list([*itertools.takewhile(lambda frame: not _is_ours(frame), frames)])
    for cause in [each for each in _chain(error) if each is not error]:
        cause.stack = traceback.StackSummary.from_list([frame for frame in cause.stack if not _is_library(frame)])
    if not any(each.stack for each in _chain(error) if each is not error):
        error.__cause__ = error.__context__ = None


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Give how the paths begin of what is nobody's own; asking for it takes a millisecond."""
    return (_OURS, "<frozen ", *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")))


def _is_library(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_libraries())


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_OURS)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__
        return f"(its __str__ raises {type(problem).__qualname__})"


def _cut(text: str, most: int) -> str:
    """Leave out the middle of a text that is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
