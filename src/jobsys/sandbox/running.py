"""Runs one executor: streams, exit status, limits, and what it prints while it runs."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, Final, NamedTuple

import psutil

from jobsys.requirements import format_bytes
from jobsys.sandbox.inside import open_inside
from jobsys.sandbox.runtimes.base import Runtime, Start
from jobsys.sandbox.spec import Executor

TELL_EVERY: Final = 0.5
"""Seconds between two looks at what an executor prints and uses."""
KILLED: Final = 137
_FIRST: Final = 0.01
_SLOWER: Final = 1.5
_GONE: Final = 10.0  # seconds for what was killed to be gone, at most


class Outcome(NamedTuple):
    """How an executor ended."""

    exit_code: int
    stdout: str  # the tail
    stderr: str
    note: str = ""  # what people should know of it
    over: str = ""  # the limit of the whole task that it came to


class Watch(NamedTuple):
    """What is looked at while an executor runs."""

    printed: Callable[[str, str], None]  # the tails, whenever they have changed
    deadline: float | None  # of the task, on the clock of ``time.monotonic``
    tail: int  # bytes
    used: Callable[[], int]  # bytes that the task has written


def run(runtime: Runtime, executor: Executor, start: Start, logs: str, watch: Watch) -> Outcome:
    """Run an executor to its end.

    Args:
        runtime: what makes the sandbox.
        executor: whose streams are opened.
        start: what is started.
        logs: a path; what it prints is kept there, with ``.stdout`` and ``.stderr`` behind it, unless the executor names files of its own.
        watch: what is looked at meanwhile.
    """
    command = runtime.command(start)
    paths = [f"{logs}.{name}" for name in ("stdout", "stderr")]
    with ExitStack() as stack:
        streams: list[IO[bytes]] = []
        try:
            stdin = _open(start.tree, executor.stdin, os.devnull, stack, write=False)
            for own, path in zip((executor.stdout, executor.stderr), paths, strict=True):
                streams.append(_open(start.tree, own, path, stack, write=True))
        except OSError as error:
            text = f"{error.filename}: {error.strerror}"
            return Outcome(1, "", f"{text}\n", f"a stream can't be opened: {text}")
        paths = [f"/proc/self/fd/{stream.fileno()}" for stream in streams]
        if command.status:
            streams[1].write(f"{command.message}\n".encode())
            streams[1].flush()
            return Outcome(command.status, "", tail(paths[1], watch.tail), command.message)
        process = subprocess.Popen(command.argv, stdin=stdin, stdout=streams[0], stderr=streams[1], start_new_session=True)
        try:
            ended = _wait(process, start, paths, watch)
        finally:
            if process.poll() is None:
                _kill(process)
            runtime.stop(start.name)
        code = _exit_code(process.returncode)
        note = ended.text or ("it was killed, most probably since it used more memory than there is" if code == KILLED else "")
        return Outcome(code, tail(paths[0], watch.tail), tail(paths[1], watch.tail), note, ended.text if ended.whole else "")


def _open(tree: str, inside: str, other: str, stack: ExitStack, *, write: bool) -> IO[bytes]:
    """Open a stream: a file of the task, else another one of this host."""
    if inside:
        return stack.enter_context(open_inside(tree, inside, write=write))
    stream: IO[bytes] = stack.enter_context(open(other, "wb" if write else "rb"))  # noqa: SIM115 - closed with the stack
    return stream


class _Limit(NamedTuple):
    """The limit at which an executor was ended, if any; and whether it is one of the whole task."""

    text: str = ""
    whole: bool = False


def _wait(process: "subprocess.Popen[bytes]", start: Start, paths: list[str], watch: Watch) -> _Limit:
    """Wait for the end, or end it where it comes to a limit."""
    shown, pause, look_at = ("", ""), _FIRST, time.monotonic() + TELL_EVERY
    while process.poll() is None:
        time.sleep(pause)
        pause = min(pause * _SLOWER, 0.1)
        now = time.monotonic()
        limit = _Limit("the task ran longer than it may", whole=True) if watch.deadline is not None and now >= watch.deadline else _Limit()
        if not limit.text and now >= look_at:
            look_at = now + TELL_EVERY
            tails = (tail(paths[0], watch.tail), tail(paths[1], watch.tail))
            if tails != shown:
                shown = tails
                watch.printed(*tails)
            limit = _passed(process, start, watch)
        if limit.text:
            _kill(process)
            return limit
    return _Limit()


def _passed(process: "subprocess.Popen[bytes]", start: Start, watch: Watch) -> _Limit:
    """Tell which limit is passed."""
    most, largest = start.limits.memory, start.limits.disk
    if most and (used := memory(process.pid)) > most:
        return _Limit(f"out of memory: it used {format_bytes(used)}, and may use {format_bytes(most)}")
    if largest and (used := watch.used()) > largest:
        return _Limit(f"out of disk: the task wrote {format_bytes(used)}, and may write {format_bytes(largest)}", whole=True)
    return _Limit()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a sandbox; with its first process, all in it die."""
    try:
        found = [*psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        found = []
    for each in found:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(found, _GONE)


def _exit_code(status: int) -> int:
    return 128 - status if status < 0 else status


def memory(pid: int) -> int:
    """Add up the bytes that a process and all below it hold."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for each in family:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def tail(path: str, most: int) -> str:
    """Give the end of a file, from a letter on."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - most))
            data = stream.read(most)
    except OSError:
        return ""
    if size > most:
        while data and data[0] & 0xC0 == 0x80:  # the rest of a letter that was cut
            data = data[1:]
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")
