"""The executor of worker hosts whose storage fails: ``python -m jobsys.worker --executor faults.executor:prepare``.

The plan comes in environment variables; calls are counted in a file, over all processes of all hosts of a run.
"""

import fcntl
import os
import signal
from collections.abc import Sequence

from jobsys.errors import StorageError
from jobsys.jobstores import JobStore, locators
from jobsys.storage.faulty import KILLED, FaultyStorage
from jobsys.storage.s3.options import Options
from jobsys.worker import code
from jobsys.worker.execute import JobExecutor

PLAN = "FAULTS_PLAN"
"""``n when effect``: at the n-th call ``before`` or ``after`` it an ``error``, the worker's ``exit``, or the ``leader``'s death."""
CALLS = "FAULTS_CALLS"
"""The path of the file with a line for each call."""

LEADER = "FAULTS_LEADER"
"""The leader's process id."""


class PlannedStorage(FaultyStorage):
    """Counts its calls together with all others."""

    def _strike(self, faults: object, when: str, operation: str, key: str) -> None:
        number, planned, effect = os.environ[PLAN].split()
        if when != planned or count(f"{operation} {key}") != int(number):
            return
        if effect == "error":
            raise StorageError(f"a planned failure {when} {operation} {key}")
        if effect == "leader":
            os.kill(int(os.environ[LEADER]), signal.SIGKILL)
            return
        os._exit(KILLED)


def count(line: str) -> int:
    """Note a call; tell which one it is."""
    with open(os.environ[CALLS], "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line.encode() + b"\n")
        file.flush()
        file.seek(0)
        return file.read().count(b"\n")


def prepare(arguments: Sequence[str]) -> JobExecutor:
    """Prepare as ever, on storage that fails."""
    locate = locators.locate

    def planned(locator: str | os.PathLike[str], durable: bool = True, key_file: str | None = None, s3: Options | None = None) -> JobStore:
        found = locate(locator, durable, key_file, s3)
        return JobStore(found.locator, PlannedStorage(found.storage), key_file)

    locators.locate = planned
    return code.prepare(arguments)
