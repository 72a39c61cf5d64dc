"""Delete a job store with all that is in it: results, logs, files, and the possibility to resume the run.

Examples:
  jobsys clean file:my-store
  jobsys clean file:my-store --force       although a leader on another host may be alive
  jobsys clean s3://bucket/runs --shared-code      what runs below that have shared and no run refers to any more

A store whose leader is alive on this host is never deleted: stop the run first, with jobsys kill. Code that runs in a bucket share goes
with the last of them; what is left of runs that were removed otherwise is found by --shared-code, which deletes no run.
"""

import argparse
import importlib

from jobsys.cli.left import cancel_left
from jobsys.cli.output import print_json
from jobsys.cli.parser import add_json, add_locator
from jobsys.cli.standing import living_leader
from jobsys.display.words import many
from jobsys.errors import IntegrityError, LeaderRunningError
from jobsys.jobstores import JobStore, open_store
from jobsys.requirements import format_bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument("--force", action="store_true", help="delete it even if its leader can't be seen to be dead from this host")
    parser.add_argument("--key-file", metavar="PATH", help="where the run's key is, if not where keys are kept: it goes, too")
    parser.add_argument("--shared-code", action="store_true", help="delete no run, but code that no run below s3://… refers to any more")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Delete it."""
    if arguments.shared_code:
        return _sweep(arguments)
    store = open_store(arguments.locator, key_file=arguments.key_file)
    leader = living_leader(store)
    if leader is not None and not (arguments.force and leader.alive is None):
        seen = "is alive" if leader.alive else "can't be seen from here"
        way = f"stop it first, with 'jobsys kill {store.locator}'" + (
            "" if leader.alive else ", or use --force if you know that it is dead"
        )
        raise LeaderRunningError(f"the leader of the run in {store.locator} (process {leader.pid} on {leader.host}) {seen}: {way}")
    cancel_left(store)
    counted = _count(store)
    resources, shared = store.destroy()
    objects, size = counted or (None, None)
    if arguments.json:
        print_json({"deleted": store.locator, "objects": objects, "bytes": size, "resources": resources, "resource_bytes": shared})
    else:
        much = "it was damaged" if counted is None else f"{many(counted[0], 'object')}, {format_bytes(counted[1])}"
        more = f"; {many(resources, 'resource')}, {format_bytes(shared)}, that no other run refers to" if resources else ""
        print(f"deleted {store.locator}: {much}{more}")
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    """Delete what runs side by side have shared and none refers to; a run that is gone refers to nothing."""
    bucket = importlib.import_module("jobsys.jobstores.s3")  # loaded on use: boto3 takes its time
    commons, gone = bucket.commons_below(arguments.locator)
    resources, size = commons.sweep(gone)
    if arguments.json:
        print_json({"resources": resources, "resource_bytes": size})
    else:
        print(f"deleted {many(resources, 'resource')}, {format_bytes(size)}, that no run refers to any more")
    return 0


def _count(store: JobStore) -> tuple[int, int] | None:
    """Tell how many objects there are and how many bytes they have; None if damage hides some of them."""
    try:
        return store.storage.tally()
    except IntegrityError:
        return None
