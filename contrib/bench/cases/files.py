"""Files through the store: many small ones, and one of 1 GB handed from a job to the next."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import ours
from contest import Contestant, ContestError, call, take_turns, with_bytecode
from report import Case
from settings import Bench, Settings
from sides import rated

ROUNDS = 3
PIECE = 1 << 20
EACH = 50  # small files a job


def small(settings: Settings) -> list[Case]:
    """Measure jobs that write small files, and jobs that read them, beside a pool that does it by hand."""
    jobs = settings.size(100, 4)
    files = jobs * EACH
    case = Case("small files", f"{files:,} files of 1 kB, {EACH} a job, written into the store and read from there by other jobs")

    def jobsys(place: Path) -> dict[str, Any]:
        words = ours.command("small_files.py", place, "--n", jobs, "--files", EACH, workers=settings.workers)
        printed, wall = call(words, place, with_bytecode(place))
        _check(json.loads(printed)["answer"], files)
        found = ours.journal(place)
        return {"seconds": round(found.ended - found.began, 6), "wall_s": round(wall, 4)}

    def pool(sync: str) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            words = [sys.executable, str(ours.WORKFLOWS / "small_files_pool.py"), str(place), str(jobs), str(EACH), sync]
            told = json.loads(call(words, place)[0])
            _check(told.pop("answer"), files)
            return dict(told)

        return run_once

    sides = {"jobsys": jobsys, "pool, synced": pool("sync"), "pool, not synced": pool("nosync")}
    contestants = {name: rated(side, files, "files_per_s") for name, side in sides.items()}
    take_turns(case, contestants, settings.turns(ROUNDS), settings.directory)
    for name in ("pool, synced", "pool, not synced"):
        case.compare(f"files a second, jobsys / {name}", ("jobsys", "files_per_s"), (name, "files_per_s"))
    return [case]


def _check(answer: object, expected: int) -> None:
    if answer != expected:
        raise ContestError(f"{answer} files came back right instead of {expected}")


def big(settings: Settings) -> list[Case]:
    """Measure one file handed to the next job, from ``write_file`` to the end of ``read_file``, beside ``cp`` of a file as large."""
    size = settings.size(1000, 10) * PIECE
    case = Case("big file", f"{size / 1e6:,.0f} MB from write_file in one job to the end of read_file in the next; the store is synced")

    def jobsys(*how: str) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            words = ours.command("big_file.py", place, "--size", size, *how, workers=settings.workers)
            told = json.loads(call(words, place, with_bytecode(place))[0])
            _check(told.pop("bytes"), size)
            return {name: round(value, 6) for name, value in told.items()}

        return run_once

    def copied(*, sync: bool) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            _make(place / "made", size)
            start = time.perf_counter()
            call(["cp", "made", "copy"], place)
            if sync:
                call(["sync", "copy"], place)
            return {"seconds": round(time.perf_counter() - start, 6)}

        return run_once

    sides = {
        "jobsys": jobsys(),
        "jobsys, moved": jobsys("--move"),
        "jobsys, moved and linked": jobsys("--move", "--link"),
        "cp": copied(sync=False),
        "cp + sync": copied(sync=True),
    }
    take_turns(
        case, {name: rated(side, size // 1_000_000, "mb_per_s") for name, side in sides.items()}, settings.turns(ROUNDS), settings.directory
    )
    case.compare("MB a second, moved in and linked out / cp", ("jobsys, moved and linked", "mb_per_s"), ("cp", "mb_per_s"), 0.8)
    case.compare("MB a second, moved in and copied out / cp", ("jobsys, moved", "mb_per_s"), ("cp", "mb_per_s"))
    case.compare("MB a second, copied in and out / cp", ("jobsys", "mb_per_s"), ("cp", "mb_per_s"))
    case.compare("MB a second, copied in and out / cp + sync FILE", ("jobsys", "mb_per_s"), ("cp + sync", "mb_per_s"))
    case.compare("seconds, write_file alone / cp + sync FILE", ("jobsys", "write_s"), ("cp + sync", "seconds"), at_least=False)
    case.compare("seconds, read_file alone / cp", ("jobsys", "read_s"), ("cp", "seconds"), at_least=False)
    return [case]


def _make(path: Path, size: int) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from big_file import fill; fill(sys.argv[2], int(sys.argv[3]))"
    call([sys.executable, "-c", code, str(ours.WORKFLOWS), str(path), str(size)], path.parent)
    if shutil.disk_usage(path).free < 2 * size:
        raise ContestError(f"too little room on the disk of {path.parent}: --directory names another place")


SMALL = Bench("small-files", "5,000 files of 1 kB written into the store and read, beside a pool by hand", small, beside=False)
BIG = Bench("big-file", "1 GB from job to job through the store, beside cp", big, beside=False)
