"""What Slurm's commands are given: arguments, the environment, and the program of a task."""

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from jobsys.batch.cluster import slurm_places as places
from jobsys.batch.cluster.scheduler import Ask, mebibytes, whole_cores

_TITLE: Final = 200  # characters

_SHAPING: Final = {
    "SQUEUE": "ACCOUNT ALL ARRAY FORMAT FORMAT2 LICENSES NAMES PARTITION PRIORITY QOS SORT STATES USERS",
    "SINFO": "ALL FEDERATION FORMAT LOCAL PARTITION SORT",
    "SACCT": "FEDERATION FORMAT LOCAL",
    "SCANCEL": "ACCOUNT BATCH CRON CTLD FULL HURRY INTERACTIVE NAME PARTITION QOS STATE USER VERBOSE WCKEY",
    "SBATCH": "IGNORE_PBS WAIT",
}
NOT_OURS: Final[Mapping[str, str | None]] = {
    **{f"{program}_{word}": None for program, words in _SHAPING.items() for word in words.split()},
    "SLURM_BITSTR_LEN": "0",  # else a long list of numbers is cut off
}
"""Variables with which people shape what Slurm's commands print, or what they do."""

NEEDED: Final = (
    *("SLURM_*", "_SLURM_*", "SBATCH_*", "SPANK_*", "MUNGE_*", "KRB5*", "LC_*"),
    *("PATH", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"),
)
"""Patterns of the variables by which sbatch, its plugins and the wrappers of a site find their way: tasks get these and no others."""


class Site(NamedTuple):
    """What is known of a cluster."""

    most: int = 1000
    accounts: bool = False  # whether sacct can be asked
    finished: str = ""  # the file in which finished jobs are noted, if that is how they are
    warning: str = "USR2"  # the signal that comes before the time limit; by another than SIGTERM, a task that left is known to have hit it


def arguments(ask: Ask, place: places.Partition | None, named: Mapping[str, str], warning: str) -> Iterator[str]:
    """Write the arguments of sbatch.

    Args:
        ask: the tasks.
        place: the partition in which they will probably run, if that is known.
        named: options that go to sbatch under their own names, those left out that have no value; ``gres`` is what accelerators are called.
        warning: the signal that comes before the time limit.
    """
    need = ask.requirements
    yield from ("--parsable", f"--job-name={ask.name}", f"--array=0-{ask.count - 1}", "--no-requeue")
    yield from ("--chdir=/", "--output=/dev/null", "--error=/dev/null", "--nodes=1", "--ntasks=1", f"--cpus-per-task={whole_cores(need)}")
    if title := " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", ask.title).split())[:_TITLE]:
        yield f"--comment={title}"
    if need.memory is not None:
        yield f"--mem={max(1, mebibytes(need.memory))}M"
    if need.accelerators:
        yield f"--gres={named['gres']}:{need.accelerators}"
    yield from _limit(need.walltime, math.inf if place is None else place.seconds, warning)
    yield from (f"--{name}={value}" for name, value in named.items() if value and name != "gres")


def _limit(walltime: float | None, most: float, warning: str) -> Iterator[str]:
    signaled = True
    if walltime is not None:
        minutes, signaled = places.minutes(walltime, most)
        yield f"--time={minutes}"
    if signaled:
        yield f"--signal=B:{warning}@{places.EARLY}"


def read_config(text: str) -> Site:
    """Read what ``scontrol show config`` prints."""
    found = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in text.splitlines())}
    limits = [int(found[name]) for name in ("MaxArraySize", "MaxJobCount") if found.get(name, "").isdecimal()]
    accounts = "slurmdbd" in found.get("AccountingStorageType", "")
    noted = found.get("JobCompLoc", "") if "filetxt" in found.get("JobCompType", "") else ""
    settings = found.get("SlurmctldParameters", "") + found.get("PreemptParameters", "")
    warning = "TERM" if "send_user_signal" in settings else Site().warning  # it would come before a preemption, too
    return Site(min(limits, default=Site().most), accounts, noted, warning)


def program(ask: Ask) -> str:
    """Write what sbatch is given: the ask's script, behind what puts its output where it can be read, if that is on its host too."""
    if not ask.log:
        return f"#!/bin/sh\n:\n{ask.script}"
    place = f'{shlex.quote(ask.log)}/"$SLURM_ARRAY_JOB_ID.$SLURM_ARRAY_TASK_ID.log"'
    return f"#!/bin/sh\nif (: >>{place}) 2>/dev/null; then exec >>{place} 2>&1; fi\n{ask.script}"
