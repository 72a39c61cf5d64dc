"""A workflow in which jobs meet what happens on clusters; each writes down that it ran, below the directory that it is given."""

import os
import sys
import time
from pathlib import Path

import jobsys
from jobsys import job


def note(where: str, name: str) -> None:
    Path(where, f"{name}-{os.getpid()}-{time.time_ns()}").touch()


@job
def square(number):
    return number * number


@job
def chain(left, value=0):
    return value if left == 0 else chain(left - 1, value + 1)


@job(memory="200M")
def glutton(where):
    """Take more memory than was asked for; with what is given to the second try, it fits."""
    note(where, "glutton")
    held = bytearray(300 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    time.sleep(1)
    return len(held)


@job(walltime=4)
def slow(where):
    """Take longer than allowed, the first time."""
    note(where, "slow")
    if len(list(Path(where).glob("slow-*"))) == 1:
        time.sleep(60)
    return "in time"


@job
def patient(where, name, seconds):
    """Sleep for so long, or until somebody says that it is enough."""
    note(where, name)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not Path(where, "enough").exists():
        time.sleep(0.05)
    return name


@job
def resumed(where, name, seconds):
    """Take long the first time, and no time at all once that was cut short."""
    note(where, name)
    if len(list(Path(where).glob(f"{name}-*"))) == 1:
        time.sleep(seconds)
    return name


@job
def fan_out(count):
    return sum_up([square(number) for number in range(count)])


@job
def sum_up(numbers):
    return sum(numbers)


@job
def all_of_it(where, count):
    return fan_out(count), chain(4), glutton(where), slow(where)


@job
def naps(where, count, seconds):
    return [patient(where, f"nap{number}", seconds) for number in range(count)]


@job
def cut_short(where, count, seconds, preemptible):
    nap = resumed.with_requirements(preemptible=preemptible)
    return [nap(where, f"nap{number}", seconds) for number in range(count)]


@job
def link(where, left, seconds, value=0):
    note(where, f"link{value}")
    time.sleep(seconds)
    return link(where, left - 1, seconds, value + 1) if left > 1 else value + 1


if __name__ == "__main__":
    parser = jobsys.argument_parser()
    parser.add_argument("what", choices=["all", "naps", "cut-short", "links"])
    parser.add_argument("--where", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--preemptible", action="store_true")
    options = parser.parse_args()
    if options.what == "all":
        workflow = all_of_it(options.where, options.count)
    elif options.what == "links":
        workflow = link(options.where, options.count, options.seconds)
    elif options.what == "cut-short":
        workflow = cut_short(options.where, options.count, options.seconds, options.preemptible)
    else:
        workflow = naps(options.where, options.count, options.seconds)
    print(jobsys.run(workflow, options))
    sys.exit(0)
