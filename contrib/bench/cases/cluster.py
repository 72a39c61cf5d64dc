"""Jobs through a real Slurm, beside one ``sbatch`` a job and beside Toil on the same; the commands it takes; how soon a job begins.

Raw ``sbatch`` is the cheapest that a user could write: a loop of the shell that submits a script which makes a file. Its clock runs
from the first command to the last file; that of jobsys and Toil from the start of the script to its exit. Toil takes many minutes
for 1,000 jobs: what it would take is told from two smaller runs of each round, unless ``--n`` asks for so many of both.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ours
from contest import Contestant, ContestError, call, take_turns, with_bytecode
from report import Case
from settings import Bench, Settings
from slurm import Slurm, by_kind, calls, slurm

from cases.s3_fan_out import on_a_line

ROUNDS, MANY_ROUNDS, BEGIN_ROUNDS = 3, 3, 25
COUNT, MANY = 1_000, 10_000
FEW, MORE = 20, 120
LIMIT = 3600.0
ROUND = 1.0  # seconds between two rounds of its controller: who begins when the last one ended always meets the same moment


def run(settings: Settings) -> list[Case]:
    """Measure all on one cluster."""
    with slurm(settings.directory) as cluster:
        sides = _Sides(settings, cluster)
        sides.jobsys(2)(settings.directory)  # compiles its modules, and fills the cache of its hosts
        return [_rate(settings, sides), _many(settings, sides), _begin(settings, sides)]


def run_begin(settings: Settings) -> list[Case]:
    """Measure only how soon a job begins."""
    with slurm(settings.directory) as cluster:
        sides = _Sides(settings, cluster)
        sides.begin()(settings.directory)
        return [_begin(settings, sides)]


class _Sides:
    """The contestants, each on the same cluster, which is empty when one begins."""

    def __init__(self, settings: Settings, cluster: Slurm) -> None:
        self._settings = settings
        self._cluster = cluster
        self._chance = random.Random(1)

    def jobsys(self, count: int) -> Contestant:
        arguments = ["--shape", "fan-out", "--n", str(count)]
        return self._ours("in_jobsys.py", arguments, lambda told: {**_checked(told["answer"], count), "leader_cpu_s": told["leader_cpu_s"]})

    def begin(self) -> Contestant:
        return self._ours("begin.py", [], lambda told: {"begins_s": told["begins_s"]})

    def toil(self, count: int) -> Contestant:
        python = self._settings.peer_python

        def run_once(place: Path) -> dict[str, Any]:
            words = [python, str(ours.WORKFLOWS / "fan_out_toil.py"), f"file:{place / 'store'}", "--n", str(count)]
            how = ["--batchSystem", "slurm", "--clean", "never", "--logLevel", "ERROR"]
            more = {**self._cluster.variables(place, str(Path(python).absolute().parent)), "TMPDIR": str(place)}
            printed, wall = call([*words, *how], place, more, limit=LIMIT)
            return {**_checked(json.loads(printed.splitlines()[-1]), count), **_rated(count, wall), **by_kind(calls(place))}

        return run_once

    def raw(self, count: int) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            done, job, loop = place / "done", place / "job.sh", place / "loop.sh"
            done.mkdir()
            job.write_text(f'#!/bin/sh\n: >"{done}/$SLURM_JOB_ID"\n')
            sent = f"sbatch --parsable --output=/dev/null {job} >/dev/null || exit 1"
            loop.write_text(f"i=0\nwhile [ $i -lt {count} ]; do {sent}; i=$((i + 1)); done\n")
            began = time.perf_counter()
            call(["/bin/sh", str(loop)], place, self._cluster.variables(place, "/usr/bin"))
            _wait_for(lambda: len(list(done.iterdir())) >= count)
            return _rated(count, time.perf_counter() - began)

        return run_once

    def raw_begin(self) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            told, job = place / "told", place / "job.sh"
            job.write_text(f'#!/bin/sh\ndate +%s.%N >"{told}.new" && mv "{told}.new" "{told}"\n')
            began = time.time()
            call(["sbatch", "--parsable", "--output=/dev/null", str(job)], place, self._cluster.variables(place, "/usr/bin"))
            _wait_for(told.exists)
            return {"begins_s": round(float(told.read_text()) - began, 4)}

        return run_once

    def _ours(self, script: str, arguments: list[str], figures: Callable[[dict[str, Any]], dict[str, Any]]) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            words = [sys.executable, str(ours.WORKFLOWS / script), ours.locator(place), *arguments, "--batch-system", "slurm"]
            known = self._settings.directory / "known"  # by whoever ran a workflow here before, and to the nodes as well
            how = ["--ship-env", "never", "--worker-python", sys.executable, "--progress", "off", "--env", "JOBSYS_CACHE"]
            cache = {"JOBSYS_CACHE": str(known / "cache"), "XDG_CACHE_HOME": str(known), "XDG_STATE_HOME": str(known / "state")}
            more = {**with_bytecode(self._settings.directory / "place"), **self._cluster.variables(place), **cache}
            printed, wall = call([*words, *how], place, more, limit=LIMIT)
            found = figures(json.loads(printed))
            return {**found, **_rated(found.get("n", 1), wall), **by_kind(calls(place))}

        return run_once

    def settled(self, contestant: Contestant, within: float = 0.0) -> Contestant:
        """Have a contestant begin on an empty cluster, at any moment of the next ``within`` seconds."""

        def run_once(place: Path) -> dict[str, Any]:
            self._cluster.settle()
            time.sleep(self._chance.uniform(0, within))
            return contestant(place)

        return run_once


def _checked(answer: int, count: int) -> dict[str, int]:
    if answer != count * (count - 1) // 2:
        raise ContestError(f"the fan-out printed {answer}, which is a wrong answer")
    return {"n": count}


def _rated(count: int, seconds: float) -> dict[str, float]:
    return {"seconds": round(seconds, 4), "jobs_per_s": round(count / seconds, 3)}


def _wait_for(so: Callable[[], bool], limit: float = LIMIT) -> None:
    end = time.monotonic() + limit
    while not so():
        if time.monotonic() > end:
            raise ContestError(f"the jobs of sbatch did not end in {limit:g} s")
        time.sleep(0.02)


def _toil(count: int) -> str:
    return f"toil, {count:,} jobs"


def _rate(settings: Settings, sides: _Sides) -> Case:
    count = settings.size(COUNT, 20)
    case = Case("cluster rate", f"{count:,} no-op jobs, made by one job and added up by another, on Slurm")
    told = bool(settings.count or settings.quick)
    sizes = ((count,) if told else (FEW, MORE)) if settings.among("toil") else ()
    contestants = {"jobsys": sides.jobsys(count), "sbatch": sides.raw(count)} | {_toil(each): sides.toil(each) for each in sizes}
    settled = {name: sides.settled(each) for name, each in contestants.items()}
    take_turns(case, settled, settings.turns(ROUNDS), settings.directory)
    case.compare("jobs a second, jobsys / one sbatch a job", ("jobsys", "jobs_per_s"), ("sbatch", "jobs_per_s"), 5)
    for figure in ("seconds", "commands") if sizes else ():
        theirs = {each: case.by_round(_toil(each), figure) for each in sizes}
        known = theirs[count] if count in sizes else on_a_line(count, theirs)
        name = "toil" if count in sizes else f"toil, told from {FEW} and {MORE} jobs"
        case.divide(f"{figure}, jobsys / {name}", case.by_round("jobsys", figure), known, at_least=False)
    return case


def _many(settings: Settings, sides: _Sides) -> Case:
    count = MANY if not settings.quick else 100
    case = Case("cluster commands", f"{count:,} jobs that are ready at once: calls of Slurm's commands in the whole run")
    take_turns(case, {"jobsys": sides.settled(sides.jobsys(count))}, settings.turns(MANY_ROUNDS), settings.directory)
    submit, ask = case.by_round("jobsys", "submit"), case.by_round("jobsys", "ask")
    case.divide("commands to submit", {each: submit[each] + ask[each] for each in submit}, dict.fromkeys(submit, 1), 20, at_least=False)
    case.limit("all commands, to the last look", ("jobsys", "commands"), "", 20)
    for kind, what in (("submit", "submissions"), ("look", "looks at tasks"), ("ask", "what the cluster is like"), ("cancel", "cancels")):
        case.limit(what, ("jobsys", kind), "")
    return case


def _begin(settings: Settings, sides: _Sides) -> Case:
    case = Case("cluster begin", "from the moment at which a job is ready to the one at which it runs")
    contestants = {"jobsys": sides.settled(sides.begin(), ROUND), "sbatch": sides.settled(sides.raw_begin(), ROUND)}
    take_turns(case, contestants, settings.turns(BEGIN_ROUNDS), settings.directory)
    ours, theirs = (statistics.median(case.by_round(who, "begins_s").values()) for who in contestants)
    case.divide("median seconds from ready to running, jobsys / sbatch", {0: ours}, {0: theirs}, 1.3, at_least=False)
    for who in contestants:
        case.limit(f"seconds from ready to running, {who}", (who, "begins_s"), "s")
    return case


CLUSTER = Bench("cluster", "1,000 and 10,000 jobs, and one, on Slurm, beside sbatch and Toil", run, usual=False)
CLUSTER_BEGIN = Bench("cluster-begin", "one job on Slurm, beside sbatch: the last part of cluster", run_begin, usual=False, beside=False)
