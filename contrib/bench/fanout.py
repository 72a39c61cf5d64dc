"""N no-op jobs on the file store, durable, two workers, in turn with the peers.

Two views of each run of jobsys:

* ``wall_s``: the whole script, from the start of its process to its exit.
* ``seconds``: what the peers count too, and more: from the moment at which the job begins that makes the N jobs (pickling, committing
  and submitting them is in it) until the commit of the job that adds up their N values is synced to disk. Both are read from the
  journal: the first is in that job's report, the second is the time of the last segment's file.

``jobs_per_s`` is N over the second; the two jobs at the ends are not counted.
"""

import json
import sys
from pathlib import Path
from typing import Any

from contest import HERE, Contestant, ContestError, call, take_turns, with_bin, with_bytecode
from report import Case

from jobsys.events import Committed
from jobsys.jobstores import open_store
from jobsys.journal import pages

NEED_NOTHING = ("pool", "fork", "spawn")
TO_INSTALL = ("ray", "parsl", "dask", "toil")
FEWER = {"spawn": 100, "toil": 1000}  # those so slow that they get a fraction of the jobs
POOL_TARGET = 0.35


def run(count: int, rounds: int, peers: list[str], peer_python: str, directory: Path, workers: int = 2) -> Case:
    """Measure all, and compare jobsys with each peer."""
    case = Case("fan-out", f"run.py --only fan-out --n {count} --rounds {rounds} --peers {','.join(peers)}")
    contestants: dict[str, Contestant] = {"jobsys": lambda place: jobsys(count, workers, place)}
    for name in peers:
        contestants[name] = _peer(name, max(10, count // FEWER.get(name, 1)), workers, peer_python)
    take_turns(case, contestants, rounds, directory)
    for name in peers:
        target = POOL_TARGET if name == "pool" else 1.0 if name in ("ray", "parsl", "dask") else None
        case.compare(f"jobs a second, jobsys / {name}", ("jobsys", "jobs_per_s"), (name, "jobs_per_s"), target)
    return case


def jobsys(count: int, workers: int, place: Path) -> dict[str, Any]:
    """Run the workflow once and read the journal it leaves."""
    store = f"file:{place / 'store'}"
    script = str(HERE / "workflows" / "fanout.py")
    command = [sys.executable, script, store, "--n", str(count), "--max-cores", str(workers), "--progress", "off"]
    printed, wall = call(command, place, with_bytecode(place))
    told = json.loads(printed)
    seconds = _from_journal(store, count)
    if told.pop("answer") != count * (count - 1) // 2:
        raise ContestError("the sum is wrong")
    return {"n": count, "seconds": round(seconds, 6), "jobs_per_s": round(count / seconds, 1), "wall_s": round(wall, 4), **told}


def _from_journal(locator: str, count: int) -> float:
    store = open_store(locator)
    began, last, commits = 0.0, 0, 0
    for page in pages(store):
        last = page.segment
        for event in page.events:
            if isinstance(event, Committed) and event.report.job:
                commits += 1
                if event.report.job == 1:
                    began = event.report.started
    if commits != count + 2 or not began:
        raise ContestError(f"the journal has {commits} commits instead of {count + 2}")
    return _written(store.locator, last) - began


def _written(locator: str, segment: int) -> float:
    """Tell when a segment got its name: after it was synced."""
    return (Path(locator.removeprefix("file:")) / "journal" / f"{segment:010d}").stat().st_ctime


def _peer(name: str, count: int, workers: int, peer_python: str) -> Contestant:
    python = sys.executable if name in NEED_NOTHING else peer_python

    def run_once(place: Path) -> dict[str, Any]:
        command = [python, str(HERE / "peers.py"), name, str(count), "--workers", str(workers)]
        printed, wall = call(command, place, {**with_bin(python), "TMPDIR": str(place)})
        figures = json.loads(printed.splitlines()[-1])
        del figures["peer"]
        return {**figures, "wall_s": round(wall, 4)}

    return run_once
