"""LSF as text functions. Written by its manual, for version 10.1: not yet tried on a real cluster."""

import logging
import math
import re
from collections.abc import Collection, Mapping
from typing import Final

from jobsys.batch.cluster import lsf_text as text
from jobsys.batch.cluster.scheduler import (
    Ask,
    AskRefusedError,
    Command,
    Output,
    PassingError,
    Seen,
    Setting,
    Steps,
    TaskId,
    TextScheduler,
    mebibytes,
    ranges,
    whole_cores,
    words_of,
)
from jobsys.batch.cluster.wrapping import wrap
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

WORDS: Final = 1000
"""How many jobs one command is given."""
ENVIRONMENT: Final[Mapping[str, str | None]] = {"LSB_NTRIES": "1", "BSUB_QUIET": None, "BSUB_QUIET2": None}
"""One try to reach LSF instead of endlessly many; and the number of a job is to be printed."""


class Lsf(TextScheduler):
    """LSF by its commands: ``bsub``, ``bjobs``, ``bacct``, ``bkill``."""

    name = "lsf"
    settings = (
        Setting("queue", "the queue (bsub -q)"),
        Setting("project", "the project that it is charged to (bsub -P)"),
        Setting("memory-per", "job, or slot: of what the site counts the memory that a job reserves (RESOURCE_RESERVE_PER_TASK)", "job"),
        Setting("args", "more arguments of bsub"),
    )
    enforces = frozenset({"walltime", "memory"})
    index = "LSB_JOBINDEX"
    first = 1

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """Take the settings that were given.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        super().__init__(options)
        self._args = words_of(self.options)
        if self.options["memory-per"] not in ("job", "slot"):
            raise UsageError(f"--batch-option memory-per={self.options['memory-per']}: write job or slot")
        self._strange: set[str] = set()
        self._looked_up: set[str] = set()

    def submit(self, ask: Ask) -> Steps[str]:
        """Ask for tasks."""
        if re.search(r"^\s*#BSUB", ask.script, re.MULTILINE):
            raise AskRefusedError("a line of the script begins with #BSUB, which LSF would take for options")
        argv = ["bsub", "-J", f"{ask.name}[1-{ask.count}]", "-rn", "-env", "none", "-cwd", "/", "-o", "/dev/null"]
        argv += [*self._requests(ask.requirements), *self._args]
        log = f"{ask.log}/{ask.name}" if ask.log else ""
        output = yield Command(argv, wrap(ask.script, f"{self.index} - {self.first}", log), ENVIRONMENT)
        match = re.search(r"Job <(\d+)>", output.stdout)
        if output.status == 0 and match:
            return match[1]
        if output.status == 0 or text.is_passing(output):
            raise PassingError(f"bsub: {text.said(output) or 'no number of a job came back'}")
        raise AskRefusedError(f"LSF refuses {ask.requirements}: {text.said(output)} (see --batch-option)")

    def _requests(self, requirements: Requirements) -> list[str]:
        slots = whole_cores(requirements)
        options = ["-n", str(slots)]
        needs = "span[hosts=1]"
        if requirements.memory is not None:
            size = mebibytes(requirements.memory)
            needs += f" rusage[mem={-(-size // slots) if self.options['memory-per'] == 'slot' else size}MB]"
            options += ["-M", f"{size}MB"]
        options += ["-R", needs]
        if requirements.accelerators:
            options += ["-gpu", f"num={requirements.accelerators}"]
        if requirements.walltime is not None:
            options += ["-W", str(math.ceil(requirements.walltime / 60))]
        return options + [
            part for flag, key in (("-q", "queue"), ("-P", "project")) if self.options[key] for part in (flag, self.options[key])
        ]

    def find(self, name: str) -> Steps[str | None]:
        """Find tasks by name."""
        output = yield Command(("bjobs", "-a", "-J", name, "-o", "jobid", "-json"), environment=ENVIRONMENT)
        found = self._records(output)
        return found[0]["JOBID"] if found else None

    def look(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks; those that LSF has forgotten, an hour after their end, are looked up in its accounts, once."""
        seen: dict[TaskId, Seen] = {}
        natives = list(tasks)
        for begin in range(0, len(natives), WORDS):
            output = yield Command(("bjobs", "-a", "-o", text.FIELDS, "-json", *natives[begin : begin + WORDS]), environment=ENVIRONMENT)
            for record in self._records(output):
                self._tell_strange(record.get("STAT", ""))
                index = record.get("JOBINDEX", "")
                task = TaskId(record["JOBID"], int(index) - self.first if index.isdecimal() else 0)
                if task.number in tasks.get(task.native, ()):
                    seen[task] = text.seen(record)
        forgotten = sorted(set(tasks) - {task.native for task in seen} - self._looked_up)
        if forgotten:
            output = yield Command(("bacct", "-l", *forgotten), environment=ENVIRONMENT)
            if text.is_passing(output):
                raise PassingError(f"bacct: {text.said(output)}")
            self._looked_up.update(forgotten)
            ends = {TaskId(native, number - self.first): end for native, number, end in text.accounts(output.stdout)}
            seen |= {task: end for task, end in ends.items() if task.number in tasks.get(task.native, ())}
        return seen

    @staticmethod
    def _records(output: Output) -> list[dict[str, str]]:
        found = text.records(output.stdout)
        if found is not None:
            return found
        if "not found" in output.stderr or "No job found" in output.stderr or "No unfinished job" in output.stderr:
            return []
        raise PassingError(f"bjobs: {text.said(output) or f'exit status {output.status}'}")

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        """Cancel tasks."""
        words = [
            native if numbers is None else f"{native}[{ranges(numbers, self.first)}]"
            for native, numbers in tasks.items()
            if numbers is None or numbers
        ]
        for begin in range(0, len(words), WORDS):
            output = yield Command(("bkill", *words[begin : begin + WORDS]), environment=ENVIRONMENT)
            if text.is_passing(output):
                raise PassingError(f"bkill: {text.said(output)}")
            for line in output.stderr.splitlines():
                if not re.search(r"already finished|no matching job|not found|is being", line, re.IGNORECASE):
                    logger.warning("bkill: %s", line)

    def _tell_strange(self, stat: str) -> None:
        if stat not in text.STATES and stat not in self._strange:
            self._strange.add(stat)
            logger.warning("LSF says that a task is in state %r, which is not known here: taken for one that waits", stat)
