"""What earlier looks have shown that Grid Engine does not tell: tasks on their way into the accounts, who canceled them, hosts that are gone."""

from collections.abc import Collection, Mapping
from typing import Final

from jobsys.batch.cluster.scheduler import Seen, TaskId, TaskState

PATIENCE: Final = 30
"""For how many looks a task is told of as before that has left the queue: by default it is in the accounts 15 s later."""
ROUND: Final = 30
"""How many looks there are to a question for hosts that are not heard of."""
ROUNDS: Final = 10
"""How often in a row a host must be missed: about five minutes, behind the five that qmaster waits before it says so (``max_unheard``)."""


class Earlier:
    """What is known of tasks from earlier looks."""

    def __init__(self) -> None:
        """Know nothing."""
        self._alive: dict[TaskId, tuple[Seen, int]] = {}  # as last seen, and how many looks more it will be told of so
        self._canceled: dict[str, set[int] | None] = {}
        self._unheard: dict[str, int] = {}  # how often each was missed in a row
        self._looks = 0

    def begin(self) -> bool:
        """Count a look; tell whether it is time to ask which hosts are not heard of."""
        self._looks += 1
        return self._looks % ROUND == 0

    def miss(self, instances: Collection[str]) -> None:
        """Take in of which instances of queues qmaster does not hear."""
        self._unheard = {name: self._unheard.get(name, 0) + 1 for name in instances}

    def is_lost(self, instance: str) -> bool:
        """Tell whether an instance has been missed for too long."""
        return self._unheard.get(instance, 0) >= ROUNDS

    def cancel(self, native: str, numbers: Collection[int] | None) -> None:
        """Keep in mind that tasks are being canceled, None meaning all."""
        if numbers is None:
            self._canceled[native] = None
        elif (known := self._canceled.setdefault(native, set())) is not None:
            known.update(numbers)

    def is_canceled(self, task: TaskId) -> bool:
        """Tell whether a task was canceled, by whomever."""
        known = self._canceled.get(task.native, ())
        return known is None or task.number in known

    def bridge(
        self, tasks: Mapping[str, Collection[int]], alive: Mapping[TaskId, Seen], ended: Mapping[TaskId, Seen]
    ) -> dict[TaskId, Seen]:
        """Take in a look; give those tasks that have left the queue and are not in the accounts yet, as they were."""
        gone = {
            task: (seen, looks - 1)
            for task, (seen, looks) in self._alive.items()
            if looks and task not in alive and task not in ended and task.number in tasks.get(task.native, ())
            # nobody accounts for what never ran
            if not (seen.state is TaskState.QUEUED and self.is_canceled(task))
        }
        self._alive = {task: (seen, PATIENCE) for task, seen in alive.items() if task not in ended} | gone
        return {task: seen._replace(message="it has left the queue; there is no account of it yet") for task, (seen, _) in gone.items()}
