"""An environment of 300 MB in 22,000 small files, shipped: jobsys beside Toil's VirtualEnvResource, Ray's packaging, and tar.

Each measurement is a process of its own. *Create* is what a leader does: find, hash, archive, save to a store that is a directory.
*Localise* is what a host does: fetch, verify, unpack, and, in jobsys, assemble. Both run cold (no digests known, nothing in the store or on
the host) and again, in new processes. jobsys ships a third time, after a line of the project was edited.
"""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import environment
from contest import HERE, Contestant, call, say, take_turns, with_bytecode
from report import Case
from settings import Bench, Settings

WORKFLOWS = HERE / "workflows"
SOURCE = HERE.parents[1] / "src"
ROUNDS = 3
MB = 1e6

Figures = dict[str, float]
Deed = Callable[[], Figures]


def run(settings: Settings) -> list[Case]:
    """Measure all sides: what is shipped is an environment that has what jobsys needs."""
    shipped = settings.shipped_python()
    site = environment.site_packages(shipped)
    files, size = _read(site)
    case = Case("shipping", f"{size / MB:.0f} MB in {files:,} files")
    numbers = itertools.count()

    def kept(contestant: Contestant) -> Contestant:
        # What a run leaves is removed after the last one: where many files were just removed, ext4 is slow to make new ones.
        def run_once(_: Path) -> Figures:
            place = settings.directory / f"ship-{next(numbers)}"
            place.mkdir()
            return contestant(place)

        return run_once

    contestants = {
        "jobsys": _jobsys(shipped),
        "toil": _resource("toil", settings.peer_python, site),
        "ray": _ray(settings.peer_python, site),
        "tar": _tar(site),
        "jobsys VirtualEnvResource": _resource("jobsys", sys.executable, site),
    }
    asked = ("jobsys", *settings.among("toil", "ray"), "tar", "jobsys VirtualEnvResource")
    take_turns(case, {name: kept(contestants[name]) for name in asked}, settings.turns(ROUNDS), settings.directory)
    _compare(case)
    return [case]


def _read(site: str) -> tuple[int, int]:
    """Read everything once, so that all sides find it in memory; count files and bytes."""
    say("shipping: reading what is shipped into memory")
    sizes = [len(path.read_bytes()) for path in Path(site).rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────────────


def _compare(case: Case) -> None:
    deeds = (("cold create", "create", 0.5), ("warm create", "create_again", 0.1), ("cold localise", "localise", 0.7))
    for what, figure, target in (*deeds, ("warm localise", "localise_again", 0.1)):
        case.compare(f"{what}, seconds, jobsys / toil", ("jobsys", figure), ("toil", figure), target, at_least=False)
        case.compare(f"{what}, processor seconds, jobsys / toil", ("jobsys", f"{figure}_cpu"), ("toil", f"{figure}_cpu"), at_least=False)
        # Ray, the second time, sees a directory of that name and believes it.
        for peer in ("ray", "tar") if figure != "localise_again" else ("tar",):
            case.compare(f"{what}, seconds, jobsys / {peer}", ("jobsys", figure), (peer, figure), at_least=False)
    jobsys = "jobsys"
    case.limit("cold create, growth of memory", (jobsys, "create_growth"), "MB", 64, scale=1 / MB)
    case.limit("localise, growth of memory", (jobsys, "localise_growth"), "MB", scale=1 / MB)
    case.limit("bytes sent by a second start", (jobsys, "again_sent"), "B", 0)
    case.limit("sent after a line was edited", (jobsys, "edit_sent"), "MB", 1, scale=1 / MB)
    case.limit("seconds after a line was edited", (jobsys, "edit"), "s", 1)
    ours = "jobsys VirtualEnvResource"
    case.compare("VirtualEnvResource, seconds, jobsys / toil", (ours, "cold"), ("toil", "cold"), 0.5, at_least=False)
    case.compare("VirtualEnvResource, peak memory, jobsys / toil", (ours, "peak"), ("toil", "peak"), 0.2, at_least=False)


def _all(create: Deed, localise: Deed, edit: Deed | None = None) -> Figures:
    """Do everything once, in the order of a run and its restart."""
    first, again = create(), create()
    edited = edit() if edit is not None else {}
    here, there = localise(), localise()
    figures = {
        "create": first["seconds"], "create_again": again["seconds"], "localise": here["seconds"], "localise_again": there["seconds"],
        "cold": first["seconds"] + here["seconds"], "sent": first.get("sent"), "again_sent": again.get("sent"),
        "create_growth": first.get("growth"), "localise_growth": here.get("growth"),
        "peak": max(first.get("peak", 0), here.get("peak", 0)) or None, "edit": edited.get("seconds"), "edit_sent": edited.get("sent"),
    }  # fmt: skip
    for name, each in (("create", first), ("create_again", again), ("localise", here), ("localise_again", there)):
        figures[f"{name}_cpu"] = each.get("processor")
    return {name: round(value, 4) for name, value in figures.items() if value is not None}


# ── the sides ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _measured(python: list[str], place: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> Figures:
    printed, _ = call([*python, *arguments], place, {**with_bytecode(place), **(variables or {})})
    found: Figures = json.loads(printed.splitlines()[-1])
    return found


def _jobsys(shipped_python: str) -> Contestant:
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)

    def run_once(place: Path) -> Figures:
        project, told, store = place / "project", str(place / "told"), str(place / "store")
        project.mkdir()
        for name in ("ship_jobsys.py", "measured.py"):
            shutil.copy(WORKFLOWS / name, project)
        script = str(project / "ship_jobsys.py")
        core = place / "core.zip"
        make_core = "import sys; from jobsys.arrival.core import core_archive; open(sys.argv[1], 'wb').write(core_archive())"
        call([sys.executable, "-c", make_core, str(core)], place, {"PYTHONPATH": str(SOURCE)})

        def create() -> Figures:
            variables = {"PYTHONPATH": str(SOURCE), "JOBSYS_CACHE": str(place / "leader")}
            return _measured([shipped_python, script], place, "create", store, told, variables=variables)

        def edit() -> Figures:
            with (project / "measured.py").open("a") as stream:
                stream.write("# edited\n")
            return create()

        def localise() -> Figures:
            # A worker has a bare Python and the core, nothing else.
            variables = {"PYTHONPATH": str(core), "JOBSYS_CACHE": str(place / "host")}
            return _measured([base, "-S", script], place, "localise", told, variables=variables)

        return _all(create, localise, edit)

    return run_once


def _resource(side: str, python: str, site: str) -> Contestant:
    command = [python, str(WORKFLOWS / "ship_resource.py"), side]

    def run_once(place: Path) -> Figures:
        told, store, host = str(place / "told"), str(place / "store"), place / "host"
        host.mkdir()
        variables = {"PYTHONPATH": str(SOURCE), "JOBSYS_CACHE": str(place / "cache")} if side == "jobsys" else {}
        return _all(
            lambda: _measured(command, place, "create", store, site, told, variables=variables),
            lambda: _measured(command, place, "localise", str(host), told, variables=variables),
        )

    return run_once


def _ray(python: str, site: str) -> Contestant:
    command = [python, str(WORKFLOWS / "ship_ray.py")]

    def run_once(place: Path) -> Figures:
        told, store, host = str(place / "told"), str(place / "store"), str(place / "host")
        return _all(
            lambda: _measured(command, place, "create", store, site, told), lambda: _measured(command, place, "localise", store, host, told)
        )

    return run_once


def _tar(site: str) -> Contestant:
    def run_once(place: Path) -> Figures:
        archive = str(place / "site.tar")
        hosts = itertools.count()

        def create() -> Figures:
            _, seconds = call(["tar", "cf", archive, "-C", site, "."], place)
            return {"seconds": seconds, "sent": os.path.getsize(archive)}

        def localise() -> Figures:
            host = place / f"host{next(hosts)}"
            host.mkdir()
            return {"seconds": call(["tar", "xf", archive, "-C", str(host)], place)[1]}

        return _all(create, localise)

    return run_once


SHIPPING = Bench(
    "shipping", "an environment of 302 MB in 22,400 files, cold, again and after an edit, beside Toil, Ray and tar", run, quick=False
)
