"""How the scheduler is spoken to, by a clerk: so a controller that does not answer holds up no leader. It decides nothing.

What it is asked to do it does in turn; what comes of that its clerk hands out.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeVar

from jobsys.batch.cluster.clerk import Clerk
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, Scheduler, Seen, TaskId
from jobsys.clock import Clock
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
Before = Callable[[], bool]
After = Callable[[str], bool]


class Desk:
    """Speaks to a scheduler."""

    def __init__(self, scheduler: Scheduler, clerk: Clerk[Answer], clock: Clock) -> None:
        """Have the clerk do it."""
        self._scheduler = scheduler
        self._clerk = clerk
        self._clock = clock

    def submit(self, ask: Ask, before: Before, after: After) -> None:
        """Ask for tasks, and have the answer told; no answer follows a no of one of these.

        Args:
            ask: for what.
            before: is done first; tells whether to ask at all.
            after: is done once their native id is known and before anybody is told; tells whether anybody still needs them.
        """
        self.call(lambda: self._submit(ask, before, after))

    def look(self, tasks: Mapping[str, Collection[int]]) -> None:
        """Look at tasks."""
        self.call(lambda: self._look(tasks))

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks."""
        self.call(lambda: self._persist("cancel", lambda: self._scheduler.cancel(tasks)))

    def call(self, what: Callable[[], None]) -> None:
        """Do something else in turn, such as deleting what is not needed any more."""
        self._clerk.give(lambda: self._do(what))

    # ── the clerk's work ─────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (BatchSystemError, StorageError) as error:
            if self._clerk.hurried:
                logger.warning("%s", error)
            self._clerk.answer(Broken(error))
        except Exception as error:  # noqa: BLE001 - what a scheduler prints or answers may be anything; silence would be a run that hangs
            logger.warning("%s: %r", self._scheduler.name, error)
            self._clerk.answer(Broken(BatchSystemError(f"{self._scheduler.name} said or did what was not to be expected: {error!r}")))

    def _submit(self, ask: Ask, before: Before, after: After) -> None:
        if self._clerk.hurried or not before():
            return
        sent = False

        def attempt() -> str:
            nonlocal sent
            found = self._scheduler.find(ask.name) if sent else None
            sent = True  # from here on, it may have been taken
            return found or self._scheduler.submit(ask)

        try:
            native = self._persist("submit", attempt)
        except AskRefusedError as error:
            self._clerk.answer(Refused(ask.name, str(error)))
            return
        if after(native):
            self._clerk.answer(Submitted(ask.name, native))
        else:
            self._persist("cancel", lambda: self._scheduler.cancel({native: None}))

    def _look(self, tasks: Mapping[str, Collection[int]]) -> None:
        at = self._clock.monotonic()
        try:
            seen: Mapping[TaskId, Seen] | None = self._scheduler.look(tasks)
        except PassingError as error:
            logger.info("%s does not answer: %s", self._scheduler.name, error)
            seen = None
        self._clerk.answer(Looked(seen, at, tasks))

    def _persist(self, doing: str, attempt: Callable[[], T]) -> T:
        """Try again what fails in passing, for long; once nobody waits any more, twice."""
        began, failures = self._clock.monotonic(), 0
        while True:
            try:
                return attempt()
            except PassingError as error:
                failures += 1
                if failures == 3:
                    logger.warning("%s does not answer, jobsys goes on trying to %s: %s", self._scheduler.name, doing, error)
                if self._clock.monotonic() - began > PATIENCE or (self._clerk.hurried and failures > 2):
                    raise
                self._clerk.rest(min(_PAUSES[0] * 2**failures, _PAUSES[1]))
