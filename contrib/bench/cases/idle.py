"""What a run costs while its only job sleeps: processor time of the leader, and of all that is below it, as the kernel counts it."""

import os
import time
from pathlib import Path

import ours
import psutil
from contest import take_turns
from report import Case
from settings import Bench, Settings

ROUNDS = 2
SETTLE = 3.0  # seconds from the job's start until the window begins
TICK = os.sysconf("SC_CLK_TCK")


def run(settings: Settings) -> list[Case]:
    """Measure the middle of a sleep of 20 seconds."""
    settle, window = (0.2, 0.5) if settings.quick else (SETTLE, 15.0)
    seconds = settle + window + (1 if settings.quick else 2)
    case = Case("idle", f"one job sleeps {seconds:g} s; {window:g} s of it, from {settle:g} s after its start")

    def run_once(place: Path) -> dict[str, float]:
        words = ours.command("nap.py", place, "--seconds", seconds, "--started", place / "started", workers=settings.workers)
        with ours.leader(place, words) as process:
            ours.wait_until((place / "started").exists, process, "the job ran")
            time.sleep(settle)
            root = psutil.Process(process.pid)
            hosts = root.children()
            below = [child for host in hosts for child in host.children(recursive=True)]
            sides = {"leader": [root], "host": hosts, "guard_and_worker": below}
            before, start = {name: _used(side) for name, side in sides.items()}, time.monotonic()
            time.sleep(window)
            passed = time.monotonic() - start
            used = {name: _used(side) - before[name] for name, side in sides.items()}
            ours.finish(process)
        return {f"{name}_percent": round(100 * value / passed, 4) for name, value in used.items()} | {
            "processes": 1 + len(hosts) + len(below)
        }

    take_turns(case, {"jobsys": run_once}, settings.turns(ROUNDS), settings.directory)
    case.limit("leader, of a core", ("jobsys", "leader_percent"), "%", 0.5)
    case.limit("worker host, of a core", ("jobsys", "host_percent"), "%")
    case.limit("guard and worker, of a core", ("jobsys", "guard_and_worker_percent"), "%")
    return [case]


def _used(processes: list[psutil.Process]) -> float:
    """Add up the seconds of processor time: in nanoseconds a thread where the kernel keeps them so, else in ticks."""
    return sum(_of(Path("/proc", str(process.pid))) for process in processes)


def _of(entry: Path) -> float:
    try:
        return sum(int(task.read_text().split()[0]) for task in entry.glob("task/*/schedstat")) / 1e9 or _ticks(entry)
    except OSError:
        return _ticks(entry)


def _ticks(entry: Path) -> float:
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


IDLE = Bench("idle", "processor time of a leader whose one job sleeps", run, beside=False)
