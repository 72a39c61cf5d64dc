"""Take a job apart: which system calls it costs, and in which part of the code its time goes, by kind of process.

    python contrib/bench/anatomy.py calls [--shape fan-out|chain] [--few N] [--many N]
    python contrib/bench/anatomy.py time [--shape fan-out|chain] [--many N] [--py-spy PROGRAM]

``calls`` runs a workflow twice under strace, with few jobs and with many, and divides the difference by the difference of the jobs:
what is paid once falls out. ``time`` samples all processes with py-spy and adds up what lies below each part. Both slow the run down:
the counts are right, the shares are about right, no rate means anything here. Exits with 1 if the program needed is not there.
"""

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from report import table

HERE = Path(__file__).resolve().parent
SHAPES: Final = ("fan-out", "chain", "growing")
_LINE: Final = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\((.*)| resumed>.*?= (\d+).*)")
_CLONE: Final = frozenset({"clone", "clone3", "fork", "vfork"})

PARTS: Final = (
    # The first that is found on a stack, from its innermost frame outwards, is where a sample counts.
    ("journal: sync", "_publish|sync_directory|put (jobsys/storage/local"),
    ("journal: encode, hash, sign", "flush (jobsys/journal"),
    ("state machine", "apply (jobsys/progress"),
    ("take in reports", "_take (jobsys/leader|_completed (jobsys/leader"),
    ("orders", "_submit (jobsys/leader"),
    ("lanes, sockets", "updates (jobsys/batch|submit (jobsys/batch"),
    ("leader: other", "jobsys/leader/"),
    ("fetch the body, the values", "_read (jobsys/worker/execute"),
    ("unpickle", "load (jobsys/pickling"),
    ("the function itself", "_call (jobsys/worker/execute"),
    ("pickle, records", "encode (jobsys/graph"),
    ("surroundings, log, report", "run (jobsys/worker/execute"),
    ("worker: wait for an order, send", "_read (jobsys/worker/loop|_send (jobsys/worker/loop"),
    ("worker: other", "jobsys/worker/loop"),
    ("host: watch", "jobsys/worker/host"),
    ("start, end, imports", ""),
)


class Problem(Exception):
    """What was asked for can't be done here."""


class Traced(NamedTuple):
    """How often each process made each system call, and which kind of process it was."""

    calls: dict[int, collections.Counter[str]]
    roles: dict[int, str]

    def by_role(self) -> dict[str, collections.Counter[str]]:
        """Add up the processes of one kind."""
        summed: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for pid, calls in self.calls.items():
            summed[self.roles.get(pid, "other")].update(calls)
        return summed


def read_trace(lines: Iterable[str]) -> Traced:
    """Read what ``strace -f`` wrote: the first process is the leader, what starts jobsys.worker a host, what that forks are workers."""
    calls: dict[int, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    parents: dict[int, int] = {}
    hosts: set[int] = set()
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        pid, name = int(match[1]), match[2]
        if match[3] is not None:
            calls[pid][name] += 1
            if name == "execve" and "jobsys.worker" in match[3]:
                hosts.add(pid)
        if name in _CLONE and (made := re.search(r"= (\d+)$", line.rstrip())):
            parents[int(made[1])] = pid
    return Traced(calls, {pid: _role(pid, parents, hosts) for pid in calls})


def _role(pid: int, parents: Mapping[int, int], hosts: Collection[int]) -> str:
    if pid in hosts:
        return "host"
    while pid in parents:
        pid = parents[pid]
        if pid in hosts:
            return "worker"
    return "leader"


def calls_a_job(few: Traced, many: Traced, jobs: int) -> dict[str, dict[str, float]]:
    """Give the calls a job by kind of process: the difference of two runs over the difference of their jobs."""
    less, more = few.by_role(), many.by_role()
    return {
        role: {name: (more[role][name] - less.get(role, collections.Counter())[name]) / jobs for name in more[role]}
        for role in sorted(more)
    }


def shares(stacks: Iterable[str]) -> collections.Counter[str]:
    """Add up py-spy's raw stacks (``frame;frame;… count``) by part."""
    found: collections.Counter[str] = collections.Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if count.isdigit():
            found[_part(stack)] += int(count)
    return found


def _part(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        for name, marks in PARTS[:-1]:
            if any(mark in frame for mark in marks.split("|")):
                return name
    return PARTS[-1][0]


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("calls", "time"))
    parser.add_argument("--shape", choices=SHAPES, default="fan-out", help="what is run (default: %(default)s)")
    parser.add_argument("--few", type=int, default=2_000, help="jobs of the first of two runs (default: %(default)s)")
    parser.add_argument("--many", type=int, default=6_000, help="jobs of the other, or of the only one (default: %(default)s)")
    parser.add_argument("--isolation", choices=("warm", "process"), default="warm", help="as for any script (default: %(default)s)")
    parser.add_argument("--py-spy", default="py-spy", help="the program (default: the one on PATH)")
    options = parser.parse_args()
    if options.few >= options.many:
        parser.error("--many must be more than --few")
    try:
        _calls(options) if options.what == "calls" else _time(options)
    except Problem as problem:
        print(f"anatomy.py: {problem}", file=sys.stderr)
        return 1
    return 0


def _calls(options: argparse.Namespace) -> None:
    program = _program("strace", "install it, for example with: apt install strace")
    few, many = (_trace(program, options, count) for count in (options.few, options.many))
    jobs = options.many - options.few
    found = calls_a_job(few[0], many[0], jobs)
    for role, calls in found.items():
        rows = [[name, f"{count:.3f}"] for name, count in sorted(calls.items(), key=lambda item: -item[1]) if count >= 0.005]
        print(f"\n{role}: {sum(calls.values()):.1f} system calls a job")
        if rows:
            print(table(["call", "a job"], rows))
    written = ", ".join(f"{top} {(many[1][top] - few[1][top]) / jobs:.0f}" for top in many[1])
    print(f"\nbytes a job: {written}")


def _trace(program: str, options: argparse.Namespace, count: int) -> tuple[Traced, Mapping[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        trace = os.path.join(folder, "trace")
        _run([program, "-f", "-qq", "-s", "200", "-e", "signal=none", "-o", trace, *_script(options, folder, count)])
        with open(trace, errors="replace") as lines:
            traced = read_trace(lines)
        sizes = {top: sum(_sizes(Path(folder, "store", top))) for top in ("journal", "graphs")}
    return traced, sizes


def _sizes(folder: Path) -> Iterator[int]:
    return (file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else iter(())


def _time(options: argparse.Namespace) -> None:
    program = _program(options.py_spy, "install it with: pip install py-spy, or name it by --py-spy")
    with tempfile.TemporaryDirectory() as folder:
        raw = os.path.join(folder, "raw")
        _run(
            [
                program,
                "record",
                "--subprocesses",
                "--rate",
                "200",
                "--format",
                "raw",
                "--output",
                raw,
                "--",
                *_script(options, folder, options.many),
            ]
        )
        found = shares(Path(raw).read_text(errors="replace").splitlines())
    total = sum(found.values())
    if not total:
        raise Problem("py-spy took no sample: it may lack the permission to look at other processes")
    rows = [[name, f"{100 * found[name] / total:.1f} %", f"{found[name]}"] for name, _ in PARTS if found[name]]
    print(table(["part", "of all samples", "samples"], rows))


def _script(options: argparse.Namespace, folder: str, count: int) -> list[str]:
    script = str(HERE / "workflows" / "in_jobsys.py")
    store = f"file:{folder}/store"
    return [
        sys.executable,
        script,
        store,
        "--shape",
        options.shape,
        "--n",
        str(count),
        "--max-cores",
        "2",
        "--isolation",
        options.isolation,
        "--progress",
        "off",
    ]


def _program(name: str, way: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Problem(f"there is no {name} here: {way}")
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"{' '.join(command[:2])} … ended with {done.returncode}: {done.stderr.strip()[-400:]}")


if __name__ == "__main__":
    sys.exit(main())
