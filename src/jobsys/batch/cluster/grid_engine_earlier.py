"""What earlier looks have shown that Grid Engine does not tell: tasks on their way into the accounts, what was canceled, lost hosts."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Final

from jobsys.batch.cluster.scheduler import Seen, TaskId
from jobsys.events import Reason

PATIENCE: Final = 30
"""For how many looks a task is told of as before that has left the queue: by default it is in the accounts 15 s later."""
ROUND: Final = 30.0
"""Seconds between two questions for hosts that are not heard of."""
SILENCE: Final = 300.0
"""Seconds for which a host must be missed, behind the five minutes that qmaster waits before it says so (``max_unheard``)."""
TIMES: Final = 5
"""How often in a row it must be missed, too: just behind its own start, qmaster has not heard of anybody."""


class Marked:
    """Tasks, by native id and numbers; None means all of one."""

    def __init__(self) -> None:
        """Hold none."""
        self._numbers: dict[str, set[int] | None] = {}

    def add(self, native: str, numbers: Collection[int] | None) -> None:
        """Add some."""
        if numbers is None:
            self._numbers[native] = None
        elif (known := self._numbers.setdefault(native, set())) is not None:
            known.update(numbers)

    def __contains__(self, task: TaskId) -> bool:
        known = self._numbers.get(task.native, ())
        return known is None or task.number in known


class Earlier:
    """What is known of tasks from earlier looks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing; ``clock`` gives seconds that never go back."""
        self.canceled = Marked()  # by us
        self.deleted = Marked()  # by somebody
        self._alive: dict[TaskId, tuple[Seen, int]] = {}  # as last seen, and how many looks more it will be told of so
        self._clock = clock
        self._asked = clock()  # when hosts that are not heard of were asked for
        self._unheard: dict[str, tuple[float, int]] = {}  # since when each is missed, and how often it was

    def begin(self) -> bool:
        """Tell whether it is time to ask which hosts are not heard of."""
        return self._clock() >= self._asked + ROUND

    def miss(self, instances: Collection[str]) -> None:
        """Take in of which instances of queues qmaster does not hear."""
        self._asked = now = self._clock()
        before = {name: self._unheard.get(name, (now, 0)) for name in instances}
        self._unheard = {name: (since, times + 1) for name, (since, times) in before.items()}

    def is_lost(self, instance: str) -> bool:
        """Tell whether an instance has been missed for too long."""
        since, times = self._unheard.get(instance, (math.inf, 0))
        return self._asked - since >= SILENCE and times >= TIMES

    def is_due(self, task: TaskId) -> bool:
        """Tell whether to look up in the accounts what has left the queue: less and less often, since that may take long."""
        left = self._alive.get(task, (None, PATIENCE))[1]
        looks = 1 + PATIENCE - left
        return left == 0 or looks & (looks - 1) == 0

    def true_end(self, task: TaskId, seen: Seen) -> Seen:
        """Say that a task was canceled, which the accounts don't tell from other signals."""
        canceled = seen.reason is not None and (task in self.canceled or task in self.deleted)
        return seen._replace(reason=Reason.CANCELED) if canceled else seen

    def bridge(
        self, tasks: Mapping[str, Collection[int]], alive: Mapping[TaskId, Seen], ended: Mapping[TaskId, Seen]
    ) -> dict[TaskId, Seen]:
        """Take in a look; give those tasks that have left the queue and are not in the accounts yet, as they were.

        What we have canceled is not waited for: nobody accounts for what never ran.
        """
        gone = {
            task: (seen, looks - 1)
            for task, (seen, looks) in self._alive.items()
            if looks and task not in alive and task not in ended and task.number in tasks.get(task.native, ()) and task not in self.canceled
        }
        self._alive = {task: (seen, PATIENCE) for task, seen in alive.items() if task not in ended} | gone
        return {task: seen._replace(message="it has left the queue; there is no account of it yet") for task, (seen, _) in gone.items()}
