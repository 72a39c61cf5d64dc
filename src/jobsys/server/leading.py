"""The process of the resident leader, ``python -m jobsys.server.leading``: from settings to a batch system, and to its end."""

import logging
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from jobsys.config import Config
from jobsys.errors import JobsysError, NoSuchJobStoreError
from jobsys.jobstores import JobStore, create, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.launch import launch
from jobsys.launch.base import Launch
from jobsys.leader import acquire, release
from jobsys.sandbox.executor import PREPARE
from jobsys.server import leases
from jobsys.server.database import Database, init_db
from jobsys.server.resident import Resident
from jobsys.server.settings import Settings
from jobsys.version import VERSION

logger = logging.getLogger(__name__)

WAIT: Final = 1.0
"""Seconds between two tries to lead, while another process does."""


def lead(settings: Settings) -> None:
    """Lead until a signal ends this process, or it has nothing to do any more and was told to drain.

    Raises:
        UsageError: an option makes no sense.
        BatchSystemError: the batch system can't go on.
        LeaderLostError: another process leads now.
    """
    database = Database(settings.database_url)
    init_db(database)
    lease = leases.take(database)
    while lease is None:
        time.sleep(WAIT)
        lease = leases.take(database)
    with ExitStack() as stack:
        stack.callback(database.close)
        stack.callback(lease.release, database)
        config = Config(job_store=f"file:{settings.directory}/store", batch_system=settings.batch_system)
        store, there = _store(config)
        config = replace(config, restart=there)
        mine = acquire(store)
        stack.callback(release, store, mine)
        batch = launch(Launch(config, store, mine, stack, _say, executor=PREPARE))
        resident = Resident(database, lease, batch, settings.site)
        _listen(resident)
        try:
            resident.run()
        finally:
            batch.shutdown(leave=resident.busy > 0)


def _store(config: Config) -> tuple[JobStore, bool]:
    """Open the job store, or make it; tell whether it was there."""
    try:
        return open_store(config.job_store), True
    except NoSuchJobStoreError:
        info = StoreInfo(FORMAT, time.time(), VERSION, config=config.stored(), command=(), directory=os.getcwd())
        return create(config.job_store, info), False


def _listen(resident: Resident) -> None:
    """Drain at SIGTERM and SIGINT; stop at the second, and at SIGQUIT."""
    asked = []

    def hear(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) > 1 or number == signal.SIGQUIT:
            resident.stop()
        resident.drain()

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(each, hear)


def _say(text: str) -> None:
    logger.info("%s", text)


def main() -> int:
    """Lead by what the environment says."""
    logging.basicConfig(level=logging.INFO, format="jobsys leader: %(message)s")
    settings = Settings.from_environment()
    try:
        lead(settings)
    except (JobsysError, leases.LeaderLostError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the text says all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
