"""Who does one thing after the other while the leader does others: a thread, and a tray on which answers lie.

That is all that two threads share here; a simulation has another one, which is none.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

A = TypeVar("A")


class Clerk(Generic[A]):
    """A thread that works, and hands out answers in order."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._answers: queue.SimpleQueue[A] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()

    # ── in the leader's thread ───────────────────────────────────────────────────────────────────────────────────────

    def give(self, work: Callable[[], None]) -> None:
        """Have something done when all that was given before is; it raises nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="jobsys-scheduler", daemon=True)
            self._thread.start()
        self._work.put(work)

    def hear(self, seconds: float = 0.0) -> A | None:
        """Take the next answer; wait so long for one."""
        try:
            return self._answers.get(timeout=seconds) if seconds > 0 else self._answers.get_nowait()
        except queue.Empty:
            return None

    def hurry(self) -> None:
        """Cut every rest short from now on."""
        self._hurry.set()

    @property
    def hurried(self) -> bool:
        """Tell whether it is in a hurry."""
        return self._hurry.is_set()

    def close(self, seconds: float) -> bool:
        """Have it do what it was given, in a hurry, and end; tell whether it has, within so many seconds."""
        self.hurry()
        self._work.put(None)
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return True

    # ── in its own ───────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, answer: A) -> None:
        """Lay down an answer."""
        self._answers.put(answer)

    def rest(self, seconds: float) -> None:
        """Wait, unless in a hurry."""
        self._hurry.wait(seconds)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
