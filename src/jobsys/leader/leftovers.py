"""Objects in the store of a finished run that belong to no one: earlier leaders died before they could delete them."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from jobsys.events import AttemptFailed, Committed
from jobsys.jobstores import JobStore, keys
from jobsys.journal import apply, pages
from jobsys.progress import Discard, Progress

AT_ONCE: Final = 200_000
"""How many keys are looked at in one reading of the journal, so that memory is bounded."""


def remove(store: JobStore, progress: Progress) -> int:
    """Delete what attempts left that never committed, and what a commit deleted; return how many objects that were.

    To be called by a leader that has no worker any more, once the run is finished: then no commit is accepted, of whomever.

    Args:
        store: where the run is.
        progress: its last state.

    Raises:
        StorageError: something can't be read or deleted.
    """
    kept = {blob.where for node in progress.nodes.values() for blob in (node.body, node.value) if blob is not None}
    removed = _delete(store, [*store.storage.list(keys.COMMITS)])
    removed += _delete(store, (key for key in list(store.storage.list(keys.VALUES)) if key not in kept))
    owned = (key for top in (keys.FILES, keys.LOGS, keys.GRAPHS) for key in store.storage.list(top))
    while chunk := set(islice(owned, AT_ONCE)):
        removed += _delete(store, _without_owner(store, chunk))
    return removed


def _without_owner(store: JobStore, found: set[str]) -> Iterator[str]:
    """Go through those of the files and logs that are of an attempt which neither committed nor failed, or that were deleted."""
    owners, deleted = {_owner(key) for key in found}, set[str]()
    known = set[str]()  # of the owners
    progress = Progress()
    for page in pages(store):
        for event in page.events:
            if isinstance(event, Committed) and progress.accepts(event.report.job):
                job, token = event.report.job, event.report.token
                known |= owners.intersection((keys.files(job, token), keys.log(job, token), keys.graph(job, token)))
            elif isinstance(event, AttemptFailed):
                known |= owners.intersection((keys.log(event.job, event.token),))
            for effect in apply(store, progress, event):
                if isinstance(effect, Discard):
                    deleted.update(key for key in effect.keys if key in found)
    yield from (key for key in found if key in deleted or _owner(key) not in known)


def _owner(key: str) -> str:
    """Give what the keys of all files of an attempt begin with; of logs and graphs, there is one an attempt."""
    return key if key.startswith((keys.LOGS, keys.GRAPHS)) else "/".join(key.split("/", 2)[:2]) + "/"


def _delete(store: JobStore, doomed: Iterable[str]) -> int:
    listed = list(doomed)
    store.delete(listed)
    return len(listed)
