"""What Grid Engine prints: tasks that wait or run, accounts of those that have ended, errors. Text in, meaning out."""

import html
import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from jobsys.batch.cluster.scheduler import Output, Seen, TaskState
from jobsys.events import Reason

PASSING: Final = re.compile(
    r"commlib error|(send message to|contact|register at|answer list from|connect to|denied: )\W*(sge_)?qmaster"
    r"|gdi request|timeout error|no response",
    re.IGNORECASE,
)
"""What the commands say when qmaster is down, restarts or is overloaded."""
LETTERS: Final = {
    "r": TaskState.RUNNING,
    "t": TaskState.RUNNING,  # on the way to its host
    "s": TaskState.RUNNING,  # suspended, as are the next three
    "S": TaskState.RUNNING,
    "T": TaskState.RUNNING,
    "N": TaskState.RUNNING,
    "P": TaskState.RUNNING,
    "q": TaskState.QUEUED,
    "w": TaskState.QUEUED,
    "h": TaskState.QUEUED,
    "R": None,  # was started again; d: is being deleted; E: an error; z: has ended
    "d": None,
    "E": None,
}
"""What each letter of a state means; None: what the others say."""
TAKEN_UP_AGAIN: Final = frozenset({24, 25})
"""Codes under which an account is no last one."""
_ROW: Final = re.compile(r'<job_list state="(\w*)">(.*?)</job_list>', re.DOTALL)
_FIELD: Final = re.compile(r"<(JB_job_number|state|queue_name|tasks)>([^<]*)<")
_NOISE: Final = re.compile(r"^(Exiting\.|verification: .*|)$")
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_ERROR: Final = re.compile(r"^error reason\s+(\d+):\s+(.*)$")
_UNITS: Final = {"": 1, "k": 10**3, "K": 1 << 10, "m": 10**6, "M": 1 << 20, "g": 10**9, "G": 1 << 30, "t": 10**12, "T": 1 << 40}


class Row(NamedTuple):
    """Some tasks of one job that are in the same state."""

    native: str
    numbers: list[range]  # as Grid Engine counts, from 1 on
    state: str
    queue: str  # an instance: queue@host
    seen: Seen


def said(output: Output) -> str:
    """Give what a command complained of, on one line, without what is always there."""
    listed = re.findall(r"<AN_text>([^<]*)<", output.stdout) if "<?xml" in output.stdout else output.stdout.splitlines()
    lines = (html.unescape(line).strip().removeprefix("Unable to run job: ") for line in [*output.stderr.splitlines(), *listed])
    kept = [line for line in dict.fromkeys(lines) if not _NOISE.match(line)]
    return "; ".join(kept[:3]) + (f"; and {len(kept) - 3} lines more" if len(kept) > 3 else "")


def is_passing(output: Output) -> bool:
    """Tell whether qmaster could not be asked; ``qstat -xml`` ends with 0 then."""
    return PASSING.search(output.stderr) is not None or "<comunication_error" in output.stdout


def rows(text: str) -> Iterator[Row]:
    """Read what ``qstat -xml`` prints, which is no XML where a job's name holds a bracket."""
    for listed, body in _ROW.findall(text):
        fields = dict(_FIELD.findall(body))
        state, queue = fields.get("state", ""), fields.get("queue_name", "")
        yield Row(fields.get("JB_job_number", ""), list(spans(fields.get("tasks", "1"))), state, queue, _seen(listed, state, queue))


def _seen(listed: str, state: str, instance: str) -> Seen:
    queue, _, host = instance.partition("@")
    word = "" if state in ("r", "qw", "t") else f"state {state}"
    return Seen(_state(listed, state), message=word, host=host, queue=queue)


def _state(listed: str, state: str) -> TaskState:
    if listed in ("running", "pending"):
        return TaskState.RUNNING if listed == "running" else TaskState.QUEUED
    return next((found for letter in state if (found := LETTERS.get(letter))), TaskState.QUEUED)


def spans(text: str) -> Iterator[range]:
    """Read numbers as Grid Engine writes them: ``10-29:1,31,35-40:2``."""
    for low, high, step in _RANGE.findall(text):
        yield range(int(low), int(high or low) + 1, int(step or 1))


def instances(text: str) -> set[str]:
    """Read the names of queues' instances out of what ``qstat -f -xml`` prints."""
    return set(re.findall(r"<Queue-List>\s*<name>([^<]*)</name>", text))


def error_reasons(text: str) -> dict[tuple[str, int], str]:
    """Read out of what ``qstat -j`` prints why tasks are in error; the numbers are Grid Engine's."""
    native, found = "", {}
    for line in text.splitlines():
        if line.startswith("job_number:"):
            native = line.partition(":")[2].strip()
        elif match := _ERROR.match(line):
            found[native, int(match[1])] = match[2].strip()
    return found


def job_numbers(text: str) -> list[str]:
    """Read the numbers of jobs out of what ``qstat -j`` or ``qacct -j`` prints."""
    return re.findall(r"^(?:job_number:|jobnumber)\s+(\d+)\s*$", text, re.MULTILINE)


def consumables(text: str) -> dict[str, str]:
    """Read what ``qconf -sc`` prints: whether each complex is taken for a slot (YES), for a job (JOB), or not at all (NO)."""
    table = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {key: row[5] for row in table if len(row) >= 6 for key in row[:2]}


def accounts(text: str) -> dict[int, Seen]:
    """Read what ``qacct -j NUMBER`` prints; the numbers of tasks are Grid Engine's. The last account of each counts."""
    found: dict[int, Seen] = {}
    for block in re.split(r"^=+$", text, flags=re.MULTILINE)[1:]:
        fields = {key: value.strip() for key, _, value in (line.partition(" ") for line in block.splitlines()) if key}
        number, code = fields.get("taskid", "1"), _leading(fields.get("failed", "0"))
        if code not in TAKEN_UP_AGAIN:
            found[int(number) if number.isdecimal() else 1] = _ended(code, fields)
    return found


def _leading(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _ended(code: int, fields: dict[str, str]) -> Seen:
    status, words = _leading(fields.get("exit_status", "")), fields.get("failed", "").partition(":")[2].strip()
    reason: Reason | None
    if code in (0, 30):
        reason = Reason.FAILED if status else None
    elif code == 37:
        reason = _limit(fields)
    elif code == 100:
        reason = Reason.KILLED if status > 128 else Reason.FAILED
    else:  # its host, or what surrounds it, failed before the script began or after it ended
        reason = Reason.LOST
    number: int | None = 128 - status if code in (37, 100) and status > 128 else status
    message = f"Grid Engine says: {words} ({code})" if code else ""
    return Seen(
        TaskState.ENDED, reason, None if reason is Reason.LOST else number, message, fields.get("hostname", ""), fields.get("qname", "")
    )


def _limit(fields: dict[str, str]) -> Reason:
    """Tell which limit was hit: one code stands for time and memory."""
    slots, used = _leading(fields.get("slots", "1")) or 1, amount(fields.get("maxvmem", "").removesuffix("B"))
    limits = re.findall(r"\b[hs]_vmem=([^,\s]+)", fields.get("category", ""))
    return Reason.MEMORY if any(used > amount(limit) * slots for limit in limits) else Reason.TIME_LIMIT


def amount(text: str) -> float:
    """Read a size as Grid Engine writes it: ``454.758M``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)", text.strip())
    return float(match[1]) * _UNITS[match[2]] if match else 0.0


def within(found: Collection[range], wanted: Collection[int], first: int) -> list[int]:
    """Give the numbers of ours, counted from 0, that lie in ranges of theirs."""
    return [number for span in found for number in (theirs - first for theirs in span) if number in wanted]
