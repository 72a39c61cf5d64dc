"""What OpenPBS (PBS Pro) and Torque print: rows of ``qstat``, attributes of ``qstat -f``, errors. Text in, meaning out."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from jobsys.batch.cluster.scheduler import Output, Seen, TaskState
from jobsys.events import Reason

PASSING: Final = re.compile(
    r"connect|connection|communication|timed? ?out|no route|pbs_iff|end of file|server (is )?(down|shutting down|busy)|resource temporarily"
    r"|maximum number of jobs|would exceed|exceeds? .*limit on number|rate limit",
    re.IGNORECASE,
)
"""What the commands say when the server is down or full."""
STATES: Final = {
    "Q": TaskState.QUEUED,
    "H": TaskState.QUEUED,  # held
    "W": TaskState.QUEUED,  # waits for its time
    "T": TaskState.QUEUED,  # is moved to another server
    "M": TaskState.QUEUED,  # was moved
    "B": TaskState.RUNNING,  # an array of which some run
    "R": TaskState.RUNNING,
    "E": TaskState.RUNNING,  # ends
    "S": TaskState.RUNNING,  # suspended
    "U": TaskState.RUNNING,  # suspended, for its user is at the machine
    "F": TaskState.ENDED,
    "X": TaskState.ENDED,  # a part of an array, of which others wait or run
    "C": TaskState.ENDED,  # Torque's word
}
OPENPBS_CODES: Final = {-26: Reason.MEMORY, -27: Reason.MEMORY, -28: Reason.TIME_LIMIT, -29: Reason.TIME_LIMIT, -31: Reason.MEMORY}
TORQUE_CODES: Final = {-10: Reason.MEMORY, -11: Reason.TIME_LIMIT, -12: Reason.TIME_LIMIT}
"""What exit statuses below zero mean; the others: it could not be started, or its host failed."""
DELETED: Final = 91
"""The ``substate`` of what was deleted."""
_ID: Final = re.compile(r"(\d+)(?:\[(\d*)\])?")
_UNITS: Final = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}


class Row(NamedTuple):
    """A job, an array or a part of one, as ``qstat`` lists it."""

    sequence: str
    number: int | None  # None: no part of an array
    is_array: bool
    state: str
    queue: str


def sequence(native: str) -> str:
    """Give the number in an id; what follows it is cut off in lists."""
    match = _ID.match(native)
    return match[1] if match else native


def said(output: Output) -> str:
    """Give what a command complained of, on one line."""
    lines = [line.strip() for line in f"{output.stderr}\n{output.stdout}".splitlines() if line.strip()]
    return "; ".join(lines[:3])


def is_passing(output: Output) -> bool:
    """Tell whether it may work later."""
    return output.status != 0 and PASSING.search(output.stderr or output.stdout) is not None


def rows(text: str) -> Iterator[Row]:
    """Read what ``qstat -t`` prints: an id, a name, a user, a time, a state, a queue."""
    for line in text.splitlines():
        words = line.split()
        match = _ID.match(words[0]) if len(words) >= 6 else None
        if match:
            yield Row(match[1], int(match[2]) if match[2] else None, match[2] == "", words[-2], words[-1])


def attributes(text: str) -> Iterator[tuple[Row, Mapping[str, str]]]:
    """Read what ``qstat -f`` prints: a block for each job, long values broken into lines that begin with a tab."""
    for block in re.split(r"^Job Id:\s*", re.sub(r"\n\t", "", text), flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\n")
        match = _ID.match(head)
        if match:
            found = dict(re.findall(r"^\s+([\w.]+) = (.*)$", rest, re.MULTILINE))
            yield (
                Row(match[1], int(match[2]) if match[2] else None, match[2] == "", found.get("job_state", ""), found.get("queue", "")),
                found,
            )


def ended(found: Mapping[str, str], codes: Mapping[int, Reason]) -> Seen:
    """Say how a task ended that is not known any more as waiting or running."""
    text = found.get("Exit_status", "")
    status = int(text) if re.fullmatch(r"-?\d+", text) else None
    reason, number = _reason(status, found, codes)
    host = found.get("exec_host", "").partition("/")[0]
    return Seen(TaskState.ENDED, reason, number, found.get("comment", "") if reason else "", host, found.get("queue", ""))


def _reason(status: int | None, found: Mapping[str, str], codes: Mapping[int, Reason]) -> tuple[Reason | None, int | None]:
    deleted = found.get("substate") == str(DELETED)
    if status is None:
        return (Reason.CANCELED if deleted else None), None
    if status < 0:
        return codes.get(status, Reason.LOST), None
    if status >= 256:  # a signal; the mother superior of Torque kills by SIGTERM, too
        return (Reason.CANCELED if deleted else _over(found) or Reason.KILLED), 256 - status
    return (Reason.FAILED if status else None), status


def _over(found: Mapping[str, str]) -> Reason | None:
    """Tell which limit what was killed had passed."""
    if _seconds(found.get("resources_used.walltime")) >= (_seconds(found.get("Resource_List.walltime")) or float("inf")):
        return Reason.TIME_LIMIT
    if _size(found.get("resources_used.mem")) >= (_size(found.get("Resource_List.mem")) or float("inf")):
        return Reason.MEMORY
    return None


def _seconds(text: str | None) -> float:
    seconds = 0
    for part in (text or "").split(":"):
        seconds = seconds * 60 + (int(part) if part.isdecimal() else 0)
    return seconds


def _size(text: str | None) -> float:
    match = re.fullmatch(r"(\d+)([a-z]*)", (text or "").lower())
    return int(match[1]) * _UNITS.get(match[2], 1) if match else 0
