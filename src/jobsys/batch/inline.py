"""Runs batch jobs in the process of the leader, one after the other: for tests, and for a debugger. Enforces no limit.

Standard input and output are left alone. Services run in threads, since they must run beside their clients; a thread can't be killed,
so a canceled service ends the next time it listens.
"""

import os
import queue
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate, Reason, RunningJob
from jobsys.errors import BatchSystemError
from jobsys.requirements import Requirements
from jobsys.workdir import WorkDirectory

_ENOUGH: Final = 0.05  # seconds after which a call of updates() begins no other job


class InlineChannel:
    """The way from a job in this process to the leader and back; ``log`` is -1, output is not caught."""

    log = -1
    log_start = 0
    last = False

    def __init__(self, directory: Path, say: Callable[[bytes], None]) -> None:
        """Hand on what the job says to ``say``."""
        self.directory = directory
        self._say = say
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def say(self, message: bytes) -> None:
        """Send a message to the leader now."""
        self._say(message)

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Wait for a message from the leader to this job; None if none came in time.

        Raises:
            BatchSystemError: the job was canceled.
        """
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if message is None:
            raise BatchSystemError("canceled")
        return message

    def put(self, message: bytes | None) -> None:
        """Send a message to the job; None cancels it."""
        self._inbox.put(message)


class _Current:
    """A job that runs."""

    def __init__(self, channel: InlineChannel) -> None:
        self.channel = channel
        self.since = time.time()
        self.canceled = False


class InlineBatchSystem(BatchSystem):
    """Runs each batch job inside of ``updates``, by calling a function."""

    def __init__(self, run: Callable[[bytes, InlineChannel], bytes]) -> None:
        """Take the function that makes a report of an order."""
        self._run = run
        self._waiting: deque[BatchJob] = deque()
        self._news: queue.SimpleQueue[BatchUpdate] = queue.SimpleQueue()
        self._current: dict[int, _Current] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._host = socket.gethostname()
        self._directory = WorkDirectory.make()

    def check(self, requirements: Requirements) -> None:
        """Accept everything: nothing is enforced here."""

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        """Take jobs over; services start at once, the others when ``updates`` is called."""
        for job in jobs:
            if job.service:
                thread = threading.Thread(target=self._do, args=(job,), name=job.name, daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._waiting.append(job)

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        """Run the oldest jobs, for a moment if they are short, and return the news."""
        end = time.monotonic() + _ENOUGH
        while self._waiting and time.monotonic() < end:
            self._do(self._waiting.popleft())
        news: list[BatchUpdate] = []
        try:
            news.append(self._news.get(timeout=timeout))
            while True:
                news.append(self._news.get_nowait())
        except queue.Empty:
            return news

    def cancel(self, ids: Collection[int]) -> None:
        """Drop waiting jobs; end services when they listen the next time."""
        wanted = set(ids)
        for job in [job for job in self._waiting if job.id in wanted]:
            self._news.put(BatchUpdate(job.id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled"))
        self._waiting = deque(job for job in self._waiting if job.id not in wanted)
        for id in wanted:
            with self._lock:
                current = self._current.get(id)
                if current is not None:
                    current.canceled = True
                    current.channel.put(None)

    def tell(self, id: int, message: bytes) -> None:
        """Send a message to a service that runs."""
        current = self._current.get(id)
        if current is not None:
            current.channel.put(message)

    def running(self) -> Mapping[int, RunningJob]:
        """Tell which services run now."""
        with self._lock:
            return {id: RunningJob(self._host, os.getpid(), current.since) for id, current in self._current.items()}

    def shutdown(self, *, leave: bool = False) -> None:  # noqa: ARG002 - nothing here can be adopted
        """Drop what waits, cancel the services and wait a little for them."""
        self._waiting.clear()
        self.cancel(list(self._current))
        for thread in self._threads:
            thread.join(1.0)
        self._directory.remove()

    def _do(self, job: BatchJob) -> None:
        def say(message: bytes) -> None:
            self._news.put(BatchUpdate(job.id, BatchState.MESSAGE, message, self._host, os.getpid()))

        current = _Current(InlineChannel(self._directory.path, say))
        with self._lock:
            self._current[job.id] = current
        try:
            report = self._run(job.order, current.channel)
        except Exception:  # noqa: BLE001  # the one place around code that is not ours
            update = BatchUpdate(job.id, BatchState.ENDED, b"", self._host, os.getpid(), Reason.FAILED, None, traceback.format_exc())
        else:
            update = BatchUpdate(job.id, BatchState.COMPLETED, report, self._host, os.getpid())
        finally:
            with self._lock:
                del self._current[job.id]
        with self._lock:
            if current.canceled:
                update = BatchUpdate(job.id, BatchState.ENDED, reason=Reason.CANCELED, message="canceled")
            self._news.put(update)
