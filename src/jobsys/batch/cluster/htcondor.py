"""HTCondor: clusters of jobs by condor_submit, in file transfer mode, so that its hosts need not share a directory with this machine."""

import logging
import os
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from jobsys.batch.cluster.htcondor_scripts import Scripts
from jobsys.batch.cluster.htcondor_states import ATTRIBUTES, Ad, seen
from jobsys.batch.cluster.htcondor_submission import INDEX, constraints, description, kibibytes, said
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
    TaskState,
    TextScheduler,
    mebibytes,
    whole_cores,
)
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

logger = logging.getLogger(__name__)

SIZES: Final = ("TotalSlotCpus", "TotalSlotMemory", "TotalSlotDisk", "TotalSlotGPUs")
"""Of a slot and of all that it is divided into: cores, MiB, KiB, accelerators."""
PASSING: Final = re.compile(
    r"can't find address|connect|communication|timed? ?out|CEDAR:|SECMAN:|AUTHENTICATE:|MAX_JOBS_(SUBMITTED|PER_OWNER)|transaction",
    re.IGNORECASE,
)
"""What condor_submit says if the same may succeed later."""
NONE_FOUND: Final = "Couldn't find/remove all jobs"
NO_HISTORY: Final = "HISTORY is unset"
LATELY: Final = ("-since", "EnteredCurrentStatus < time() - 604800", "-scanlimit", "50000")
"""How far back the history is read, which has the latest first: a week, and no more than so many jobs."""


class HTCondor(TextScheduler):
    """Runs tasks as the jobs of a cluster, one for each number.

    A script lies in a private file until the last of its jobs has left the queue; `look` sees that, and deletes it.
    """

    name = "htcondor"
    index = INDEX
    settings = (
        Setting("requirements", "which hosts will do, as a ClassAd expression: 'HasAVX2 && OpSysMajorVer >= 9'"),
        Setting("accounting_group", "on whose account"),
        Setting("line", "more lines for the submit description, with line breaks between: '+ProjectName = \"physics\"'"),
        Setting("args", "more arguments for condor_submit"),
        Setting("schedd", "the name of the schedd, if it is not that of this machine"),
        Setting("pool", "the central manager of its pool, if it is not that of this machine"),
        Setting("directory", "for scripts until they have run, on the schedd's machine (default: ~/.local/state/jobsys/htcondor)"),
        Setting("elastic", "yes: hosts come as they are needed, so nothing is refused because none is large enough", "no"),
        Setting("prefix", "a command that the tools are run by, such as one that enters a container"),
    )

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """Take the settings that were given."""
        super().__init__(options)
        self._prefix, self._arguments = (_words(name, self.options[name]) for name in ("prefix", "args"))
        if any(line.split(None, 1)[:1] == ["queue"] for line in self.options["line"].lower().splitlines()):
            raise UsageError("--batch-option line: leave out `queue`: how many jobs there are is not for the description to say")
        if self.options["elastic"] not in ("yes", "no"):
            raise UsageError(f"--batch-option elastic={self.options['elastic']}: give yes or no")
        self._pool = ("-pool", self.options["pool"]) if self.options["pool"] else ()
        self._schedd = ("-name", self.options["schedd"], *self._pool) if self.options["schedd"] else self._pool
        directory = self.options["directory"] and os.path.abspath(os.path.expanduser(self.options["directory"]))
        self._scripts = Scripts(directory, self._prefix)
        self._warned = False

    def learn(self) -> Steps[None]:
        """Ask the schedd how many jobs it takes at once."""
        output = yield self._tool("condor_config_val", "-schedd", *self._schedd, "MAX_JOBS_PER_SUBMISSION")
        if output.status == 0 and output.stdout.strip().isdecimal():
            self.most = max(1, min(HTCondor.most, int(output.stdout)))

    def check(self, requirements: Requirements) -> Steps[str]:
        """Say why no host can ever run such a task; nothing can be said of a pool without hosts, or one that grows."""
        if self.options["elastic"] == "yes":
            return ""
        output = yield self._tool("condor_status", *self._pool, "-constraint", 'SlotType =!= "Dynamic"', "-af", *SIZES)
        lines = () if output.status else output.stdout.splitlines()
        slots = [sizes for line in lines if len(sizes := [_size(word) for word in line.split()]) == len(SIZES)]
        memory, disk = mebibytes(requirements.memory or 0), kibibytes(requirements.disk or 0)
        needs = (whole_cores(requirements), memory, disk, requirements.accelerators)
        if not slots or any(all(has >= need for has, need in zip(sizes, needs, strict=True)) for sizes in slots):
            return ""
        largest = [max(sizes) for sizes in zip(*slots, strict=True)]
        told = "up to {:g} cores, {:g} MiB memory, {:g} KiB disk, {:g} accelerators".format(*largest)
        way = "ask for less, or give --batch-option elastic=yes if larger hosts will come"
        return f"no host of the HTCondor pool has room for {requirements}: they have {told}; {way}"

    def submit(self, ask: Ask) -> Steps[str]:
        """Ask for tasks."""
        script = yield from self._scripts.save(ask)
        try:
            native = yield from self._submit(description(ask, script, self.options))
        except AskRefusedError:
            yield from self._scripts.drop({ask.name})
            raise
        self._scripts.belong(ask.name, native)
        return native

    def _submit(self, text: str) -> Steps[str]:
        output = yield self._tool("condor_submit", *self._schedd, "-terse", *self._arguments, "-", text=text)
        native = re.search(r"^(\d+)\.\d+", output.stdout, re.MULTILINE)
        if output.status == 0 and native is not None:
            return native[1]
        words = said(output.stderr) or said(output.stdout) or f"condor_submit ended with {output.status}"
        if output.status == 0 or PASSING.search(words):
            raise PassingError(f"HTCondor may have taken the tasks or not: {words}")
        raise AskRefusedError(f"HTCondor refuses the tasks: {words}; change what the job asks for, or the --batch-option that is meant")

    def find(self, name: str) -> Steps[str | None]:
        """Find tasks by name, in the queue and in the history."""
        wanted = ("-constraint", f'JobsysAsk == "{name}"', "-af", "ClusterId")
        for tool in (("condor_q",), ("condor_history", *LATELY, "-match", "1")):
            output = yield self._tool(tool[0], *self._schedd, *wanted, *tool[1:])
            if found := _checked(output).split():
                self._scripts.belong(name, found[0])
                return found[0]
        yield from self._scripts.drop({name})
        return None

    def look(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks: into the queue, and for those that are no longer there into the history."""
        queue = yield from self._ads("condor_q", dict.fromkeys([*tasks, *self._scripts.natives()]))
        left = {native: [number for number in numbers if TaskId(native, number) not in queue] for native, numbers in tasks.items()}
        history = yield from self._ads("condor_history", left, *LATELY, "-match", f"{sum(map(len, left.values()))}")
        self._scripts.learn([*queue.values(), *history.values()])
        known = {task: seen(ad, ended=False) for task, ad in queue.items()}
        needed = {task.native for task, what in known.items() if what.state is not TaskState.ENDED}
        yield from self._scripts.drop(set(self._scripts.natives()) - needed)
        known |= {task: seen(ad, ended=True) for task, ad in history.items()}
        return {task: what for task, what in known.items() if task.number in tasks.get(task.native, ())}

    def close(self) -> Steps[None]:
        """Delete the scripts of tasks that have ended since somebody last looked."""
        if self._scripts.natives():
            yield from self.look({})

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        """Cancel tasks."""
        whole = {native for native, numbers in tasks.items() if numbers is None}
        strange = yield from self._ads("condor_q", dict.fromkeys(whole.difference(self._scripts.natives())))
        self._scripts.learn(strange.values())  # of those that another leader has asked for
        for constraint in constraints(tasks):
            output = yield self._tool("condor_rm", *self._schedd, "-constraint", constraint)
            words = said(output.stderr) or said(output.stdout)
            if output.status and NONE_FOUND not in words:
                raise PassingError(f"HTCondor can't remove jobs: {words}")
        yield from self._scripts.drop(whole)

    def _ads(self, tool: str, tasks: Mapping[str, Collection[int] | None], *more: str) -> Steps[dict[TaskId, Ad]]:
        found: dict[TaskId, Ad] = {}
        for constraint in constraints(tasks):
            output = yield self._tool(tool, *self._schedd, "-json", "-attributes", ",".join(ATTRIBUTES), "-constraint", constraint, *more)
            if output.status and NO_HISTORY in output.stderr:
                self._warn_of_no_history()
                return found
            found |= {TaskId(str(ad.get("ClusterId")), ad["ProcId"]): ad for ad in _decoded(output) if isinstance(ad.get("ProcId"), int)}
        return found

    def _warn_of_no_history(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("HTCondor keeps no history here: of tasks that have left its queue nobody can say how they ended")

    def _tool(self, *words: str, text: str = "") -> Command:
        return Command((*self._prefix, *words), text)


def _words(name: str, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise UsageError(f"--batch-option {name}={value!r} can't be divided into words: {error}") from error


def _checked(output: Output) -> str:
    if output.status:
        raise PassingError(f"HTCondor does not answer: {said(output.stderr) or said(output.stdout) or f'exit status {output.status}'}")
    return output.stdout


def _decoded(output: Output) -> list[dict[str, Any]]:
    text = _checked(output)
    try:
        found: list[dict[str, Any]] = msgspec.json.decode(text, type=list[dict[str, Any]]) if text.strip() else []
    except msgspec.DecodeError as error:
        raise PassingError(f"HTCondor's answer makes no sense: {error}") from error
    return found


def _size(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("inf")  # a size that a host does not tell says nothing against it
