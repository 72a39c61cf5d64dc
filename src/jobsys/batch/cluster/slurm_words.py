"""What Slurm's commands say when they fail: whether the same may succeed later, and what can be done."""

import re
from collections.abc import Mapping
from typing import Final

from jobsys.batch.cluster.scheduler import AskRefusedError, Output, PassingError
from jobsys.errors import BatchSystemError

_CROWDED: Final = r"\w*SubmitJob\w*"  # so many tasks of this user or account are in the queue that it takes no more for now
_PASSING: Final = re.compile(
    r"unable to contact|connection (refused|reset|timed out)|time[d-]? ?out|temporarily|try again|not responding|no route to host"
    r"|standby mode|zero bytes|rate limit|too many|queue full|unexpected message|talking to the database|can't be reached"
    r"|persist\w*[ _]conn|munge|authentication|communication|transport endpoint|incomplete message"
    rf"|{_CROWDED}",
    re.IGNORECASE,
)
_HARMLESS: Final = re.compile(r"invalid job id specified|already completing or completed|job/step already", re.IGNORECASE)
_FEWER: Final = "ask for fewer tasks at once: --batch-option most=COUNT"
_WAYS: Final[Mapping[str, str]] = {
    r"qos|job submit limit": "ask for less, or choose another quality of service: --batch-option qos=NAME",
    r"account\b": "name an account that may use the partition: --batch-option account=NAME",
    r"partition": "choose one of those that sinfo lists: --batch-option partition=NAME",
    r"generic resource|gres": "name what the cluster calls its accelerators: --batch-option gres=NAME, or gres=NAME:TYPE",
    r"array": _FEWER,
    r"node configuration|memory specification|cpu count|time limit": "no node has what the job asks for: lower its requirements",
    r"option|usage|--help": "look at what was given as --batch-option args=…",
    r"batch script": "the script of the task is not one that sbatch takes",
}


def words(output: Output) -> str:
    """Give what a command said, in one line."""
    lines = [line.strip() for line in (output.stderr or output.stdout).splitlines() if line.strip()]
    return "; ".join(lines)[:500] or f"exit status {output.status}"


def passing(output: Output) -> bool:
    """Tell whether a command that failed may succeed later."""
    return output.status < 0 or not output.stderr.strip() or _PASSING.search(output.stderr) is not None


def not_now(program: str, output: Output) -> PassingError:
    """Make the error for a question that was not answered."""
    return PassingError(f"{program} failed: {words(output)}")


def not_taken(output: Output) -> BatchSystemError:
    """Make the error for tasks that were not taken."""
    if passing(output):
        error = not_now("sbatch", output)
        crowded = re.search(_CROWDED, output.stderr)
        return PassingError(f"{error}. {_FEWER}") if crowded else error
    way = next((way for pattern, way in _WAYS.items() if re.search(pattern, output.stderr, re.IGNORECASE)), "")
    return AskRefusedError(f"Slurm refuses the tasks: {words(output)}" + (f". {way}" if way else ""))


def harmless(output: Output) -> bool:
    """Tell whether all that a command complains about is that tasks have ended, or never were."""
    lines = [line for line in output.stderr.splitlines() if line.strip()]
    return output.status == 0 or (bool(lines) and all(_HARMLESS.search(line) for line in lines))
