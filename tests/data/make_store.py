"""Makes the stored run of the present format: python tests/data/make_store.py DIRECTORY, where the workflow's script lies.

A store of a format that was released is never made anew: it is what people have on their disks.
"""

import itertools
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

import jobsys
from jobsys import graph
from jobsys.batch.inline import InlineChannel
from jobsys.errors import FailedJobsError
from jobsys.jobstores import keys, open_store
from jobsys.journal import replay
from jobsys.leader import leader
from jobsys.leader.attempts import Attempts
from jobsys.leader.lease import HERE
from jobsys.message import decode_report
from jobsys.worker.execute import JobExecutor

KEY = "run.jobsys-key"
PLACE = Path(tempfile.gettempdir()) / "stored-run"  # the same on every machine


def main(directory: Path) -> None:
    """Run the workflow until it fails, leave a commit, and store all that is there."""
    socket.gethostname = lambda: "host"  # no name of the machine on which it is made
    HERE.host = "host"
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(mode=0o700)
    shutil.copy(directory / "stored_workflow.py", PLACE)
    sys.path.insert(0, str(PLACE))
    sys.executable = "python3"
    sys.argv[:] = ["stored_workflow.py", "store"]
    os.chdir(PLACE)
    import stored_workflow  # type: ignore[import-not-found]

    graph._RECORD = 200_000  # type: ignore[misc]  # so that two jobs of one commit are a large graph
    leader.SNAPSHOT_EVERY = -(10**9)  # type: ignore[misc]  # at every turn of the loop
    options: dict[str, Any] = {"batch_system": "inline", "progress": "off", "retries": 0, "key_file": str(PLACE / KEY)}
    try:
        jobsys.run(stored_workflow.workflow(), str(PLACE / "store"), **options)
    except FailedJobsError as error:
        print(f"half done: {len(error.failures)} jobs failed")
    os.environ["STORED_RUN_GOES_ON"] = "1"
    _leave_a_commit()
    _store(directory)


def _leave_a_commit() -> None:
    """Do as a worker that has an order, and finds its leader gone when it reports."""
    store = open_store(str(PLACE / "store"), key_file=str(PLACE / KEY))
    progress, _ = replay(store)
    [node] = [node for node in progress.nodes.values() if node.name.endswith("leave")]
    lease = store.last_lease()
    assert lease is not None
    attempts = Attempts(progress, lease, store.key, lambda _: b"")
    attempts._ids = itertools.count(1000)  # behind those of its leader's attempts that are over
    order = attempts.order(node).order
    executor = JobExecutor(store)
    report = executor.run(order, InlineChannel(PLACE, lambda message: None))
    executor.undelivered(report)
    assert [key for key, _ in store.commits()] == [keys.commit(node.id, decode_report(report)[0].token)]


def _store(directory: Path) -> None:
    """Copy what is there, without temporary files."""
    shutil.rmtree(directory / "store", ignore_errors=True)
    shutil.copytree(PLACE / "store", directory / "store", ignore=shutil.ignore_patterns(".tmp"))
    shutil.copy(PLACE / KEY, directory / KEY)
    found = {path.relative_to(directory / "store").parts[0] for path in (directory / "store").rglob("*")}
    print(sorted(found), msgspec.json.decode((directory / "store" / keys.STORE).read_bytes())["format"])
    shutil.rmtree(PLACE)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
