"""What every scheduler of a cluster must keep, as plain functions: run `check_scheduler` over one of your own. Needs no test framework.

Tasks tell what they found by their exit status and, where they share a directory with this machine, by files in it.
"""

import hashlib
import shlex
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jobsys.batch.cluster.scheduler import Ask, Scheduler, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements

PATIENCE: Final = 60.0
GLANCE: Final = 0.1
LONG: Final = "exec sleep 600"
MODEST: Final = Requirements(memory=64 << 20, walltime=600.0)
HOSTILE: Final = 'it\'s "quoted" $HOME $(exit 9) `exit 9` \\n \\ %j %A %% {0} <&>|;* é ☃ 𝄞 \t end'
MISTAKABLE: Final = "#SBATCH --time=0\n#$ -N other\n#PBS -N other\n#BSUB -J other\nEOF\nEND\n"
"""Lines that a submission by standard input might take for its own."""


class Bench(NamedTuple):
    """A scheduler under test, and what is around it."""

    make: Callable[[], Scheduler]
    folder: Path | None = None  # a directory that the tasks share with this machine, if any
    requirements: Requirements = MODEST  # of each task
    crowd: int = 12  # tasks, more than run at the same time
    large: int = 1000  # tasks of a large array; no more than the scheduler's `most` are asked for
    unknown: str = "99999999"  # a native id that was never given
    patience: float = PATIENCE  # seconds


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def new_name() -> str:
    """Make a name for an ask that nobody else has."""
    return f"jobsys-check-{uuid.uuid4().hex[:20]}"


def script(scheduler: Scheduler, *lines: str) -> str:
    """Write a script that has its task's number in ``$number``."""
    return "\n".join(("#!/bin/sh", f"number=$(({scheduler.index} - {scheduler.first}))", *lines, ""))


def ask(bench: Bench, scheduler: Scheduler, *lines: str, count: int = 1, **more: Any) -> Ask:
    """Ask for tasks that do this."""
    return Ask(name=new_name(), count=count, requirements=bench.requirements, script=script(scheduler, *lines), **more)


def glance(scheduler: Scheduler, native: str, numbers: Collection[int]) -> dict[int, Seen]:
    """Look at tasks of one ask; fail if it tells of others."""
    seen = scheduler.look({native: numbers})
    strange = [task for task in seen if task.native != native or task.number not in numbers]
    assert not strange, f"it was asked for {native} {numbers!r} and tells of {strange}"
    return {task.number: what for task, what in seen.items()}


def wait(bench: Bench, scheduler: Scheduler, native: str, count: int, until: Callable[[Mapping[int, Seen]], bool]) -> dict[int, Seen]:
    """Look at the tasks of one ask until they are as they should be."""
    deadline = time.monotonic() + bench.patience
    while True:
        seen = glance(scheduler, native, range(count))
        if until(seen):
            return seen
        assert time.monotonic() < deadline, f"{native} is still so: {dict(list(seen.items())[:20])}"
        time.sleep(GLANCE)


def all_ended(count: int) -> Callable[[Mapping[int, Seen]], bool]:
    """Tell whether so many tasks have ended."""
    return lambda seen: sum(what.state is TaskState.ENDED for what in seen.values()) == count


def some_run(seen: Mapping[int, Seen]) -> bool:
    """Tell whether a task runs."""
    return any(what.state is TaskState.RUNNING for what in seen.values())


def all_run(count: int) -> Callable[[Mapping[int, Seen]], bool]:
    """Tell whether so many tasks run."""
    return lambda seen: sum(what.state is TaskState.RUNNING for what in seen.values()) == count


def none_left(seen: Mapping[int, Seen]) -> bool:
    """Tell whether no task waits or runs: a scheduler may forget those that it was told to cancel."""
    return all(what.state is TaskState.ENDED for what in seen.values())


def check_canceled(seen: Mapping[int, Seen]) -> None:
    """Fail if tasks that were canceled are said to have ended otherwise."""
    assert all(what.reason in (Reason.CANCELED, None) for what in seen.values()), seen


# ── the checks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def check_one_task(bench: Bench) -> None:
    """Run one task to its end, and say that it ended, again and again."""
    scheduler = bench.make()
    native = scheduler.submit(ask(bench, scheduler, "exit 0"))
    for _ in range(2):
        assert wait(bench, scheduler, native, 1, all_ended(1))[0].reason is None


def check_numbers(bench: Bench) -> None:
    """Run each task of an array with its own number, and tell the exit status of each."""
    scheduler = bench.make()
    native = scheduler.submit(ask(bench, scheduler, "exit $((number * 40))", count=6))
    seen = wait(bench, scheduler, native, 6, all_ended(6))
    assert (seen[0].reason, seen[0].exit_status or 0) == (None, 0)
    told = {number: (what.reason, what.exit_status) for number, what in seen.items() if number}
    assert told == {number: (Reason.FAILED, number * 40) for number in range(1, 6)}


def check_signal(bench: Bench) -> None:
    """Tell of a task that a signal ended."""
    scheduler = bench.make()
    native = scheduler.submit(ask(bench, scheduler, "kill -KILL $$"))
    seen = wait(bench, scheduler, native, 1, all_ended(1))[0]
    said = (seen.reason, seen.exit_status)  # who is killed so may have been short of memory, for all that some schedulers know
    assert said in ((Reason.KILLED, -9), (Reason.FAILED, 137)), seen


def check_each_once(bench: Bench) -> None:
    """Run each task once, with a file of its own to show for it."""
    scheduler, folder = bench.make(), _own_folder(bench)
    line = f'echo x >> {shlex.quote(str(folder))}/"$number"'
    native = scheduler.submit(ask(bench, scheduler, line, count=bench.crowd))
    wait(bench, scheduler, native, bench.crowd, all_ended(bench.crowd))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {str(number): "x\n" for number in range(bench.crowd)}


def check_find(bench: Bench) -> None:
    """Find tasks by name while they run and when they have ended, and none by a name that nobody gave."""
    scheduler = bench.make()
    asked = ask(bench, scheduler, "sleep 1", count=2)
    assert scheduler.find(asked.name) is None
    native = scheduler.submit(asked)
    assert bench.make().find(asked.name) == native
    assert scheduler.find(asked.name[:-1]) is None
    wait(bench, scheduler, native, 2, all_ended(2))
    assert scheduler.find(asked.name) == native
    assert scheduler.find(new_name()) is None


def check_another_looks(bench: Bench) -> None:
    """Know and cancel by the native id alone what another process asked for."""
    scheduler = bench.make()
    native = scheduler.submit(ask(bench, scheduler, LONG))
    wait(bench, bench.make(), native, 1, some_run)
    bench.make().cancel({native: None})
    check_canceled(wait(bench, scheduler, native, 1, none_left))


def check_unknown(bench: Bench) -> None:
    """Leave what it does not know out of the answer, and bear its being canceled."""
    scheduler = bench.make()
    assert scheduler.look({}) == {}
    assert scheduler.look({bench.unknown: [0, 1]}) == {}
    native = scheduler.submit(ask(bench, scheduler, "exit 0"))
    wait(bench, scheduler, native, 1, all_ended(1))
    assert list(scheduler.look({native: [0, 7], bench.unknown: [0]})) == [TaskId(native, 0)]
    scheduler.cancel({})
    scheduler.cancel({bench.unknown: None, native: None})
    scheduler.cancel({bench.unknown: [0, 3], native: [0, 7]})
    assert glance(scheduler, native, [0])[0].reason is None


def check_cancel_running(bench: Bench) -> None:
    """End running tasks, with what they started."""
    scheduler = bench.make()
    lines, beat = ["sleep 600 & wait"], None
    if bench.folder is not None:
        beat = _own_folder(bench) / "beat"
        lines = [f"while sleep 0.1; do echo >> {shlex.quote(str(beat))}; done & wait"]
    native = scheduler.submit(ask(bench, scheduler, *lines))
    wait(bench, scheduler, native, 1, some_run)
    if beat is not None:
        _wait_for(bench, beat.exists)
    scheduler.cancel({native: None})
    check_canceled(wait(bench, scheduler, native, 1, none_left))
    if beat is not None:
        _wait_for(bench, lambda: _is_still(beat))


def check_cancel_queued(bench: Bench) -> None:
    """Cancel tasks that run together with those that wait behind them; none of these ever starts."""
    scheduler = bench.make()
    native = scheduler.submit(ask(bench, scheduler, LONG, count=bench.crowd))
    seen = wait(bench, scheduler, native, bench.crowd, some_run)
    assert set(seen) == set(range(bench.crowd)), f"some are not known: {seen}"
    assert any(what.state is TaskState.QUEUED for what in seen.values()), f"{bench.crowd} tasks are no crowd"
    scheduler.cancel({native: None})
    check_canceled(wait(bench, scheduler, native, bench.crowd, none_left))
    scheduler.cancel({native: None})


def check_cancel_by_number(bench: Bench) -> None:
    """Cancel some tasks of an array, running or not, and leave the others alone."""
    scheduler, last = bench.make(), bench.crowd - 1
    native = scheduler.submit(
        ask(bench, scheduler, "sleep 1", f"if [ $number -eq 0 ] || [ $number -ge {last - 2} ]; then {LONG}; fi", count=bench.crowd)
    )
    wait(bench, scheduler, native, bench.crowd, lambda seen: 0 in seen and seen[0].state is TaskState.RUNNING)
    scheduler.cancel({native: [0, last - 2, last - 1, last]})
    seen = wait(bench, scheduler, native, bench.crowd, none_left)
    assert all(number in seen and seen[number].reason is None for number in range(1, last - 2)), seen
    check_canceled({number: what for number, what in seen.items() if number in (0, last - 2, last - 1, last)})


def check_hostile(bench: Bench) -> None:
    """Hand a script over byte for byte, whatever is in it and in the task's title."""
    scheduler = bench.make()
    text = HOSTILE + "\n" + MISTAKABLE * 3
    want = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    lines = [f"found=$(printf %s {shlex.quote(text)} | md5sum)", f'[ "${{found%% *}}" = {want} ] || exit 7']
    native = scheduler.submit(ask(bench, scheduler, *lines, title=HOSTILE, log=_log(bench, HOSTILE.replace("\t", " "))))
    seen = wait(bench, scheduler, native, 1, all_ended(1))[0]
    assert seen.reason is None, seen


def check_long_script(bench: Bench) -> None:
    """Hand over a script that is longer than any command line may be."""
    scheduler = bench.make()
    lines = [f": {'x' * 1000}"] * 300
    native = scheduler.submit(ask(bench, scheduler, *lines, "exit 0", count=2))
    assert all(what.reason is None for what in wait(bench, scheduler, native, 2, all_ended(2)).values())


def check_log(bench: Bench) -> None:
    """Leave what each task prints in the directory that was named."""
    scheduler, folder = bench.make(), Path(_log(bench, "a log's %j place"))
    native = scheduler.submit(ask(bench, scheduler, "echo out $number; echo err $number >&2", count=2, log=str(folder)))
    wait(bench, scheduler, native, 2, all_ended(2))
    want = {f"{stream} {number}" for stream in ("out", "err") for number in range(2)}
    _wait_for(bench, lambda: want <= {line for path in folder.rglob("*") if path.is_file() for line in path.read_text().splitlines()})


def check_two_asks(bench: Bench) -> None:
    """Tell two asks apart that differ in nothing but their names, in one look."""
    scheduler = bench.make()
    asks = [ask(bench, scheduler, "exit 0", count=2), ask(bench, scheduler, "exit 0", count=3)]
    natives = [scheduler.submit(asked) for asked in asks]
    assert len(set(natives)) == 2
    wanted = {TaskId(native, number) for native, asked in zip(natives, asks, strict=True) for number in range(asked.count)}
    _wait_for(bench, lambda: _ended(scheduler.look(dict(zip(natives, (range(2), range(3)), strict=True)))) == wanted)
    assert [scheduler.find(asked.name) for asked in asks] == natives


def check_same_twice(bench: Bench) -> None:
    """Bear the same ask a second time, as after an answer that was lost: what is found by its name is one of both."""
    scheduler = bench.make()
    asked = ask(bench, scheduler, "exit 0")
    natives = [scheduler.submit(asked), scheduler.submit(asked)]
    assert scheduler.find(asked.name) in natives
    for native in natives:
        wait(bench, scheduler, native, 1, all_ended(1))


def check_large(bench: Bench) -> None:
    """Take as many tasks as it says it takes at once, know each of them, and cancel them together."""
    scheduler = bench.make()
    count = min(scheduler.most, bench.large)
    native = scheduler.submit(ask(bench, scheduler, LONG, count=count))
    try:
        seen = wait(bench, scheduler, native, count, some_run)
        assert set(seen) == set(range(count))
        assert len(glance(scheduler, native, range(0, count, 2))) == len(range(0, count, 2))
    finally:
        scheduler.cancel({native: range(count)})
    check_canceled(wait(bench, scheduler, native, count, none_left))


def _ended(seen: Mapping[TaskId, Seen]) -> set[TaskId]:
    return {task for task, what in seen.items() if what.state is TaskState.ENDED}


def _own_folder(bench: Bench) -> Path:
    assert bench.folder is not None
    folder = bench.folder / new_name()
    folder.mkdir()
    return folder


def _log(bench: Bench, name: str) -> str:
    if bench.folder is None:
        return ""
    folder = _own_folder(bench) / name.replace("/", "_")
    folder.mkdir()
    return str(folder)


def _wait_for(bench: Bench, so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + bench.patience
    while not so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(GLANCE)


def _is_still(path: Path) -> bool:
    size = path.stat().st_size
    time.sleep(0.5)
    return path.stat().st_size == size


# What a scheduler must be able to do for a check to make sense.
CHECKS: Final[dict[Callable[[Bench], None], frozenset[str]]] = {
    check_one_task: frozenset(),
    check_numbers: frozenset({"statuses"}),
    check_signal: frozenset({"statuses"}),
    check_each_once: frozenset({"files"}),
    check_find: frozenset(),
    check_another_looks: frozenset(),
    check_unknown: frozenset(),
    check_cancel_running: frozenset(),
    check_cancel_queued: frozenset(),
    check_cancel_by_number: frozenset(),
    check_hostile: frozenset(),
    check_long_script: frozenset(),
    check_log: frozenset({"files", "logs"}),
    check_two_asks: frozenset(),
    check_same_twice: frozenset(),
    check_large: frozenset(),
}


def check_scheduler(bench: Bench, abilities: Iterable[str] = ("statuses", "logs")) -> list[str]:
    """Run every check that a scheduler's abilities allow; return the names of those left out.

    Args:
        bench: the scheduler and what is around it; a directory in it is the ability ``files``.
        abilities: ``statuses``: it tells exit statuses; ``logs``: what tasks print comes to this machine.
    """
    known = frozenset(abilities) | ({"files"} if bench.folder is not None else set())
    for check, needed in CHECKS.items():
        if needed <= known:
            check(bench)
    return [check.__name__ for check, needed in CHECKS.items() if not needed <= known]
