"""A batch system of tasks on this machine, over a store in a directory."""

import shlex
import sys
import time
from pathlib import Path

from batch.cluster.pretend import PretendScheduler  # type: ignore[import-not-found]
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.system import ClusterBatchSystem, Tasks
from jobsys.jobstores import JobStore, create, keys
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.requirements import Requirements
from jobsys.task import NUMBER, SECRET
from jobsys.version import VERSION

EXECUTOR = "jobsys.testing.orders:prepare"


def store_at(path: Path) -> JobStore:
    """Make a job store."""
    return create(f"file:{path}", StoreInfo(FORMAT, time.time(), VERSION), durable=False)


def system_over(
    store: JobStore, scheduler: PretendScheduler, seconds: float = 60.0, *, adoptable: bool = True, work_dir: str = ""
) -> ClusterBatchSystem:
    """Make a batch system; its tasks run this very jobsys."""

    def script(wave: str, requirements: Requirements) -> str:
        words = [sys.executable, "-m", "jobsys.task", "--locator", store.locator, "--wave", wave]
        words += ["--cores", f"{requirements.cores:g}", "--task-seconds", f"{seconds:g}"]
        words += ["--memory", str(requirements.memory)] if requirements.memory is not None else []
        variables = f"{NUMBER}=${scheduler.index} {SECRET}={store.key.wave(wave).hex()}"
        return f"export {variables}\nexec {shlex.join([*words, '--executor', EXECUTOR])}\n"

    office = Office(store.storage, keys.TASKS, store.key.wave)
    return ClusterBatchSystem(scheduler, office, Tasks(script, seconds, "", adoptable))


def abandon(system: ClusterBatchSystem) -> None:
    """Leave everything as a leader does that is killed."""
    system._clerk.hurry()
    system._clerk.close(10)
