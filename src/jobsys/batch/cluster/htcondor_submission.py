"""What is handed to condor_submit, and how jobs are chosen: submit descriptions and constraints. Pure."""

import math
from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate, groupby
from typing import Final

from jobsys.batch.cluster.htcondor_states import BY_HAND, HELD, IDLE
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, mebibytes, ranges, whole_cores
from jobsys.requirements import Requirements

LONGEST: Final = 30_000
"""Characters of a constraint, which is one argument of a command."""
INDEX: Final = "JOBSYS_TASK_NUMBER"
ONCE: Final = "(MY.NumShadowStarts =?= undefined || MY.NumShadowStarts == 0)"
"""True of a job that was never started: looked at before each start, whereas a rule for removal is looked at once a minute."""
NO_MORE: Final = " || ".join(
    (
        f"((JobStatus == {IDLE} || JobStatus == {HELD}) && NumShadowStarts > 0) =?= true",
        f"(JobStatus == {HELD} && " + " && ".join(f"HoldReasonCode != {code}" for code in sorted(BY_HAND)) + ") =?= true",
    )
)
"""True of a job that has ended for us; written so that it is never undefined, for which HTCondor would hold the job."""


def description(ask: Ask, script: str, options: Mapping[str, str]) -> str:
    """Write the submit description of tasks, the script being a file of this path.

    Raises:
        AskRefusedError: a value can't be written in a submit description.
    """
    folder, _, name = script.rpartition("/")
    own = [options["requirements"], ONCE] if options["requirements"] else [ONCE]
    lines = [
        "universe = vanilla",
        *options["line"].splitlines(),  # before the rest: what is set last holds
        _set("accounting_group", options["accounting_group"]) if options["accounting_group"] else "",
        "executable = /bin/sh",
        "transfer_executable = false",
        f"arguments = {name}",
        _set("initialdir", _literal((ask.log or folder) + "/")),
        _set("transfer_input_files", _literal(script) if ask.log else name, ","),
        "should_transfer_files = YES",
        "when_to_transfer_output = ON_EXIT",
        'transfer_output_files = ""',
        f'environment = "{INDEX}=$(Process)"',
        *_outputs(ask),
        *_resources(ask.requirements),
        _set("requirements", " && ".join(f"({each})" for each in own)),
        f"periodic_remove = {NO_MORE}",
        f'+JobsysAsk = "{ask.name}"',
        f'+JobsysScript = "{name}"',
        f'+JobBatchName = "{_plain(ask.title) or ask.name}"',
        f"queue {ask.count}",
    ]
    return "\n".join(line for line in lines if line.strip()) + "\n"


def _outputs(ask: Ask) -> Iterator[str]:
    for command, ending in (("output", "out"), ("error", "err")):
        # a name in initialdir: HTCondor takes a path apart at semicolons
        yield f"{command} = {ask.name}.$(Process).{ending}" if ask.log else f"{command} = /dev/null"


def _resources(asked: Requirements) -> Iterator[str]:
    yield f"request_cpus = {whole_cores(asked)}"
    if asked.memory is not None:
        yield f"request_memory = {mebibytes(asked.memory)}"
    if asked.disk is not None:
        yield f"request_disk = {kibibytes(asked.disk)}"
    if asked.accelerators:
        yield f"request_gpus = {asked.accelerators}"
    if asked.walltime is not None:
        yield f"periodic_hold = (JobStatus == 2 && time() - JobCurrentStartDate > {math.ceil(asked.walltime)}) =?= true"
        yield 'periodic_hold_reason = "jobsys: it ran for longer than its walltime"'
        yield "periodic_hold_subcode = 1"


def kibibytes(size: int) -> int:
    """Give a size in KiB, rounded up."""
    return -(-size // 1024)


def _set(command: str, value: str, taken: str = "") -> str:
    """Write a line; there is no way to quote its value, which lasts to the end of the line, or characters that are taken for separators."""
    if value != value.strip() or not value.isprintable() or value.endswith("\\") or (taken and taken in value):
        way = f"choose another, without line breaks, control characters, spaces or a backslash at its ends{taken and ', or a comma'}"
        raise AskRefusedError(f"HTCondor can't be told {command} = {value!r}: {way}")
    return f"{command} = {value}"


def _literal(text: str) -> str:
    return text.replace("$", "$(DOLLAR)")  # else it begins a macro


def _plain(title: str) -> str:
    """Leave out of a title what means something in a string of HTCondor's, or to a terminal."""
    kept = "".join(" " if letter == "\\" or not letter.isprintable() else letter for letter in title[:200])
    return _literal(kept.replace('"', "'")).strip()


def constraints(tasks: Mapping[str, Collection[int] | None]) -> Iterator[str]:
    """Write constraints that together are true of these tasks: native ids and numbers, None meaning all; one unless they are thousands."""
    whole = [int(native) for native, numbers in tasks.items() if numbers is None]
    parts = _within("ClusterId", whole)
    for native, numbers in tasks.items():
        if numbers:
            parts.append(f"(ClusterId == {int(native)} && ({' || '.join(_within('ProcId', numbers))}))")
    lengths = accumulate(map(len, parts))
    for _, group in groupby(zip(lengths, parts, strict=True), key=lambda each: each[0] // LONGEST):
        yield f"JobsysAsk =!= undefined && ({' || '.join(part for _, part in group)})"


def _within(attribute: str, numbers: Collection[int]) -> list[str]:
    return [_between(attribute, *part.split("-")) for part in ranges(set(numbers)).split(",") if part]


def _between(attribute: str, low: str, high: str = "") -> str:
    return f"({attribute} >= {low} && {attribute} <= {high})" if high else f"{attribute} == {low}"


def said(text: str) -> str:
    """Give in one line what a tool says, without its warnings and its advice."""
    lines = (line.strip() for line in text.split("Extra Info:")[0].splitlines())
    return " ".join(line for line in lines if line and not line.startswith("WARNING:"))[:500]
