"""Where the scheduler is spoken to: one thread, so that a controller that does not answer holds up no leader. It decides nothing.

What it is asked to do it does in turn; what comes of that lies in ``answers``.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeVar

from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, Scheduler, Seen, TaskId
from jobsys.errors import BatchSystemError, StorageError

T = TypeVar("T")

logger = logging.getLogger(__name__)

PATIENCE: Final = 1800.0
"""Seconds for which a scheduler that is out of order is asked again."""
_PAUSES: Final = (0.5, 30.0)


class Submitted(NamedTuple):
    """Tasks were taken."""

    name: str
    native: str


class Refused(NamedTuple):
    """Tasks never will be."""

    name: str
    text: str


class Looked(NamedTuple):
    """What the scheduler says; ``at`` is when it was asked."""

    seen: Mapping[TaskId, Seen] | None  # None: it does not answer
    at: float
    asked: Mapping[str, Collection[int]]


class Broken(NamedTuple):
    """Nothing can go on."""

    error: BatchSystemError | StorageError


Answer = Submitted | Refused | Looked | Broken
Prepare = Callable[[], None]


class Desk:
    """A thread that speaks to a scheduler."""

    def __init__(
        self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] | None = None
    ) -> None:
        """Start no thread yet."""
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._scheduler = scheduler
        self._clock = clock
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait

    def submit(self, ask: Ask, before: Prepare, after: Callable[[str], None]) -> None:
        """Ask for tasks: ``before`` is done first, ``after`` once their native id is known and before anybody is told."""
        self._do(lambda: self._submit(ask, before, after))

    def look(self, tasks: Mapping[str, Collection[int]]) -> None:
        """Look at tasks."""
        self._do(lambda: self._look(tasks))

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks."""
        self._do(lambda: self._persist("cancel", lambda: self._scheduler.cancel(tasks)))

    def call(self, what: Callable[[], None]) -> None:
        """Do something else in turn, such as deleting what is not needed any more."""
        self._do(what)

    def hurry(self) -> None:
        """Have no patience from now on, and submit nothing more."""
        self._stop.set()

    def close(self, seconds: float) -> bool:
        """Do what is still to be done, without patience, and end the thread; tell whether it has ended."""
        self.hurry()
        self._work.put(None)
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return True

    @property
    def closing(self) -> bool:
        """Tell whether nobody waits for answers any more."""
        return self._stop.is_set()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, what: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="jobsys-scheduler", daemon=True)
            self._thread.start()
        self._work.put(what)

    def _serve(self) -> None:
        while (what := self._work.get()) is not None:
            try:
                what()
            except (BatchSystemError, StorageError) as error:
                if self.closing:
                    logger.warning("%s", error)
                self.answers.put(Broken(error))
            except Exception as error:  # noqa: BLE001 - what a scheduler prints or answers may be anything; silence would be a run that hangs
                logger.warning("%s: %r", self._scheduler.name, error)
                self.answers.put(Broken(BatchSystemError(f"{self._scheduler.name} said or did what was not to be expected: {error!r}")))

    def _submit(self, ask: Ask, before: Prepare, after: Callable[[str], None]) -> None:
        if self.closing:
            return
        before()
        sent = False

        def attempt() -> str:
            nonlocal sent
            found = self._scheduler.find(ask.name) if sent else None
            sent = True  # from here on, it may have been taken
            return found or self._scheduler.submit(ask)

        try:
            native = self._persist("submit", attempt)
        except AskRefusedError as error:
            self.answers.put(Refused(ask.name, str(error)))
            return
        after(native)
        self.answers.put(Submitted(ask.name, native))

    def _look(self, tasks: Mapping[str, Collection[int]]) -> None:
        at = self._clock()
        try:
            seen: Mapping[TaskId, Seen] | None = self._scheduler.look(tasks)
        except PassingError as error:
            logger.info("%s does not answer: %s", self._scheduler.name, error)
            seen = None
        self.answers.put(Looked(seen, at, tasks))

    def _persist(self, doing: str, attempt: Callable[[], T]) -> T:
        """Try again what fails in passing, for long; once nobody waits any more, twice."""
        began, failures = self._clock(), 0
        while True:
            try:
                return attempt()
            except PassingError as error:
                failures += 1
                if failures == 3:
                    logger.warning("%s does not answer, jobsys goes on trying to %s: %s", self._scheduler.name, doing, error)
                if self._clock() - began > PATIENCE or (self.closing and failures > 2):
                    raise
                self._sleep(min(_PAUSES[0] * 2**failures, _PAUSES[1]))
