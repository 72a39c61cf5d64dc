"""The processes of a run, found by a mark in their environment and told apart by what they hold, never by name."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "CHAOS_MARK"
asked_to_stop: list[int] = []
"""Signals by which a person asked to stop. They are noticed where something is waited for: raised anywhere, they could get lost."""


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
    """Wait until something is so; tell whether it was in time.

    Raises:
        KeyboardInterrupt: a person asked to stop.
    """
    end = time.monotonic() + seconds
    while not condition():
        if asked_to_stop:
            raise KeyboardInterrupt
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
    agents: list[int] = field(default_factory=list)
    servers: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, leader: int, mark: str) -> "Family":
        """Look at the processes that carry a leader's mark.

        Workers write to a log; worker hosts are their parents; a guard is a host's child in a session of its own that writes nowhere; an
        agent stands between leader and host; what else the leader has started in a session of its own serves the store.
        """
        found = cls(leader)
        parents = {process.pid: _parent(process) for process in marked(mark)}
        outputs = {pid: _output(pid) for pid in parents}
        found.workers = [pid for pid, output in outputs.items() if output.endswith("/log") and _session(pid) == pid]
        found.hosts = sorted({parents[pid] for pid in found.workers} & parents.keys() - {leader})
        below = {pid for pid, parent in parents.items() if parent in found.hosts} - set(found.workers)
        found.guards = sorted(pid for pid in below if outputs[pid] == os.devnull and _session(pid) == pid)
        found.agents = sorted({parents[pid] for pid in found.hosts} & parents.keys() - {leader})
        known = {*found.hosts, *found.agents}
        found.servers = sorted(pid for pid, parent in parents.items() if parent == leader and pid not in known and _session(pid) == pid)
        return found


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return -1


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
