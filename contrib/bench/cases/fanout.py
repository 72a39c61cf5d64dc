"""N no-op jobs, made by one job and added up by another: jobsys in turn with the peers, with warm workers and with a process a job.

``seconds`` of jobsys hold more than those of the peers: they begin with the job that makes the N jobs (pickling, committing and submitting
them is in it) and end when the commit of the sum is synced to disk. ``wall_s`` is the whole script, from start to exit. ``jobs_per_s`` is
N over ``seconds``; the two jobs at the ends are not counted.
"""

import ours
from contest import Contestant, take_turns
from report import Case, joined
from settings import Bench, Settings
from sides import peer, rated

ROUNDS = 3
FEWER = {"fork": 10, "spawn": 100, "toil": 1000}  # those so slow that they get a fraction of the jobs
KEEP_NOTHING = ("ray", "parsl", "dask")
SIZES = {1_000: ("pool", "fork"), 20_000: ("pool", "fork", "spawn", *KEEP_NOTHING, "toil"), 100_000: ("pool",)}
ISOLATED = 3_000


def jobs(count: int, workers: int, *arguments: str, limit: float = 900) -> Contestant:
    """Run the fan-out in jobsys."""
    expected = count * (count - 1) // 2
    words = ("--max-cores", str(workers), *arguments)
    return rated(lambda place: ours.shape(place, "fan-out", count, expected, *words, limit=limit), count)


def run(settings: Settings) -> list[Case]:
    """Measure each size."""
    sizes = {settings.size(0, 200): SIZES[20_000]} if settings.count or settings.quick else SIZES
    return [_size(settings, count, settings.among(*peers)) for count, peers in sizes.items()]


def _size(settings: Settings, count: int, peers: list[str]) -> Case:
    case = Case(f"fan-out {count:,}", "no-op jobs, made by one job and added up by another")
    contestants = {"jobsys": jobs(count, settings.workers)}
    for name in peers:
        fewer = max(10, count // FEWER.get(name, 1))
        contestants[name] = rated(peer(settings, name, "fan-out", fewer), fewer)
    take_turns(case, contestants, settings.turns(ROUNDS), settings.directory)
    goal = count == 20_000 or settings.quick
    for name in (each for each in peers if each != "toil"):  # of Toil's few jobs most is its start
        target = 0.7 if name == "pool" and goal else None
        case.compare(f"jobs a second, jobsys / {name}", ("jobsys", "jobs_per_s"), (name, "jobs_per_s"), target)
    case.compare("processor seconds of all processes, jobsys / pool", ("jobsys", "cpu_s"), ("pool", "cpu_s"), at_least=False)
    rivals = [name for name in peers if name in KEEP_NOTHING]
    best = joined(*(case.by_round(name, "jobs_per_s") for name in rivals))
    target = 3 if goal and len(rivals) == len(KEEP_NOTHING) else None
    case.divide(f"jobs a second, jobsys / the best of {', '.join(rivals)}", case.by_round("jobsys", "jobs_per_s"), best, target)
    return case


def run_isolated(settings: Settings) -> list[Case]:
    """Measure a fan-out in which every job gets a process of its own."""
    count = settings.size(ISOLATED, 50)
    case = Case("isolation", f"{count:,} no-op jobs, each in a process of its own")
    contestants = {
        "jobsys --isolation process": jobs(count, settings.workers, "--isolation", "process"),
        "jobsys": jobs(count, settings.workers),
    }
    for name in settings.among("fork", "spawn"):
        fewer = max(10, count // (10 if name == "spawn" else 1))
        contestants[name] = rated(peer(settings, name, "fan-out", fewer), fewer)
    take_turns(case, contestants, settings.turns(ROUNDS), settings.directory)
    ours_rate = ("jobsys --isolation process", "jobs_per_s")
    case.compare("jobs a second, jobsys / a bare fork", ours_rate, ("fork", "jobs_per_s"), 0.5)
    case.compare("jobs a second, jobsys / a new interpreter", ours_rate, ("spawn", "jobs_per_s"))
    case.compare("jobs a second, isolated / with warm workers", ours_rate, ("jobsys", "jobs_per_s"))
    return [case]


FAN_OUT = Bench("fan-out", "1,000, 20,000 and 100,000 no-op jobs beside all peers", run)
ISOLATION = Bench("isolation", "no-op jobs, each in a process of its own, beside a bare fork", run_isolated, beside=False)
