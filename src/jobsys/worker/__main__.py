"""The command line of a worker host. A batch system starts it; a person has no use for it."""

import argparse
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from jobsys import framing
from jobsys.cache import Cache
from jobsys.errors import JobsysError, UsageError
from jobsys.resource import Resource
from jobsys.slots import Slots
from jobsys.worker import guard
from jobsys.worker.executor import Executor, Prepare
from jobsys.worker.host import Host

DEFAULT_EXECUTOR = "jobsys.worker.code:prepare"


def main(arguments: Sequence[str]) -> int:
    """Load the code, then serve the leader at the other end of a socket."""
    parser = argparse.ArgumentParser(prog="python -m jobsys.worker", add_help=False)
    parser.add_argument("--connect", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--lock", type=int, default=-1, help="kept open: so the directory is in use as long as this process lives")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--leader", type=int, required=True)
    parser.add_argument("--mark", required=True)
    parser.add_argument("--executor", default=DEFAULT_EXECUTOR)
    options, rest = parser.parse_known_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guardian = guard.start(options.leader, options.directory, options.mark)
    for descriptor in (options.connect, options.slots, options.lock):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=options.connect)
    executor = _prepare(options.executor, rest, control, options.directory)
    if executor is None:
        os.kill(guardian, signal.SIGKILL)
        return 1
    Host(control, Slots(options.slots), options.directory, executor, guardian, options.lock).serve()
    return 0


def _place_code(directory: Path) -> None:
    """Have the shipped code unpacked in this host's cache, unless JTRES_ROOT names another place."""
    if not os.path.isdir(os.environ.get(Resource.rootDirPathEnvName, "")):
        os.environ[Resource.rootDirPathEnvName] = Cache.of_host(private=directory / "cache").code


def _prepare(name: str, arguments: Sequence[str], control: socket.socket, directory: Path) -> Executor | None:
    try:
        _place_code(directory)
        module, _, attribute = name.partition(":")
        prepare = cast(Prepare, getattr(importlib.import_module(module), attribute))
        return prepare(arguments)
    except BaseException as error:  # noqa: BLE001  # the user's code is imported here
        text = str(error)
        if not _says_all(error):
            traceback.print_exc()
            text = "".join(traceback.format_exception_only(error)).strip()
        wrong = isinstance(error, UsageError) or not isinstance(error, JobsysError | OSError)
        control.sendall(framing.pack(framing.CANNOT_START, number=int(wrong), payload=text.encode()))
        return None


def _says_all(error: BaseException) -> bool:
    """Tell whether an error's message needs no traceback: it is no error in the user's code, and does not come from one."""
    return isinstance(error, JobsysError) and isinstance(error.__cause__, JobsysError | OSError | None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
