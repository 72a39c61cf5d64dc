"""What Slurm prints of tasks: states, exit statuses, and many tasks on one line; the text of versions 22.05 to 24.11."""

import logging
import re
import signal
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from jobsys.batch.cluster.scheduler import Seen, TaskId, TaskState
from jobsys.events import Reason

logger = logging.getLogger(__name__)

QUEUED, RUNNING, ENDED = TaskState.QUEUED, TaskState.RUNNING, TaskState.ENDED

STATES: Final[Mapping[str, tuple[TaskState, Reason | None]]] = {
    "PENDING": (QUEUED, None),
    "CONFIGURING": (QUEUED, None),
    "EXPEDITING": (QUEUED, None),
    "POWER_UP_NODE": (QUEUED, None),
    "REQUEUED": (QUEUED, None),
    "REQUEUE_FED": (QUEUED, None),
    "REQUEUE_HOLD": (QUEUED, None),
    "RESV_DEL_HOLD": (QUEUED, None),
    "SPECIAL_EXIT": (QUEUED, None),
    "RUNNING": (RUNNING, None),
    "COMPLETING": (RUNNING, None),
    "RESIZING": (RUNNING, None),
    "SIGNALING": (RUNNING, None),
    "STAGE_OUT": (RUNNING, None),
    "STOPPED": (RUNNING, None),
    "SUSPENDED": (RUNNING, None),
    "COMPLETED": (ENDED, None),
    "FAILED": (ENDED, Reason.FAILED),
    "CANCELLED": (ENDED, Reason.CANCELED),
    "TIMEOUT": (ENDED, Reason.TIME_LIMIT),
    "DEADLINE": (ENDED, Reason.TIME_LIMIT),
    "OUT_OF_MEMORY": (ENDED, Reason.MEMORY),
    "PREEMPTED": (ENDED, Reason.PREEMPTED),
    "NODE_FAIL": (ENDED, Reason.LOST),
    "BOOT_FAIL": (ENDED, Reason.LOST),
    "LAUNCH_FAILED": (ENDED, Reason.LOST),
    "RECONFIG_FAIL": (ENDED, Reason.LOST),
    "REVOKED": (ENDED, Reason.LOST),
}

QUEUE: Final = "JobArrayID:|,State:|,exit_code:|,BatchHost:|,Partition:|,Reason:|"
"""What squeue is asked to print, in the order of a `Row`."""
ACCOUNTS: Final = "JobID,State,ExitCode,NodeList,Partition,Reason"
"""What sacct is asked to print, in the same order."""

NOT_SET_UP: Final = 53
"""The "signal" with which slurmd says that it could not open a task's output or go to its directory: nothing was run."""

_ROW: Final = re.compile(r"(\d+)_(?:(\d+)|\[([^|]*))\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|?")
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_NONE: Final = frozenset({"", "n/a", "none", "none assigned", "(null)", "unknown"})
_FINISHED: Final = re.compile(  # one line of jobcomp/filetxt: the name is anybody's, the rest Slurm's own
    r"JobId=\d+ UserId=\S+ GroupId=\S+ Name=(?P<name>\S+) JobState=(?P<state>\S+) Partition=(?P<queue>\S+) .*"
    r" NodeList=(?P<host>\S+) NodeCnt=.* ArrayJobId=(?P<id>\d+) ArrayTaskId=(?P<number>\d+) .*ExitCode=(?P<status>\d+:\d+)\s*"
)
_strange: set[str] = set()


class Row(NamedTuple):
    """What a line says of one task, or of many that are alike."""

    native: str
    numbers: Collection[int]
    whole: bool  # whether the line names all of them: it may be cut off
    state: str
    status: int  # negative: a signal's number
    host: str
    queue: str
    reason: str


def rows(text: str) -> Iterator[Row]:
    """Read lines of squeue or sacct; those that are about other than tasks of arrays are passed over."""
    for line in text.splitlines():
        if (match := _ROW.fullmatch(line.strip())) is not None:
            native, number, listed, state, status, host, queue, reason = match.groups()
            numbers = [int(number)] if number else expand(listed)
            yield Row(
                native, numbers, bool(number) or listed.endswith("]"), state, exit_status(status), _known(host), queue, _known(reason)
            )


def finished(text: str, name: str = "") -> Iterator[Row]:
    """Read lines of the file that jobcomp/filetxt writes; only those of jobs of a name, if one is given."""
    for line in text.splitlines():
        match = _FINISHED.fullmatch(line)
        if match is not None and name in ("", match["name"]):
            status, host = exit_status(match["status"]), _known(match["host"])
            yield Row(match["id"], [int(match["number"])], True, match["state"], status, host, match["queue"], "")


def expand(text: str) -> list[int]:
    """Read numbers as Slurm writes them, ``0-3,7,10-20:2%5]``; of what was cut off, those that are surely whole."""
    listed, closed, _ = text.partition("]")
    parts = listed.partition("%")[0].split(",")
    found: list[int] = []
    for part in parts if closed else parts[:-1]:
        if (match := _RANGE.fullmatch(part)) is not None:
            low, high, step = match.groups()
            found += range(int(low), int(high or low) + 1, int(step or 1) or 1)
    return found


def exit_status(text: str) -> int:
    """Read an exit status, ``3:0`` for status 3, ``0:9`` for signal 9, or as squeue 22.05 prints it, as wait(2) gives it."""
    status, colon, number = text.partition(":")
    try:
        code, sign = (int(status), int(number)) if colon else (int(status) >> 8, int(status) & 0x7F)
    except ValueError:
        return 0
    return -sign if sign else code


def see(row: Row) -> Seen:
    """Say what a line means for its tasks."""
    word = (row.state.split() or [""])[0].rstrip("+")
    state, reason = STATES.get(word) or _unknown(word, row)
    if state is not ENDED:
        return Seen(state, message=row.reason if state is QUEUED else "", host=row.host, queue=row.queue)
    status: int | None = row.status
    if reason is Reason.FAILED:
        reason, status = _failure(row)
    elif reason is not None:  # what Slurm made of a task that it ended itself says nothing
        status = None
    message = row.state + (f": {row.reason}" if row.reason else "")
    if row.status == -NOT_SET_UP:
        message += " (the host could not open its output or its directory; nothing was run)"
    elif reason is Reason.KILLED and status == -signal.SIGKILL:
        message += " (where there are no cgroups, Slurm kills so what uses more memory than it asked for; ask for it with memory=)"
    return Seen(ENDED, reason, status, message, row.host, row.queue)


def _failure(row: Row) -> tuple[Reason, int | None]:
    if row.status == -NOT_SET_UP or (row.status == 0 and row.reason == "JobLaunchFailure"):
        return Reason.LOST, None
    if row.status < 0:
        return Reason.KILLED, row.status
    return Reason.FAILED, row.status or None


def _unknown(word: str, row: Row) -> tuple[TaskState, Reason | None]:
    if word not in _strange:
        _strange.add(word)
        logger.warning("Slurm has a state that is not known here: %r; taken as %s", word, RUNNING if row.host else QUEUED)
    return (RUNNING if row.host else QUEUED), None


def _known(word: str) -> str:
    return "" if word.strip().lower() in _NONE else word.strip()


def pick(found: Iterable[Row], tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
    """Take what lines say of these tasks; of two that tell of the same one, the one that says that it lives."""
    wanted = {native: set(numbers) for native, numbers in tasks.items()}
    seen: dict[TaskId, Seen] = {}
    for row in found:
        numbers = wanted.get(row.native)
        if numbers:
            what = see(row)
            for number in numbers.intersection(row.numbers):
                task = TaskId(row.native, number)
                if task not in seen or seen[task].state is ENDED:
                    seen[task] = what
    return seen


def ended(seen: Mapping[TaskId, Seen]) -> dict[TaskId, Seen]:
    """Leave out what accounting takes for alive: of tasks that squeue does not know, it has only not heard of their end."""
    return {task: what for task, what in seen.items() if what.state is ENDED}


def never_ran(found: Collection[Row], tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
    """Tell which tasks were canceled while they waited: accounting knows the rest of their array, but of them there is no record."""
    there: dict[str, set[int]] = {}
    unsure = {row.native for row in found if not row.whole}
    for row in found:
        there.setdefault(row.native, set()).update(row.numbers)
    what = Seen(ENDED, Reason.CANCELED, message="canceled while it waited")
    return {
        TaskId(native, number): what
        for native, numbers in tasks.items()
        if native in there and native not in unsure
        for number in set(numbers) - there[native]
    }
