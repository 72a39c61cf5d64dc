"""What every maker of a batch system is given, and what all of them check."""

from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from jobsys.batch.local.hosts import Begun
from jobsys.config import Config
from jobsys.errors import UsageError
from jobsys.jobstores import JobStore, Lease
from jobsys.worker.code import arguments


class Launch(msgspec.Struct, frozen=True):
    """A run that wants a batch system."""

    config: Config
    store: JobStore
    lease: Lease
    stack: ExitStack  # ends, behind the batch system, what runs beside it
    say: Callable[[str], None]  # tells the person who started the run
    begun: Begun | None = None  # a worker host that was started early
    executor: str = ""  # MODULE:NAME of what workers run orders with; empty: jobs

    def check_seen(self) -> None:
        """Refuse a store that other processes can't see.

        Raises:
            UsageError: it is one.
        """
        if self.store.locator.startswith("memory:"):
            raise UsageError("a memory: job store can't be seen by other processes: use --batch-system inline with it, or a file: store")

    def arguments(self, locator: str, code: str) -> list[str]:
        """Give the arguments of a worker host that reaches the store at ``locator``; ``code`` is the SHA-256 of what was shipped for it."""
        return arguments(locator, self.lease.epoch, code, self.config.max_log_size, self.config.durability == "power-cut")
