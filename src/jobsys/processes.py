"""Processes of this machine: who descends from whom, how much memory they hold, and how to end a whole tree.

On Linux this reads /proc; elsewhere it asks psutil, and the two prctl calls do nothing.
"""

import functools
import hashlib
import importlib
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

LINUX: Final = sys.platform.startswith("linux")
MARK: Final = "JOBSYS_PROCESSES"  # environment variable by which a sweep knows its own

_POLL: Final = 0.5  # where the kernel can't be waited on
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_CHILD_SUBREAPER: Final = 36
_KILL: Final = int(signal.SIGKILL)
_ROUNDS: Final = 200
_PAUSE: Final = 0.002


@functools.cache
def _psutil() -> ModuleType:
    return importlib.import_module("psutil")  # loaded on use: Linux needs none of it


@functools.cache
def _libc() -> Any:
    """Give what can call prctl; None where there is none."""
    return importlib.import_module("ctypes").CDLL(None) if LINUX else None  # loaded on use: a leader calls nothing


def load() -> None:
    """Load now what the calls below load on use: where there is time to spare."""
    _libc()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once where that has happened already."""
    if (libc := _libc()) is not None:
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, _KILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none gets out of sight."""
    if (libc := _libc()) is not None:
        libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def offer_to_oom_killer() -> None:
    """Have the kernel take this process and its children first when memory runs out."""
    if LINUX:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"1000")
        finally:
            os.close(descriptor)


def oom_kills() -> int:
    """Count the processes that the kernel has killed for want of memory, on this machine and in this control group."""
    total = 0
    for file in _oom_counters():
        try:
            text = file.read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))
    return total


def _oom_counters() -> Iterator[Path]:
    yield Path("/proc/vmstat")
    for controllers, path in control_groups():
        if not controllers:
            yield Path(f"/sys/fs/cgroup{path}/memory.events")
        elif "memory" in controllers:
            yield Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")


def control_groups() -> Iterator[tuple[list[str], str]]:
    """Go through this process's control groups: their controllers (none in the unified hierarchy) and their path."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        yield controllers.split(",") if controllers else [], path


def _stat(pid: int) -> tuple[str, int] | None:
    """Return state and parent of a process; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split(None, 2)
    return fields[0].decode(), int(fields[1])


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    if LINUX:
        seen = _stat(pid)
        return seen is not None and seen[0] not in "ZX"
    psutil = _psutil()
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@functools.cache
def namespace() -> str:
    """Name, in twelve characters, the set of processes that this one's number tells apart; an empty text where that is not known.

    It changes when the machine is started anew, and differs between containers that do not see each other's processes.
    """
    try:
        place = f"{Path('/proc/sys/kernel/random/boot_id').read_text()} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""
    return hashlib.sha256(place.encode()).hexdigest()[:12]


def started(pid: int) -> float:
    """Tell when a process was started: with its number, the name of this very process. 0 if it is gone.

    On Linux these are seconds since the machine was started, which nobody can set: the same however often the clock is.
    """
    if LINUX:
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return 0.0
        return int(text[text.rindex(b")") + 2 :].split()[19]) / _TICKS
    psutil = _psutil()
    try:
        return float(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return 0.0


def children(pid: int) -> list[int]:
    """List the direct children of a process; cheap, and may miss one that is born just now."""
    if not LINUX:
        return [child.pid for child in _psutil_children(pid, recursive=False)]
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
    except OSError:
        return found  # it, or one of its threads, ended while being looked at
    return found


class OwnChildren:
    """The direct children of this process, which must have one thread, read in a few microseconds."""

    def __init__(self) -> None:
        """Keep the kernel's file open; to be made anew after a fork."""
        self._pid = os.getpid()
        try:
            self.file = os.open(f"/proc/{self._pid}/task/{self._pid}/children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no Linux, or one without it
            self.file = -1

    def pids(self) -> list[int]:
        """List the children, also those that have ended and were not waited for."""
        if self.file < 0:
            return children(self._pid)
        text = b""
        while piece := os.pread(self.file, 1 << 16, len(text)):
            text += piece
        return [*map(int, text.split())]


def descendants(pid: int) -> list[int]:
    """List all running processes below a process, zombies left out."""
    if not LINUX:
        return [child.pid for child in _psutil_children(pid, recursive=True) if is_running(child.pid)]
    below: dict[int, list[tuple[int, str]]] = {}
    for other in _all():
        if (seen := _stat(other)) is not None:
            below.setdefault(seen[1], []).append((other, seen[0]))
    found: list[int] = []
    todo = [pid]
    while todo:
        for child, state in below.get(todo.pop(), ()):
            todo.append(child)
            if state not in "ZX":
                found.append(child)
    return found


def _psutil_children(pid: int, *, recursive: bool) -> list[Any]:
    psutil = _psutil()
    try:
        found: list[Any] = psutil.Process(pid).children(recursive=recursive)
    except psutil.Error:
        return []
    return found


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds; 0 if it is gone."""
    if LINUX:
        try:
            return int(Path(f"/proc/{pid}/statm").read_bytes().split(None, 2)[1]) * _PAGE
        except OSError:
            return 0
    psutil = _psutil()
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (OSError, psutil.Error):
        return 0


class OwnMemory:
    """This process's resident memory, read in about a microsecond."""

    def __init__(self) -> None:
        """Keep the kernel's file open; to be made anew after a fork."""
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if LINUX else -1

    def close(self) -> None:
        """Close the kernel's file."""
        if self._statm >= 0:
            os.close(self._statm)

    def resident(self) -> int:
        """Return the bytes that this process holds."""
        if self._statm < 0:
            return resident(os.getpid())
        return int(os.pread(self._statm, 128, 0).split(None, 2)[1]) * _PAGE


def proportional(pid: int) -> int:
    """Return the bytes of a process with what it shares divided among those who share it; its resident bytes where unknown."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
    except OSError:
        return resident(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))


def family(pid: int) -> list[int]:
    """List a process and its descendants; cheap, and may miss one that is born just now."""
    found = [pid]
    for member in found:
        found += children(member)
    return found


def send(pid: int, number: int) -> bool:
    """Send a signal; tell whether the process was there to take it."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def freeze(pid: int) -> None:
    """Stop a process and wait until it stands still."""
    send(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        seen = _stat(pid) if LINUX else None
        if seen is None or seen[0] in "TtZXD":
            return
        time.sleep(_PAUSE / 10)


def end_descendants(pid: int) -> bool:
    """Kill everything below a process, also what is born meanwhile; tell whether all is gone."""
    for _ in range(_ROUNDS):
        found = descendants(pid)
        if not found:
            return True
        for member in found:
            send(member, signal.SIGKILL)
        time.sleep(_PAUSE)
    return False


def end_tree(pid: int) -> None:
    """Kill a process that adopts orphans, and everything below it."""
    freeze(pid)
    end_descendants(pid)
    send(pid, signal.SIGKILL)


def sweep(mark: str, spare: Collection[int] = ()) -> bool:
    """Kill every process that was started with a mark in its environment; tell whether all are gone."""
    if not LINUX:
        return True
    spared = {os.getpid(), *spare}
    for _ in range(_ROUNDS):
        found = [pid for pid in _all() if pid not in spared and _carries(pid, mark.encode())]
        if not found:
            return True
        for member in found:
            end_descendants(member)
            send(member, signal.SIGKILL)
        time.sleep(_PAUSE)
    return False


def _carries(pid: int, mark: bytes) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # gone, or another user's
    wanted = MARK.encode() + b"="
    return any(part.startswith(wanted) and mark in part for part in environment.split(b"\0"))


def wait_for_end(pids: list[int], timeout: float | None) -> None:
    """Wait until one of the processes ends."""
    descriptors: list[int] = []
    ends = select.poll()  # not select, which takes no descriptor above 1023
    try:
        for pid in pids:
            descriptors.append(os.pidfd_open(pid))
            ends.register(descriptors[-1], select.POLLIN)
        ends.poll(None if timeout is None else timeout * 1000)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # no such call here
        _poll_for_end(pids, timeout)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _poll_for_end(pids: list[int], timeout: float | None) -> None:
    end = None if timeout is None else time.monotonic() + timeout
    while all(map(is_running, pids)) and (end is None or time.monotonic() < end):
        time.sleep(_POLL)
