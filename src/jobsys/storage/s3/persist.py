"""Tries again what may fail in passing, with pauses made longer and by chance, within a budget of time. Sends nothing itself."""

import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from jobsys.errors import NotFoundError
from jobsys.storage.s3.answers import BusyError, PassingError, RangeError, RefusedError

logger = logging.getLogger(__name__)
T = TypeVar("T")

FIRST: Final = 5.0
"""Seconds for which a server is asked again that has never answered: its address may be wrong."""
PATIENCE: Final = 600.0
"""Seconds for which one is asked again that has."""
HURRIED: Final = 10.0
"""Seconds for which one is asked again where somebody waits for the end."""
TOLD_AFTER: Final = 10.0
"""Seconds after which a person is told why nothing goes on."""
TOLD_AGAIN_AFTER: Final = 120.0
"""Seconds for which that is not said again."""
_SHORTEST: Final = 0.05
_LONGEST: Final = 10.0
_LEAST: Final = 4  # tries, however long each takes


def pause(failures: int, chance: float) -> float:
    """Give the seconds to wait after so many failures; ``chance`` is from 0 to 1, so that many clients do not come back at once."""
    most: float = min(_LONGEST, _SHORTEST * 2 ** min(failures, 16))
    return most * (0.25 + 0.75 * chance)


class Persistence:
    """The patience with one server."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
        patience: tuple[float, float] = (FIRST, PATIENCE),
    ) -> None:
        """Take time and chance."""
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._first, self._patience = patience
        self._least = _LEAST
        self._told_at = -TOLD_AGAIN_AFTER
        self.answered = False
        self._latest: float | None = None  # when nothing is tried again any more

    def hurry(self) -> None:
        """Try again for some seconds more, and from then on never; safe to call from a signal handler."""
        if self._latest is None:
            self._latest = self._clock() + HURRIED

    def wait_at_most(self, seconds: float) -> None:
        """Have so much patience and no more, whether the server has ever answered or not."""
        self._first = self._patience = seconds
        self._least = 1

    def __call__(self, attempt: Callable[[], T], mend: Callable[[PassingError], bool] = lambda _: True) -> T:
        """Do what may fail in passing until it succeeds or the time is used up.

        Args:
            attempt: what to do.
            mend: is told what failed before it is tried again, and may say that this makes no sense.

        Raises:
            StorageError: what the last attempt raised.
        """
        failures, began = 0, 0.0
        while True:
            try:
                done = attempt()
            except PassingError as error:
                failures += 1
                self.answered |= isinstance(error, BusyError)
                began = began or self._clock()
                if self._spent(failures, self._clock() - began) or not mend(error):
                    raise
                if self._clock() - began > TOLD_AFTER:
                    self._tell(error)
                self._sleep(pause(failures, self._chance()))
            except (NotFoundError, RefusedError, RangeError):
                self.answered = True
                raise
            else:
                self.answered = True
                return done

    def _tell(self, error: PassingError) -> None:
        """Say it once, not for each of many that wait."""
        now = self._clock()
        if now - self._told_at >= TOLD_AGAIN_AFTER:
            self._told_at = now
            wait = f"{self._patience / 60:.0f} minutes" if self._patience >= 60 else f"{self._patience:.0f} seconds"
            logger.warning("Trying again for up to %s: %s", wait, error)

    def _spent(self, failures: int, seconds: float) -> bool:
        if self._latest is not None and self._clock() > self._latest:
            return True
        return failures >= self._least and seconds > (self._patience if self.answered else self._first)
