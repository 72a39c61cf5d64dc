"""Simulate many seeds, or one of them again: ``python -m simulation.system --seeds 2000``, ``--replay 17``."""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pprint import pformat

from simulation.system.run import simulated  # type: ignore[import-not-found]
from simulation.system.simulate import Case, Report, digest, look, shrink, simulate  # type: ignore[import-not-found]

BATCH = 25


def part(seeds: list[int]) -> Report:
    """Simulate some seeds in this process."""
    with simulated():
        return simulate(seeds)


def many(first: int, count: int, processes: int) -> Report:
    """Simulate seeds in several processes, and show how it goes."""
    total = Report()
    batches = [list(range(start, min(start + BATCH, first + count))) for start in range(first, first + count, BATCH)]
    with ProcessPoolExecutor(processes) as pool:
        for report in pool.map(part, batches):
            total.add(report)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{total.workflows} of {count}, {len(total.failures)} violations ")
    return total


def replay(seed: int) -> int:
    """Simulate one seed, made as small as it can be while it fails, and show its history."""
    with simulated():
        case = Case.of(seed)
        wrong, runs = look(case)
        if not wrong:
            print(f"seed {seed}: well; {len(runs[1].world.struck)} strikes, {len(runs[1].started)} leaders")
            return 0
        print(f"seed {seed}: {wrong}\nmaking it smaller ...")
        small = shrink(case)
        wrong, runs = look(small)
    for happened in runs[1].world.history:
        print("  ", *happened)
    print(f"strikes that it takes: {[runs[1].world.struck[number] for number in small.only or ()]}\n{pformat(small.root)}\n{wrong}")
    return 1


def main(arguments: list[str]) -> int:
    """Do what the command line says; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m simulation.system", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many workflows (default: 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at a time (default: one a core)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="simulate one seed, shrink it if it fails, show what happened")
    parser.add_argument("--digest", type=int, nargs="*", metavar="SEED", help="print the digests of these seeds' histories")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return replay(options.replay)
    if options.digest is not None:
        with simulated():
            print(*map(digest, options.digest))
        return 0
    report = many(options.first, options.seeds, options.processes)
    print(report.text())
    for seed, wrong in report.failures[:20]:
        print(f"seed {seed}: {wrong}\n    again: make simulate SEED={seed}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
