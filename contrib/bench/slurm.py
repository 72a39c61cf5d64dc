"""A real Slurm on this machine, while it is measured against, by ``slurm-up.sh``; calls of its commands are counted."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ceph import is_free
from contest import HERE, ContestError, say

SCRIPTS = "infra/schedulers"
NAMED = "TEST_SCHEDULERS"
NODES, CORES, MEMORY = 2, 4, 8000  # of each node; more may be promised than is there
KINDS = {"sbatch": "submit", "squeue": "look", "sacct": "look", "scontrol": "ask", "sinfo": "ask", "scancel": "cancel"}
"""What each command is for: ``ask`` is for what the cluster is like, and for Toil for jobs, too."""
_SEARCHED = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
_PORTS = (0, 1, *range(10, 10 + NODES))  # that the script takes, from the first one on
NOTED = "SLURM_BENCH_CALLS"  # as one of Slurm's own it reaches sbatch, to which jobsys gives few others
_EMPTY = 120.0  # seconds in which what was submitted must have ended


class Slurm(NamedTuple):
    """A cluster that runs."""

    state: Path
    counting: Path  # a directory of commands that count their calls

    def variables(self, place: Path, before: str = "") -> dict[str, str]:
        """Give what Slurm's commands are found by; calls are noted in ``place``. The directory ``before`` comes first on PATH."""
        path = os.pathsep.join([*([before] if before else []), str(self.counting), _SEARCHED])
        return {"SLURM_CONF": f"{self.state}/etc/slurm.conf", "PATH": path, NOTED: str(place / "calls")}

    def settle(self) -> None:
        """Wait until nothing is in the queue or runs, so that nobody pays for who came before.

        Raises:
            ContestError: it lasts too long.
        """
        environment = {**os.environ, "SLURM_CONF": f"{self.state}/etc/slurm.conf", "PATH": _SEARCHED}
        command, end = ["squeue", "--noheader", "--states=PENDING,RUNNING,COMPLETING"], time.monotonic() + _EMPTY
        while subprocess.run(command, env=environment, check=True, capture_output=True).stdout:
            if time.monotonic() > end:
                raise ContestError(f"Slurm's queue is not empty after {_EMPTY:g} s")
            time.sleep(0.2)


def calls(place: Path) -> Counter[str]:
    """Count the calls that were noted in ``place``, by command."""
    log = place / "calls"
    return Counter(log.read_text().split() if log.exists() else ())


def by_kind(counted: Counter[str]) -> dict[str, int]:
    """Add calls up by what they are for, and all of them."""
    kinds = dict.fromkeys(KINDS.values(), 0)
    for name, number in counted.items():
        kinds[KINDS[name]] += number
    return {**kinds, "commands": counted.total()}


def write_counting(directory: Path, searched: str = _SEARCHED) -> None:
    """Make a directory of commands that note their names and become the real ones.

    Raises:
        ContestError: there is no such command.
    """
    directory.mkdir()
    for name in KINDS:
        real = shutil.which(name, path=searched)
        if real is None:
            raise ContestError(
                f"there is no {name} on this machine: apt-get install -y --no-install-recommends munge slurm-wlm slurm-client"
            )
        written = directory / name
        written.write_text(f'#!/bin/sh\necho {name} >>"${NOTED}"\nexec {real} "$@"\n')
        written.chmod(0o755)


@contextmanager
def slurm(directory: Path) -> Iterator[Slurm]:
    """Run a cluster that keeps everything in new directories below.

    Raises:
        ContestError: it can't be started; the message says what is missing.
    """
    scripts, state, counting = _scripts(), directory / "slurm", directory / "counting"
    write_counting(counting)
    directory.chmod(0o711)  # munged wants directories that everybody may enter
    state.mkdir()
    settings = {"PORT": str(_free_port()), "NODES": str(NODES), "CPUS": str(CORES), "MEM": str(MEMORY)}
    say("starting Slurm")
    try:
        _run(scripts / "slurm-up.sh", state, settings)
        yield Slurm(state, counting)
    finally:
        _run(scripts / "slurm-down.sh", state, {"SLURM_CONF": f"{state}/etc/slurm.conf"})


def _scripts() -> Path:
    """Find the scripts by the environment variable, or below a directory ``shared`` beside the repository or one of its parents."""
    named = os.environ.get(NAMED)
    folders = [Path(named)] if named else [parent / "shared" / SCRIPTS for parent in HERE.parents]
    found = next((folder for folder in folders if (folder / "slurm-up.sh").is_file()), None)
    if found is None:
        raise ContestError(f"there is no {SCRIPTS} in a directory shared/ beside the repository: set {NAMED} to its path")
    return found


def _run(script: Path, state: Path, settings: dict[str, str]) -> None:
    # A file and no pipe: the daemons would hold a pipe open.
    log = state / f"{script.stem}.out"
    with log.open("w") as stream:
        ended = subprocess.run(
            [str(script), str(state)],
            env={**os.environ, "PATH": _SEARCHED, **settings},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise ContestError(f"{script.name} ended with {ended.returncode}: {log.read_text().strip()[-500:]}")


def _free_port() -> int:
    """Find a port that is free together with the others that the script takes."""
    for first in range(31000, 32000, 40):
        if all(is_free(first + more) for more in _PORTS):
            return first
    raise ContestError("no free ports were found between 31000 and 32000")
