"""A scheduler that is none: tasks are processes of this machine, a few at a time. Can be made to fail in the ways of real ones."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path

from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, Scheduler, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements

NUMBER = "PRETEND_TASK"


class PretendScheduler(Scheduler):
    """Starts up to ``slots`` tasks at a time."""

    name = "pretend"
    most = 100
    index = NUMBER
    first = 0
    enforces = frozenset()

    def __init__(self, slots: int = 2, log: Path | None = None) -> None:
        self.slots = slots
        self.asked: list[Ask] = []
        self.calls: list[str] = []
        self.troubles: deque[Exception] = deque()  # raised by the next calls, one each
        self.lost_answer = False  # the next submission succeeds, and nobody hears of it
        self.reasons: dict[TaskId, Reason] = {}  # of tasks that are ended by `strike`
        self.log = log
        self._queued: deque[tuple[TaskId, Ask]] = deque()
        self._processes: dict[TaskId, subprocess.Popen[bytes]] = {}
        self._canceled: set[TaskId] = set()

    def check(self, requirements: Requirements) -> str:
        return f"a job asks for cores={requirements.cores:g}, there are 4 cores at most" if requirements.cores > 4 else ""

    def submit(self, ask: Ask) -> str:
        self._called("submit")
        self.asked.append(ask)
        native = str(len(self.asked))
        if "refused" in ask.title:
            raise AskRefusedError("no queue takes that: ask for less")
        self._queued += [(TaskId(native, number), ask) for number in range(ask.count)]
        self._start()
        if self.lost_answer:
            self.lost_answer = False
            raise PassingError("the answer was lost")
        return native

    def find(self, name: str) -> str | None:
        self._called("find")
        return next((str(place) for place, ask in enumerate(self.asked, 1) if ask.name == name), None)

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        self._called("look")
        self._start()
        there = {task: Seen(TaskState.QUEUED) for task, _ in self._queued} | {task: self._seen(task) for task in self._processes}
        there |= dict.fromkeys(self._canceled - self._processes.keys(), Seen(TaskState.ENDED, Reason.CANCELED))
        return {task: seen for task, seen in there.items() if task.number in tasks.get(task.native, ())}

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        self._called("cancel")
        for native, numbers in tasks.items():
            for task in [task for task, _ in self._queued] + list(self._processes):
                if task.native == native and (numbers is None or task.number in numbers):
                    self._canceled.add(task)
                    self._end(task, signal.SIGTERM)
        self._queued = deque(each for each in self._queued if each[0] not in self._canceled)

    def strike(self, task: TaskId, reason: Reason, number: int = signal.SIGKILL) -> None:
        """End a running task as a scheduler, or a power cut, does."""
        self.reasons[task] = reason
        self._end(task, number)

    def running(self) -> list[TaskId]:
        """Name the tasks that run."""
        return [task for task, process in self._processes.items() if process.poll() is None]

    def close(self) -> None:
        """End all."""
        self._queued.clear()
        for task in self._processes:
            self._end(task, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.troubles:
            raise self.troubles.popleft()

    def _start(self) -> None:
        while self._queued and len(self.running()) < self.slots:
            task, ask = self._queued.popleft()
            out = subprocess.DEVNULL if self.log is None else (self.log / f"{task.native}_{task.number}").open("wb")
            environment = {**os.environ, NUMBER: str(task.number)}
            self._processes[task] = process = subprocess.Popen(
                ["/bin/sh"], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            assert process.stdin is not None
            process.stdin.write(ask.script.encode())
            process.stdin.close()
            if not isinstance(out, int):
                out.close()

    def _seen(self, task: TaskId) -> Seen:
        status = self._processes[task].poll()
        if status is None:
            return Seen(TaskState.RUNNING, host="here", queue="all")
        if task in self.reasons:
            return Seen(TaskState.ENDED, self.reasons[task], status, "struck")
        if task in self._canceled:
            return Seen(TaskState.ENDED, Reason.CANCELED)
        return Seen(TaskState.ENDED, Reason.FAILED if status > 0 else Reason.KILLED if status else None, status)

    def _end(self, task: TaskId, number: int) -> None:
        process = self._processes.get(task)
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)
