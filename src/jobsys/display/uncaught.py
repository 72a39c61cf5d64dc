"""How an error that nobody caught is told: by its message, since a traceback through jobsys' own frames helps nobody."""

import logging
import sys
from types import TracebackType
from typing import Final

from jobsys.display.harmless import for_stream
from jobsys.errors import CanceledError, JobsysError, UsageError

CANCELED: Final = 130
"""The exit status of what was stopped by a person, as shells have it after Ctrl-C."""


def exit_status(error: JobsysError) -> int:
    """Choose a program's exit status for an error."""
    if isinstance(error, UsageError):
        return 2
    return CANCELED if isinstance(error, CanceledError) else 1


def tell_uncaught_errors_plainly() -> None:
    """Let a script that ends by an uncaught JobsysError print its message, and end with a fitting exit status.

    Every other exception is shown as before; so is this one where a log level of debug was asked for, and where the program has
    an exception hook of its own. Errors that somebody catches are not touched.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not isinstance(error, JobsysError):
        sys.__excepthook__(kind, error, traceback)
        return
    if logging.getLogger("jobsys").isEnabledFor(logging.DEBUG):
        sys.__excepthook__(kind, error, traceback)
    elif sys.stderr is not None:
        print(for_stream(f"jobsys: error: {error}", sys.stderr), file=sys.stderr)  # noqa: T201 - in place of the interpreter's own traceback
        for note in getattr(error, "__notes__", ()):
            print(for_stream(note, sys.stderr), file=sys.stderr)  # noqa: T201
    if not (hasattr(sys, "ps1") or sys.flags.interactive):
        sys.exit(exit_status(error))
