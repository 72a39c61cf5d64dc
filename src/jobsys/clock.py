"""The time, passed to whoever decides by it: a simulation has another."""

import time as _time
from typing import Final


class Clock:
    """The clock of this machine."""

    def time(self) -> float:
        """Tell the seconds since the epoch; what people see. It may jump, and differs from that of other machines."""
        return _time.time()

    def monotonic(self) -> float:
        """Tell seconds that only grow, comparable within this process."""
        return _time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        _time.sleep(seconds)


SYSTEM: Final = Clock()
