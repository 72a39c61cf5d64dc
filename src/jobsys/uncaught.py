"""How an error that nobody caught is told: by its message, since a traceback through jobsys' own frames helps nobody."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from jobsys.errors import CanceledError, JobsysError, UsageError
from jobsys.harmless import for_stream

if TYPE_CHECKING:
    from traceback import FrameSummary, StackSummary
    from types import TracebackType

CANCELED: Final = 130
"""The exit status of what was stopped by a person, as shells have it after Ctrl-C."""
_OURS: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_RUN: Final = _OURS + "start.py"
_SHOWN: Final = 5


def exit_status(error: BaseException) -> int:
    """Choose a program's exit status for an error."""
    if isinstance(error, UsageError):
        return 2
    return CANCELED if isinstance(error, CanceledError | KeyboardInterrupt) else 1


def tell_uncaught_errors_plainly() -> None:
    """Let a script that ends by an uncaught JobsysError print its message, and end with a fitting exit status.

    Where the script's own line is at fault, that is shown, too. Every other exception is shown as before; so is this one where a log
    level of debug was asked for, and where the program has an exception hook of its own. Errors that somebody catches are not touched.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    traceback = importlib.import_module("traceback")  # loaded on use
    frames: StackSummary = traceback.extract_tb(trace)
    own = _own(frames)
    interrupted = isinstance(error, KeyboardInterrupt) and any(frame.filename.startswith(_OURS) for frame in frames)
    if not own or not (isinstance(error, JobsysError) or interrupted):
        sys.__excepthook__(kind, error, trace)
        return
    ends = not (hasattr(sys, "ps1") or sys.flags.interactive)
    if ends:
        _let_nothing_interrupt()
    logging = sys.modules.get("logging")
    if logging is not None and logging.getLogger("jobsys").isEnabledFor(logging.DEBUG):
        sys.__excepthook__(kind, error, trace)
    elif sys.stderr is not None:
        if not interrupted and not any(frame.filename == _RUN for frame in frames):  # what run raises is not the fault of its call
            print(*traceback.format_list(own[-_SHOWN:]), sep="", end="", file=sys.stderr)  # noqa: T201 - in place of the interpreter's own
        text = "interrupted (SIGINT) while no run went on" if interrupted else str(error)
        print(for_stream(f"jobsys: error: {text}", sys.stderr), file=sys.stderr)  # noqa: T201
        for note in getattr(error, "__notes__", ()):
            print(for_stream(note, sys.stderr), file=sys.stderr)  # noqa: T201
    if ends:
        sys.exit(exit_status(error))


def _let_nothing_interrupt() -> None:
    """Go on at the next Ctrl-C: who presses it once more wants what is happening."""
    signal = importlib.import_module("signal")  # loaded on use
    with suppress(ValueError):  # it is for the main thread to say
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _own(frames: StackSummary) -> list[FrameSummary]:
    """Keep the frames from the script down to the first of jobsys: what that called on its way is not the script's."""
    own: list[FrameSummary] = []
    for frame in frames:
        if frame.filename.startswith(_OURS):
            break
        if not frame.filename.startswith("<frozen "):  # runpy, or an import
            own.append(frame)
    return own
