"""What a worker process of jobsys runs tasks with, in the place of jobs: ``jobsys.sandbox.executor:prepare``."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from jobsys.jobstores import JobStore, open_store
from jobsys.sandbox.runtimes import choose
from jobsys.sandbox.runtimes.base import Runtime
from jobsys.sandbox.spec import Order, Said, decode_order, encode
from jobsys.sandbox.task import attempt
from jobsys.worker.executor import Channel

PREPARE: Final = "jobsys.sandbox.executor:prepare"


class TaskExecutor:
    """Runs orders, each of which is a task."""

    def __init__(self, store: JobStore) -> None:
        """Keep whole logs in a job store."""
        self._store = store
        self._runtimes: dict[str, Runtime] = {}

    def run(self, order: bytes, channel: Channel) -> bytes:
        """Make an attempt at a task, and say on the channel what happens."""
        task = decode_order(order)
        directory = Path(tempfile.mkdtemp(prefix="task-", dir=channel.directory))

        def say(said: Said) -> None:
            channel.say(encode(said))

        return encode(attempt(task, self._runtime(task), directory, say, self._keeping(task)))

    def _runtime(self, order: Order) -> Runtime:
        key = repr(order.site)
        if key not in self._runtimes:
            self._runtimes[key] = choose(order.site)
        return self._runtimes[key]

    def _keeping(self, order: Order) -> Callable[[str, str], None]:
        def keep(name: str, path: str) -> None:
            if order.logs:
                with open(path, "rb") as source, self._store.storage.writer(f"{order.logs}/{name}") as stream:
                    shutil.copyfileobj(source, stream, 1 << 18)

        return keep


def prepare(command_line: Sequence[str]) -> TaskExecutor:
    """Make this process able to run tasks; it needs none of the code that was shipped.

    Raises:
        JobsysError: the store can't be read.
    """
    locator, *_ = json.loads(command_line[0])
    return TaskExecutor(open_store(locator))
