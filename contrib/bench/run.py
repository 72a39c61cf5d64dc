"""Measure jobsys and what a user could take instead, in turn, and show the ratios beside their targets.

    python contrib/bench/run.py [--only CASE] [--rounds N] [--n N] [--peers pool,ray] [--peer-python PYTHON]
        [--shipped-python PYTHON] [--json FILE]

The cases: fan-out, one-job, shipping. What is compared ran in one call on one machine: a ratio travels, a figure does not.
Exits with 0 whatever the ratios are: these are figures, not tests.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import environment
import fanout
import onejob
from contest import HERE
from report import Case, machine, ratio_table, write_json

import shipping

CASES = ("fan-out", "one-job", "shipping")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, action="append", metavar="CASE", help=f"one of {', '.join(CASES)}; may be repeated")
    parser.add_argument("--rounds", type=int, help="how often each runs (default: 3, one-job 7)")
    parser.add_argument("--n", type=int, default=20_000, help="jobs of the fan-out (default: 20000)")
    parser.add_argument("--peers", default="pool,fork,ray,parsl,dask,toil", help="whom the fan-out runs against (default: %(default)s)")
    parser.add_argument("--peer-python", help="an interpreter that has the peers (default: that of .bench-venv, made if need be)")
    parser.add_argument("--shipped-python", help="an interpreter whose environment is shipped (default: that of .bench-shipped, likewise)")
    parser.add_argument("--json", type=Path, default=HERE / "results.json", help="where to write all figures (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where job stores are made (default: the system's temporary directory)")
    options = parser.parse_args(arguments)
    options.peers = [name for name in options.peers.split(",") if name]
    unknown = set(options.peers) - {*fanout.NEED_NOTHING, *fanout.TO_INSTALL}
    if unknown:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}")
    return options


def measure(options: argparse.Namespace, directory: Path) -> list[Case]:
    """Run the cases that were asked for."""
    wanted = options.only or CASES
    needed = {"one-job", "shipping"} & set(wanted) or ("fan-out" in wanted and set(options.peers) & set(fanout.TO_INSTALL))
    peers = options.peer_python or (environment.peer_python() if needed else "")
    cases = []
    if "fan-out" in wanted:
        cases.append(fanout.run(options.n, options.rounds or 3, options.peers, peers, directory))
    if "one-job" in wanted:
        cases.append(onejob.run(options.rounds or 7, peers, directory))
    if "shipping" in wanted:
        shipped = options.shipped_python or environment.shipped_python()
        cases.append(shipping.run(options.rounds or 3, shipped, peers, directory))
    return cases


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    # Short names: Ray keeps sockets below, whose paths must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="jb-", dir=options.directory) as directory:
        about = machine(Path(directory))
        cases = measure(options, Path(directory))
    write_json(options.json, cases, about)
    print("\n".join(f"{name:>12}: {value}" for name, value in about.items()))
    for case in cases:
        print(case.tell())
    ratios = [ratio for case in cases for ratio in case.ratios if ratio.target is not None]
    if ratios:
        print(f"\nwith a target:\n{ratio_table(ratios)}")
    print(f"\nall figures: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
