"""The processes of a run, found by a mark in their environment and told apart by what they hold, never by name."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "CHAOS_MARK"


def marked(mark: str) -> list[psutil.Process]:
    """Find every living process that carries the mark, or one that begins with it, wherever in the tree of processes it has gone."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # it has gone, or is another user's
    return found


def send(pids: list[int], number: int) -> int:
    """Send a signal to processes; tell how many were there to take it."""
    reached = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            reached += 1
        except ProcessLookupError:
            continue
    return reached


def wait_for(condition: Callable[[], object], seconds: float, pause: float = 0.02) -> bool:
    """Wait until something is so; tell whether it was in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def end_all(mark: str) -> None:
    """Kill whatever carries the mark, stopped or not."""
    while left := marked(mark):
        send([process.pid for process in left], signal.SIGKILL)
        time.sleep(0.02)


@dataclass
class Family:
    """A leader and what is below it."""

    leader: int
    hosts: list[int] = field(default_factory=list)
    guards: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, leader: int) -> "Family":
        """Look at a leader's processes: hosts are its children in sessions of their own, workers those of a host's children with a log."""
        found = cls(leader)
        for host in _children(leader):
            if _session(host) != host:
                continue
            found.hosts.append(host)
            for child in _children(host):
                output = _output(child)
                if output.endswith("/log"):
                    found.workers.append(child)
                elif output == os.devnull and _session(child) == child:
                    found.guards.append(child)
        return found

    @property
    def all(self) -> list[int]:
        """The leader first."""
        return [self.leader, *self.hosts, *self.guards, *self.workers]


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _output(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/1").removesuffix(" (deleted)")
    except OSError:
        return ""


def locks(directories: list[Path]) -> list[str]:
    """Name the files under some directories on which a process holds a lock."""
    held = set()
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "->" not in fields and len(fields) > 5:
            major, minor, inode = fields[5].split(":")
            held.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    found = []
    for directory in directories:
        for path in [directory, *directory.rglob("*")]:
            try:
                seen = path.lstat()
            except FileNotFoundError:
                continue
            if (seen.st_dev, seen.st_ino) in held:
                found.append(str(path))
    return found
