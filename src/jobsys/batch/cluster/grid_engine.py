"""Grid Engine (Sun, Son of, Open, Univa, Altair) as text functions: tasks are array jobs; what has ended is asked of ``qacct``."""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from jobsys.batch.cluster import grid_engine_text as text
from jobsys.batch.cluster.grid_engine_asks import FIRST, INDEX, SETTINGS, requests, submission, wrapped
from jobsys.batch.cluster.grid_engine_earlier import Earlier
from jobsys.batch.cluster.scheduler import (
    Ask,
    AskRefusedError,
    Command,
    Output,
    PassingError,
    Seen,
    Steps,
    TaskId,
    TaskState,
    TextScheduler,
    ranges,
    whole_cores,
    words_of,
)
from jobsys.events import Reason
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

FULL: Final = 25
"""The exit status of ``qsub`` when a user, or the cluster, has as many jobs as may be."""
ACCOUNTS: Final = 30
"""How many jobs are looked up in the accounts in one look: each is a command that reads the file of them all."""
WORDS: Final = 1000
"""How many tasks, or rows of them, one command cancels."""


class GridEngine(TextScheduler):
    """Grid Engine by its commands: ``qsub``, ``qstat``, ``qacct``, ``qdel``, ``qconf``."""

    name = "grid-engine"
    settings = SETTINGS
    index = INDEX
    first = FIRST

    def __init__(self, options: Mapping[str, str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the settings that were given; ``clock`` tells for how long a host has been silent.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        super().__init__(options)
        self._args = words_of(self.options)
        self._memory = [name.strip() for name in self.options["memory"].split(",") if name.strip()]
        self._consumables: dict[str, str] = {}
        self._earlier = Earlier(clock)
        self._strange: set[str] = set()
        self._turn = 0

    def learn(self) -> Steps[None]:
        """Ask how many tasks an array may have, and how complexes are counted."""
        output = yield from self._run("qconf", "-sconf")
        match = re.search(r"^max_aj_tasks\s+(\d+)", output.stdout, re.MULTILINE)
        if match and int(match[1]):
            self.most = min(self.most, int(match[1]))
        yield from self._count()

    def _count(self) -> Steps[None]:
        output = yield from self._run("qconf", "-sc")
        self._consumables = text.consumables(output.stdout)

    def check(self, requirements: Requirements) -> Steps[str]:
        """Let Grid Engine itself see whether an empty cluster could run it."""
        for memory in (self._memory, []):
            try:
                options = yield from self._requests(requirements, memory)
            except AskRefusedError as error:
                return str(error)
            except PassingError:
                return ""
            output = yield Command(("qsub", *options, *self._args, "-w", "v", "-b", "y", "true"))
            if output.status in (0, FULL) or text.is_passing(output):
                return ""
            # what hosts only measure is not looked at in a verification, which takes it for something that they lack
            if not any(f"unknown resource ({name})" in output.stderr + output.stdout for name in memory):
                break
        return text.said(output)

    def submit(self, ask: Ask) -> Steps[str]:
        """Ask for tasks."""
        options = yield from self._requests(ask.requirements, self._memory)
        private = yield from self._hide(ask)
        output = yield Command(("qsub", *submission(ask), *options, *self._args), wrapped(ask, private))
        match = re.search(r"^(\d+)\b", output.stdout, re.MULTILINE)
        if output.status == 0 and match:
            return match[1]
        if output.status in (0, FULL) or text.is_passing(output):
            raise PassingError(f"qsub: {text.said(output) or 'no number of a job came back'}")
        raise AskRefusedError(f"Grid Engine refuses {ask.requirements}: {text.said(output)} (see --batch-option)")

    def _hide(self, ask: Ask) -> Steps[str]:
        """Put the script where other users can't read it, if there is such a place: all users of a host can read Grid Engine's copy."""
        if not self.options["scripts"]:
            return ""
        path = f"{self.options['scripts'].rstrip('/')}/{ask.name}.sh"
        output = yield Command(("/bin/sh", "-c", 'umask 077 && cat >"$1"', "sh", path), ask.script)
        if output.status:
            raise AskRefusedError(f"a script can't be written: {text.said(output)}: name another directory by --batch-option scripts=…")
        return path

    def _requests(self, requirements: Requirements, memory: Iterable[str]) -> Steps[list[str]]:
        slots = whole_cores(requirements)
        if slots > 1 and not self.options["pe"]:
            output = yield from self._run("qconf", "-spl")
            raise AskRefusedError(
                f"{slots} cores need a parallel environment that puts them all on one host: --batch-option pe=NAME,"
                f" where NAME is one of these: {', '.join(output.stdout.split()) or 'there are none'}"
            )
        if slots > 1 and not self._consumables:
            yield from self._count()
        return requests(requirements, self.options, memory, self._consumables)

    def find(self, name: str) -> Steps[str | None]:
        """Find tasks by name, among those that wait or run and then in the accounts."""
        output = yield Command(("qstat", "-j", name))
        if text.is_passing(output):
            raise PassingError(f"qstat: {text.said(output)}")
        found = text.job_numbers(output.stdout)
        if not found:
            output = yield Command(("qacct", "-j", name))
            found = text.job_numbers(output.stdout)
        return found[0] if found else None

    def look(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks: one command for all that wait or run, and one for each job of which tasks have just ended."""
        output = yield from self._run("qstat", "-xml", "-u", "$user")  # Grid Engine's own word for the user
        if self._earlier.begin():
            missed = yield from self._run("qstat", "-f", "-xml", "-qs", "u", "-u", "$user")
            self._earlier.miss(text.instances(missed.stdout))
        alive: dict[TaskId, Seen] = {}
        lost: dict[TaskId, str] = {}
        for row in text.rows(output.stdout):
            found = [TaskId(row.native, number) for number in text.within(row.numbers, tasks.get(row.native, ()), self.first)]
            alive |= dict.fromkeys(found, row.seen)
            if "E" in row.state:
                lost |= dict.fromkeys(found, "")
            elif row.queue and self._earlier.is_lost(row.queue):
                lost |= dict.fromkeys(found, f"Grid Engine has not heard of its host for long ({row.queue})")
            elif "d" in row.state and found:
                self._earlier.deleted.add(row.native, [task.number for task in found])
            self._tell_strange(row.state)
        ended = yield from self._end(lost)
        gone = {TaskId(native, number) for native in tasks for number in tasks[native]} - alive.keys()
        ended |= yield from self._accounts({task for task in gone if self._earlier.is_due(task)})
        return alive | self._earlier.bridge(tasks, alive, ended) | ended

    def _end(self, lost: Mapping[TaskId, str]) -> Steps[dict[TaskId, Seen]]:
        """Cancel tasks that will never start or end, and tell why; where that is empty, Grid Engine is asked."""
        if unsaid := [task for task, why in lost.items() if not why]:
            output = yield from self._run("qstat", "-j", ",".join(dict.fromkeys(task.native for task in unsaid)))
            reasons = text.error_reasons(output.stdout)
            words = {task: reasons.get((task.native, task.number + self.first), "it does not say why") for task in unsaid}
            lost = {**lost, **{task: f"Grid Engine could not start it: {why}" for task, why in words.items()}}
        numbers: dict[str, list[int]] = {}
        for task in lost:
            numbers.setdefault(task.native, []).append(task.number)
        yield from self._delete(numbers)
        return {task: Seen(TaskState.ENDED, Reason.LOST, message=why) for task, why in lost.items()}

    def _accounts(self, gone: set[TaskId]) -> Steps[dict[TaskId, Seen]]:
        """Read the accounts of tasks that are in no queue any more, of some jobs in this look and of others in the next."""
        numbers: dict[str, list[int]] = {}
        for task in gone:
            numbers.setdefault(task.native, []).append(task.number + self.first)
        natives = sorted(numbers)
        begin = self._turn % len(natives) if len(natives) > ACCOUNTS else 0
        self._turn += ACCOUNTS
        found: dict[TaskId, Seen] = {}
        for native in (natives + natives)[begin : begin + min(ACCOUNTS, len(natives))]:
            output = yield Command(("qacct", "-j", native, "-t", f"{min(numbers[native])}-{max(numbers[native])}"))
            for number, seen in text.accounts(output.stdout).items():
                task = TaskId(native, number - self.first)
                if task in gone:
                    found[task] = self._earlier.true_end(task, seen)
        return found

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        """Cancel tasks."""
        yield from self._delete(tasks)
        for native, numbers in tasks.items():
            self._earlier.canceled.add(native, numbers)

    def _delete(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        words: list[str] = []
        for native, numbers in tasks.items():
            words += [native] if numbers is None else [f"{native}.{span}" for span in ranges(numbers, self.first).split(",") if span]
        for begin in range(0, len(words), WORDS):
            output = yield Command(("qdel", *words[begin : begin + WORDS]))
            if text.is_passing(output):
                raise PassingError(f"qdel: {text.said(output)}")
            for line in output.stdout.splitlines() + output.stderr.splitlines():
                if "denied" in line and "does not exist" not in line:
                    logger.warning("qdel: %s", line)

    def _run(self, *argv: str) -> Steps[Output]:
        output = yield Command(argv)
        if output.status or text.is_passing(output):
            raise PassingError(f"{argv[0]}: {text.said(output) or f'exit status {output.status}'}")
        return output

    def _tell_strange(self, state: str) -> None:
        strange = set(state) - text.LETTERS.keys() - self._strange
        if strange:
            self._strange |= strange
            logger.warning("Grid Engine says that a task is in state %r, which is not known here", state)
