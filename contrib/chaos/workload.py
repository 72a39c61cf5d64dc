"""The workflow that is struck: every kind of job that jobsys has, each signing in a record outside of the job store.

python workload.py file:STORE --jobs N --outside DIRECTORY

Its value depends on nothing but N, however often it was killed. A job's value says which attempt made it, and who reads it signs for
that: so a checker sees whether anything of an attempt that lost, or that was never remembered, has been used.
"""

import argparse
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jobsys

PER_UNIT = 26
"""Jobs in a unit of the workflow, about."""
LARGE = 300 * 1024
"""Bytes of a value that lies beside the journal."""
QUICK = "CHAOS_QUICK"
OUTSIDE = "CHAOS_OUTSIDE"
REQUIREMENTS = {"cores": 0.2, "memory": "200M"}


def sign(kind, **more):
    """Append a line to the record; one write, so that lines of many processes do not mix."""
    context = jobsys.current()
    line = {"kind": kind, "job": context.job_id, "token": context._token, "name": context.name, "pid": os.getpid(), **more}
    record = os.open(f"{os.environ[OUTSIDE]}/record", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(record, json.dumps(line).encode() + b"\n")
    finally:
        os.close(record)


@contextmanager
def signed(*inputs, seconds=0.0) -> Iterator[None]:
    """Record start and end of an attempt, and the attempts whose values it was given."""
    sign("start", seen=[each["by"] for each in inputs])
    if not os.environ.get(QUICK):
        time.sleep(seconds)
    yield
    sign("end")


def traced(value):
    """Make a value that says which attempt it comes from."""
    context = jobsys.current()
    return {"value": value, "by": [context.job_id, context._token]}


def digest(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def large(seed):
    """Make bytes that don't shrink and depend on the seed only."""
    return b"".join(hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(LARGE // 32))


@jobsys.job(**REQUIREMENTS)
def leaf(number):
    with signed(seconds=(number % 7) * 0.004):
        return traced(digest("leaf", number))


@jobsys.job(**REQUIREMENTS)
def slow(number):
    with signed(seconds=1.0):
        return traced(digest("slow", number))


@jobsys.job(**REQUIREMENTS)
def bulky(number):
    with signed():
        return traced(large(number))


@jobsys.job(**REQUIREMENTS)
def shrink(one):
    with signed(one, seconds=0.01):
        return traced(digest(hashlib.sha256(one["value"]).hexdigest()))


@jobsys.job(**REQUIREMENTS)
def step(one, number):
    with signed(one, seconds=0.005):
        return traced(digest("step", one["value"], number))


@jobsys.job(**REQUIREMENTS)
def join(parts):
    with signed(*parts):
        return traced(digest("join", *[part["value"] for part in parts]))


@jobsys.job(**REQUIREMENTS)
def grow(depth, number):
    """Make children while running, and hand a promise of theirs on."""
    with signed(seconds=0.01):
        if depth == 0:
            return traced(digest("grown", number))
        return join([grow(depth - 1, 2 * number), grow(depth - 1, 2 * number + 1)])


@jobsys.job(**REQUIREMENTS)
def write(number):
    """Write a file into the job store; the attempt that loses must leave none."""
    with signed(seconds=0.01):
        context = jobsys.current()
        path = context.temp_dir / "data.bin"
        path.write_bytes(large(number)[: 1000 + 700 * (number % 400)])
        return traced(context.write_file(path))


@jobsys.job(**REQUIREMENTS)
def read(file):
    """Read that file, write another one, and have the first deleted when this attempt commits."""
    with signed(file, seconds=0.01):
        context = jobsys.current()
        data = context.read_file(file["value"]).read_bytes()
        with context.write_stream("copy.bin") as (stream, made):
            stream.write(data[::-1])
        context.delete_file(file["value"])
        return traced(made)


@jobsys.job(**REQUIREMENTS)
def weigh(file):
    with signed(file), jobsys.current().read_stream(file["value"]) as stream:
        return traced(digest(hashlib.sha256(stream.read()).hexdigest()))


@jobsys.job(**REQUIREMENTS)
def spawn(number):
    """Leave a process behind, in a session of its own: it must end with this attempt, whatever that dies of."""
    with signed():
        if not os.environ.get(QUICK):
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
            time.sleep(0.8)
        return traced(digest("spawned", number))


class Constant(jobsys.Service):
    """A service that gives its clients a number."""

    def __init__(self, number):
        super().__init__(**REQUIREMENTS)
        self.number = number

    def start(self, context):
        sign("service")
        return digest("service", self.number)

    def check(self, context):
        return True

    def stop(self, context):
        sign("stop")


@jobsys.job(**REQUIREMENTS)
def ask(given, number):
    with signed(seconds=0.05):
        return traced(digest("asked", given, number))


@jobsys.job(**REQUIREMENTS)
def served(number):
    with signed():
        given = jobsys.current().job.add_service(Constant(number))
        return join([ask(given, each) for each in range(2)])


@jobsys.job(retries=0, **REQUIREMENTS)
def trip(number):
    """Fail for good, once in a run: what is above is a checkpoint, and runs again."""
    with signed():
        if not os.environ.get(QUICK):
            try:
                os.close(os.open(f"{os.environ[OUTSIDE]}/tripped-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                pass
            else:
                raise RuntimeError("the first time it fails, on purpose")
        return traced(digest("tripped", number))


@jobsys.job(checkpoint=True, retries=20, name="checkpoint", **REQUIREMENTS)
def checkpointed(number):
    with signed():
        return trip(number)


@jobsys.job(**REQUIREMENTS)
def unit(number):
    """Make one of everything. With the few below that are made by what is made, ``PER_UNIT`` jobs."""
    with signed():
        chain = leaf(1000 * number)
        for each in range(4):
            chain = step(chain, each)
        parts = [chain, grow(1, number), weigh(read(write(number))), shrink(bulky(number))]
        parts += [leaf(1000 * number + each) for each in range(1, 8)]
        if number % 4 == 0:
            parts.append(slow(number))
        if number % 4 == 1:
            parts.append(spawn(number))
        if number % 10 == 3:
            parts.append(served(number))
        if number % 25 == 7:
            parts.append(checkpointed(number))
        return join(parts)


@jobsys.job(**REQUIREMENTS)
def total(parts):
    with signed(*parts):
        return [part["value"] for part in parts]


@jobsys.job(**REQUIREMENTS)
def main(jobs):
    return total([unit(number) for number in range(max(1, jobs // PER_UNIT))])


if __name__ == "__main__":
    parser: argparse.ArgumentParser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--outside", type=Path, required=True)
    args = parser.parse_args()
    os.environ[OUTSIDE] = str(args.outside)
    print(json.dumps(jobsys.run(main(args.jobs), args)))
