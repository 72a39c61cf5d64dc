"""Job stores in the memory of this process: for tests, with the batch system ``inline``."""

from jobsys.storage.memory import MemoryStorage


def storage(name: str) -> MemoryStorage:
    """Give the storage of that name."""
    return MemoryStorage.named(name)
