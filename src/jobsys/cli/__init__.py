"""The program ``jobsys``: looks at runs and job stores from outside. Each subcommand is a module of its own, loaded on use."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from jobsys.cli.parser import parse
from jobsys.errors import JobsysError
from jobsys.files import occupy_standard_descriptors
from jobsys.harmless import for_stream
from jobsys.storage.s3.options import Options
from jobsys.uncaught import CANCELED, exit_status

BROKEN_PIPE: Final = 141
"""The exit status when whoever read the output has left, as the shell reports it of other programs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit status: 0 fine, 1 the run failed or is not there, 2 wrong usage."""
    occupy_standard_descriptors()
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.encoding.lower().startswith("utf"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and logs of jobs may hold what this locale has no bytes for
    try:
        arguments = parse(sys.argv[1:] if argv is None else list(argv))
        if getattr(arguments, "in_bucket", False):
            os.environ |= Options.chosen(arguments, os.environ).environment()  # for this process, and a leader that it becomes
        status: int = arguments.execute(arguments)
        sys.stdout.flush()
    except JobsysError as error:
        print(for_stream(f"jobsys: error: {error}", sys.stderr), file=sys.stderr)
        return exit_status(error)
    except BrokenPipeError:
        # what is still buffered would fail again when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return CANCELED
    return status
