"""The leader's side of a worker host: start it, hand it sockets for its workers, stop it, and leave nothing of it."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from jobsys import framing, hosting, processes
from jobsys.batch.local.link import Link
from jobsys.errors import BatchSystemError
from jobsys.slots import Slots
from jobsys.workdir import WorkDirectory

_STOP_SECONDS: Final = 45.0  # the host gives what clears up behind dead workers 30
_LOG_TAIL: Final = 4096


class HostProcess:
    """A running worker host."""

    def __init__(self, started: hosting.Started) -> None:
        """Take a host over; see ``start``."""
        self.ready = False
        self.slots = Slots(started.slots)
        self.free_slots = list(range(self.slots.count - 1, -1, -1))
        self._mark = started.mark
        self._log = Path(started.directory) / hosting.LOG
        self._process = started.process
        self.link = Link(socket.socket(fileno=started.connection))
        self.pid = started.process.pid

    @classmethod
    def start(cls, command: Sequence[str], directory: WorkDirectory, environment: Mapping[str, str]) -> Self:
        """Start a host that keeps its files in a directory and holds its lock, with ``environment`` over the variables of this process.

        Raises:
            BatchSystemError: the command can't be started.
        """
        try:
            return cls(hosting.start(command, directory.path, directory.lock, {**os.environ, **environment}))
        except OSError as error:
            raise BatchSystemError(f"the worker host can't be started: {error}") from error

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
            self._host: HostProcess | None = HostProcess.start(command, self._directory, environment)
        except BaseException:
            self._directory.remove()
            raise

    @classmethod
    def found(cls, text: str) -> Self:
        """Take over one that this process started when it still was another program."""
        self = cls.__new__(cls)
        started = hosting.found(text)
        self._directory = WorkDirectory(Path(started.directory), started.lock)
        self._host = HostProcess(started)
        return self

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
