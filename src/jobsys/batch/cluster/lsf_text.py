"""What LSF prints: records of ``bjobs -json``, blocks of ``bacct -l``, errors. Text in, meaning out."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jobsys.batch.cluster.scheduler import Output, Seen, TaskState
from jobsys.events import Reason

FIELDS: Final = "jobid jobindex stat exit_code exit_reason pend_reason exec_host queue"
PASSING: Final = re.compile(
    r"cannot connect|please wait|lsf is down|not responding|library call|not ready|time-?out|timed out|connection|try later|retrying"
    r"|job limit|threshold reached",
    re.IGNORECASE,
)
"""What the commands say when a daemon is down, or a user has as many jobs as may be."""
STATES: Final = {
    "PEND": TaskState.QUEUED,
    "PSUSP": TaskState.QUEUED,
    "WAIT": TaskState.QUEUED,
    "PROV": TaskState.QUEUED,  # its host is being switched on
    "RUN": TaskState.RUNNING,
    "USUSP": TaskState.RUNNING,
    "SSUSP": TaskState.RUNNING,
    "UNKWN": TaskState.RUNNING,  # its host does not answer
    "DONE": TaskState.ENDED,
    "EXIT": TaskState.ENDED,
    "ZOMBI": TaskState.ENDED,  # it was canceled, and its host is gone
}
REASONS: Final = {
    "TERM_MEMLIMIT": Reason.MEMORY,
    "TERM_SWAP": Reason.MEMORY,
    "TERM_RUNLIMIT": Reason.TIME_LIMIT,
    "TERM_CPULIMIT": Reason.TIME_LIMIT,
    "TERM_DEADLINE": Reason.TIME_LIMIT,
    "TERM_PREEMPT": Reason.PREEMPTED,
    "TERM_RC": Reason.PREEMPTED,  # its cloud took the host away
    "TERM_LOAD": Reason.PREEMPTED,
    "TERM_WINDOW": Reason.PREEMPTED,
    "TERM_OWNER": Reason.CANCELED,
    "TERM_ADMIN": Reason.CANCELED,
    "TERM_FORCE_OWNER": Reason.CANCELED,
    "TERM_FORCE_ADMIN": Reason.CANCELED,
    "TERM_BUCKET_KILL": Reason.CANCELED,
    "TERM_EXTERNAL_SIGNAL": Reason.KILLED,
    "TERM_PROCESSLIMIT": Reason.KILLED,
    "TERM_THREADLIMIT": Reason.KILLED,
    "TERM_CWD_NOTEXIST": Reason.LOST,
    "TERM_PRE_EXEC_FAIL": Reason.LOST,
    "TERM_ZOMBIE": Reason.LOST,
    "TERM_REMOVE_HUNG_JOB": Reason.LOST,
    "TERM_RMS": Reason.LOST,
}
_JOB: Final = re.compile(r"Job <(\d+)(?:\[(\d+)\])?>")


def said(output: Output) -> str:
    """Give what a command complained of, on one line."""
    lines = [line.strip() for line in f"{output.stderr}\n{output.stdout}".splitlines() if line.strip()]
    return "; ".join(lines[:3])


def is_passing(output: Output) -> bool:
    """Tell whether it may work later."""
    return output.status != 0 and PASSING.search(output.stderr or output.stdout) is not None


def records(output: str) -> list[dict[str, str]] | None:
    """Read what ``bjobs -json`` prints, which may begin with complaints; None if there are no records."""
    begin = output.find("{")
    try:
        found: Any = json.loads(output[begin:]) if begin >= 0 else None
    except ValueError:
        return None
    listed = found.get("RECORDS") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        return None
    return [{key: str(value) for key, value in record.items()} for record in listed if isinstance(record, dict) and "JOBID" in record]


def seen(record: Mapping[str, str]) -> Seen:
    """Say what a record means; a state that is not known counts as waiting."""
    stat, why = record.get("STAT", ""), record.get("EXIT_REASON", "").strip("- ")
    state = STATES.get(stat, TaskState.QUEUED)
    host = record.get("EXEC_HOST", "").partition(":")[0].rpartition("*")[2].strip("-")
    queue = record.get("QUEUE", "")
    if state is not TaskState.ENDED:
        waits = record.get("PEND_REASON", "").strip("- ") if state is TaskState.QUEUED else ""
        return Seen(state, message=waits or ("" if stat in ("PEND", "RUN") else f"state {stat}"), host=host, queue=queue)
    code = record.get("EXIT_CODE", "")
    reason, status = _end(stat, why, int(code) if code.isdecimal() else None)
    return Seen(state, reason, status, why if reason else "", host, queue)


def _end(stat: str, why: str, code: int | None) -> tuple[Reason | None, int | None]:
    if stat == "DONE":
        return None, 0
    if stat == "ZOMBI":
        return Reason.LOST, None
    told = re.match(r"TERM_\w+", why)
    reason = (REASONS.get(told[0]) if told else None) or Reason.FAILED
    if reason is Reason.LOST:
        return reason, None
    killed = reason is not Reason.FAILED and code is not None and code > 128
    return reason, 128 - code if killed and code is not None else code


def accounts(output: str) -> Iterator[tuple[str, int, Seen]]:
    """Read what ``bacct -l`` prints, whose long lines are broken anywhere: native id, the number as LSF counts, and the end."""
    for block in re.split(r"^-{20,}$", output, flags=re.MULTILINE):
        text = re.sub(r"\n {2,}", "", block)
        job = _JOB.search(text)
        ended = re.search(r"Completed <(\w+)>(?:; (TERM_\w+[^\n]*))?", text)
        if job and ended:
            host = re.search(r"(?:Dispatched to|[Ss]tarted on)[^<\n]*<([^>]+)>", text)
            queue = re.search(r"Queue <([^>]+)>", text)
            stat = "DONE" if ended[1] == "done" else "EXIT"
            reason, _ = _end(stat, ended[2] or "", None)
            end = Seen(TaskState.ENDED, reason, None, (ended[2] or "").rstrip("."), host[1] if host else "", queue[1] if queue else "")
            yield job[1], int(job[2] or 1), end
