"""One run of the workflow under fire: its directory, its leaders, what they have written so far."""

import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import kin
import workload
from checker import Account, Start, read_record

import faults
from jobsys.events import Committed, LeaderStarted
from jobsys.jobstores import JobStore
from jobsys.jobstores.locators import locate
from jobsys.journal import pages
from jobsys.processes import die_with_parent

HERE = Path(__file__).resolve().parent
STUCK = 90.0  # seconds without a new commit after which a run counts as stuck


class Leader:
    """A process that leads the run, and the mark by which all that comes of it is found."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, output: Path) -> None:
        self.process = process
        self.mark = mark
        self.output = output
        self.pid = process.pid
        self.started = time.monotonic()

    @property
    def status(self) -> int | None:
        """The exit status; None while it lives."""
        return self.process.poll()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        return kin.wait_for(lambda: self.status is not None, seconds)

    def said(self) -> str:
        """Return the end of what it wrote to standard error."""
        return self.output.with_suffix(".err").read_text(errors="replace")[-2000:]

    def printed(self) -> str:
        """Return what it printed."""
        return self.output.with_suffix(".out").read_text().strip()


class Campaign:
    """A run in a directory of its own, from its first leader to its end."""

    def __init__(self, directory: Path, jobs: int, *, small_disk: bool, ssh: bool = False) -> None:
        """Make the directory; with ``small_disk`` the store lies on a tmpfs, where that can be had; with ``ssh`` jobs run on hosts."""
        self.directory = directory
        self.jobs = jobs
        self.ssh = ssh
        for name in ("outside", "tmp", "cache", "log"):
            (directory / name).mkdir(parents=True)
        self.temporary, self.cache, self.record = directory / "tmp", directory / "cache", directory / "outside" / "record"
        self.cache.chmod(0o700)
        self.shim = faults.Shim(directory)
        self.disk = faults.SmallDisk(directory / "disk", jobs) if small_disk else None
        self.store_path = directory / ("disk" if self.disk is not None and not self.disk.problem else ".") / "store"
        self.mark = uuid.uuid4().hex
        self.host: list[str] = []  # the command under which leaders are started since one was elsewhere
        self.leaders: list[Leader] = []
        self.may_fail = False  # something was done to it from which attempts may fail that nobody killed

    @property
    def leader(self) -> Leader:
        """Who leads now, or led last."""
        return self.leaders[-1]

    def start(self) -> Leader:
        """Start a leader: the first, or one that resumes the run."""
        number = len(self.leaders) + 1
        mark, output = f"{self.mark}-{number}-", self.directory / "log" / f"leader-{number}"
        command = [sys.executable, str(HERE / "workload.py"), f"file:{self.store_path}", "--jobs", str(self.jobs)]
        command += ["--outside", str(self.record.parent), "--progress", "off", "--retries", "10", "--backoff", "0.1"]
        command += _on_hosts() if self.ssh else []
        command += ["--restart"] if (self.store_path / "jobsys-store.json").exists() else []
        environment = {
            **os.environ,
            **self.shim.environment(self.store_path),
            kin.MARK: mark,
            workload.OUTSIDE: str(self.record.parent),
            "TMPDIR": str(self.temporary),
            "JOBSYS_CACHE": str(self.cache),
        }
        with output.with_suffix(".out").open("wb") as out, output.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [*self.host, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
                cwd=self.directory,
                preexec_fn=functools.partial(_as_from_a_terminal, os.getpid()),
            )
        self.leaders.append(Leader(process, mark, output))
        return self.leader

    @property
    def store(self) -> JobStore:
        """The job store, opened anew: nothing is remembered of what was read before."""
        return locate(f"file:{self.store_path}")

    def last_segment(self) -> int:
        """Give the number of the journal's last segment; 0 before there is one."""
        return max(self.store.segments(), default=0)

    def witnesses(self) -> tuple[Account, list[Start]]:
        """Read the record, then the journal: what the one rests on, the other knows."""
        starts = read_record(self.record)
        return Account.read(self.store), starts

    def wait_for_commit(self, after: int, seconds: float = STUCK) -> bool:
        """Wait until this leader has journaled a commit behind a segment, or ended; tell whether one of both happened."""
        seen = after

        def happened() -> bool:
            nonlocal seen
            if self.leader.status is not None:
                return True
            for page in pages(self.store, seen):
                seen = page.segment
                fence = any(isinstance(event, LeaderStarted) for event in page.events)
                if not fence and any(isinstance(event, Committed) for event in page.events):
                    return True
            return False

        return kin.wait_for(happened, seconds)

    def wait_for_workers(self, seconds: float = STUCK) -> kin.Family:
        """Wait until the leader has workers, or has ended."""
        family = kin.Family.of(self.leader.pid, self.leader.mark)

        def there() -> bool:
            nonlocal family
            family = kin.Family.of(self.leader.pid, self.leader.mark)
            return bool(family.workers) or self.leader.status is not None

        kin.wait_for(there, seconds)
        return family

    def gone(self) -> list[Leader]:
        """List the leaders that have ended."""
        return [leader for leader in self.leaders if leader.status is not None]

    def close(self, *, keep: bool) -> None:
        """End whatever is left; with ``keep`` the directory stays, with the store in it."""
        kin.end_all(self.mark)
        for leader in self.leaders:
            leader.process.wait()
        if self.disk is not None and not self.disk.problem:
            if keep:
                shutil.copytree(self.store_path, self.directory / "store-of-disk", dirs_exist_ok=True)
            self.disk.close()
        if not keep:
            shutil.rmtree(self.directory)


def _on_hosts() -> list[str]:
    """Run jobs on two hosts, both of which are this machine: a shell stands in for ssh."""
    ssh = shlex.join(["sh", "-c", 'shift; exec sh -c "$1"', "ssh"])
    options = ["--batch-system", "ssh", "--hosts", "one,two", "--ssh", ssh, "--store-address", "127.0.0.1", "--host-patience", "10"]
    return [*options, "--worker-python", sys.executable, "--ship-env", "never"]


def _as_from_a_terminal(parent: int) -> None:
    """Let signals do what they do to a process that a person starts, whatever is ignored here; end with the one who looks on."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
