"""What Grid Engine is asked for: requirements, and where they may be met, as options of ``qsub``."""

import math
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Setting, mebibytes, whole_cores
from jobsys.batch.cluster.wrapping import wrap
from jobsys.requirements import Requirements

INDEX: Final = "SGE_TASK_ID"
FIRST: Final = 1
RESTARTING: Final = frozenset({99, 100})
"""Exit statuses with which a task has itself started again, whatever ``-r`` says, or put into the state of an error."""
SETTINGS: Final = (
    Setting("queue", "the queue, or several with commas between them (qsub -q)"),
    Setting("project", "the project that it is charged to (qsub -P)"),
    Setting("pe", "the parallel environment, on one host, for jobs of more than one core (qsub -pe)"),
    Setting("memory", "the complexes by which memory is asked for, with commas between them; empty: it is not", "h_vmem"),
    Setting("accelerators", "the complex by which accelerators are asked for, gpu for instance"),
    Setting("scripts", "a directory that all hosts share, for scripts that other users must not read"),
    Setting("args", "more arguments of qsub"),
)


def requests(requirements: Requirements, options: Mapping[str, str], memory: Iterable[str], consumables: Mapping[str, str]) -> list[str]:
    """Write requirements as options of ``qsub``.

    Args:
        requirements: of each task.
        options: the settings.
        memory: the complexes by which memory is asked for.
        consumables: how Grid Engine counts each complex (``grid_engine_text.consumables``); needed for more than one core only.

    Raises:
        AskRefusedError: they can't be written.
    """
    slots, counted = whole_cores(requirements), options["accelerators"]
    resources = []
    if requirements.memory is not None:
        size = mebibytes(requirements.memory)
        resources += [f"{name}={-(-size // _divisor(name, slots, consumables))}M" for name in memory]
    if requirements.accelerators:
        if not counted:
            raise AskRefusedError("accelerators are asked for by a complex: --batch-option accelerators=NAME; qconf -sc lists them")
        resources.append(f"{counted}={_share(requirements.accelerators, counted, _divisor(counted, slots, consumables))}")
    if requirements.walltime is not None:
        resources.append(f"h_rt={math.ceil(requirements.walltime)}")
    found = ["-l", ",".join(resources)] if resources else []
    found += ["-pe", options["pe"], str(slots)] if slots > 1 else []
    return found + [part for flag, key in (("-q", "queue"), ("-P", "project")) if options[key] for part in (flag, options[key])]


def _divisor(name: str, slots: int, consumables: Mapping[str, str]) -> int:
    """Tell among how many an amount is divided: limits, and what is consumed by slots, are multiplied by Grid Engine."""
    consumed = consumables.get(name, "NO")
    return slots if consumed == "YES" or (consumed == "NO" and name.startswith(("h_", "s_"))) else 1


def _share(count: int, name: str, divisor: int) -> int:
    if count % divisor:
        raise AskRefusedError(
            f"{count} accelerators can't be shared out among {divisor} slots, by which Grid Engine counts {name!r}:"
            " ask for as many cores, or have it count by jobs (qconf -mc, consumable JOB)"
        )
    return count // divisor


def submission(ask: Ask) -> list[str]:
    """Give the options that every ask has: an array that is never started again, no line of the script taken for an option, no output."""
    title = " ".join(ask.title.replace(",", ";").split())[:200]  # a comma would end it
    return [
        *("-terse", "-N", ask.name, "-t", f"1-{ask.count}", "-r", "n"),
        *("-S", "/bin/sh", "-C", "", "-wd", "/", "-o", "/dev/null", "-j", "y"),
        *(("-ac", f"title={title}") if title else ()),
    ]


def wrapped(ask: Ask, private: str = "") -> str:
    """Give what a task runs: the script, or where that lies in private."""
    script = f"exec /bin/sh {shlex.quote(private)}" if private else ask.script
    return wrap(script, f"{INDEX} - {FIRST}", f"{ask.log}/{ask.name}" if ask.log else "", RESTARTING)
