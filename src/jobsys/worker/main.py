"""A worker host from its first to its last moment: guarded, told what to load, serving, and gone without a trace."""

import atexit
import gc
import importlib
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn, cast

import msgspec

from jobsys import framing, processes
from jobsys.cache import Cache
from jobsys.errors import JobsysError, UsageError
from jobsys.resource import Resource
from jobsys.slots import Slots
from jobsys.worker import guard
from jobsys.worker.executor import Executor, Prepare
from jobsys.worker.host import Host, Kin

OPTIONS: Final = {
    "--connect": "descriptor of the socket to the leader",
    "--slots": "descriptor of the memory that it shares",
    "--lock": "descriptor that is kept open: so the directory is in use as long as this process lives",
    "--directory": "for the files of this host and its workers",
    "--leader": "its process",
    "--mark": "by which all processes of this host are found",
    "--executor": "MODULE:NAME of what loads the code",
    "--job-store": "whose run this is, for people who look at processes",
}
"""Each with a value; with ``--wait``, which has none, the leader says over the socket by what the code is loaded."""
DEFAULT_EXECUTOR = "jobsys.worker.code:prepare"


def main(arguments: Sequence[str]) -> NoReturn:
    """Load the code, then serve the leader at the other end of a socket."""
    given, rest = _read(arguments)
    connection, shared, lock = int(given["--connect"]), int(given["--slots"]), int(given.get("--lock", -1))
    directory = Path(given["--directory"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the leader's thread had blocked, such as the deaths of children, is needed here
    leader = int(given["--leader"])
    guardian = guard.start(leader, directory, given["--mark"])
    for descriptor in (connection, shared, lock):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=connection)
    executor = _prepare(given.get("--executor", DEFAULT_EXECUTOR), None if "--wait" in rest else rest, control, directory)
    if executor is None:
        os.kill(guardian, signal.SIGKILL)
        _end(1)
    Host(control, Slots(shared), directory, executor, Kin(leader, guardian), lock).serve()
    _end(0)


def _read(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Part the options of a host from what its executor is told; argparse takes longer to load than all of this to run."""
    given, rest, words = {}, [], iter(arguments)
    for word in words:
        if word in OPTIONS:
            given[word] = next(words)
        else:
            rest.append(word)
    return given, rest


def _end(status: int) -> NoReturn:
    """Run what the user's code wants at the end of a process, and leave without taking the interpreter apart: somebody waits."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(status)


def _place_code(directory: Path) -> None:
    """Have the shipped code unpacked in this host's cache, unless JTRES_ROOT names another place."""
    if not os.path.isdir(os.environ.get(Resource.rootDirPathEnvName, "")):
        os.environ[Resource.rootDirPathEnvName] = Cache.of_host(private=directory / "cache").code


def _prepare(name: str, arguments: Sequence[str] | None, control: socket.socket, directory: Path) -> Executor | None:
    try:
        _place_code(directory)
        module, _, attribute = name.partition(":")
        prepare = cast(Prepare, getattr(importlib.import_module(module), attribute))
        processes.load()
        gc.freeze()  # no collection goes through it again
        told = _told(control) if arguments is None else arguments
        gc.enable()
        if told is None:
            shutil.rmtree(directory, ignore_errors=True)  # nobody else will
        return None if told is None else prepare(told)
    except BaseException as error:  # noqa: BLE001  # the user's code is imported here
        text = str(error)
        if not _says_all(error):
            traceback.print_exc()
            text = "".join(traceback.format_exception_only(error)).strip()
        wrong = isinstance(error, UsageError) or not isinstance(error, JobsysError | OSError)
        control.sendall(framing.pack(framing.CANNOT_START, number=int(wrong), payload=text.encode()))
        return None


def _told(control: socket.socket) -> list[str] | None:
    """Wait until the leader says by what the code is loaded, and read no byte more; None if it has gone."""
    header = control.recv(framing.HEADER_SIZE, socket.MSG_WAITALL)
    if len(header) < framing.HEADER_SIZE:
        return None
    payload = control.recv(framing.payload_size(header), socket.MSG_WAITALL)
    return msgspec.msgpack.decode(payload, type=list[str])


def _says_all(error: BaseException) -> bool:
    """Tell whether an error's message needs no traceback: it is no error in the user's code, and does not come from one."""
    return isinstance(error, JobsysError) and isinstance(error.__cause__, JobsysError | OSError | None)
