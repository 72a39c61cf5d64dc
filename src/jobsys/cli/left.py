"""What a leader that died has left to the scheduler of a cluster."""

import importlib

from jobsys.jobstores import JobStore, keys


def cancel_left(store: JobStore) -> int:
    """Cancel tasks that nobody looks after any more; give the number of times that a leader had asked for some.

    Raises:
        BatchSystemError: the scheduler can't be reached from here.
        RunKeyError: the run's key is not on this host, without which nothing in the store is believed.
    """
    if next(store.storage.list(keys.WAVES), None) is None:
        return 0
    count: int = importlib.import_module("jobsys.launch.cluster").cancel_left(store)  # loaded on use: few runs need it
    return count
