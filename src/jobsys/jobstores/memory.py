"""Job stores in the memory of this process: for tests and trials, with the batch system ``inline``."""

from jobsys.storage.memory import MemoryStorage


def storage(name: str) -> MemoryStorage:
    """Give the storage of that name; a new one that nobody else finds where there is no name."""
    return MemoryStorage.named(name) if name else MemoryStorage()
