"""The leader's side of a worker host: start it, hand it sockets for its workers, stop it, and leave nothing of it."""

import os
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from jobsys import framing, processes
from jobsys.batch.local.link import Link
from jobsys.batch.workdir import WorkDirectory
from jobsys.errors import BatchSystemError
from jobsys.slots import Slots

SLOTS: Final = 1024
_STOP_SECONDS: Final = 45.0  # the host gives what clears up behind dead workers 30
_LOG_TAIL: Final = 4096


class HostProcess:
    """A running worker host."""

    def __init__(self, command: Sequence[str], directory: WorkDirectory, environment: Mapping[str, str]) -> None:
        """Start a host that keeps its files in a directory and holds its lock, with ``environment`` over the variables of this process.

        Raises:
            BatchSystemError: the command can't be started.
        """
        self.ready = False
        self.slots = Slots.create(SLOTS)
        self.free_slots = list(range(SLOTS - 1, -1, -1))
        self._mark = f"{directory.path.name}.{uuid.uuid4().hex}"
        self._log = directory.path / "host.log"
        ours, theirs = socket.socketpair()
        passed = (theirs.fileno(), self.slots.descriptor, directory.lock)
        arguments = [
            *command,
            *("--connect", str(passed[0]), "--slots", str(passed[1]), "--lock", str(passed[2])),
            *("--directory", str(directory.path), "--leader", str(os.getpid()), "--mark", self._mark),
        ]
        marks = [mark for mark in (os.environ.get(processes.MARK), self._mark) if mark]
        variables = {**os.environ, **environment, processes.MARK: ":".join(marks)}
        try:
            with theirs, self._log.open("ab") as log:
                self._process = subprocess.Popen(  # the command is the leader's own
                    arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, pass_fds=passed, start_new_session=True
                )
        except OSError as error:
            ours.close()
            self.slots.close()
            raise BatchSystemError(f"the worker host can't be started: {error}") from error
        self.link = Link(ours)
        self.pid = self._process.pid

    def prepare(self, arguments: Sequence[str]) -> None:
        """Tell a host that was started with ``--wait`` by what it loads the code."""
        self.link.send(framing.pack(framing.PREPARE, payload=msgspec.msgpack.encode(arguments)))

    def fork(self, slot: int, devices: Sequence[str], *, once: bool) -> Link:
        """Ask for a worker and return the way to it."""
        return self.fork_many([slot], devices, once=once)[0]

    def fork_many(self, slots: Sequence[int], devices: Sequence[str], *, once: bool) -> list[Link]:
        """Ask for some workers, at most 64, and return the ways to them: asked for at once they are forked in a row."""
        pairs = [socket.socketpair() for _ in slots]
        payload = msgspec.msgpack.encode(devices)
        requests = [framing.pack(framing.FORK, slot, int(once), payload) for slot in slots]
        self.link.send(b"".join(requests), [theirs.detach() for _, theirs in pairs])
        return [Link(ours) for ours, _ in pairs]

    def kill(self, slot: int, job: int) -> None:
        """Ask to end the worker in a slot with all its processes, if it runs that job."""
        self.link.send(framing.pack(framing.KILL, job, slot))

    def wake(self) -> None:
        """Ask the host to look after its workers again."""
        self.link.send(framing.pack(framing.WAKE))

    def stop(self) -> None:
        """End the host, its workers and all their processes."""
        try:
            if self.ready:
                self.link.send(framing.pack(framing.STOP))
            else:
                self._process.terminate()  # it may load code for long
            processes.wait_for_end([self._process.pid], _STOP_SECONDS)
        finally:  # also where a second Ctrl-C ends the wait
            self.bury()

    def bury(self) -> int:
        """Clear up behind a host that is dead or dying; return its exit status."""
        self._process.kill()
        status = self._process.wait()
        processes.sweep(self._mark)
        self.link.close()
        self.slots.close()
        return status

    def printed(self) -> str:
        """Return the end of what the host printed."""
        try:
            return self._log.read_bytes()[-_LOG_TAIL:].decode(errors="replace").strip()
        except OSError:
            return ""


class Begun:
    """A worker host that was started before there is a batch system to use it; whoever ``take``s it sees to its end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], parent: str | None) -> None:
        """Start it, in a directory of its own below ``parent``.

        Raises:
            OSError: there can't be such a directory.
            BatchSystemError: the command can't be started.
        """
        self._directory: WorkDirectory | None = WorkDirectory.make(parent)
        try:
            self._host: HostProcess | None = HostProcess(command, self._directory, environment)
        except BaseException:
            self._directory.remove()
            raise

    def take(self) -> tuple[HostProcess, WorkDirectory] | None:
        """Hand host and directory over; None if they were handed over before."""
        host, self._host = self._host, None
        directory, self._directory = self._directory, None
        return None if host is None or directory is None else (host, directory)

    def discard(self) -> None:
        """End the host and remove its directory, unless somebody has taken them."""
        if (taken := self.take()) is not None:
            host, directory = taken
            try:
                host.stop()
            finally:
                directory.remove()
