"""Measure the local batch system alone: orders of 150 bytes out, reports of 150 bytes back, nothing done in between.

python contrib/bench/transport.py [--jobs 20000] [--workers 2] [--isolation warm|process] [--profile]
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import time

from jobsys.batch.base import BatchJob
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements


class Nothing:
    """An executor that does nothing."""

    def run(self, order, channel):
        """Return a report of 150 bytes."""
        return b"x" * 150


def prepare(arguments):
    """Make the executor."""
    return Nothing()


def measure(system: LocalBatchSystem, count: int, first: int) -> tuple[float, float, int]:
    """Run so many jobs; return seconds, the leader's processor seconds, and the calls of updates()."""
    requirements = Requirements(cores=1, memory=10**8)
    jobs = [BatchJob(first + number, "nothing", requirements, b"o" * 150) for number in range(count)]
    began, used, calls, done = time.perf_counter(), time.process_time(), 0, 0
    system.submit(jobs)
    while done < count:
        done += len(system.updates(10))
        calls += 1
    return time.perf_counter() - began, time.process_time() - used, calls


def latency(system: LocalBatchSystem, first: int) -> float:
    """Return the median seconds from submit to report of single jobs."""
    return statistics.median(measure(system, 1, first + number)[0] for number in range(500))


def main() -> None:
    """Print jobs per second and the leader's part in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--isolation", choices=["warm", "process"], default="warm")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); from jobsys.worker.__main__ import main; sys.exit(main(sys.argv[1:]))"
    machine = Machine(options.workers, 64 * 10**9, 10**9)
    command = [sys.executable, "-c", code, "--executor", "transport:prepare"]
    system = LocalBatchSystem(command, machine=machine, isolation=options.isolation)
    profile = cProfile.Profile()
    try:
        began = time.perf_counter()
        measure(system, 1, 10**9)
        print(f"first job after {time.perf_counter() - began:.3f} s; median of one job alone {latency(system, 2 * 10**9) * 1e6:.0f} us")
        for turn in range(3):
            if options.profile:
                profile.enable()
            wall, used, calls = measure(system, options.jobs, turn * options.jobs)
            profile.disable()
            rate, cost = options.jobs / wall, used / options.jobs * 1e6
            print(f"{rate:9.0f} jobs/s, leader {cost:5.1f} us CPU/job, {options.jobs / calls:.0f} jobs/call")
    finally:
        began = time.perf_counter()
        system.shutdown()
        print(f"shutdown {time.perf_counter() - began:.3f} s")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
