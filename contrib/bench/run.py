"""Measure jobsys and what a user could take instead, in turn, and show the ratios beside their targets.

What is compared ran in one call on one machine: a ratio travels, a figure does not. Each run is saved as JSON, with a picture beside it.

Examples:
    make bench                                          all usual cases beside all peers, about 20 minutes
    make bench ARGS=--quick                             small and once, without installed peers: does it work?
    make bench ARGS='--only chain --only lattice'       some cases; --list names them
    make bench ARGS='--only fan-out --n 2000 --peers pool,fork,spawn --rounds 5'
    make bench ARGS='--only million'                    on demand only: takes minutes
    make bench-compare AGAINST=before.json              measure the same again, and show what has changed

Exit status: 0 whatever the ratios are (these are figures, not tests), 1 if something could not be measured, 2 wrong usage.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import compare
import environment
import plot
import saved
from cases import BENCHES
from contest import ContestError, say
from host import machine
from report import Case, ratio_table
from settings import PEERS, TO_INSTALL, Bench, Settings

USUAL_PEERS = "pool,fork,ray,parsl,dask,toil,awscli"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the cases, and measure nothing")
    parser.add_argument("--only", choices=BENCHES, action="append", metavar="CASE", help="a case of --list; may be repeated")
    parser.add_argument("--quick", action="store_true", help="small, one round, without installed peers")
    parser.add_argument("--rounds", type=_positive, help="how often each contestant runs (default: 2 to 7, each case has its own)")
    parser.add_argument("--n", type=_positive, help="how many jobs, links, files …: with one --only")
    parser.add_argument("--peers", help=f"whom to run against, of {', '.join(PEERS)} (default: {USUAL_PEERS}; with --quick pool,fork)")
    parser.add_argument("--peer-python", help="an interpreter that has the peers (default: that of .bench-venv, made if need be)")
    parser.add_argument("--shipped-python", help="an interpreter whose environment is shipped (default: that of .bench-shipped, likewise)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to save the run (default: a new file in contrib/bench/runs)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw it, an .svg (default: beside the JSON)")
    parser.add_argument("--against", metavar="FILE", help="a saved run to compare with; 'newest' takes the newest in contrib/bench/runs")
    parser.add_argument("--directory", type=Path, help="where job stores are made (default: the system's temporary directory)")
    options = parser.parse_args(arguments)
    options.peers = [name for name in (options.peers or ("pool,fork" if options.quick else USUAL_PEERS)).split(",") if name]
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if options.n and len(options.only or ()) != 1:
        parser.error("--n needs one --only CASE: it means something else in each")
    if options.directory and not options.directory.is_dir():
        parser.error(f"--directory {options.directory} is no directory: make it first")
    return options


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def chosen(options: argparse.Namespace, then: dict[str, Any] | None) -> list[Bench]:
    """Pick the cases: those named, else those of the run to compare with, else the usual ones."""
    if options.only:
        return [BENCHES[name] for name in BENCHES if name in options.only]
    if then is not None:
        return [bench for bench in BENCHES.values() if bench.name in then["asked"]["cases"]]
    return [bench for bench in BENCHES.values() if bench.usual and (bench.quick or not options.quick)]


def measure(bench: Bench, settings: Settings) -> list[Case]:
    """Run a case; what it can't do is told in its place."""
    try:
        return bench.run(settings)
    except (ContestError, OSError, LookupError, ValueError, subprocess.CalledProcessError) as error:
        failed = Case(bench.name)
        failed.fail(f"{error if isinstance(error, ContestError) else repr(error)}; the other cases run without it")
        return [failed]


def find_peers(options: argparse.Namespace, benches: list[Bench]) -> tuple[list[str], str, list[Case]]:
    """Give the peers that are there, the interpreter they are in, and what went wrong when it was to be made."""
    if not any(bench.beside for bench in benches) or not set(options.peers) & set(TO_INSTALL):
        return options.peers, "", []
    try:
        return options.peers, options.peer_python or environment.peer_python(), []
    except (OSError, subprocess.CalledProcessError) as error:
        failed = Case("peers")
        failed.fail(
            f"they can't be installed ({error}): mend that, name an interpreter with --peer-python, or do without: --peers pool,fork"
        )
        return [name for name in options.peers if name not in TO_INSTALL], "", [failed]


def measure_all(options: argparse.Namespace, benches: list[Bench]) -> tuple[dict[str, Any], list[Case], bool]:
    """Run the cases; give the machine, what was found, and whether a person broke it off."""
    peers, python, cases = find_peers(options, benches)
    shipped = (lambda: options.shipped_python) if options.shipped_python else environment.shipped_python
    # Short names: Ray keeps sockets below, whose paths must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="jb-", dir=options.directory, ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        about = machine(directory)
        settings = Settings(directory, options.quick, options.rounds, options.n, tuple(peers), python, shipped)
        for bench in benches:
            try:
                cases += measure(bench, settings)
            except KeyboardInterrupt:
                say("broken off: what was measured up to here follows")
                return about, cases, True
    return about, cases, False


def tell(about: dict[str, Any], cases: list[Case]) -> None:
    """Print all tables."""
    print("\n".join(f"{name:>12}: {value}" for name, value in about.items()))
    for case in cases:
        print(case.tell())
    aimed = [ratio for case in cases for ratio in case.ratios if ratio.target is not None]
    if aimed:
        print(f"\nwith a target, {sum(ratio.met is False for ratio in aimed)} of {len(aimed)} missed:\n{ratio_table(aimed)}")
    for case in cases:
        for problem in case.problems:
            print(f"FAILED {case.name}: {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.list:
        shown = [[each.name, each.about, "yes" if each.usual else "on demand"] for each in BENCHES.values()]
        print("\n".join(f"{name:<12} {about}{'' if usual == 'yes' else ' (on demand)'}" for name, about, usual in shown))
        return 0
    try:
        then = saved.read(saved.named(options.against, quick=options.quick)) if options.against else None
        sizes = {"sizes": {"quick": options.quick, "n": options.n}}
        if then is not None:
            compare.check(then, sizes)
    except saved.SavedError as error:
        print(f"bench-compare: {error}", file=sys.stderr)
        return 2
    benches = chosen(options, then)
    about, cases, broken_off = measure_all(options, benches)
    path = options.json or saved.new_path(quick=options.quick)
    now = saved.write(path, cases, about, {**sizes, "cases": [bench.name for bench in benches], "peers": options.peers})
    picture = options.plot or path.with_suffix(".svg")
    hint = "; small and once, so that these ratios say nothing" if options.quick else ""
    picture.write_text(plot.drawn(cases, f"{now['when']}, commit {now['commit']}{hint}"))
    tell(about, cases)
    print(f"\n{now['when']}, commit {now['commit']}{hint}")
    if then is not None:
        print(f"\n{compare.compared(then, now)}")
    print(f"\nall figures: {path}\npicture: {picture}")
    return 130 if broken_off else int(any(case.problems for case in cases))


if __name__ == "__main__":
    sys.exit(main())
