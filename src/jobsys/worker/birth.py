"""How a fork of the host becomes a worker: lets go of what is the host's, and gets a session, a log, accelerators of its own.

All of it runs once a worker, and with a process for each job once a job: it calls as little as it can, since each page that a fork
touches is copied.
"""

import _signal  # type: ignore[import-not-found]  # what signal wraps in enumerations, which takes ten times as long
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobsys import processes
from jobsys.slots import Slot
from jobsys.worker.executor import Executor
from jobsys.worker.loop import Worker
from jobsys.worker.places import open_log

_HANDLED: Final = (int(_signal.SIGCHLD), int(_signal.SIGTERM), int(_signal.SIGINT))  # by the host
_DEFAULT: Final = int(_signal.SIG_DFL)


@dataclass(frozen=True, slots=True)
class Birth:
    """What a worker gets from its host."""

    host: int  # the process that forks it, and with which it dies
    row: Slot
    link: int  # its socket to the leader
    directory: Path
    devices: list[str]
    once: bool


def detach(host: int, descriptors: Collection[int]) -> None:
    """Make a fork of the host a process of its own, which dies with the host; close what is the host's alone."""
    _signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        _signal.signal(number, _DEFAULT)
    os.setsid()
    processes.die_with_parent(host)
    for descriptor in descriptors:  # their owners are on the stack of this process until it exits, so nobody closes them a second time
        os.close(descriptor)


def be_worker(birth: Birth, executor: Executor) -> None:
    """Work for the leader at the other end of the socket until it needs this process no more."""
    processes.adopt_orphans()
    processes.offer_to_oom_killer()
    log = open_log(birth.directory)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if birth.devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(birth.devices)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, birth.link)
    Worker(link, birth.row, executor, birth.directory, log).serve(once=birth.once)
