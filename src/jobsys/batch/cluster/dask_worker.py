"""What runs in a worker of Dask: the script of one task, as a process group of its own, under watch.

Is sent there by value, for jobsys need not be installed: it imports nothing of jobsys. It tells the ledger in the scheduler
(`dask_ledger.py`) how a task began and ended.
"""

import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, NamedTuple

import distributed
from distributed.utils import sync

GRACE: Final = 5.0
"""Seconds that a script has between SIGTERM and SIGKILL."""
GLANCE: Final = 0.25
TAIL: Final = 2000
GUARD: Final = """exec 9<&0 </dev/null
(trap '' TERM INT HUP; read -r _ <&9; kill -s TERM -- -$$; sleep 5; kill -s KILL -- -$$) &
exec 9<&-
exec /bin/sh "$1"
"""
"""Starts the script, and ends its group should the process be no more that holds the other end of its input."""


class Hidden:
    """A text that no log shows: Dask writes the arguments of a task that failed into its logs."""

    def __init__(self, text: str) -> None:
        """Take the text."""
        self.text = text

    def __repr__(self) -> str:
        """Say nothing of it."""
        return "<hidden>"


class End(NamedTuple):
    """How a script ended; the reason in the words of `jobsys.events.Reason`, empty if it exited with 0."""

    reason: str
    status: int | None = None
    message: str = ""


class TaskFailedError(Exception):
    """The script did not end well: shown in Dask's dashboard, and nowhere else."""


def run_task(number: int, *, name: str, script: Hidden, index: str, log: str, seconds: float | None) -> None:
    """Run one task, the first time that this is asked for.

    Raises:
        TaskFailedError: it did not exit with 0, or was run before; the ledger knows more.
    """
    worker = distributed.get_worker()
    key = worker.get_current_task()

    def tell(word: str, **what: Any) -> Any:
        return sync(worker.loop, getattr(worker.scheduler, word), name=name, number=number, worker=worker.address, **what)

    if not tell("jobsys_start", host=socket.gethostname()):
        raise TaskFailedError("Dask started the task a second time, or after it was canceled: it is not run")
    try:
        environment = {**os.environ, index: str(number)}
        end = run_script(script.text, environment, os.path.join(log, f"{name}-{number}.log") if log else "", seconds, watch(worker, key))
    except OSError as error:
        end = End("lost", None, f"the worker can't run a script: {error}")
    tell("jobsys_end", reason=end.reason, status=end.status, message=end.message)
    if end.reason:
        raise TaskFailedError(f"{end.reason}, exit status {end.status}")


def watch(worker: Any, key: Any) -> Callable[[], str]:
    """Make what says why a script must end now; it says nothing as long as it may go on."""

    def why() -> str:
        if worker.status not in (distributed.Status.running, distributed.Status.paused, distributed.Status.closing_gracefully):
            return "lost"
        task = worker.state.tasks.get(key)
        return "" if task is not None and task.state in ("executing", "long-running") else "canceled"

    return why


def run_script(script: str, environment: Mapping[str, str], log: str, seconds: float | None, why: Callable[[], str]) -> End:
    """Run a script to its end, or until there is a reason to end it, or for so many seconds; nothing of its group is left.

    Raises:
        OSError: it can't be started.
    """
    with unnamed(script) as program, open_log(log) as printed:
        process = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "jobsys", f"/dev/fd/{program}"],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            pass_fds=[program],
            start_new_session=True,
        )
        try:
            reason = wait(process, seconds, why)
        finally:
            end_group(process)
        if reason:
            return End(reason, None, "its time was over" if reason == "time limit" else "")
        if process.returncode == 0:
            return End("")
        return End("killed" if process.returncode < 0 else "failed", process.returncode, tail(printed))


@contextmanager
def unnamed(script: str) -> Iterator[int]:
    """Give the descriptor, not one of those that `GUARD` uses, of a file that nobody else can open and that goes with this process."""
    with tempfile.TemporaryFile() as file:
        file.write(script.encode("utf-8", "surrogateescape"))
        file.flush()
        descriptor = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def open_log(path: str) -> IO[bytes]:
    """Open a file for what a script prints: that one, else, where the directory is not there, one without a name."""
    if path:
        with suppress(OSError):
            return open(path, "w+b")
    return tempfile.TemporaryFile()


def tail(printed: IO[bytes]) -> str:
    """Give the end of what a script printed."""
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - TAIL))
    return printed.read().decode(errors="replace").strip()


def wait(process: "subprocess.Popen[bytes]", seconds: float | None, why: Callable[[], str]) -> str:
    """Wait for a process; say why it is not waited for any longer, nothing if it has ended."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GLANCE)
            return ""
        if reason := why():
            return reason
        if deadline is not None and time.monotonic() >= deadline:
            return "time limit"


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of a process's group, which its guard keeps there."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
