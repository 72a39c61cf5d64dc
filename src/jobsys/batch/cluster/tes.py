"""Any GA4GH TES 1.1 endpoint as a scheduler of tasks: one TES task for each, all of an ask having its name as a tag.

TES has no arrays, so that tasks are created and canceled one by one; they are looked at by lists.
"""

import os
import sys
import time
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from jobsys.batch.cluster.scheduler import Ask, PassingError, Scheduler, Seen, Setting, TaskId, TaskState, settings_of
from jobsys.batch.cluster.tes_client import TesClient
from jobsys.batch.cluster.tes_task import ASK, PLAIN, end_of, number_of, parameters_of, state_of, task_of
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

ROUNDS: Final = 3
PAUSE: Final = 1.0


class Task(NamedTuple):
    """A task as it is on the server."""

    id: str
    state: str


class TesScheduler(Scheduler):
    """Tasks of an endpoint."""

    name = "tes"
    settings = (
        Setting("url", "the endpoint: https://HOST, or with its path, https://HOST/ga4gh/tes/v1"),
        Setting(
            "token-file", "a file with the bearer token, read at each request; else JOBSYS_TES_TOKEN, or JOBSYS_TES_USER and _PASSWORD"
        ),
        Setting("image", "the container image of the tasks", f"python:{sys.version_info.major}.{sys.version_info.minor}"),
        Setting("zones", "where tasks may run: ZONE,ZONE"),
        Setting("backend", "backend parameters of the server: KEY=VALUE KEY=VALUE"),
        Setting("accelerators", "the backend parameter that says how many accelerators a task needs"),
    )
    most = 200
    enforces = frozenset()
    index = "JOBSYS_TASK"

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """Take the settings that were given.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        self.options = settings_of(self.name, self.settings, options or {})
        url = self.options["url"] or os.environ.get("JOBSYS_TES_ENDPOINT", "")
        if not url:
            raise UsageError("which TES endpoint? Say --batch-option url=https://HOST")
        parameters_of(self.options["backend"])
        self._client = TesClient(url, self.options["token-file"])
        self._numbers: dict[str, dict[str, int | None]] = {}  # by ask and id; None: a task of somebody else
        self._ends: dict[TaskId, Seen] = {}

    def check(self, requirements: Requirements) -> str:
        """Say why no host can ever run such a task: TES tells nothing of its hosts."""
        if requirements.accelerators and not self.options["accelerators"]:
            return "TES has no accelerators; if this server has a backend parameter for them, name it: --batch-option accelerators=NAME"
        return ""

    def submit(self, ask: Ask) -> str:
        """Create those tasks of an ask that are not there yet."""
        for round in range(1, ROUNDS + 1):
            try:
                there = self._there(ask.name)
                for number in range(ask.count):
                    if number not in there:
                        id = self._client.create(task_of(ask, number, self.options, self.index))
                        self._numbers.setdefault(ask.name, {})[id] = number
                break
            except PassingError:
                if round == ROUNDS:
                    raise
                time.sleep(PAUSE)
        return ask.name

    def find(self, name: str) -> str | None:
        """Find tasks by name."""
        return name if self._there(name) else None

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """Look at tasks: one list for each ask of which some have not ended yet, and one query for each that failed."""
        self._ends = {task: seen for task, seen in self._ends.items() if task.native in tasks}
        self._numbers = {name: ids for name, ids in self._numbers.items() if name in tasks}
        found: dict[TaskId, Seen] = {}
        for native, numbers in tasks.items():
            wanted = [TaskId(native, number) for number in numbers]
            there = {} if all(task in self._ends for task in wanted) else self._there(native)
            for task in wanted:
                if task not in self._ends and task.number in there:
                    found[task] = self._tell(there[task.number])
                    if found[task].state is TaskState.ENDED:
                        self._ends[task] = found[task]
            found |= {task: self._ends[task] for task in wanted if task in self._ends}
        return found

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Cancel tasks, one by one."""
        for native, numbers in tasks.items():
            for number, task in self._there(native).items():
                if (numbers is None or number in numbers) and state_of(task.state)[0] is not TaskState.ENDED:
                    self._client.cancel(task.id)

    def close(self) -> None:
        """Hang up; tasks run on."""
        self._client.close()

    def _there(self, name: str) -> dict[int, Task]:
        """Find the tasks of an ask by number; of two with one number, as after an answer that was lost, one that has not ended."""
        ids = self._numbers.setdefault(name, {})
        states = {task["id"]: str(task.get("state")) for task in self._client.tasks({ASK: name}, f"{name}-", "MINIMAL")}
        if not states.keys() <= ids.keys():  # this process did not create them: only the longer view has the tags
            for task in self._client.tasks({ASK: name}, f"{name}-", "BASIC"):
                ids[task["id"]] = number_of(task, name)
        found: dict[int, Task] = {}
        for id, state in states.items():
            number = ids.get(id)
            if number is not None and (number not in found or state_of(found[number].state)[0] is TaskState.ENDED):
                found[number] = Task(id, state)
        return found

    def _tell(self, task: Task) -> Seen:
        state, reason = state_of(task.state)
        if task.state in PLAIN:
            return Seen(state, reason)
        if state is not TaskState.ENDED:
            return Seen(state, reason, message=task.state.lower())
        return end_of(task.state, self._client.task(task.id) or {})
