"""Lead a simulated run on a cluster that nobody has, and tell what it cost the leader; or print the tables of docs/scale.md.

    python contrib/scale/run.py [--workload NAME] [--jobs 10M] [--hosts 10000] [--mean 60] [--storage file] [--charged] …
    python contrib/scale/run.py --tables [--jobs N] [--rate NAME=VALUE]

The leader, its journal, its job store and what decides are the real ones; hosts, workers and the time are not. Exits with 0 whatever the
figures are, and with 1 if a run did not end as it should.
"""

import argparse
import dataclasses
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import memory
import paper
import tables
from experiment import STORAGES, Experiment, Setting
from pretended import Size
from workloads import WORKLOADS


def count(text: str) -> int:
    """Read a number such as 200000, 200k or 10M."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: write 200000, 200k or 10M")
    return round(float(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2]])


def rate(text: str) -> tuple[str, float]:
    """Read one of the rates that nobody can measure here."""
    name, _, value = text.partition("=")
    known = [field.name for field in dataclasses.fields(paper.Rates)]
    if name not in known:
        raise argparse.ArgumentTypeError(f"there is no rate {name!r}; there are {', '.join(known)}")
    return name, float(value)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workload", choices=WORKLOADS, action="append", help="may be repeated (default: flat; with --tables all)")
    add("--jobs", type=count, default=200_000, help="how many, about (default: 200k)")
    add("--width", type=count, default=0, help="jobs that one makes (flat), branches (fan-in), chains, side (lattice), maps")
    add("--hosts", type=count, default=1000)
    add("--cores", type=count, default=32, help="of a host; each job takes one")
    add("--mean", type=float, default=60.0, help="seconds that a job takes on average (default: 60)")
    add("--queue", type=count, default=10_000, help="jobs that wait for a core at most (default: 10k)")
    add("--cycle", type=float, default=1.0, help="seconds between two looks at the batch system (default: 1)")
    add("--lifetime", type=float, default=1e6, help="seconds that a host lives on average (default: 1e6); inf: no host dies")
    add("--storage", choices=STORAGES, default="file", help="file: every write is synced (default)")
    add("--latency", type=float, default=0.0, help="simulated seconds that each request to the storage takes the leader")
    add("--charged", action="store_true", help="the leader's processor time passes on the simulated clock, too: does it keep up?")
    add("--no-restart", action="store_true", help="else the leader dies half-way, and another restores the run")
    add("--window", type=count, default=0, help="attempts that the batch system has at most (default: its cores and its queue)")
    add("--listed", action="store_true", help="all that runs is listed for each status")
    add("--seed", type=int, default=1)
    add("--tables", action="store_true", help="print the tables of docs/scale.md")
    add("--rate", type=rate, action="append", default=[], metavar="NAME=VALUE", help="a price or a rate of the paper part")
    add("--json", type=Path, help="write all figures there")
    add("--directory", type=Path, help="where job stores are made (default: the system's temporary directory)")
    return parser.parse_args(arguments)


def setting(options: argparse.Namespace, workload: str) -> Setting:
    return Setting(
        workload=workload,
        jobs=options.jobs,
        width=options.width,
        size=Size(options.hosts, options.cores, options.queue, options.cycle, options.lifetime),
        mean=options.mean,
        storage=options.storage,
        latency=options.latency,
        charged=options.charged,
        restart=not options.no_restart,
        seed=options.seed,
        window=options.window,
        listed=options.listed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    found = []
    for workload in options.workload or (WORKLOADS if options.tables else ["flat"]):
        with tempfile.TemporaryDirectory(prefix="js-", dir=options.directory) as directory:
            try:
                found.append(Experiment(setting(options, workload), Path(directory)).run())
            except AssertionError as error:
                print(f"{workload}: {error}", file=sys.stderr)
                return 1
        if not options.tables:
            print(tables.one(found[-1]))
    if options.tables:
        print(tables.all_of(found, memory.measure(min(20_000, options.jobs), options.directory), paper.Rates(**dict(options.rate))))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
