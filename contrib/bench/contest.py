"""Run contestants in turn, each in a process and a directory of its own. Knows no contestant."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from report import Case

HERE = Path(__file__).resolve().parent
LIMIT = 900.0  # seconds for one run

Contestant = Callable[[Path], dict[str, Any]]
"""Runs once, in an empty directory, and gives its figures."""


class ContestError(Exception):
    """A contestant did not finish."""


def take_turns(case: Case, contestants: Mapping[str, Contestant], rounds: int, directory: Path, *, warm_up: bool = False) -> None:
    """Let all run ``rounds`` times; each round begins with another one, so that none always follows the same.

    With ``warm_up`` there is a round before them that does not count, after which files are in memory and modules compiled.
    """
    names = list(contestants)
    out: set[str] = set()
    for number in range(-warm_up, rounds):
        shift = max(0, number) % len(names)
        for who in names[shift:] + names[:shift]:
            if who in out:
                continue
            place = Path(tempfile.mkdtemp(prefix=f"{who.split()[0]}-", dir=directory))
            say(f"{case.name}: round {number + 1} of {rounds}, {who}")
            load, used = round(os.getloadavg()[0], 2), _used()
            try:
                figures = contestants[who](place)
                if number >= 0:
                    case.runs.append({"who": who, "round": number, "load": load, "cpu_s": round(_used() - used, 4), **figures})
            except (ContestError, OSError, LookupError, ValueError) as error:
                out.add(who)
                case.fail(f"{who} is left out: {error if isinstance(error, ContestError) else repr(error)}")
            finally:
                shutil.rmtree(place, ignore_errors=True)


def _used() -> float:
    """Add up the processor time of all processes below that have ended and were waited for, whoever started them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(command: Sequence[str], place: Path, environment: Mapping[str, str] | None = None, *, limit: float = LIMIT) -> tuple[str, float]:
    """Run a command to its end; give what it printed, and the seconds from start to exit.

    Raises:
        ContestError: it failed, or took too long.
    """
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env=environment_of(place, environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContestError(str(error)) from error
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ContestError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout, seconds


def environment_of(place: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Give the variables of whoever runs in ``place``: the key of a run goes with it."""
    return {**os.environ, "XDG_STATE_HOME": str(place / "state"), **more}


def with_bytecode(place: Path) -> dict[str, str]:
    """Let contestants keep compiled modules beside their places, as an installation has them: a checkout may have none."""
    return {"PYTHONPYCACHEPREFIX": str(place.parent / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}


def with_bin(python: str) -> dict[str, str]:
    """Put an interpreter's commands first on PATH: Toil finds its worker there."""
    return {"PATH": f"{os.path.dirname(os.path.abspath(python))}{os.pathsep}{os.environ['PATH']}"}


def say(text: str) -> None:
    """Tell a person who waits."""
    print(text, file=sys.stderr, flush=True)
