"""A worker process: takes orders from its socket, runs them one after the other, and sends the reports.

While a job is short, one thread does everything. When a job takes longer, a second thread listens in its stead. A worker of one job
begins to listen when the job wants to be told something: there is no order to give back, and that the leader has gone, its host sees.
"""

import _thread
import importlib
import os
import select
import signal
import socket
import time
import traceback
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobsys import framing, processes, slots
from jobsys.framing import FrameReader, header
from jobsys.worker.executor import Channel, Executor

if TYPE_CHECKING:
    import threading

_TICK: Final = 0.02  # a job that outlives a tick is listened for
_IDLE_TICKS: Final = 10
_LISTEN: Final = 10_000  # milliseconds after which it is seen that the job is over, where nothing is said
_READ: Final = 1 << 18
_RETAINED: Final = 100_000_000  # bytes that finished jobs may leave in a worker before it is replaced
_LOG_LIMIT: Final = 1 << 20  # the log of finished jobs is thrown away beyond that

_now = time.monotonic_ns


def load_threading() -> Any:
    """Load what a second thread needs; in each fork of a process that has loaded it a third of a millisecond goes into it."""
    return importlib.import_module("threading")


class Worker(Channel):
    """Runs the orders of one worker process."""

    def __init__(self, link: socket.socket, slot: slots.Slot, executor: Executor, directory: Path, *, once: bool = False) -> None:
        """Get ready for the fork that takes over this socket, row of shared memory and directory; with ``once`` it runs one order only."""
        self.directory = directory
        self.last = once
        self.log = -1
        self.log_start = 0
        self._link = link
        self._slot = slot
        self._executor = executor
        self._pid = 0
        self._orders: deque[tuple[int, bytes]] = deque()
        self._reader = FrameReader()
        self._reading = _thread.allocate_lock()
        self._sending = _thread.allocate_lock()
        self._job: int | None = None
        self._begun = 0  # how many jobs were
        self._told: dict[int, deque[bytes]] = {}
        self._making = _thread.allocate_lock()
        self._news: threading.Condition | None = None
        self._wake: threading.Event
        self._parked = False
        self._listening = False

    def handed_over(self) -> None:
        """Let go of the socket, which a fork has now and which is closed here."""
        self._link.detach()

    def close(self) -> None:
        """Let go of what ``serve`` has opened, in a process that goes on."""
        self._memory.close()

    def serve(self, log: int) -> None:
        """Run orders in this process, whose output goes to ``log``, until the leader closes the socket."""
        self.log = log
        self._pid = os.getpid()
        self._memory = processes.OwnMemory()
        slot = self._slot
        slot[slots.PID] = self._pid
        slot[slots.BASELINE] = resident = self._memory.resident()
        self._memory_limit = resident + _RETAINED
        if not self.last:
            self._start_listening()
        slot[slots.STATE] = slots.IDLE
        self._take_orders()

    def _take_orders(self) -> None:
        orders = self._orders
        while True:
            if orders:
                try:
                    id, order = orders.popleft()
                except IndexError:  # recalled a moment ago
                    continue
                clean = self._run(id, order)
                if self.last:
                    return
                self._settle(clean)
            else:
                with self._reading:
                    if not self._read():
                        return

    def say(self, message: bytes) -> None:
        """Send a message to the leader now."""
        if self._job is not None:
            self._send(framing.SAY, self._job, 0, message)

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Wait for a message from the leader to this job; None if none came in time."""
        if self._job is None:
            return None
        news = self._heard()
        with news:
            if not self._listening:
                self._start_listening()
            inbox = self._told.setdefault(self._job, deque())
            if news.wait_for(lambda: inbox, timeout):
                return inbox.popleft()
        return None

    # ── one job ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, id: int, order: bytes) -> bool:
        """Run a job and send its report; tell whether the job had ended all that it had started."""
        slot = self._slot
        self.log_start = size = os.fstat(self.log).st_size
        if size > _LOG_LIMIT:
            os.ftruncate(self.log, 0)
            self.log_start = size = 0
        slot[slots.LOG_START] = size
        slot[slots.JOB] = id
        slot[slots.BEGUN] = begun = _now()
        slot[slots.STATE] = slots.RUNNING
        self._begun += 1
        self._job = id
        if self._parked:
            self._wake.set()
        kind = framing.DONE
        try:
            report = self._executor.run(order, self)
        except BaseException:  # noqa: BLE001  # the one place around code that is not ours
            kind, report = framing.FAILED, traceback.format_exc().encode()
        if os.getpid() != self._pid:  # a child that the job forked came back here
            os._exit(1)
        slot[slots.STATE] = slots.DELIVERING
        self._job = None
        took = (_now() - begun) // 1000
        clean = self._is_childless()
        if self._told:
            self._told.pop(id, None)
        try:
            self._send(kind, id, min(took, framing.NUMBER_MAX), report)
        except OSError:
            self._undelivered(report)
            os._exit(0)
        slot[slots.STATE] = slots.IDLE
        return clean

    def _settle(self, clean: bool) -> None:
        """Get ready for the next job, or leave to a fresh process what this one is not fit for."""
        self._slot[slots.BASELINE] = kept = self._memory.resident()
        if not clean or kept > self._memory_limit:
            self._retire()

    def _is_childless(self) -> bool:
        """Kill what the job left behind; tell whether nothing of it ran any more."""
        clean = True
        try:
            while True:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    clean = False
                    if not processes.end_descendants(self._pid):
                        return False
        except ChildProcessError:
            return clean

    def _retire(self) -> None:
        """Leave, with the orders not begun given back: a fresh process owes nothing to the jobs before."""
        self._give_back()
        os._exit(0)

    def _undelivered(self, report: bytes) -> None:
        save = getattr(self._executor, "undelivered", None)
        if save is not None:
            save(report)

    # ── the socket ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, kind: int, id: int, number: int, payload: bytes) -> None:
        with self._sending:
            self._link.sendall(header(kind, id, number, len(payload)) + payload)

    def _read(self, flags: int = 0) -> bool:
        """Take what the leader sent; False if it has gone. To be called with the reading lock held."""
        try:
            data = self._link.recv(_READ, flags)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        for kind, id, number, payload in self._reader.feed(data):
            if kind == framing.ORDER:
                self._orders.append((id, payload))
            elif kind == framing.LIMITS:
                self._slot[slots.MEMORY_LIMIT] = id
                self._slot[slots.TIME_LIMIT] = number * 1_000_000
            elif kind == framing.TELL:
                news = self._heard()
                with news:
                    self._told.setdefault(id, deque()).append(payload)
                    news.notify_all()
            elif kind == framing.RECALL:
                self._give_back()
        return True

    def _give_back(self) -> None:
        ids = []
        while self._orders:
            try:
                ids.append(self._orders.pop()[0])
            except IndexError:  # begun a moment ago
                break
        with suppress(OSError):  # the leader has gone; the end of the stream follows
            self._send(framing.GAVE_BACK, 0, 0, framing.pack_ids(reversed(ids)))

    def _heard(self) -> "threading.Condition":
        """Give what is waited on for messages, made on use: a worker of one job that is told nothing does without threading."""
        with self._making:
            if self._news is None:
                self._news = load_threading().Condition()
            return self._news

    def _start_listening(self) -> None:
        self._listening = True
        threading = load_threading()
        self._wake = threading.Event()
        threading.Thread(target=self._listen, name="jobsys-listen", daemon=True).start()

    def _listen(self) -> None:
        """Read the socket while a job runs that takes longer than a tick."""
        seen = quiet = 0
        waiting = select.poll()
        waiting.register(self._link, select.POLLIN)
        while True:
            if self._job is None:
                quiet += 1
                if quiet > _IDLE_TICKS:
                    self._park()
                    quiet = 0
                time.sleep(_TICK)
            elif seen != self._begun:
                seen, quiet = self._begun, 0
                time.sleep(_TICK)
            elif waiting.poll(_LISTEN) and self._reading.acquire(blocking=False):
                try:
                    self._listen_once()
                finally:
                    self._reading.release()

    def _listen_once(self) -> None:
        if self._job is not None and not self._read(socket.MSG_DONTWAIT):
            self._abandon()

    def _park(self) -> None:
        """Sleep until the next job begins."""
        self._wake.clear()
        self._parked = True
        if self._job is None:
            self._wake.wait()
        self._parked = False

    def _abandon(self) -> None:
        """End in the middle of a job: the leader has gone. A report on its way is left to the other thread."""
        if self._job is not None:
            processes.end_descendants(self._pid)
            os.kill(self._pid, signal.SIGKILL)
        time.sleep(_TICK)
