"""Graphs with edges: a chain, a map-reduce, a lattice, and 10 MB passed from job to job, beside peers that know graphs, and the pool."""

import ours
from contest import Contestant, take_turns
from report import Case, joined
from settings import Bench, Settings
from sides import peer, rated
from workflows import shapes

ROUNDS = 3
LINKS = 1_500.0


def _ours(name: str, count: int, *, growing: bool = False) -> Contestant:
    shape = shapes.SHAPES[name]
    expected = shape.make(shapes.here_and_now, count)
    return rated(lambda place: ours.shape(place, "growing" if growing else name, count, expected), shape.calls(count))


def _run(settings: Settings, name: str, count: int, note: str, peers: tuple[str, ...]) -> Case:
    case = Case(name, note)
    contestants = {"jobsys": _ours(name, count)}
    if name == "chain":
        contestants["jobsys, growing"] = _ours(name, count, growing=True)
    for each in settings.among(*peers):
        contestants[each] = rated(peer(settings, each, name, count), shapes.SHAPES[name].calls(count))
    take_turns(case, contestants, settings.turns(ROUNDS), settings.directory)
    for each in settings.among(*peers):
        case.compare(f"jobs a second, jobsys / {each}", ("jobsys", "jobs_per_s"), (each, "jobs_per_s"))
    case.compare("processor seconds of all processes, jobsys / pool", ("jobsys", "cpu_s"), ("pool", "cpu_s"), at_least=False)
    return case


def chain(settings: Settings) -> list[Case]:
    """Measure a chain made up front by one job, and one in which each job makes the next."""
    count = settings.size(2_000, 50)
    case = _run(settings, "chain", count, f"{count:,} jobs, each with the value of the one before", ("pool", "ray", "parsl", "dask"))
    half = {number: value / 2 for number, value in case.by_round("pool", "jobs_per_s").items()}
    bar = {number: min(LINKS, value) for number, value in half.items()}
    case.divide("links a second, made up front / the lower of 1,500 and half the pool's", case.by_round("jobsys", "jobs_per_s"), bar, 1)
    growing = case.by_round("jobsys, growing", "jobs_per_s")
    case.divide("links a second, each making the next / the lower of 1,500 and half the pool's", growing, bar)
    case.limit("links a second, made up front", ("jobsys", "jobs_per_s"), "/s", at_least=True)
    case.limit("links a second, each job making the next", ("jobsys, growing", "jobs_per_s"), "/s", at_least=True)
    return [case]


def map_reduce(settings: Settings) -> list[Case]:
    """Measure a map whose every result goes to each of ten reducers."""
    count = settings.size(2_000, 30)
    note = f"{count:,} results, each handed to {shapes.PARTS} reducers: {count * shapes.PARTS:,} edges"
    return [_run(settings, "map-reduce", count, note, ("pool", "ray", "parsl", "dask"))]


def lattice(settings: Settings) -> list[Case]:
    """Measure a square in which each job needs the one above and the one to the left."""
    count = settings.size(60, 6)
    note = f"{count} by {count}: each job needs the one above and the one to the left"
    return [_run(settings, "lattice", count, note, ("pool", "ray", "parsl", "dask"))]


def passing(settings: Settings) -> list[Case]:
    """Measure 10 MB handed from job to job; the pool pickles them through pipes, Ray and Dask keep them in memory."""
    count = settings.size(50, 2)
    case = _run(settings, "passing", count, f"{count} jobs, each given 10 MB and returning 10 MB", ("pool", "ray", "dask"))
    for who in ("jobsys", *settings.among("pool", "ray", "dask")):
        case.limit(f"MB a second, {who}", (who, "jobs_per_s"), "MB/s", scale=shapes.SIZE / 1e6, at_least=True)
    rivals = settings.among("ray", "dask")
    best = joined(*(case.by_round(name, "jobs_per_s") for name in rivals))
    case.divide(f"jobs a second, jobsys / the best of {', '.join(rivals)}", case.by_round("jobsys", "jobs_per_s"), best)
    return [case]


CHAIN = Bench("chain", "2,000 jobs one after the other, made up front and each by the one before", chain)
MAP_REDUCE = Bench("map-reduce", "2,000 results, each handed to ten reducers", map_reduce)
LATTICE = Bench("lattice", "a square of 60 by 60 jobs, each with two it waits for", lattice)
PASSING = Bench("passing", "10 MB results passed along 50 jobs", passing)
