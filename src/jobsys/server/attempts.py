"""What becomes of tasks while they run, into the database: attempts, executions, logs. SQL only; each call is part of a transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from jobsys.server.states import RunState
from jobsys.server.tables import ATTEMPTS, EVENTS, EXECUTIONS, TASKS
from jobsys.server.tasks import Task, as_task, columns


def begin(connection: Connection, task: int, number: int, time: float, host: str) -> None:
    """Note that a worker has a task; nothing new if that is known."""
    known = connection.execute(select(ATTEMPTS.c.number).where(ATTEMPTS.c.task == task, ATTEMPTS.c.number == number)).scalar()
    if known is None:
        row = {"task": task, "number": number, "started": time, "metadata": {"host": host}, "outputs": [], "system_logs": []}
        connection.execute(insert(ATTEMPTS).values(row))
        connection.execute(update(TASKS).where(TASKS.c.seq == task).values(attempts=number))


def end(connection: Connection, task: int, number: int, time: float, more: Mapping[str, str], outputs: Sequence[Mapping[str, str]]) -> None:
    """Note how an attempt ended; ``more`` joins its metadata."""
    here = (ATTEMPTS.c.task == task, ATTEMPTS.c.number == number)
    before = connection.execute(select(ATTEMPTS.c.metadata).where(*here)).scalar()
    if before is None:
        begin(connection, task, number, time, "")
        before = {}
    values = {"ended": time, "metadata": {**before, **more}, "outputs": list(outputs)}
    connection.execute(update(ATTEMPTS).where(*here).values(values))


def note(connection: Connection, task: int, number: int, texts: Iterable[str]) -> None:
    """Add to an attempt's system logs."""
    here = (ATTEMPTS.c.task == task, ATTEMPTS.c.number == number)
    before = connection.execute(select(ATTEMPTS.c.system_logs).where(*here)).scalar()
    if before is not None:
        connection.execute(update(ATTEMPTS).where(*here).values(system_logs=[*before, *texts]))


def execution(connection: Connection, task: int, attempt: int, number: int, values: Mapping[str, Any]) -> None:
    """Note something about an executor that was started."""
    here = (EXECUTIONS.c.task == task, EXECUTIONS.c.attempt == attempt, EXECUTIONS.c.number == number)
    if connection.execute(update(EXECUTIONS).where(*here).values(**values)).rowcount == 0:
        row = {"task": task, "attempt": attempt, "number": number, "stdout": "", "stderr": "", **values}
        connection.execute(insert(EXECUTIONS).values(row))


def news(connection: Connection, after: int, states: Iterable[RunState], most: int = 5000) -> tuple[int, dict[int, RunState]]:
    """Tell which tasks came into some states since an event; give the number of the last event, and the newest state of each task."""
    query = select(EVENTS.c.id, EVENTS.c.task, EVENTS.c.after).where(EVENTS.c.id > after).order_by(EVENTS.c.id).limit(most)
    wanted = set(states)
    found: dict[int, RunState] = {}
    for id, task, state in connection.execute(query):
        after = id
        found.pop(task, None)
        if state in wanted:
            found[task] = RunState(state)
    return after, found


def load(connection: Connection, seqs: Sequence[int]) -> list[Task]:
    """Give tasks by their numbers, the oldest first."""
    query = select(*columns()).where(TASKS.c.seq.in_(seqs)).order_by(TASKS.c.seq)
    return [as_task(row) for row in connection.execute(query)]


def in_states(connection: Connection, states: Iterable[RunState], after: int = 0, most: int = 5000) -> list[Task]:
    """Give tasks in some states, the oldest first."""
    query = select(*columns()).where(TASKS.c.state.in_(list(states)), TASKS.c.seq > after).order_by(TASKS.c.seq).limit(most)
    return [as_task(row) for row in connection.execute(query)]


def last_event(connection: Connection) -> int:
    """Give the number of the newest event."""
    return connection.execute(select(EVENTS.c.id).order_by(EVENTS.c.id.desc()).limit(1)).scalar() or 0
