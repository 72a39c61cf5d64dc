"""Tasks on their way through a batch system: what is submitted for them, and what its news means for the database. No SQL, no loop."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from jobsys.batch.base import BatchState, BatchUpdate, Reason
from jobsys.requirements import Requirements
from jobsys.sandbox import spec
from jobsys.server import attempts, tasks
from jobsys.server.states import RunState
from jobsys.server.tasks import Task

RETRIES: Final = 3
"""How often a task is run again whose worker was lost."""
ACTIVE: Final = frozenset({RunState.INITIALIZING, RunState.RUNNING, RunState.PAUSED, RunState.PREEMPTED})
WORKER: Final = 256 << 20
"""Bytes that a task's worker may use beside the task: so the sandbox, which ends one executor only, comes first to a limit."""
LATE: Final = 60.0
"""Seconds for which the batch system leaves it to the sandbox to end a task that takes too long."""
_GB: Final = 10**9


class Out(NamedTuple):
    """A task that the batch system has."""

    seq: int
    id: str
    attempt: int
    retries: int  # how often it may be run again


def out(task: Task) -> Out:
    """Say what is known of a task's next attempt."""
    return Out(task.seq, task.id, task.attempts + 1, int(parameters(json.loads(task.document)).get("max_retries", RETRIES)))


def parameters(document: Mapping[str, Any]) -> dict[str, str]:
    """Give the backend parameters of a task, their names in lower case."""
    return {key.lower(): value for key, value in (document.get("resources") or {}).get("backend_parameters", {}).items()}


def requirements(document: Mapping[str, Any]) -> Requirements:
    """Say what a task asks for, as the engine puts it."""
    asked = document.get("resources") or {}
    given = parameters(document)
    memory, disk, seconds = _bytes(asked, "ram_gb"), _bytes(asked, "disk_gb"), given.get("max_runtime_s")
    return Requirements(
        cores=asked.get("cpu_cores") or 1.0,
        memory=None if memory is None else memory + WORKER,
        disk=disk,
        walltime=None if seconds is None else float(seconds) + LATE,
        preemptible=bool(asked.get("preemptible")),
    )


def _bytes(asked: Mapping[str, Any], name: str) -> int | None:
    return int(asked[name] * _GB) if asked.get(name) else None


def order(task: Task, made: Out, site: spec.Site) -> bytes:
    """Write what a worker is told."""
    document = json.loads(task.document)
    asked, seconds = document.get("resources") or {}, parameters(document).get("max_runtime_s")
    memory, disk = _bytes(asked, "ram_gb"), _bytes(asked, "disk_gb")
    limits = spec.Limits(asked.get("cpu_cores") or 1.0, memory, disk, None if seconds is None else float(seconds))
    what = msgspec.convert(document, spec.Task, strict=False)
    return spec.encode(spec.Order(task.id, made.attempt, what, limits, site, f"task-logs/{task.id}/{made.attempt}"))


class Effects:
    """What must be done about what was taken in."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.again: list[int] = []  # tasks to submit once more
        self.unwanted: list[int] = []  # batch jobs that must end
        self.over: list[int] = []  # batch jobs that have ended


def take_in(connection: Connection, known: Mapping[int, Out], updates: Iterable[BatchUpdate], now: float) -> Effects:
    """Write down what the batch system tells.

    Args:
        connection: in a transaction.
        known: tasks by the ids of their batch jobs.
        updates: the news.
        now: seconds since the epoch.
    """
    effects = Effects()
    for update in _without_old_tails(updates):
        task = known.get(update.id)
        if task is None:
            continue
        match update.state:
            case BatchState.MESSAGE:
                _said(connection, task, update, effects, now)
            case BatchState.COMPLETED:
                effects.over.append(update.id)
                _result(connection, task, spec.decode_result(update.payload), now)
            case BatchState.ENDED:
                effects.over.append(update.id)
                _ended(connection, task, update, effects, now)
            case BatchState.RETURNED:
                effects.over.append(update.id)
                effects.again.append(task.seq)
            case BatchState.RUNNING:
                pass  # its worker says so itself
    return effects


def _without_old_tails(updates: Iterable[BatchUpdate]) -> Iterable[BatchUpdate]:
    """Leave out what an executor had printed if more of it follows."""
    kept: dict[Any, BatchUpdate] = {}
    for number, update in enumerate(updates):
        said = update.payload.startswith(b'{"type":"printed"') if update.state is BatchState.MESSAGE else False
        kept.pop(("printed", update.id), None) if said else None
        kept["printed" if said else number, update.id] = update
    return kept.values()


def _said(connection: Connection, task: Out, update: BatchUpdate, effects: Effects, now: float) -> None:
    said = spec.decode_said(update.payload)
    match said:
        case spec.Staging():
            if not tasks.move(connection, task.seq, RunState.INITIALIZING, now):
                effects.unwanted.append(update.id)
                return
            attempts.begin(connection, task.seq, task.attempt, said.time, said.host)
        case spec.Running():
            tasks.move(connection, task.seq, RunState.RUNNING, now)
        case spec.Started():
            attempts.execution(connection, task.seq, task.attempt, said.number, {"started": said.time})
        case spec.Printed():
            attempts.execution(connection, task.seq, task.attempt, said.number, {"stdout": said.stdout, "stderr": said.stderr})
        case spec.Ended():
            values = {"ended": said.time, "exit_code": said.exit_code, "stdout": said.stdout, "stderr": said.stderr}
            attempts.execution(connection, task.seq, task.attempt, said.number, values)
        case spec.Noted():
            attempts.note(connection, task.seq, task.attempt, [said.text])


def _result(connection: Connection, task: Out, result: spec.Result, now: float) -> None:
    more = {**result.metadata, **({"failure_reason": result.reason} if result.reason else {})}
    attempts.end(connection, task.seq, task.attempt, result.time, more, msgspec.to_builtins(result.outputs))
    if result.reason:
        attempts.note(connection, task.seq, task.attempt, [result.reason])
    if not _canceled(connection, task, now):
        tasks.move(connection, task.seq, RunState(result.state), now, result.reason)


def _canceled(connection: Connection, task: Out, now: float) -> bool:
    """End a task of which somebody wanted no more: nothing that comes behind that counts."""
    return tasks.move(connection, task.seq, RunState.CANCELED, now, "canceled", {RunState.CANCELING})


def _ended(connection: Connection, task: Out, update: BatchUpdate, effects: Effects, now: float) -> None:
    reason = update.reason or Reason.LOST
    if _canceled(connection, task, now) or reason is Reason.CANCELED:
        close(connection, task, now, "canceled", "canceled")
        return
    text = f"{reason}: {update.message or 'its worker ended without a report'}" + (f" (host {update.host})" if update.host else "")
    passing = reason in {Reason.LOST, Reason.PREEMPTED, Reason.KILLED}
    if passing and task.attempt <= task.retries:
        give_up(connection, task, now, text, str(reason))
        effects.again.append(task.seq)
        return
    close(connection, task, now, text, str(reason))
    tasks.move(connection, task.seq, RunState.SYSTEM_ERROR, now, text)


def close(connection: Connection, task: Out, now: float, text: str, reason: str) -> None:
    """End an attempt of which nobody will say anything any more."""
    attempts.end(connection, task.seq, task.attempt, now, {"failure_reason": reason}, [])
    attempts.note(connection, task.seq, task.attempt, [text])


def give_up(connection: Connection, task: Out, now: float, text: str, reason: str) -> None:
    """End an attempt after which another one is made."""
    attempts.end(connection, task.seq, task.attempt, now, {"failure_reason": reason}, [])
    attempts.note(connection, task.seq, task.attempt, [f"{text}; it is run again"])
    if reason == Reason.PREEMPTED:
        tasks.move(connection, task.seq, RunState.PREEMPTED, now, text)
    tasks.move(connection, task.seq, RunState.QUEUED, now, text)
