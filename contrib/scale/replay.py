"""Restore the run that a leader left, and print what that took as JSON: ``replay.py DIRECTORY snapshot`` or ``… journal``, all of it."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from clock import SimulatedClock
from counted import CountedStorage
from watch import Watch, peak, resident

from jobsys.events import Event
from jobsys.jobstores import JobStore
from jobsys.jobstores.file import storage
from jobsys.journal import restore


def replay(directory: Path, whole: bool) -> dict[str, Any]:
    counted = CountedStorage(storage(str(directory / "store")), Watch(), SimulatedClock())
    store = JobStore(f"file:{directory / 'store'}", counted, str(directory / "run.jobsys-key"))
    events: list[int] = []

    def see(_: Event) -> None:
        events.append(1)

    before, cpu, wall = resident(), time.process_time(), time.perf_counter()
    progress = restore(store, see if whole else None).progress
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "events": len(events),
        "nodes": len(progress.nodes),
        "done": progress.counts.done,
        "growth": peak() - before,
        "requests": dict(counted.by_operation()),
        "read": sum(counted.read.values()),
    }


if __name__ == "__main__":
    print(json.dumps(replay(Path(sys.argv[1]), sys.argv[2] == "journal")))
