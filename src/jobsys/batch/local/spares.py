"""Workers forked ahead, where each job has a process of its own: they wait for their only order while the jobs before them run."""

from collections import deque
from typing import Final

from jobsys.batch.local.hosts import HostProcess
from jobsys.batch.local.link import Link

_FEWEST: Final = 8
_MOST: Final = 64


class Spares:
    """Workers without a lane, which have run nothing and hold nothing of the machine. None has accelerators."""

    def __init__(self) -> None:
        """Have none."""
        self._ready: deque[tuple[int, Link]] = deque()  # slot, and the way there

    def refill(self, host: HostProcess, waiting: int, running: int) -> None:
        """Have some forked if there are few for the jobs that wait, several at a time: each fork costs its host the pages it writes next."""
        wanted = min(waiting, max(_FEWEST, running), _MOST)
        if 2 * len(self._ready) >= wanted:
            return
        while len(self._ready) < wanted:
            slot = host.free_slots.pop()
            self._ready.append((slot, host.fork(slot, (), once=True)))

    def take(self) -> tuple[int, Link] | None:
        """Give the slot of the one that has waited longest and the way to it; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def died(self, slot: int) -> bool:
        """Forget a worker that has died; tell whether it was one of these."""
        dead = [spare for spare in self._ready if spare[0] == slot]
        for spare in dead:
            spare[1].close()
            self._ready.remove(spare)
        return bool(dead)

    def clear(self) -> None:
        """Let all of them end."""
        for _, link in self._ready:
            link.close()
        self._ready.clear()
