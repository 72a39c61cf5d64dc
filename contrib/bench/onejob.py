"""A script with one job, from the start of its process to its exit: in jobsys and in Toil, each with its file store on this machine.

Beside them stands what no script can undercut: an interpreter that does nothing, and one that imports what jobsys needs.
"""

import sys
from pathlib import Path

from contest import HERE, Contestant, ContestError, call, take_turns, with_bin, with_bytecode
from report import Case

TARGET = 0.25
ANSWER = "Hello, world"


def run(rounds: int, peer_python: str, directory: Path) -> Case:
    """Measure both; without ``peer_python`` only jobsys."""
    case = Case("one job", f"run.py --only one-job --rounds {rounds}")
    contestants = {
        "jobsys": _script([sys.executable, str(HERE / "workflows/one_job.py"), "file:store", "--progress", "off"]),
        "python": _script([sys.executable, "-c", f"print({ANSWER!r})"]),
        "import dill, psutil": _script([sys.executable, "-c", f"import dill, psutil; print({ANSWER!r})"]),
    }
    if peer_python:
        command = [peer_python, str(HERE / "workflows/one_job_toil.py"), "file:store", "--batchSystem", "single_machine"]
        contestants["toil"] = _script([*command, "--clean", "never", "--logLevel", "ERROR"], with_bin(peer_python))
    take_turns(case, contestants, rounds, directory, warm_up=True)
    case.compare("one job, jobsys / toil", ("jobsys", "seconds"), ("toil", "seconds"), TARGET, at_least=False)
    case.compare("one job, jobsys / python -c 'import dill, psutil'", ("jobsys", "seconds"), ("import dill, psutil", "seconds"))
    return case


def _script(command: list[str], environment: dict[str, str] | None = None) -> Contestant:
    def run_once(place: Path) -> dict[str, float]:
        printed, seconds = call(command, place, {**with_bytecode(place), **(environment or {})})
        if ANSWER not in printed:
            raise ContestError(f"{command[1]} printed {printed!r}")
        return {"seconds": round(seconds, 4)}

    return run_once
