"""How a fork of the host becomes a worker: lets go of what is the host's, and gets a session, a log, accelerators of its own.

All of it runs once a worker, and with a process for each job once a job: it calls as little as it can, since each page that a fork
touches is copied.
"""

import _signal  # type: ignore[import-not-found]  # what signal wraps in enumerations, which takes ten times as long
import os
from collections.abc import Iterable, Sequence
from typing import Final

from jobsys import processes
from jobsys.worker.loop import Worker
from jobsys.worker.places import open_log

_HANDLED: Final = (int(_signal.SIGCHLD), int(_signal.SIGTERM), int(_signal.SIGINT))  # by the host
_DEFAULT: Final = int(_signal.SIG_DFL)


def detach(host: int, *descriptors: Iterable[int]) -> None:
    """Make a fork of the host a process of its own, which dies with the host; close what is the host's alone."""
    _signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        _signal.signal(number, _DEFAULT)
    os.setsid()
    processes.die_with_parent(host)
    for some in descriptors:  # their owners are on the stack of this process until it exits, so nobody closes them a second time
        for descriptor in some:
            os.close(descriptor)


def be_worker(worker: Worker, devices: Sequence[str]) -> None:
    """Work, with these accelerators, for the leader at the other end of the worker's socket until it needs this process no more."""
    processes.adopt_orphans()
    processes.offer_to_oom_killer()
    log = open_log(worker.directory)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    worker.serve(log)
