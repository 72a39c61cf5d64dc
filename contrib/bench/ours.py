"""jobsys as the cases run it: a workflow to its end, a leader to look at and to kill, what its journal and its status tell."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from contest import HERE, LIMIT, ContestError, call, environment_of, with_bytecode

from jobsys.errors import JobsysError
from jobsys.events import Committed
from jobsys.jobstores import JobStore, keys, open_store
from jobsys.journal import pages

WORKFLOWS = HERE / "workflows"
STORE = "store"


def command(script: str, place: Path, *arguments: object, workers: int = 2) -> list[str]:
    """Give the command line of a workflow whose store is below ``place``."""
    words = [sys.executable, str(WORKFLOWS / script), locator(place), "--max-cores", str(workers), "--progress", "off"]
    return [*words, *map(str, arguments)]


def locator(place: Path) -> str:
    return f"file:{place / STORE}"


class Found(NamedTuple):
    """What the journal of a run tells; moments are seconds since the epoch."""

    began: float  # of the first job
    ended: float  # the last segment was written
    jobs: int
    started: list[float]  # of every attempt that was committed


def journal(place: Path) -> Found:
    """Read the journal that a run left.

    Raises:
        ContestError: it can't be read, or the first job has no commit.
    """
    last, started, began = 0, [], 0.0
    store = open_store(locator(place))
    try:
        for page in pages(store):
            last = page.segment
            reports = [event.report for event in page.events if isinstance(event, Committed) and event.report.job]
            started += [report.started for report in reports]
            began = next((report.started for report in reports if report.job == 1), began)
    except JobsysError as error:
        raise ContestError(f"the journal can't be read: {error}") from error
    if not began:
        raise ContestError("the journal has no commit of job 1")
    # The moment is the one at which its sync began; a sync is a ten-thousandth of a second, and each of those before is counted whole.
    return Found(began, store.storage.stat(keys.journal(last)).modified, len(started), started)


def shape(place: Path, name: str, count: int, expected: object, *arguments: object, limit: float = LIMIT) -> dict[str, Any]:
    """Run one of the graphs of shapes.py; ``seconds`` go from the start of the job that makes it to the synced commit of its last one."""
    words = command("in_jobsys.py", place, "--shape", name, "--n", count, *arguments)
    printed, wall = call(words, place, with_bytecode(place), limit=limit)
    told = json.loads(printed)
    if told.pop("answer") != expected:
        raise ContestError(f"{name} gave a wrong answer")
    found = journal(place)
    return {"n": count, "seconds": round(found.ended - found.began, 6), "wall_s": round(wall, 4), **told}


# ── a leader to look at ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def leader(place: Path, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a workflow; whatever happens, its leader does not outlive the block, nor, by its guard, its workers."""
    with (place / "stderr").open("a+") as errors:
        process = subprocess.Popen(
            words,
            cwd=place,
            env=environment_of(place, with_bytecode(place)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield process
        except ContestError as error:
            raise ContestError(f"{error}; it wrote: {(place / 'stderr').read_text().strip()[-500:]!r}") from error
        finally:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a leader, as no leader can notice."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def finish(process: subprocess.Popen[str], limit: float = LIMIT) -> dict[str, Any]:
    """Wait for the end of a leader; give what it printed.

    Raises:
        ContestError: it failed, or took too long.
    """
    try:
        printed, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise ContestError(f"the leader did not end in {limit:g} s") from error
    if process.returncode:
        raise ContestError(f"the leader ended with {process.returncode}")
    told: dict[str, Any] = json.loads(printed)
    return told


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], what: str, limit: float = LIMIT) -> None:
    """Wait until something is so while a leader runs.

    Raises:
        ContestError: the leader ended before, or it took too long.
    """
    end = time.monotonic() + limit
    while not condition():
        if process.poll() is not None:
            raise ContestError(f"the leader ended with {process.returncode} before {what}: --n may be too small")
        if time.monotonic() > end:
            raise ContestError(f"{what} did not come within {limit:g} s")
        time.sleep(0.02)


class Follower:
    """Counts the commits in the journal of a run that goes on; its status would be up to a second late."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._store: JobStore | None = None
        self._last = 0
        self._done = 0

    def done(self) -> int:
        """Tell how many jobs are done by now."""
        if self._store is None and (self._place / STORE / keys.STORE).exists():
            self._store = open_store(locator(self._place))
        for page in pages(self._store, self._last) if self._store is not None else ():
            self._done += sum(isinstance(event, Committed) for event in page.events)
            self._last = page.segment
        return self._done


def peak_mb(pid: int) -> float:
    """Tell the most memory that a process ever had, in MB.

    Raises:
        ContestError: it has ended.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")]
    if not found:
        raise ContestError("the leader ended before its memory was read: --n may be too small")
    return found[0]


def ask(place: Path, *words: str) -> float:
    """Run a command of jobsys on the store below ``place``; give its seconds from start to exit."""
    return call([sys.executable, "-m", "jobsys", words[0], locator(place), *words[1:]], place, with_bytecode(place))[1]
