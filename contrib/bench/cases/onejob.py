"""A script with one job, from the start of its process to its exit: in jobsys and in Toil, each with its file store on this machine.

Beside them stands what no script can undercut: an interpreter that does nothing, and one that imports what jobsys needs.
"""

import sys
from pathlib import Path

import ours
from contest import Contestant, ContestError, call, take_turns, with_bin, with_bytecode
from report import Case
from settings import Bench, Settings

ROUNDS = 7
ANSWER = "Hello, world"
IMPORTS = "import dill, psutil"


def run(settings: Settings) -> list[Case]:
    """Measure both; Toil only where it is installed."""
    case = Case("one job", "a script, from the start of its process to its exit")
    contestants = {
        "jobsys": _script([sys.executable, str(ours.WORKFLOWS / "one_job.py"), "file:store", "--progress", "off"]),
        "python": _script([sys.executable, "-c", f"print({ANSWER!r})"]),
        IMPORTS: _script([sys.executable, "-c", f"{IMPORTS}; print({ANSWER!r})"]),
    }
    if settings.among("toil"):
        python = settings.peer_python
        words = [python, str(ours.WORKFLOWS / "one_job_toil.py"), "file:store", "--batchSystem", "single_machine"]
        contestants["toil"] = _script([*words, "--clean", "never", "--logLevel", "ERROR"], with_bin(python))
    take_turns(case, contestants, settings.turns(ROUNDS), settings.directory, warm_up=not settings.quick)
    case.compare("seconds, jobsys / toil", ("jobsys", "seconds"), ("toil", "seconds"), 0.25, at_least=False)
    case.compare(f"seconds, jobsys / python -c '{IMPORTS}'", ("jobsys", "seconds"), (IMPORTS, "seconds"), 3, at_least=False)
    case.compare(f"processor seconds, jobsys / python -c '{IMPORTS}'", ("jobsys", "cpu_s"), (IMPORTS, "cpu_s"), at_least=False)
    case.compare("seconds, jobsys / python -c pass", ("jobsys", "seconds"), ("python", "seconds"), at_least=False)
    return [case]


def _script(words: list[str], more: dict[str, str] | None = None) -> Contestant:
    def run_once(place: Path) -> dict[str, float]:
        printed, seconds = call(words, place, {**with_bytecode(place), **(more or {})})
        if ANSWER not in printed:
            raise ContestError(f"{words[1]} printed {printed!r}")
        return {"seconds": round(seconds, 4)}

    return run_once


ONE_JOB = Bench("one-job", "one job, process start to exit, beside an interpreter with imports, and Toil", run)
