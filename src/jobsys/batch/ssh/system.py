"""The batch system that reaches other hosts by ssh: joins decisions (placing) to agents (connections), in one thread.

When a job starts on its host, and within which limits, it leaves to the local batch system that the agent there runs.
"""

import logging
import os
import selectors
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate, Reason, RunningJob
from jobsys.batch.machine import Machine
from jobsys.batch.ssh.connection import Connection, Start, arguments
from jobsys.batch.ssh.hosts import RemoteHost
from jobsys.batch.ssh.placing import Placing
from jobsys.errors import BatchSystemError, RequirementError, StorageError, UsageError
from jobsys.framing import Frame
from jobsys.requirements import Requirements, format_bytes
from jobsys.version import VERSION

SSH: Final = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15")
_PATIENCE: Final = 30.0
_START_PATIENCE: Final = 600.0  # the first start on a host fetches all code
_BALANCE_SECONDS: Final = 1.0
_NOTE_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 45.0
_TELL_SECONDS: Final = 10.0  # that a host may be down before that is said, while all may turn out to be
_FINAL: Final = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)

logger = logging.getLogger(__name__)


class SshBatchSystem(BatchSystem):
    """Runs batch jobs on several hosts, each as many at once as it has room for."""

    def __init__(
        self,
        hosts: Sequence[str],
        start: Start,
        *,
        ssh: Sequence[str] = SSH,
        patience: float = _PATIENCE,
        start_patience: float = _START_PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the hosts; nothing is started before the first job, or the first question whether one could run.

        Args:
            hosts: as ``ssh`` takes them.
            start: how an agent is started on each.
            ssh: the program and its options; the host and one text for the host's shell are appended.
            patience: seconds after which a host that answers no more is lost.
            start_patience: seconds that its agent has to answer for the first time.
            clock: tells the seconds that pass.

        Raises:
            UsageError: no host is given, or one that ssh would take for an option.
        """
        for name in hosts:
            if not name or name.startswith("-"):
                raise UsageError(f"{name!r} is no host: give names as ssh takes them, such as node1 or me@node1")
        if not hosts:
            raise UsageError("there is no host to run jobs on: name one at least")
        self._hosts = {name: RemoteHost(name, index, patience, start_patience) for index, name in enumerate(dict.fromkeys(hosts))}
        self._start = start
        self._ssh = list(ssh)
        self._clock = clock
        self._placing = Placing()
        self._news: list[BatchUpdate] = []
        self._selector = selectors.DefaultSelector()
        self._next_look = 0.0  # when something is due with some host
        self._next_balance = 0.0
        self._next_note = 0.0
        self._untold: dict[str, float] = {}  # hosts of whose failure nothing was said yet, and since when
        self._strays = False  # jobs may wait that no host can run any more
        self._error: BatchSystemError | None = None
        self._closed = False
        self._needed: list[int] = []  # descriptors of processes

    def need(self, pid: int, what: str) -> None:
        """End with an error when a process of this machine ends without which no job can run; its hosts would only fail one by one."""
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(pid)
            self._needed.append(descriptor)
            self._selector.register(descriptor, selectors.EVENT_READ, lambda _: self._miss(descriptor, f"{what} (process {pid}) has ended"))

    def _miss(self, descriptor: int, text: str) -> None:
        self._selector.unregister(descriptor)
        self._error = BatchSystemError(f"{text}: find out what ended it, then run again with --restart")

    def check(self, requirements: Requirements) -> None:
        """Return once a host that can meet the requirements is up.

        Raises:
            RequirementError: none of those that are up can ever meet them.
            BatchSystemError: no host came up.
        """
        if self._closed:
            raise BatchSystemError("the ssh batch system is shut down")
        hosts = self._hosts.values()
        while not any(host.can_ever(requirements) for host in hosts):
            self._turn(None)
            if self._error is not None:
                raise self._error
            if not any(host.untried for host in hosts) and not any(host.can_ever(requirements) for host in hosts):
                there = "; ".join(f"{host.name}: {_describe(host.hello.machine)}" for host in hosts if host.hello and not host.given_up)
                raise RequirementError(
                    f"a job asks for {requirements}, but no host has that ({there}): ask for less, or run where there is more"
                )

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        """Take jobs over; those that fit on a host that is up are sent at once."""
        if self._closed:
            raise BatchSystemError("the ssh batch system is shut down")
        for job in jobs:
            self._placing.add(job)
        self._next_look = min(self._next_look, self._next_balance)
        self._strays = self._strays or any(host.given_up for host in self._hosts.values())
        self._look_after_hosts()
        self._dispatch()

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        """Collect news in order; wait up to ``timeout`` seconds for the first (None: for ever).

        Raises:
            BatchSystemError: no host is left.
        """
        end = None if timeout is None else self._clock() + timeout
        while True:
            self._turn(0.0 if self._news or self._error is not None else end)
            if self._news:
                news, self._news = self._news, []
                return news
            if self._error is not None:
                raise self._error
            if end is not None and self._clock() >= end:
                return []

    def cancel(self, ids: Collection[int]) -> None:
        """Stop jobs, sent or not, with all their processes; each gives one update ENDED, CANCELED."""
        sent: dict[str, list[int]] = {}
        for id in ids:
            placed = self._placing.cancel(id)
            if placed is None:
                continue
            if placed.host is None:
                self._news.append(_canceled(id))
            else:
                sent.setdefault(placed.host.name, []).append(id)
        for name, theirs in sent.items():
            self._send(name, framing.pack(framing.CANCEL, payload=framing.pack_ids(theirs)))

    def tell(self, id: int, message: bytes) -> None:
        """Send a message to the worker of a running job; ignored where the job has ended."""
        placed = self._placing.find(id)
        if placed is not None and placed.host is not None:
            self._send(placed.host.name, framing.pack(framing.TELL, id, 0, message))

    def running(self) -> Mapping[int, RunningJob]:
        """Tell which jobs run now, as far as their hosts have said so."""
        return {id: job for host in self._hosts.values() for id, job in host.running.items()}

    def shutdown(self, *, leave: bool = False) -> None:  # noqa: ARG002 - nothing here can be adopted
        """Stop everything; when it returns no process and no queued job is left. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._placing = Placing()
        try:
            for host in self._hosts.values():
                if host.connection is not None:
                    if host.greeted:
                        host.connection.send(framing.pack(framing.STOP))
                        host.connection.end_input()
                    else:  # it has no job, and may be fetching code for long
                        host.connection.end()
                        host.connection = None
            self._await_ends(self._clock() + _STOP_SECONDS)
        finally:  # also where a second Ctrl-C ends the wait
            for host in self._hosts.values():
                if host.connection is not None:
                    host.connection.end()
                    host.connection = None
            self._selector.close()
            while self._needed:
                os.close(self._needed.pop())

    def _await_ends(self, end: float) -> None:
        while (left := end - self._clock()) > 0 and any(host.connection and host.connection.open for host in self._hosts.values()):
            self._read(left)
        for host in self._hosts.values():
            if host.connection is not None and host.connection.open:
                logger.warning("host %r did not end within %g s: its connection is cut, its agent ends by itself", host.name, _STOP_SECONDS)

    # ── one round ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self, end: float | None) -> None:
        """Wait until something happens, is due, or ``end`` has come; then do what follows from it."""
        known = len(self._news)
        self._look_after_hosts()
        self._dispatch()
        due = self._next_look if end is None else min(end, self._next_look)
        if len(self._news) > known or self._error is not None:
            due = 0.0
        self._read(max(0.0, due - self._clock()))
        self._look_after_hosts()
        self._dispatch()

    def _read(self, seconds: float) -> None:
        for key, mask in self._selector.select(seconds):
            key.data(mask)

    def _look_after_hosts(self) -> None:
        """Connect, ask for signs of life, give up: whatever is due with some host."""
        now = self._clock()
        if now < self._next_look or self._closed:
            return
        if any(host.silence(now) for host in self._hosts.values()):
            self._read(0.0)  # it may have said something while the leader did not look
        for host in self._hosts.values():
            if host.should_start(now):
                self._connect(host, now)
            host.ping(now)
            if cause := host.silence(now):
                self._lose(host, cause)
        self._tell_losses(now)
        times = [time for host in self._hosts.values() if (time := host.next_time()) is not None]
        times += [since + _TELL_SECONDS for since in self._untold.values()]
        if len(self._hosts) > 1 and self._placing.busy():
            times.append(self._balance(now))
        self._next_look = min(times, default=now + _PATIENCE)

    def _balance(self, now: float) -> float:
        """Ask for jobs back that could begin elsewhere, if it is time to; return when it is the next time."""
        if now >= self._next_balance:
            self._next_balance = now + _BALANCE_SECONDS
            for name, ids in self._placing.misplaced(self.running()).items():
                self._send(name, framing.pack(framing.GIVE_BACK, payload=framing.pack_ids(ids)))
        return self._next_balance

    def _connect(self, host: RemoteHost, now: float) -> None:
        argv = arguments(self._ssh, host.name, self._start.command)
        try:
            host.start(
                now, lambda: Connection(argv, self._start.preamble(), self._selector, partial(self._hear, host), partial(self._note, host))
            )
        except OSError as error:
            final = isinstance(error, (FileNotFoundError, PermissionError))
            self._lose(host, f"{argv[0]!r} can't be started: {error.strerror}", final=final)
        except StorageError as error:
            self._lose(host, f"it can't be told where its code lies: {error}", final=False)

    def _dispatch(self) -> None:
        if self._strays and self._error is None:
            self._strays = False
            self._drop_strays()
        for name, jobs in self._placing.dispatch(self._clock()).items():
            self._send(name, framing.pack(framing.SUBMIT, payload=wire.pack_jobs(jobs)))

    def _send(self, name: str, data: bytes) -> None:
        connection = self._hosts[name].connection
        if connection is not None:
            connection.send(data)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, host: RemoteHost, frames: Sequence[Frame]) -> None:
        host.heard()
        connection = host.connection
        if connection is None or self._closed:
            return
        try:
            for kind, _, _, payload in frames:
                self._obey(host, kind, payload)
                if host.connection is not connection:
                    return
        except wire.Unreadable as error:
            self._lose(host, f"it says what this leader can't read ({error}): something else may write to its agent's output", final=True)
            return
        if not connection.open:
            self._lose(host, "the connection ended" if host.greeted else "the connection ended before an agent answered")

    def _note(self, host: RemoteHost, text: str) -> None:
        """Hand on, now and then, how far hosts are with their start: what they fetch may take minutes."""
        if not host.greeted and self._clock() >= self._next_note:
            self._next_note = self._clock() + _NOTE_SECONDS
            logger.warning("%s", text)

    def _obey(self, host: RemoteHost, kind: int, payload: bytes) -> None:
        if kind == framing.UPDATES:
            for update in wire.unpack_updates(payload, host.name):
                self._take(host, update)
        elif kind == framing.RUNNING:
            host.running = wire.unpack_running(payload, host.name)
        elif kind == framing.HELLO:
            self._greet(host, payload)
        elif kind == framing.CANNOT_START:
            self._lose(host, payload.decode(errors="replace"), final=True, told=True)

    def _greet(self, host: RemoteHost, payload: bytes) -> None:
        hello = wire.unpack_hello(payload)
        if hello.version != VERSION:
            self._lose(host, f"its agent is jobsys {hello.version}, this leader {VERSION}: install the same on both", final=True)
            return
        logger.info("host %r is up: %s, %s", host.name, hello.host, _describe(hello.machine))
        host.greet(hello, self._clock())
        self._untold.pop(host.name, None)
        self._next_look = 0.0
        self._strays = True
        self._placing.add_host(host.name, hello.machine, host.index)

    def _take(self, host: RemoteHost, update: BatchUpdate) -> None:
        """Hand on what a host says of a job, unless the leader has had the last word on it."""
        placed = self._placing.find(update.id)
        if placed is None or placed.host is None or placed.host.name != host.name:
            return
        if update.state is BatchState.RETURNED and not placed.canceled:
            self._placing.returned(placed)
        elif update.state in _FINAL:
            self._placing.ended(placed)
            host.running.pop(update.id, None)
            self._news.append(_canceled(update.id) if placed.canceled else update)
        else:
            host.running.setdefault(update.id, RunningJob(host.name, update.pid, time.time()))
            self._news.append(update)

    # ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────

    def _lose(self, host: RemoteHost, cause: str, *, final: bool = False, told: bool = False) -> None:
        """End a host's connection, report its jobs as lost, and decide how it goes on; what it ``told`` needs no word from its log."""
        if host.connection is not None:
            status, printed = host.connection.end()
            if not host.greeted and not final and (missing := self._start.missing(status, printed)):
                cause, final = missing, True
            cause += f", with exit status {status}" if status is not None and not final else ""
            cause += f"\n{printed}" if printed and not told else ""
        lost = self._placing.remove_host(host.name)
        known = cause == host.cause and host.name not in self._untold
        host.fail(cause, self._clock(), final=final)
        self._next_look = 0.0
        self._strays = True
        for placed in lost:
            id = placed.job.id
            message = f"host {host.name!r} was lost: {cause}"
            update = BatchUpdate(id, BatchState.ENDED, b"", host.name, reason=Reason.LOST, message=message)
            self._news.append(_canceled(id) if placed.canceled else update)
        hosts = self._hosts.values()
        if all(other.hopeless for other in hosts) or all(other.failures and other.hello is None for other in hosts):
            causes = "\n".join(f"{other.name}: {other.cause}" for other in hosts)
            self._error = BatchSystemError(f"there is no host that jobs can run on; mend one, or name others\n{causes}")
        elif known:
            level = logging.WARNING if host.given_up else logging.INFO
            logger.log(level, "host %r is %s: it failed %d times in that way", host.name, _outlook(host), host.failures)
        else:
            self._untold.setdefault(host.name, self._clock())

    def _tell_losses(self, now: float) -> None:
        """Say once why a host is not there, as soon as the run goes on without it: the error that ends a run names its cause as well."""
        sure = any(host.hello for host in self._hosts.values())
        for name in [name for name, since in self._untold.items() if sure or now >= since + _TELL_SECONDS]:
            del self._untold[name]
            if self._error is None:
                logger.warning("host %r is %s: %s", name, _outlook(self._hosts[name]), self._hosts[name].cause)

    def _drop_strays(self) -> None:
        """End the waiting jobs that no host can run any more."""
        hosts = self._hosts.values()
        if any(not host.given_up and host.hello is None for host in hosts):
            return  # it may be the one
        for requirements in self._placing.wanted():
            if not any(host.can_ever(requirements) for host in hosts):
                message = f"no host that is left can run it: it asks for {requirements}"
                self._news += [
                    BatchUpdate(job.id, BatchState.ENDED, reason=Reason.FAILED, message=message) for job in self._placing.drop(requirements)
                ]


def _canceled(id: int) -> BatchUpdate:
    return BatchUpdate(id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled")


def _outlook(host: RemoteHost) -> str:
    return "not used any more" if host.given_up else "to be tried again"


def _describe(machine: Machine) -> str:
    parts = [f"{machine.cores:g} cores", f"{format_bytes(machine.memory)} memory", f"{format_bytes(machine.disk)} disk"]
    if machine.accelerators:
        parts.append(f"{len(machine.accelerators)} accelerators")
    return ", ".join(parts)
