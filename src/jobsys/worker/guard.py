"""The guard of a worker host: a process that waits for the host's death and leaves nothing behind it, even if the leader is gone too."""

import os
import shutil
import signal
from pathlib import Path
from typing import Final

from jobsys import processes

_GRACE: Final = 60.0  # for a host that clears up after its leader's death


def start(leader: int, directory: Path, mark: str) -> int:
    """Fork the guard of this process; return its pid."""
    host = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.closerange(3, 1024)
        _watch(leader, host, directory, mark)
    finally:
        os._exit(0)


def _watch(leader: int, host: int, directory: Path, mark: str) -> None:
    processes.wait_for_end([leader, host], None)
    orphaned = processes.is_running(host)  # then the leader has ended, and another process may get its number before the host has, too
    if orphaned:
        processes.send(host, signal.SIGTERM)  # it may not have noticed: another process can hold the leader's end of the socket
        processes.wait_for_end([host], _GRACE)
        processes.send(host, signal.SIGKILL)
    processes.sweep(mark)
    if orphaned or not processes.is_running(leader):
        shutil.rmtree(directory, ignore_errors=True)
