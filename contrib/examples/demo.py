"""Kill a real workflow in the middle, resume it, and prove that nothing was done twice: `make demo`.

The workflow is stdlib_map.py. The proof rests on two witnesses: the run's own journal, and a file outside of the job store to which
every job appends a line when it starts. Ends with status 1 if any part of the proof fails.
"""

import argparse
import filecmp
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from jobsys.events import Committed
from jobsys.jobstores import JobStore, open_store
from jobsys.journal import made_by, pages
from jobsys.message import decode_report

HERE = Path(__file__).resolve().parent
COMMAND = str(Path(sys.executable).with_name("jobsys"))
MARK = "JOBSYS_DEMO"  # an environment variable that every process of a run inherits, so that none can hide
PATIENCE = 60.0  # seconds


def main() -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="directory for all that is made (default: demo-output)")
    parser.add_argument("--limit", type=int, metavar="N", help="map only the first N modules")
    parser.add_argument("--kill-at", type=float, default=0.4, metavar="SHARE", help="kill when this share is done (default: 0.4)")
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="replace")  # whatever the terminal or the CI log can show
    output = options.output.absolute()
    if output.exists() and any(output.iterdir()) and not (output / "starts.txt").exists():
        parser.error(f"{output} holds something else than an earlier demo")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    return Demo(output, options.limit, options.kill_at).run()


@dataclass
class Journal:
    """What the run has written down: the jobs there are, and how often each was committed."""

    jobs: dict[int, str] = field(default_factory=dict)
    commits: Counter[int] = field(default_factory=Counter)

    @classmethod
    def read(cls, store: JobStore) -> "Journal":
        """Read all of it. Job 0 is the script itself."""
        found = cls()
        for page in pages(store):
            for event in page.events:
                if isinstance(event, Committed):
                    found.commits[event.report.job] += 1
                    made = (job for _, some in made_by(store, event.report) for job in some)
                    found.jobs |= {number: job.name for number, job in enumerate(made, event.first)}
        return found

    @property
    def done(self) -> set[int]:
        """The jobs that were committed, without the script."""
        return self.commits.keys() - {0}


def read_starts(path: Path) -> Counter[int]:
    """Count how often each job started, as the jobs themselves noted it."""
    return Counter(int(line.split()[0]) for line in path.read_text().splitlines()) if path.exists() else Counter()


def marked(mark: str) -> list[psutil.Process]:
    """Find every process that carries the mark in its environment, wherever in the tree of processes it has gone."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # it has gone, or is another user's
    return found


class Demo:
    """The demo, step by step."""

    def __init__(self, output: Path, limit: int | None, kill_at: float) -> None:
        self.output = output
        self.store = output / "store"
        self.starts = output / "starts.txt"
        self.kill_at = kill_at
        self.arguments = [] if limit is None else ["--limit", str(limit)]
        self.mark = uuid.uuid4().hex
        self.failed: list[str] = []
        self.began = time.monotonic()

    def run(self) -> int:
        """Go through all steps; tell whether everything held."""
        with self.step("A real workflow: measure every module of the Python standard library, one job each"):
            leader = self.start()
            alive = self.wait_for_share(leader)
        if not alive:
            return self.end()
        with self.step("Kill the leader in the middle of it (SIGKILL: it can't clear up behind itself)"):
            self.kill(leader)
        with self.step("Wait until no process of the run is left"):
            self.wait_for_silence()
        before, starts_before = Journal.read(open_store(str(self.store))), read_starts(self.starts)
        left = {decode_report(data)[0].job for _, data in open_store(str(self.store)).commits()}
        with self.step("What it looks like now: jobsys status"):
            self.jobsys("status", str(self.store), expected=1, meaning="it says that the leader is dead")
        with self.step("Resume it: the same line with --restart"):
            self.resume()
        with self.step("An undisturbed run to compare with: in one process, with a job store in memory"):
            self.undisturbed()
        with self.step("The proof"):
            self.prove(before, starts_before, left)
        with self.step("What jobsys tells about the run: jobsys stats, jobsys graph"):
            self.jobsys("stats", str(self.store))
            self.jobsys("graph", str(self.store), "--by-function", "--output", str(self.output / "graph.svg"))
        return self.end()

    # -- the steps -------------------------------------------------------------------------------------------

    def start(self, *options: str) -> subprocess.Popen:
        """Start the leader; its workers inherit the mark, and the name of the file that jobs sign when they start."""
        command = [*self.command(f"file:{self.store}", self.output / "map"), *options]
        return subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=sys.stdout)

    def wait_for_share(self, leader: subprocess.Popen) -> bool:
        """Watch the journal until enough jobs are committed; tell whether the leader is still alive then."""
        while leader.poll() is None:
            journal = Journal.read(open_store(str(self.store))) if (self.store / "jobsys-store.json").exists() else Journal()
            if len(journal.jobs) > 1 and len(journal.done) >= self.kill_at * len(journal.jobs):
                print(f"  {len(journal.done)} of {len(journal.jobs)} jobs are committed")
                return True
            time.sleep(0.02)
        return self.check(False, f"the workflow was still running when it was to be killed (it ended with {leader.returncode})")

    def kill(self, leader: subprocess.Popen) -> None:
        """Kill the leader alone: not its workers, not its process group."""
        below = len(psutil.Process(leader.pid).children(recursive=True))
        os.kill(leader.pid, signal.SIGKILL)
        status = leader.wait()
        self.check(status == -signal.SIGKILL, f"process {leader.pid} died of signal {-status} and left {below} processes of the run behind")

    def wait_for_silence(self) -> None:
        """Wait until the orphans have noticed that their leader is gone, and ended."""
        began = time.monotonic()
        while (left := marked(self.mark)) and time.monotonic() - began < PATIENCE:
            time.sleep(0.02)
        seconds = time.monotonic() - began
        self.check(not left, f"after {seconds:.2f} s no process with the mark of the run is left", [process.pid for process in left])
        for process in left:
            process.kill()

    def resume(self) -> None:
        """Start the leader again."""
        status = self.start("--restart").wait()
        self.check(status == 0, f"the run is finished (exit status {status})")

    def undisturbed(self) -> None:
        """Run the workflow once more: in another way, and nobody kills it."""
        command = [*self.command("memory:undisturbed", self.output / "undisturbed"), "--batch-system", "inline"]
        status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=sys.stdout, check=False).returncode
        self.check(status == 0, f"the run is finished (exit status {status})")

    def prove(self, before: Journal, starts_before: Counter[int], left: set[int]) -> None:
        """Compare both witnesses and both results."""
        after, starts = Journal.read(open_store(str(self.store))), read_starts(self.starts)
        in_flight = sorted(starts_before.keys() - before.done)
        self.tell(after, starts, before, in_flight, left)
        not_once = sorted(job for job in after.jobs if after.commits[job] != 1)
        again = sorted(job for job in before.done if starts[job] != 1)
        twice = sorted(job for job, count in starts.items() if count > 1)
        too_often = sorted(job for job in twice if starts[job] > 2 or job not in in_flight)
        unknown = sorted(starts.keys() ^ after.jobs.keys())
        self.check(0 < len(before.done) < len(after.jobs), "the kill was in the middle: some jobs were done, some were not")
        self.check(not not_once, f"by the journal, each of the {len(after.jobs)} jobs has exactly one commit", not_once)
        self.check(not again, f"by their own account, the {len(before.done)} jobs committed before the kill have started once", again)
        self.check(not too_often, f"only jobs in flight have started twice ({len(twice)} of {len(in_flight)})", too_often)
        self.check(not unknown, "both accounts name the same jobs", unknown)
        self.compare(self.output / "map", self.output / "undisturbed")

    def tell(self, after: Journal, starts: Counter[int], before: Journal, in_flight: list[int], left: set[int]) -> None:
        """List the jobs that were in flight, and what became of them."""
        print(f"  {len(after.jobs)} jobs; when the leader died, {len(before.done)} were committed and {len(in_flight)} in flight:")
        for job in in_flight:
            fate = "its commit was waiting in the store for the next leader" if job in left else "not committed, so it started again"
            print(f"    job {job} ({after.jobs[job]}): {fate}; {'one start' if starts[job] == 1 else f'{starts[job]} starts'} in all")

    def compare(self, one: Path, other: Path) -> None:
        """Compare the results of both runs byte for byte."""
        names = sorted({path.name for folder in (one, other) for path in folder.iterdir()})
        _, differ, missing = filecmp.cmpfiles(one, other, names, shallow=False)
        self.check(len(names) == 3 and not differ and not missing, f"byte for byte as undisturbed: {', '.join(names)}", [*differ, *missing])

    def end(self) -> int:
        """Say where everything is, and whether the proof holds."""
        results = {"table": "map/modules.csv", "summary": "map/summary.txt", "plot": "map/stdlib.png", "graph": "graph.svg"}
        print()
        for title, name in results.items():
            if (self.output / name).exists():
                print(f"{title:8} {self.short(str(self.output / name))}")
        seconds = time.monotonic() - self.began
        verdict = f"{len(self.failed)} CHECKS FAILED: {'; '.join(self.failed)}" if self.failed else "Every check passed"
        print(f"\n{verdict} ({seconds:.1f} s).")
        return 1 if self.failed else 0

    # -- small things ----------------------------------------------------------------------------------------

    def command(self, store: str, output: Path) -> list[str]:
        """Give the command line of the workflow."""
        return [sys.executable, str(HERE / "stdlib_map.py"), store, "--output", str(output), "--progress", "plain", *self.arguments]

    def environment(self) -> dict[str, str]:
        """Give the environment of a run."""
        return os.environ | {MARK: self.mark, "STDLIB_MAP_STARTS": str(self.starts)}

    def jobsys(self, *arguments: str, expected: int = 0, meaning: str = "it answered") -> None:
        """Run a subcommand and show what it prints."""
        print("  $", " ".join(["jobsys", *map(self.short, arguments)]))
        done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
        for line in (done.stdout + done.stderr).rstrip().splitlines():
            print(f"  | {line.rstrip()}")
        self.check(done.returncode == expected, f"{meaning} (exit status {done.returncode})")

    def short(self, word: str) -> str:
        """Write paths as they are from here."""
        here = f"{Path.cwd()}{os.sep}"
        return word.replace(here, "")

    def check(self, holds: bool, claim: str, culprits: object = ()) -> bool:
        """Print a claim and whether it holds; remember it if not."""
        print(f"  {'ok  ' if holds else 'FAIL'} {claim}{'' if holds or not culprits else f': {culprits}'}")
        if not holds:
            self.failed.append(claim)
        return holds

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Head a step, and time it."""
        began = time.monotonic()
        print(f"\n== {title}")
        yield
        print(f"  {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
