"""Job stores in the memory of this process: for tests, with the batch system ``inline``."""

from jobsys.errors import LocatorError
from jobsys.storage.memory import MemoryStorage


def storage(name: str) -> MemoryStorage:
    """Give the storage of that name.

    Raises:
        LocatorError: there is no name.
    """
    if not name:
        raise LocatorError("memory: needs a name: memory:name")
    return MemoryStorage.named(name)
