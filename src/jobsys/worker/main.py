"""A worker host from its first to its last moment: guarded, told what to load, serving, and gone without a trace."""

import argparse
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
from typing import NoReturn, cast

import msgspec

from jobsys import framing
from jobsys.cache import Cache
from jobsys.errors import JobsysError, UsageError
from jobsys.resource import Resource
from jobsys.slots import Slots
from jobsys.worker import guard
from jobsys.worker.executor import Executor, Prepare
from jobsys.worker.host import Host

DEFAULT_EXECUTOR = "jobsys.worker.code:prepare"


def main(arguments: Sequence[str]) -> NoReturn:
    """Load the code, then serve the leader at the other end of a socket."""
    parser = argparse.ArgumentParser(prog="python -m jobsys.worker", add_help=False)
    parser.add_argument("--connect", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--lock", type=int, default=-1, help="kept open: so the directory is in use as long as this process lives")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--leader", type=int, required=True)
    parser.add_argument("--mark", required=True)
    parser.add_argument("--executor", default=DEFAULT_EXECUTOR)
    parser.add_argument("--wait", action="store_true", help="the leader says over the socket by what the code is loaded")
    options, rest = parser.parse_known_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guardian = guard.start(options.leader, options.directory, options.mark)
    for descriptor in (options.connect, options.slots, options.lock):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=options.connect)
    executor = _prepare(options.executor, None if options.wait else rest, control, options.directory)
    if executor is None:
        os.kill(guardian, signal.SIGKILL)
        _end(1)
    Host(control, Slots(options.slots), options.directory, executor, guardian, options.lock).serve()
    _end(0)


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
