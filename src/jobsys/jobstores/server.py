"""The server of a job store as a process: ``python -m jobsys.jobstores.server`` gives it to workers that do not reach it themselves.

Who may ask is told by a token in the environment variable JOBSYS_STORE_TOKEN; how the store itself is reached, by the environment too.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from jobsys.errors import JobsysError, StorageError
from jobsys.jobstores.base import JobStore
from jobsys.jobstores.locators import locate
from jobsys.processes import die_with_parent
from jobsys.storage import wire
from jobsys.storage.base import Storage
from jobsys.storage.server import ANYWHERE, ObjectServer, allow_many_connections

PATIENCE: Final = 40.0
"""Seconds for which a request waits for a store that is out of order. Who asks waits a minute for an answer, and comes again: more
patience would only leave requests here that nobody waits for, and writes that are done long after they were sent once more."""


def serve(store: JobStore, token: str, listen: str) -> ObjectServer:
    """Make the server of a store, which listens but answers nothing before ``serve_forever``.

    Raises:
        StorageError: that address can't be had.
        UsageError: it is none.
    """
    store.storage.wait_at_most(PATIENCE)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # more requests at a time than connections are kept is no fault
    found: dict[str, tuple[Storage, str]] = {}  # a run's files stay where they are as long as it lives

    def shared(name: str) -> tuple[Storage, str]:
        place = found.get(name)
        if place is None:
            place = found[name] = store.shared_file_place(name)
            place[0].wait_at_most(PATIENCE)
        return place

    return ObjectServer(store.storage, token, listen, shared)


def main(arguments: Sequence[str]) -> int:
    """Serve a job store until the parent ends or asks for it."""
    parser = argparse.ArgumentParser(prog="python -m jobsys.jobstores.server", description=__doc__)
    parser.add_argument("--store", metavar="LOCATOR", required=True, help="the job store, which need not be there yet")
    parser.add_argument("--listen", metavar="HOST:PORT", default=ANYWHERE, help="where to listen (default: %(default)s)")
    parser.add_argument("--no-sync", action="store_true", help="do not wait until what is written would survive a power cut")
    parser.add_argument("--parent", metavar="PID", type=int, default=os.getppid(), help="the process with which this one ends")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    die_with_parent(options.parent)
    token = os.environ.get(wire.TOKEN_VARIABLE, "")
    if not wire.is_token(token):
        return _refuse(f"set the environment variable {wire.TOKEN_VARIABLE} to a token of letters and digits, without which nobody may ask")
    logging.basicConfig()
    allow_many_connections()
    try:
        store = locate(options.store, not options.no_sync)
        with suppress(StorageError):  # what an earlier server left; a store that can't be used is told about by who asks for something
            store.storage.sweep()
        server = serve(store, token, options.listen)
    except JobsysError as error:
        return _refuse(str(error))
    with server, suppress(KeyboardInterrupt):
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


def _refuse(reason: str) -> int:
    """Say, as the one line that whoever started this waits for, why there is no URL."""
    sys.stdout.write(f"error: {' '.join(reason.split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
