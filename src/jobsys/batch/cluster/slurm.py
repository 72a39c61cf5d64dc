"""Slurm, by its commands: one array for each ask, one squeue for each look, sacct for what squeue has forgotten."""

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from jobsys.batch.cluster import slurm_places as places
from jobsys.batch.cluster import slurm_states as states
from jobsys.batch.cluster import slurm_words as words
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
    ranges,
    words_of,
)
from jobsys.batch.cluster.slurm_commands import NEEDED, NOT_OURS, Site, arguments, program, read_config
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

T = TypeVar("T")

logger = logging.getLogger(__name__)

_LISTED: Final = 5000
"""Ids on one command line; the system allows 128 KiB for one argument."""
_TAIL: Final = 8 << 20  # bytes of the file of finished jobs: the last ones of some ten thousands
_LATELY: Final = "now-7days"  # relative, so that neither midnight nor a time zone hides a task
_EVER: Final = "1970-01-01"


class Slurm(TextScheduler):
    """Runs tasks as arrays of Slurm, versions 22.05 and later."""

    name = "slurm"
    index = "SLURM_ARRAY_TASK_ID"
    enforces = frozenset({"cores", "memory", "accelerators", "walltime"})
    settings = (
        Setting("partition", "where to run; without, the one that fits best of those that sinfo lists"),
        Setting("qos", "quality of service"),
        Setting("account", "to be charged"),
        Setting("cluster", "which one of several"),
        Setting("gres", "name of what counts as an accelerator, also with its type, as in gpu:a100", "gpu"),
        Setting("preemptible-partition", "where to run what may be preempted"),
        Setting("preemptible-qos", "quality of service of what may be preempted"),
        Setting("export", "variables that tasks get from here, as for sbatch --export; without, those that sbatch itself needs"),
        Setting("most", "tasks that are asked for at once, at most; without, as many as the cluster takes in one array"),
        Setting("args", "more arguments for sbatch"),
    )

    def __init__(self, options: Mapping[str, str] | None = None, user: int | None = None) -> None:
        """Take the settings that were given.

        Args:
            options: the settings.
            user: whose tasks they are; None: those of this process.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        super().__init__(options)
        self._user = str(os.getuid() if user is None else user)
        self._site: Site | None = None
        self._places: list[places.Partition] | None = None
        self._args = words_of(self.options)
        try:
            self._cap = int(self.options["most"] or 0)
        except ValueError as error:
            raise UsageError(f"--batch-option most: {error}") from error
        if self._cap < 0:
            raise UsageError("--batch-option most: give a number from 1 on")
        if self._cap:
            self.most = self._cap

    # ── what the cluster is like ─────────────────────────────────────────────────────────────────────────────────────

    def learn(self) -> Steps[None]:
        """Ask what the cluster allows."""
        self._site = None
        yield from self._known_site()

    def _known_site(self) -> Steps[Site]:
        if self._site is None:
            output = yield self._command("scontrol", "show", "config")
            if output.status != 0:
                raise words.not_now("scontrol", output)
            self._site = read_config(output.stdout)
            self.most = min(self._site.most, self._cap or self._site.most)
        return self._site

    def _known_places(self) -> Steps[list[places.Partition]]:
        if self._places is None:
            output = yield self._command("sinfo", "--noheader", "--exact", f"--format={places.LIST}")
            if output.status != 0:
                raise words.not_now("sinfo", output)
            self._places = places.partitions(output.stdout, self.options["gres"])
        return self._places

    def _named(self, need: Requirements, what: str) -> str:
        return (self.options[f"preemptible-{what}"] if need.preemptible else "") or self.options[what]

    def _allowed(self, need: Requirements) -> Steps[list[places.Partition]]:
        """List the partitions among which there is a choice."""
        named = self._named(need, "partition").split(",")
        known = yield from self._known_places()
        return [place for place in known if named == [""] or place.name in named]

    def check(self, requirements: Requirements) -> Steps[str]:
        """Say why no node can ever run such a task."""
        allowed = yield from self._allowed(requirements)
        return places.problem(allowed, requirements)

    def _command(self, *argv: str) -> Command:
        several = {"SLURM_CLUSTERS": self.options["cluster"]} if self.options["cluster"] else {}
        return Command(argv, environment={**NOT_OURS, **several})

    def _sbatch(self, argv: Iterable[str], script: str) -> Command:
        """Write the command that submits: unless somebody says what is exported it has little that could be, and exports that.

        For every other word than ALL, 22.05 runs a login shell on the node first, which takes longer than all else.
        """
        chosen = self.options["export"] or any(word.startswith("--export") for word in self._args)
        export = self.options["export"] or "ALL"
        command = self._command("sbatch", *argv, f"--export={export}", *self._args)
        return command._replace(input=script, inherits=("*",) if chosen else NEEDED)

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, ask: Ask) -> Steps[str]:
        """Ask for tasks, as one array."""
        site = yield from self._known_site()
        if ask.count > site.most:
            raise AskRefusedError(f"Slurm takes {site.most} tasks at once here (MaxArraySize), not {ask.count}")
        place = places.choose((yield from self._allowed(ask.requirements)), ask.requirements)
        named = {name: self.options[name] for name in ("gres", "account")}
        named["qos"] = self._named(ask.requirements, "qos")
        named["partition"] = self._named(ask.requirements, "partition") or ("" if place is None or place.default else place.name)
        output = yield self._sbatch(arguments(ask, place, named, site.warning), program(ask))
        if output.status != 0:
            self._places = None  # what was known may be out of date
            raise words.not_taken(output)
        match = re.search(r"^(\d+)(?:;.*)?$", output.stdout, re.MULTILINE)
        if match is None:
            raise PassingError(f"sbatch names no job: {words.words(output)}")
        return match[1]

    def find(self, name: str) -> Steps[str | None]:
        """Find tasks by name: in the queue, and among those that ended within the last days."""
        output = yield self._squeue(f"--name={name}")
        if output.status != 0:
            raise words.not_now("squeue", output)
        found = list(states.rows(output.stdout))
        site = yield from self._known_site()
        if not found and site.accounts:
            output = yield self._sacct(f"--starttime={_LATELY}", f"--name={name}")
            if output.status != 0:
                raise words.not_now("sacct", output)
            found = list(states.rows(output.stdout))
        elif not found and site.finished:
            output = yield self._tail(site)
            found = list(states.finished(output.stdout, name))
        return min((row.native for row in found), key=int, default=None)

    def look(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks: one squeue, and where that has forgotten some, one sacct."""
        few = len(tasks) <= _LISTED
        output = yield self._squeue(*([f"--jobs={','.join(tasks)}"] if few and tasks else []))
        if output.status != 0 and not words.harmless(output):
            raise words.not_now("squeue", output)
        seen = states.pick(states.rows(output.stdout), tasks)
        missing = {native: left for native, numbers in tasks.items() if (left := [each for each in numbers if (native, each) not in seen])}
        if missing:
            seen.update((yield from self._past(missing)))
        return seen

    def _past(self, tasks: Mapping[str, Collection[int]]) -> Steps[dict[TaskId, Seen]]:
        """Look at tasks that squeue does not know: they have ended, whatever an accounting that lags behind still says."""
        site = yield from self._known_site()
        found: list[states.Row] = []
        if site.accounts:
            for part in _parts(list(tasks)):
                output = yield self._sacct(f"--starttime={_EVER}", f"--jobs={','.join(part)}")
                if output.status != 0:
                    logger.info("how tasks have ended that squeue has forgotten is not known: %s", words.words(output))
                    return {}
                found += states.rows(output.stdout)
        elif site.finished:
            output = yield self._tail(site)
            return states.pick(states.finished(output.stdout), tasks)
        return {**states.never_ran(found, tasks), **states.ended(states.pick(found, tasks))}

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> Steps[None]:
        """Cancel tasks."""
        targets = [target for native, numbers in tasks.items() for target in _targets(native, numbers)]
        trouble: Output | None = None
        for part in _parts(targets):
            output = yield self._command("scancel", *part)
            if not words.harmless(output):
                trouble = output
        if trouble is not None:
            raise words.not_now("scancel", trouble)

    def _squeue(self, *which: str) -> Command:
        return self._command("squeue", "--noheader", "--all", "--states=all", f"--user={self._user}", *which, f"--Format={states.QUEUE}")

    def _sacct(self, *which: str) -> Command:
        return self._command(
            "sacct", "--allocations", "--noheader", "--parsable2", f"--user={self._user}", *which, f"--format={states.ACCOUNTS}"
        )

    def _tail(self, site: Site) -> Command:
        return self._command("tail", "-c", str(_TAIL), "--", site.finished)


def _targets(native: str, numbers: Collection[int] | None) -> Iterator[str]:
    """Name tasks as scancel wants it, in words that are not too long."""
    if numbers is None:
        yield native
        return
    for part in _parts(sorted(numbers)):
        yield f"{native}_[{ranges(part)}]"


def _parts(items: list[T]) -> Iterable[list[T]]:
    return (items[start : start + _LISTED] for start in range(0, len(items), _LISTED))
