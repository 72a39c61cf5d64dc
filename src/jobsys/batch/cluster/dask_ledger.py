"""What lives in the scheduler of Dask: a ledger of tasks, for Dask forgets a task when it has ended, and does not say which of them run.

Is sent there by value, for jobsys need not be installed: it imports nothing of jobsys. The functions below run in the scheduler for a
leader. The ledger takes care that no task is run a second time: Dask would do that for one whose worker died.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from distributed.diagnostics.plugin import SchedulerPlugin

NAME: Final = "jobsys-ledger-1"
PREFIX: Final = "jobsys:"
LET_GO: Final = "Dask let go of it: the cluster was restarted, or the leader died before the tasks were its"
KEEP: Final = 3600.0
"""Seconds for which an ask is remembered when all of its tasks have ended."""


class Record:
    """What is known of a task; the reason in the words of `jobsys.events.Reason`."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.worker = self.host = self.reason = self.message = ""
        self.started = self.ended = self.canceled = False
        self.status: int | None = None

    def end(self, reason: str, status: int | None = None, message: str = "") -> None:
        """Tell how it ended; what is told first counts, and that a leader canceled it more than what came of that."""
        if self.ended:
            return
        self.ended = True
        if reason and self.canceled:
            reason, message = "canceled", ""
        elif reason == "canceled":
            reason, message = "lost", LET_GO
        self.reason, self.status, self.message = reason, status, message


class Ledger(SchedulerPlugin):
    """Knows the tasks of all leaders, from what the scheduler does and what workers tell."""

    def __init__(self, scheduler: Any) -> None:
        """Listen to the workers of a scheduler."""
        self.scheduler = scheduler
        self.asks: dict[str, dict[int, Record]] = {}
        self.done: dict[str, float] = {}  # when all tasks of an ask were first seen to have ended
        scheduler.handlers.update(jobsys_start=self.start_task, jobsys_end=self.end_task)

    def start_task(self, comm: Any, name: str, number: int, worker: str, host: str) -> bool:  # noqa: ARG002
        """Hear from a worker that is about to run a task; tell whether it may."""
        record = self.asks.get(name, {}).get(number)
        if record is None or record.started or record.ended:
            return False
        record.started, record.worker, record.host = True, worker, host
        if (task := self.scheduler.tasks.get(key_of(name, number))) is not None:
            task.suspicious = self.scheduler.allowed_failures  # so that Dask gives it up should this worker die
        return True

    def end_task(self, comm: Any, name: str, number: int, worker: str, **how: Any) -> bool:  # noqa: ARG002
        """Hear how a task ended."""
        record = self.asks.get(name, {}).get(number)
        if record is not None and record.worker == worker:
            record.end(**how)
        return True

    def transition(self, key: Any, start: str, finish: str, *args: Any, **more: Any) -> None:  # noqa: ARG002
        """See a task change its state."""
        name, _, number = key.removeprefix(PREFIX).rpartition(":") if isinstance(key, str) and key.startswith(PREFIX) else ("", "", "")
        if not number.isdecimal():
            return
        record = self.asks.setdefault(name, {}).setdefault(int(number), Record())
        if finish == "erred":
            record.end("lost", None, str(more.get("exception_text") or "its worker died"))
        elif finish == "memory":
            record.end("")
        elif finish == "forgotten" and not record.started:
            record.end("canceled")

    def remove_worker(self, scheduler: Any, worker: str, **more: Any) -> None:  # noqa: ARG002
        """See a worker go: what it ran is lost, and is not run elsewhere."""
        for name, records in self.asks.items():
            gone = [number for number, record in records.items() if record.worker == worker and not record.ended]
            for number in gone:
                records[number].end("lost", None, "its worker died or was closed")
            self.release(name, gone)

    def release(self, name: str, numbers: Iterable[int]) -> None:
        """Have the scheduler forget tasks, whoever wants them; workers that run them see it."""
        wanted: dict[str, list[str]] = {}
        for key in (key_of(name, number) for number in numbers):
            if (task := self.scheduler.tasks.get(key)) is not None:
                for client in task.who_wants or ():
                    wanted.setdefault(client.client_key, []).append(key)
        for client, keys in wanted.items():
            self.scheduler.client_releases_keys(keys=keys, client=client)

    def forget(self, now: float) -> None:
        """Forget asks that were over long ago."""
        for name in [name for name in self.asks if name not in self.done]:
            if all(record.ended for record in self.asks[name].values()):
                self.done[name] = now
        for name in [name for name, since in self.done.items() if now - since > KEEP]:
            del self.asks[name], self.done[name]


def key_of(name: str, number: int) -> str:
    """Give the key under which Dask knows a task."""
    return f"{PREFIX}{name}:{number}"


def ledger_of(scheduler: Any) -> Any:
    """Give the ledger of a scheduler, which is made by the first who asks."""
    if NAME not in scheduler.plugins:
        scheduler.add_plugin(Ledger(scheduler), name=NAME)
    return scheduler.plugins[NAME]


def find(name: str, dask_scheduler: Any = None) -> bool:
    """Tell whether there are, or were lately, tasks of that name."""
    return name in ledger_of(dask_scheduler).asks


def keep(name: str, count: int, dask_scheduler: Any = None) -> int:
    """Have tasks run on should their leader go; tell how many of them have come so far."""
    records = ledger_of(dask_scheduler).asks.get(name, {})
    open_keys = [key_of(name, number) for number in range(count) if number in records and not records[number].ended]
    dask_scheduler.client_desires_keys(keys=[key for key in open_keys if key in dask_scheduler.tasks], client="fire-and-forget")
    return len(records)


def look(tasks: Mapping[str, Collection[int]], dask_scheduler: Any = None) -> list[tuple[Any, ...]]:
    """Tell of tasks, as far as they are known: name, number, state of `TaskState`, reason, status, message, host."""
    ledger = ledger_of(dask_scheduler)
    ledger.forget(time.time())
    return [
        (name, number, *_state(dask_scheduler, key_of(name, number), record), record.host)
        for name, numbers in tasks.items()
        for number, record in ((number, ledger.asks.get(name, {}).get(number)) for number in numbers)
        if record is not None
    ]


def _state(scheduler: Any, key: str, record: Record) -> tuple[Any, ...]:
    if record.ended:
        return ("ended", record.reason, record.status, record.message)
    if record.started:
        return ("running", "", None, "")
    task = scheduler.tasks.get(key)
    return ("queued", "", None, "no worker has what it asks for" if task is not None and task.state == "no-worker" else "")


def cancel(tasks: Mapping[str, Collection[int] | None], dask_scheduler: Any = None) -> None:
    """Cancel tasks; what runs has ended when its worker says so."""
    ledger = ledger_of(dask_scheduler)
    for name, numbers in tasks.items():
        records = ledger.asks.get(name, {})
        chosen = [number for number in (records if numbers is None else numbers) if number in records and not records[number].ended]
        for number in chosen:
            records[number].canceled = True
        ledger.release(name, chosen)


def workers(dask_scheduler: Any = None) -> list[dict[str, float]]:
    """Tell which resources the workers have, each kind once."""
    kinds = {tuple(sorted(worker.resources.items())) for worker in dask_scheduler.workers.values()}
    return [dict(kind) for kind in kinds]
