"""Workers forked ahead, where each job has a process of its own: they wait for their only order while the jobs before them run."""

from collections import deque
from typing import Final

from jobsys.batch.local.hosts import HostProcess
from jobsys.batch.local.link import Link

_FEWEST: Final = 32
_MOST: Final = 64


class Spares:
    """Workers without a lane, which have run nothing and hold nothing of the machine. None has accelerators.

    That one dies says nothing of the jobs: the kernel may have wanted its memory.
    """

    def __init__(self) -> None:
        """Have none."""
        self._ready: deque[tuple[int, Link]] = deque()  # slot, and the way there

    def refill(self, host: HostProcess, waiting: int, running: int) -> None:
        """Have some forked if there are few for the jobs that wait; several in a row, since a host has to copy pages after each turn."""
        wanted = min(waiting, max(_FEWEST, running), _MOST)
        if 2 * len(self._ready) >= wanted:
            return
        slots = [host.free_slots.pop() for _ in range(min(wanted - len(self._ready), len(host.free_slots)))]
        if slots:
            self._ready.extend(zip(slots, host.fork_many(slots, (), once=True), strict=True))

    def take(self) -> tuple[int, Link] | None:
        """Give the slot of the one that has waited longest and the way to it; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def forget(self, slot: int) -> None:
        """Drop the one in a slot, if there is one: it has died."""
        for spare in [spare for spare in self._ready if spare[0] == slot]:
            spare[1].close()
            self._ready.remove(spare)

    def clear(self) -> None:
        """Let all of them end."""
        for _, link in self._ready:
            link.close()
        self._ready.clear()
