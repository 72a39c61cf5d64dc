"""Tasks in the database."""

import itertools
import threading

import pytest

from jobsys.server import tasks
from jobsys.server.states import TERMINAL, RunState
from jobsys.server.tasks import Filter, KeyConflictError, NewTask
from server.asking import find  # type: ignore[import-not-found]

S = RunState


def new(name="n", owner="me", tags=None, **more):
    return NewTask(owner, name, b"{}", tags or {}, **more)


def submit(database, *some, now=1.0):
    with database.writing() as connection:
        return tasks.submit(connection, some, now)


def listed(database, wanted=Filter(), most=100, before=None):  # noqa: B008
    with database.reading() as connection:
        return tasks.page(connection, wanted, most, before)


def test_what_is_submitted_is_found(database):
    (id,) = submit(database, new("a", tags={"x": "1"}))
    with database.reading() as connection:
        found = find(connection, id)
        assert tasks.find(connection, id, "somebody else") is None
        assert tasks.find(connection, "other") is None
        assert tasks.history(connection, found.seq) == [(1.0, "", "QUEUED", "")]
    assert (found.name, found.state, found.created, found.attempts) == ("a", S.QUEUED, 1.0, 0)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter(), ["c%", "ab", "a"]),
        (Filter(owner="me"), ["ab", "a"]),
        (Filter(name_prefix="a"), ["ab", "a"]),
        (Filter(name_prefix="A"), []),
        (Filter(name_prefix="c%"), ["c%"]),
        (Filter(name_prefix="%"), []),
        (Filter(tags=(("k", "1"),)), ["a"]),
        (Filter(tags=(("k", ""),)), ["ab", "a"]),
        (Filter(tags=(("k", ""), ("a.b$", "x"))), ["ab"]),
        (Filter(tags=(("K", ""),)), []),
        (Filter(state=S.RUNNING), []),
        (Filter(state=S.QUEUED, name_prefix="a", tags=(("k", "2"),)), ["ab"]),
    ],
)
def test_filters(database, wanted, names):
    submit(database, new("a", tags={"k": "1"}), new("ab", tags={"k": "2", "a.b$": "x"}), new("c%", owner="you"))
    assert [task.name for task in listed(database, wanted)] == names


def test_pages_show_each_once_although_others_come_and_change(database):
    submit(database, *(new(str(number)) for number in range(50)))
    seen, before = [], None
    for turn in itertools.count():
        some = listed(database, most=7, before=before)
        if not some:
            break
        seen += [task.name for task in some]
        before = some[-1].seq
        submit(database, new(f"late{turn}"))
        with database.writing() as connection:
            tasks.move(connection, some[0].seq, S.CANCELED, 2.0)
    assert seen == [str(number) for number in reversed(range(50))]


def test_a_key_leads_to_the_same_task(database):
    first = submit(database, new(key="k", digest="1"), new(key="k", digest="1"))
    again = submit(database, new(key="k", digest="1"), new(owner="you", key="k", digest="1"))
    assert first[0] == first[1] == again[0] != again[1]
    (refused,) = submit(database, new(key="k", digest="2"))
    assert isinstance(refused, KeyConflictError)
    assert len(listed(database)) == 2
    with database.writing() as connection:
        assert tasks.forget_keys(connection, 2.0) == 2
    assert submit(database, new(key="k", digest="2")) != first


def test_states_change_by_the_table_only(database):
    submit(database, new())
    (task,) = listed(database)
    with database.writing() as connection:
        assert not tasks.move(connection, task.seq, S.COMPLETE, 2.0)
        assert tasks.move(connection, task.seq, S.INITIALIZING, 3.0)
        assert not tasks.move(connection, task.seq, S.CANCELED, 4.0, before={S.QUEUED})
        assert tasks.move(connection, task.seq, S.COMPLETE, 5.0, "done")
        assert not tasks.move(connection, task.seq, S.CANCELING, 6.0)
        assert not tasks.move(connection, task.seq + 1, S.CANCELING, 6.0)
        changes = tasks.history(connection, task.seq)
    assert [(time, after) for time, _, after, _ in changes] == [(1.0, "QUEUED"), (3.0, "INITIALIZING"), (5.0, "COMPLETE")]


def test_many_race_and_one_wins(database):
    count = 50
    submit(database, *(new() for _ in range(count)))
    seqs = [task.seq for task in listed(database)]
    with database.writing() as connection:
        for seq in seqs:
            tasks.move(connection, seq, S.INITIALIZING, 1.0)
            tasks.move(connection, seq, S.RUNNING, 1.0)
    won: dict[int, list[RunState]] = {seq: [] for seq in seqs}

    def race(after):
        for seq in seqs:
            with database.writing() as connection:
                if tasks.move(connection, seq, after, 2.0):
                    won[seq].append(after)

    threads = [threading.Thread(target=race, args=(after,)) for after in (S.COMPLETE, S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.CANCELING)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    ends = {task.seq: task.state for task in listed(database)}
    for seq in seqs:
        assert len([state for state in won[seq] if state in TERMINAL]) <= 1
        assert ends[seq] is won[seq][-1]
        with database.reading() as connection:
            assert [after for _, _, after, _ in tasks.history(connection, seq)][3:] == won[seq]


def test_they_are_counted(database):
    submit(database, new(), new(), new())
    with database.writing() as connection:
        tasks.move(connection, 1, S.CANCELED, 2.0)
        assert tasks.counts(connection) == {S.QUEUED: 2, S.CANCELED: 1}
