"""Tasks in the database: submit, look at, list, and change states by compare-and-set. The only SQL about tasks there is."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, select, update
from sqlalchemy.engine import Row

from jobsys.server.states import RunState, sources
from jobsys.server.tables import ATTEMPTS, EVENTS, EXECUTIONS, REQUESTS, TAGS, TASKS

ID_BYTES: Final = 10
encode: Final = msgspec.json.Encoder().encode
"""Gives the document of a task."""


class NewTask(NamedTuple):
    """A task that somebody submits."""

    owner: str
    name: str | None
    document: bytes  # JSON
    tags: Mapping[str, str]
    warnings: Sequence[str] = ()
    key: str = ""  # an Idempotency-Key
    digest: str = ""  # of what was asked for with it


class Task(NamedTuple):
    """A task as it is kept, without its logs."""

    seq: int
    id: str
    owner: str
    name: str | None
    state: RunState
    created: float
    attempts: int
    document: str
    warnings: list[str]


class Filter(NamedTuple):
    """Which tasks are meant."""

    owner: str | None = None  # None: anybody's
    name_prefix: str = ""
    state: RunState | None = None
    tags: tuple[tuple[str, str], ...] = ()  # with an empty value: any


class KeyConflictError(Exception):
    """An ``Idempotency-Key`` was used before, for something else."""


def columns() -> list[Any]:
    """Give the columns of which a `Task` is made."""
    return [TASKS.c[name] for name in Task._fields]


def new_id() -> str:
    """Make an id that nobody can guess: it is all that is needed to ask for a task of somebody who lets all see theirs."""
    return secrets.token_hex(ID_BYTES)


def submit(connection: Connection, tasks: Sequence[NewTask], now: float) -> list[str | KeyConflictError]:
    """Keep tasks, in order; give their ids.

    What came with an ``Idempotency-Key`` before, also within the same call, is not submitted again: the id is that of the first time.
    """
    answers: list[str | KeyConflictError] = []
    fresh: list[tuple[str, NewTask]] = []
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for task in tasks:
        known = _known(connection, seen, task) if task.key else None
        if known is None:
            id = new_id()
            fresh.append((id, task))
            if task.key:
                seen[task.owner, task.key] = (task.digest, id)
            answers.append(id)
        else:
            answers.append(known[1] if known[0] == task.digest else KeyConflictError(task.key))
    if fresh:
        _insert(connection, fresh, now)
    return answers


def _known(connection: Connection, seen: Mapping[tuple[str, str], tuple[str, str]], task: NewTask) -> tuple[str, str] | None:
    if (task.owner, task.key) in seen:
        return seen[task.owner, task.key]
    query = select(REQUESTS.c.digest, REQUESTS.c.answer).where(REQUESTS.c.owner == task.owner, REQUESTS.c.key == task.key)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.digest, row.answer)


def _insert(connection: Connection, fresh: Sequence[tuple[str, NewTask]], now: float) -> None:
    rows = [
        {
            "id": id,
            "owner": task.owner,
            "name": task.name,
            "state": RunState.QUEUED,
            "created": now,
            "attempts": 0,
            "document": task.document.decode(),
            "warnings": list(task.warnings),
        }
        for id, task in fresh
    ]
    connection.execute(insert(TASKS), rows)
    ids = [id for id, _ in fresh]
    seqs = {row.id: row.seq for row in connection.execute(select(TASKS.c.id, TASKS.c.seq).where(TASKS.c.id.in_(ids)))}
    events = [{"task": seqs[id], "time": now, "before": "", "after": RunState.QUEUED, "reason": ""} for id in ids]
    connection.execute(insert(EVENTS), events)
    tags = [{"task": seqs[id], "key": key, "value": value} for id, task in fresh for key, value in task.tags.items()]
    if tags:
        connection.execute(insert(TAGS), tags)
    keyed = [{"owner": task.owner, "key": task.key, "digest": task.digest, "answer": id, "time": now} for id, task in fresh if task.key]
    if keyed:
        connection.execute(insert(REQUESTS), keyed)


def find(connection: Connection, id: str, owner: str | None = None) -> Task | None:
    """Find a task by its id; None if there is none, or it is not the ``owner``'s."""
    query = select(*columns()).where(TASKS.c.id == id)
    if owner is not None:
        query = query.where(TASKS.c.owner == owner)
    row = connection.execute(query).one_or_none()
    return None if row is None else as_task(row)


def page(connection: Connection, wanted: Filter, most: int, before: int | None = None) -> list[Task]:
    """List up to ``most`` tasks, the newest first; with ``before`` only those that are older than the one of that number."""
    query = select(*columns()).where(*_conditions(wanted)).order_by(TASKS.c.seq.desc()).limit(most)
    if before is not None:
        query = query.where(TASKS.c.seq < before)
    return [as_task(row) for row in connection.execute(query)]


def _conditions(wanted: Filter) -> Iterable[ColumnElement[bool]]:
    if wanted.owner is not None:
        yield TASKS.c.owner == wanted.owner
    if wanted.state is not None:
        yield TASKS.c.state == wanted.state
    if wanted.name_prefix:  # not LIKE: its wildcards are letters here, and case counts
        yield func.substr(TASKS.c.name, 1, len(wanted.name_prefix)) == wanted.name_prefix
    for key, value in wanted.tags:
        same = and_(TAGS.c.task == TASKS.c.seq, TAGS.c.key == key)
        yield exists().where(and_(same, TAGS.c.value == value) if value else same)


def as_task(row: Row[Any]) -> Task:
    """Make a `Task` of a row of these columns."""
    task = Task._make(row)
    return task._replace(state=RunState(task.state))


def move(connection: Connection, seq: int, after: RunState, now: float, reason: str = "", before: Iterable[RunState] = ()) -> bool:
    """Bring a task into a state, if it is in one from which it may come there (and in one of ``before``, if given); tell whether it was.

    Of two that try at once only the first does it.
    """
    allowed = sources(after) & frozenset(before) if before else sources(after)
    while True:
        state = connection.execute(select(TASKS.c.state).where(TASKS.c.seq == seq)).scalar()
        if state not in allowed:
            return False
        done = connection.execute(update(TASKS).where(TASKS.c.seq == seq, TASKS.c.state == state).values(state=after))
        if done.rowcount == 1:  # else, on PostgreSQL, somebody changed it between the two
            connection.execute(insert(EVENTS).values(task=seq, time=now, before=state, after=after, reason=reason))
            return True


def history(connection: Connection, seq: int) -> list[tuple[float, str, str, str]]:
    """Give all changes of a task's state, as time, state before, state after, and reason."""
    query = select(EVENTS.c.time, EVENTS.c.before, EVENTS.c.after, EVENTS.c.reason).where(EVENTS.c.task == seq).order_by(EVENTS.c.id)
    return [tuple(row) for row in connection.execute(query)]


def attempts(connection: Connection, seqs: Sequence[int]) -> dict[int, list[Mapping[str, Any]]]:
    """Give the attempts of some tasks, in order, each with its ``executions``."""
    ran: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    query = select(EXECUTIONS).where(EXECUTIONS.c.task.in_(seqs)).order_by(EXECUTIONS.c.number)
    for execution in connection.execute(query).mappings():
        ran.setdefault((execution["task"], execution["attempt"]), []).append(dict(execution))
    found: dict[int, list[Mapping[str, Any]]] = {}
    for attempt in connection.execute(select(ATTEMPTS).where(ATTEMPTS.c.task.in_(seqs)).order_by(ATTEMPTS.c.number)).mappings():
        executions = ran.get((attempt["task"], attempt["number"]), [])
        found.setdefault(attempt["task"], []).append({**attempt, "executions": executions})
    return found


def counts(connection: Connection) -> dict[RunState, int]:
    """Count tasks by state."""
    rows = connection.execute(select(TASKS.c.state, func.count()).group_by(TASKS.c.state))
    return {RunState(state): count for state, count in rows}


def forget_keys(connection: Connection, until: float) -> int:
    """Forget the ``Idempotency-Key`` of what was submitted before a time; give their number."""
    return connection.execute(delete(REQUESTS).where(REQUESTS.c.time < until)).rowcount
