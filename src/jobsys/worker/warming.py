"""What a host does before it forks often: it is a worker itself a few times, for nobody, so that Python knows the way.

See ``rehearsal.py``, which goes the way of an order; this is the way from a worker's birth to its order, and from its report to its end.
"""

import os
import socket
from pathlib import Path
from typing import Final

from jobsys import framing
from jobsys.worker import places
from jobsys.worker.executor import Channel
from jobsys.worker.loop import Worker

_TURNS: Final = 12  # Python specialises code that has run eight times


class _Idler:
    """An executor that has nothing to do."""

    def run(self, order: bytes, channel: Channel) -> bytes:  # noqa: ARG002
        """Report nothing."""
        return b""


class _Rehearsing(Worker):
    """A worker whose process is the host's: what runs below that is not its job's."""

    def _is_childless(self) -> bool:
        return True


def warm_up(directory: Path) -> None:
    """Serve an order a few times, with a log in ``directory``, which is made and removed.

    Raises:
        OSError: there is no room, or there are no descriptors left.
    """
    orders = framing.pack(framing.LIMITS) + framing.pack(framing.ORDER, 1, 0, b"\0")
    directory.mkdir(mode=0o700)
    try:
        log = places.open_log(directory)
        try:
            for _ in range(_TURNS):
                _serve(directory, log, orders)
        finally:
            os.close(log)
    finally:
        places.remove(directory)


def _serve(directory: Path, log: int, orders: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(orders)
        worker = _Rehearsing(theirs, memoryview(bytearray(128)).cast("Q"), _Idler(), directory, once=True)
        worker.serve(log)
        worker.close()
