"""OpenPBS (PBS Pro) and Torque as text functions. Written by their manuals: not yet tried on a real server."""

import hashlib
import logging
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar, Final

from jobsys.batch.cluster import pbs_text as text
from jobsys.batch.cluster.scheduler import (
    Ask,
    AskRefusedError,
    Command,
    PassingError,
    Seen,
    Setting,
    Steps,
    TaskId,
    TaskState,
    TextScheduler,
    mebibytes,
    ranges,
    whole_cores,
    words_of,
)
from jobsys.batch.cluster.wrapping import wrap
from jobsys.events import Reason
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

WORDS: Final = 1000
"""How many ids one command is given."""
KNOWN: Final = re.compile(r"unknown job|has finished|invalid state|completed", re.IGNORECASE)
"""Complaints of jobs that have ended, or never were."""


class Pbs(TextScheduler):
    """OpenPBS and PBS Pro by their commands: ``qsub``, ``qstat``, ``qselect``, ``qdel``."""

    name = "pbs"
    settings: Sequence[Setting] = (
        Setting("queue", "the queue (qsub -q)"),
        Setting("account", "the account that it is charged to (qsub -A)"),
        Setting("accelerators", "the resource by which accelerators are asked for", "ngpus"),
        Setting("args", "more arguments of qsub"),
    )
    index = "PBS_ARRAY_INDEX"
    history: ClassVar[tuple[str, ...]] = ("-x",)
    """What makes ``qstat`` and ``qselect`` tell of those that have ended."""
    codes: ClassVar[Mapping[int, Reason]] = text.OPENPBS_CODES

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """Take the settings that were given.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        super().__init__(options)
        self._args = words_of(self.options)
        self._strange: set[str] = set()

    # ── where the flavours differ ────────────────────────────────────────────────────────────────────────────────────

    def _array(self, count: int) -> list[str]:
        return ["-J", f"0-{count - 1}"] if count > 1 else []  # an array of one is refused

    def _resources(self, requirements: Requirements) -> list[str]:
        parts = [f"select=1:ncpus={whole_cores(requirements)}"]
        if requirements.memory is not None:
            parts.append(f"mem={mebibytes(requirements.memory)}mb")
        if requirements.accelerators:
            parts.append(f"{self.options['accelerators']}={requirements.accelerators}")
        return ["-l", ":".join(parts)]

    def _parts(self, native: str, numbers: Collection[int]) -> list[str]:
        """Name parts of an array."""
        return [native.replace("[]", f"[{span}]", 1) for span in ranges(numbers).split(",") if span]

    # ── the same for both ────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, ask: Ask) -> Steps[str]:
        """Ask for tasks."""
        need = ask.requirements
        options = [*self._array(ask.count), *self._resources(need)]
        options += ["-l", f"walltime={math.ceil(need.walltime)}"] if need.walltime is not None else []
        options += [part for flag, key in (("-q", "queue"), ("-A", "account")) if self.options[key] for part in (flag, self.options[key])]
        argv = ["qsub", "-N", short(ask.name), "-r", "n", "-S", "/bin/sh", "-C", "", "-j", "oe", "-o", "/dev/null", *options, *self._args]
        number = f"${{{self.index}:-0}}"
        output = yield Command(argv, wrap(ask.script, number, f"{ask.log}/{ask.name}" if ask.log else ""))
        match = re.search(r"^\s*(\d+(?:\[\])?(?:\.\S+)?)\s*$", output.stdout, re.MULTILINE)
        if output.status == 0 and match:
            return match[1]
        if output.status == 0 or text.is_passing(output):
            raise PassingError(f"qsub: {text.said(output) or 'no id of a job came back'}")
        raise AskRefusedError(f"PBS refuses {need}: {text.said(output)} (see --batch-option)")

    def find(self, name: str) -> Steps[str | None]:
        """Find tasks by name."""
        output = yield Command(("qselect", *self.history, "-N", short(name)))
        if output.status:
            raise PassingError(f"qselect: {text.said(output)}")
        found = next(iter(output.stdout.split()), None)
        return found and re.sub(r"\[\d+\]", "[]", found)  # a part, where those are listed

    def look(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks: a list of all, and then the attributes of those that have ended."""
        natives = {text.sequence(native): native for native in tasks}
        output = yield from self._list(("-t", *self.history), list(tasks))
        seen: dict[TaskId, Seen] = {}
        ends: dict[TaskId, str] = {}
        for row in text.rows(output):
            task = self._task(row, natives, tasks)
            if task is None:
                continue
            state = text.STATES.get(row.state)
            if state is None:
                self._tell_strange(row.state)
            seen[task] = Seen(state or TaskState.QUEUED, queue=row.queue, message="" if row.state in "QR" else f"state {row.state}")
            if state is TaskState.ENDED:
                ends[task] = task.native.replace("[]", f"[{task.number}]", 1)
        output = yield from self._list(("-f", *self.history), list(ends.values()))
        for row, found in text.attributes(output):
            task = self._task(row, natives, tasks)
            if task in ends:
                seen[task] = text.ended(found, self.codes)
        return seen

    def _list(self, options: Iterable[str], ids: list[str]) -> Steps[str]:
        """Ask for some jobs; those that are not known are complained of, and the others listed."""
        printed = []
        for begin in range(0, len(ids), WORDS):
            output = yield Command(("qstat", *options, *ids[begin : begin + WORDS]))
            if output.status and not KNOWN.search(output.stderr):
                raise PassingError(f"qstat: {text.said(output) or f'exit status {output.status}'}")
            printed.append(output.stdout)
        return "\n".join(printed)

    @staticmethod
    def _task(row: text.Row, natives: Mapping[str, str], tasks: Mapping[str, Collection[int]]) -> TaskId | None:
        native = natives.get(row.sequence)
        if native is None or row.is_array or (row.number is None) == ("[]" in native):
            return None
        task = TaskId(native, row.number or 0)
        return task if task.number in tasks[native] else None

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        """Cancel tasks."""
        words: list[str] = []
        for native, numbers in tasks.items():
            if numbers is None or ("[]" not in native and 0 in numbers):
                words.append(native)
            elif "[]" in native:
                words += self._parts(native, numbers)
        for begin in range(0, len(words), WORDS):
            output = yield Command(("qdel", *words[begin : begin + WORDS]))
            if text.is_passing(output):
                raise PassingError(f"qdel: {text.said(output)}")
            for line in output.stderr.splitlines():
                if not KNOWN.search(line):
                    logger.warning("%s", line)

    def _tell_strange(self, state: str) -> None:
        if state not in self._strange:
            self._strange.add(state)
            logger.warning("PBS says that a task is in state %r, which is not known here: taken for one that waits", state)


class Torque(Pbs):
    """Torque: arrays, cores and accelerators are asked for otherwise, and there is no history."""

    name = "torque"
    settings = tuple(setting._replace(default="gpus") if setting.name == "accelerators" else setting for setting in Pbs.settings)
    index = "PBS_ARRAYID"
    history = ()
    codes = text.TORQUE_CODES

    def _array(self, count: int) -> list[str]:
        return ["-t", f"0-{count - 1}"] if count > 1 else []

    def _resources(self, requirements: Requirements) -> list[str]:
        parts = [f"nodes=1:ppn={whole_cores(requirements)}"]
        if requirements.accelerators:
            parts.append(f"{self.options['accelerators']}={requirements.accelerators}")
        memory = [] if requirements.memory is None else ["-l", f"mem={mebibytes(requirements.memory)}mb"]
        return ["-l", ":".join(parts), *memory]

    def _parts(self, native: str, numbers: Collection[int]) -> list[str]:
        """Name parts of an array, each by itself: ranges go with ``-t``, of which there is one for a command."""
        return [native.replace("[]", f"[{number}]", 1) for number in numbers]


def short(name: str) -> str:
    """Make a name of 15 characters, which is what old versions take, out of a longer one."""
    return name if len(name) <= 15 else "j" + hashlib.sha256(name.encode()).hexdigest()[:14]
