"""Requests and seconds of a fan-out whose job store is a bucket, beside Toil's on the same server.

The clock runs from the start of the script to its exit, on both sides; a proxy in between counts the requests of both. Toil takes some ten
minutes for 1,000 jobs: what it would take for them is told from two smaller runs of each round, unless ``--n`` asks for so many of both.
A third run shows whether a line tells it: its own figures, beside what the two smaller ones say of it.
"""

import itertools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ours
from ceph import REGION, Server
from contest import Contestant, ContestError, call, take_turns, with_bin, with_bytecode
from counting import Counting
from report import Case
from settings import Settings

ROUNDS = 3
COUNT = 1_000
FEW, MORE, CHECK = 20, 60, 120
LIMIT = 3600.0


def fan_out(settings: Settings, server: Server) -> Case:
    """Measure requests and seconds of a fan-out of trivial jobs."""
    count = settings.size(COUNT, 20)
    case = Case("s3 fan-out", f"{count:,} no-op jobs, made by one job and added up by another, with the job store in a bucket")
    server.make_bucket("fan-out", settings.directory)
    told = bool(settings.count or settings.quick)
    sizes = ((count,) if told else (FEW, MORE, CHECK)) if settings.among("toil") else ()
    with Counting(server.port) as proxy:
        sides = _Sides(settings, server, proxy)
        sides.jobsys(2)(settings.directory)  # compiles its modules
        contestants = {"jobsys": sides.jobsys(count)} | {_toil(each): sides.toil(each) for each in sizes}
        take_turns(case, contestants, settings.turns(ROUNDS), settings.directory)
    _compare(case, count, sizes)
    return case


def _toil(count: int) -> str:
    return f"toil, {count:,} jobs"


class _Sides:
    """The contestants, each with the same proxy before the same server."""

    def __init__(self, settings: Settings, server: Server, proxy: Counting) -> None:
        self._settings = settings
        self._proxy = proxy
        self._variables = server.variables(proxy.port)
        self._numbers = itertools.count()

    def jobsys(self, count: int) -> Contestant:
        def words(name: str) -> list[str]:
            script = [sys.executable, str(ours.WORKFLOWS / "in_jobsys.py"), f"s3://fan-out/{name}", "--shape", "fan-out", "--n", str(count)]
            return [*script, "--batch-system", "local", "--max-cores", str(self._settings.workers), "--progress", "off"]

        return self._counted(words, count, with_bytecode(self._settings.directory / "place"))

    def toil(self, count: int) -> Contestant:
        python = self._settings.peer_python

        def words(name: str) -> list[str]:
            script = [python, str(ours.WORKFLOWS / "fan_out_toil.py"), f"aws:{REGION}:{name}", "--n", str(count)]
            how = ["--batchSystem", "single_machine", "--maxCores", str(self._settings.workers), "--clean", "never"]
            return [*script, *how, "--logLevel", "ERROR"]

        return self._counted(words, count, with_bin(python))

    def _counted(self, words: Callable[[str], list[str]], count: int, variables: Mapping[str, str]) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            self._proxy.take()
            more = {**variables, **self._variables, "TMPDIR": str(place)}
            printed, wall = call(words(f"run{next(self._numbers)}"), place, more, limit=LIMIT)
            requests = self._proxy.take()
            last = json.loads(printed.splitlines()[-1])
            if (last["answer"] if isinstance(last, dict) else last) != count * (count - 1) // 2:
                raise ContestError(f"the fan-out printed {last}, which is a wrong answer")
            return {"n": count, "seconds": round(wall, 4), "requests": requests.total(), "kinds": dict(requests.most_common())}

        return run_once


def _compare(case: Case, count: int, sizes: tuple[int, ...]) -> None:
    for figure, target in (("requests", 0.1), ("seconds", 0.05)):
        theirs = {each: case.by_round(_toil(each), figure) for each in sizes}
        name, known = "toil", theirs.get(count, {})
        if count not in sizes and sizes:
            few, more, check = sizes
            line = on_a_line(check, {few: theirs[few], more: theirs[more]})
            case.divide(f"{figure}, toil, {check} jobs / told from {few} and {more}", theirs[check], line, at_least=False)
            name, known = f"toil, told from {few} and {check} jobs", on_a_line(count, {few: theirs[few], check: theirs[check]})
        case.divide(f"{figure}, jobsys / {name}", case.by_round("jobsys", figure), known, target, at_least=False)
    case.limit("requests of jobsys a job", ("jobsys", "requests"), "", 3, scale=1 / count)


def on_a_line(count: int, figures: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """Tell, round by round, what so many jobs would take, from what two other numbers of jobs took."""
    (few, low), (more, high) = sorted(figures.items())
    return {each: high[each] + (count - more) * (high[each] - low[each]) / (more - few) for each in sorted(low.keys() & high.keys())}
