"""S3 as a job store, on Ceph's gateway: small objects beside boto3, a large file beside the aws CLI, a fan-out beside Toil.

Small objects go and come in 16 threads of one process: how many a second, and the processor time of the client for each. The large file
is timed from the start of a program to its exit, on both sides.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ours
from ceph import Server, ceph
from contest import Contestant, ContestError, call, take_turns, with_bytecode
from report import Case
from settings import Bench, Settings

from cases.s3_fan_out import fan_out

SMALL_ROUNDS, BIG_ROUNDS = 7, 5
THREADS = 16
MIB = 1 << 20

Measure = Callable[[Settings, Server], Case]


def on_one_server(*measures: Measure) -> Callable[[Settings], list[Case]]:
    """Make a case of some measurements."""

    def run(settings: Settings) -> list[Case]:
        with ceph(settings.directory) as server:
            return [measure(settings, server) for measure in measures]

    return run


def small(settings: Settings, server: Server) -> Case:
    """Measure objects of 4 KiB."""
    count = 160 if settings.quick else 1_600
    case = Case("s3 small objects", f"{count:,} objects of 4 KiB put and read back by {THREADS} threads")
    server.make_bucket("small", settings.directory)

    def side(name: str) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            words = [sys.executable, str(ours.WORKFLOWS / "s3_objects.py"), name, "small", str(count), str(THREADS)]
            printed, wall = call(words, place, {**with_bytecode(place), **server.variables()})
            return {**json.loads(printed), "wall_s": round(wall, 4)}

        return run_once

    take_turns(case, {"jobsys": side("jobsys"), "boto3": side("bare")}, settings.turns(SMALL_ROUNDS), settings.directory)
    for deed in ("put", "get"):
        case.compare(f"{deed}s a second, jobsys / boto3", ("jobsys", f"{deed}s_per_s"), ("boto3", f"{deed}s_per_s"), 0.8)
        name = f"processor time of the client a {deed}, jobsys / boto3"
        case.compare(name, ("jobsys", f"{deed}_cpu_ms"), ("boto3", f"{deed}_cpu_ms"), at_least=False)
    return case


def big(settings: Settings, server: Server) -> Case:
    """Measure a file of 1 GB, up and down."""
    size = (20 if settings.quick else 954) * MIB
    case = Case("s3 big file", f"{size / 1e6:,.0f} MB from a file into a bucket, and out of it into a file")
    server.make_bucket("big", settings.directory)
    made = settings.directory / "big"
    digest = _fill(made, size)

    def transfer(words: Callable[[str, Path, str], list[str]], variables: dict[str, str]) -> Contestant:
        def run_once(place: Path) -> dict[str, Any]:
            figures: dict[str, Any] = {}
            back = place / "back"
            for way, path in (("up", made), ("down", back)):
                os.sync()  # or the disk would still be busy with what was before
                _, seconds = call(words(way, path, place.name), place, {**server.variables(), **variables})
                figures |= {f"{way}_s": round(seconds, 4), f"{way}_mb_per_s": round(size / 1e6 / seconds, 1)}
            with back.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                    raise ContestError("the file came back changed")
            return figures

        return run_once

    def jobsys(way: str, path: Path, key: str) -> list[str]:
        return [sys.executable, str(ours.WORKFLOWS / "s3_file.py"), way, str(path), "s3://big", key]

    def aws(way: str, path: Path, key: str) -> list[str]:
        ends = [str(path), f"s3://big/{key}"]
        return [settings.peer_python, "-m", "awscli", "s3", "cp", "--only-show-errors", *(ends if way == "up" else reversed(ends))]

    contestants = {"jobsys": transfer(jobsys, with_bytecode(made))}
    contestants |= {"aws": transfer(aws, {})} if settings.among("awscli") else {}
    take_turns(case, contestants, settings.turns(BIG_ROUNDS), settings.directory)
    for way in ("up", "down"):
        case.compare(f"MB a second {way}, jobsys / aws s3 cp", ("jobsys", f"{way}_mb_per_s"), ("aws", f"{way}_mb_per_s"), 1.0)
    case.compare("processor seconds, jobsys / aws s3 cp", ("jobsys", "cpu_s"), ("aws", "cpu_s"), at_least=False)
    return case


def _fill(path: Path, size: int) -> str:
    """Write a file of which no two blocks are the same; give its digest."""
    hashed = hashlib.sha256()
    with path.open("wb") as stream:
        for number in range(size // MIB):
            piece = hashlib.shake_128(str(number).encode()).digest(MIB)
            hashed.update(piece)
            stream.write(piece)
    return hashed.hexdigest()


S3 = Bench("s3", "what s3-small, s3-big and s3-fan-out measure, on one server", on_one_server(small, big, fan_out), usual=False)
S3_SMALL = Bench("s3-small", "objects of 4 KiB in 16 threads, beside boto3", on_one_server(small), usual=False, beside=False)
S3_BIG = Bench("s3-big", "1 GB into a bucket and out of it, beside the aws CLI", on_one_server(big), usual=False)
S3_FAN_OUT = Bench("s3-fan-out", "requests and seconds of 1,000 no-op jobs, beside Toil", on_one_server(fan_out), usual=False)
