"""Starts a worker host: its socket, its shared memory, and the mark by which its processes are found. Standard library only."""

import json
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from jobsys.processes import MARK, send
from jobsys.slots import reserve

SLOTS: Final = 1024
LOG: Final = "host.log"
"""The file in its directory into which a host prints."""


class Child:
    """A child of this process of which no more is known than its number: what this process was before started it."""

    def __init__(self, pid: int) -> None:
        """Take its number."""
        self.pid = pid
        self._status: int | None = None

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end, and give its exit status; negative: the signal's number."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def _send(self, number: int) -> None:
        if self._status is None:  # until then its number is nobody else's
            send(self.pid, number)


class Started(NamedTuple):
    """A worker host that was started; descriptors are this process's."""

    process: subprocess.Popen[bytes] | Child
    connection: int  # of the socket to it
    slots: int  # of the memory that it shares
    mark: str  # by which all its processes are found
    directory: str
    lock: int  # of the directory

    def leave(self) -> str:
        """Have it outlast this program: what this process becomes finds it by the text (``found``)."""
        for descriptor in (self.connection, self.slots, self.lock):
            if descriptor >= 0:
                os.set_inheritable(descriptor, True)
        return json.dumps([self.process.pid, *self[1:]])


def found(text: str) -> Started:
    """Take over a host from what this process was before."""
    pid, *rest = json.loads(text)
    started = Started(Child(pid), *rest)
    for descriptor in (started.connection, started.slots, started.lock):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    return started


def start(command: Sequence[str], directory: str | os.PathLike[str], lock: int, environment: Mapping[str, str]) -> Started:
    """Start a host that keeps its files in a directory, whose lock it holds, too; ``environment`` is all its variables but the mark.

    Raises:
        OSError: it can't be started.
    """
    path = os.fspath(directory)
    mark = f"{os.path.basename(path)}.{uuid.uuid4().hex}"
    shared = reserve(SLOTS)
    ours, theirs = socket.socketpair()
    passed = (theirs.fileno(), shared, lock)
    arguments = [
        *command,
        *("--connect", str(passed[0]), "--slots", str(passed[1]), "--lock", str(passed[2])),
        *("--directory", path, "--leader", str(os.getpid()), "--mark", mark),
    ]
    marks = [each for each in (os.environ.get(MARK), mark) if each]
    variables = {**environment, MARK: ":".join(marks)}
    try:
        with theirs, open(f"{path}/{LOG}", "ab") as log:
            process = subprocess.Popen(  # the command is the leader's own
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, pass_fds=passed, start_new_session=True
            )
    except OSError:
        ours.close()
        os.close(shared)
        raise
    return Started(process, ours.detach(), shared, mark, path, lock)
