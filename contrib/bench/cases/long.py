"""Runs so large that what they keep, and what it takes to take them up again, counts: 100,000 jobs, and on demand a million."""

import statistics
from pathlib import Path

import ours
from contest import take_turns
from halfway import killed_and_resumed
from report import Case
from settings import Bench, Settings

from cases.fanout import jobs

ROUNDS = 2
LOOKS = 3
HOUR = 3600.0
GB = 1000.0  # MB


def resume(settings: Settings) -> list[Case]:
    """Measure a run that is killed half-way and resumed, beside one that nobody disturbs."""
    count = settings.size(100_000, 1_500)
    case = Case("resume", f"a fan-out of {count:,}: its leader is killed with half of it done, and another goes on")
    contestants = {
        "undisturbed": jobs(count, settings.workers),
        "killed": lambda place: killed_and_resumed(place, count, settings.workers, HOUR),
    }
    take_turns(case, contestants, settings.turns(ROUNDS), settings.directory)
    case.limit("from the resuming leader's start to its first job", ("killed", "ready_s"), "s")
    case.compare("seconds, killed and resumed / undisturbed", ("killed", "both_s"), ("undisturbed", "wall_s"), at_least=False)
    case.limit("peak memory of the resuming leader", ("killed", "rss_mb"), "MB")
    return [case]


def look(settings: Settings) -> list[Case]:
    """Measure how long status, stats and graph of a large run take, while it runs and when it is done."""
    count = settings.size(100_000, 1_000)
    case = Case("looking", f"status, stats and graph of a fan-out of {count:,}, process start to exit")

    def run_once(place: Path) -> dict[str, float]:
        words = ours.command("in_jobsys.py", place, "--shape", "fan-out", "--n", count, workers=settings.workers)
        follower = ours.Follower(place)
        with ours.leader(place, words) as process:
            ours.wait_until(lambda: follower.done() >= count // 4, process, "a quarter of the jobs was done")
            figures = {"status_running_s": ours.ask(place, "status"), "stats_running_s": ours.ask(place, "stats")}
            ours.finish(process)
        asked = {
            "status_s": ("status",),
            "jobs_s": ("status", "--jobs", "--json"),
            "stats_s": ("stats",),
            "graph_s": ("graph", "-o", str(place / "graph.svg")),
        }
        for name, words in asked.items():
            figures[name] = statistics.median(ours.ask(place, *words) for _ in range(1 if settings.quick else LOOKS))
        return {name: round(value, 4) for name, value in figures.items()}

    take_turns(case, {"jobsys": run_once}, settings.turns(ROUNDS), settings.directory)
    for what in ("status", "stats"):
        case.limit(f"jobsys {what} while it runs", ("jobsys", f"{what}_running_s"), "s")
    for what in ("status", "stats", "graph"):
        case.limit(f"jobsys {what} when it is done", ("jobsys", f"{what}_s"), "s")
    case.limit("jobsys status --jobs --json when it is done", ("jobsys", "jobs_s"), "s")
    return [case]


def million(settings: Settings) -> list[Case]:
    """Measure a million jobs: how fast, how much memory, how soon again after a kill, how soon a status."""
    count = settings.size(1_000_000, 5_000)
    few = min(20_000, count // 5)
    case = Case("million", f"a fan-out of {count:,}, undisturbed, and killed half-way and resumed")
    whole, part = f"{count:,}", f"{few:,}"
    contestants = {
        part: jobs(few, settings.workers),
        whole: jobs(count, settings.workers, limit=HOUR),
        "killed": lambda place: killed_and_resumed(place, count, settings.workers, HOUR),
    }
    take_turns(case, contestants, settings.turns(1), settings.directory)
    case.compare(f"jobs a second, {whole} / {part}", (whole, "jobs_per_s"), (part, "jobs_per_s"), 0.8)
    case.limit("peak memory of the leader", (whole, "rss_mb"), "MB", GB)
    case.limit("from the resuming leader's start to its first job", ("killed", "ready_s"), "s", 30)
    case.limit("peak memory of the resuming leader", ("killed", "rss_mb"), "MB", GB)
    case.limit("peak memory of the killed leader", ("killed", "killed_rss_mb"), "MB", GB)
    case.limit("jobsys status while it runs, the slowest", ("killed", "status_slowest_s"), "s", 1)
    return [case]


RESUME = Bench("resume", "100,000 jobs, the leader killed half-way, resumed", resume, beside=False)
LOOK = Bench("looking", "status, stats and graph of 100,000 jobs", look, beside=False)
MILLION = Bench(
    "million", "1,000,000 jobs, and the same killed half-way and resumed; takes minutes", million, usual=False, quick=False, beside=False
)
