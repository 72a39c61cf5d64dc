"""What a run has left behind: processes, temporary files, locks, objects in the store that belong to no one."""

from pathlib import Path

import kin
from checker import Account, Violation

from jobsys.fetch import PART
from jobsys.jobstores import JobStore
from jobsys.journal import replay
from jobsys.record import Blob

PATIENCE = 20.0
"""Seconds that processes have to notice that their leader is gone, and to clear up."""


def processes(mark: str, patience: float = PATIENCE) -> list[Violation]:
    """Wait for the processes of a leader that is gone to end, and name those that don't."""
    if kin.wait_for(lambda: not kin.marked(mark), patience):
        return []
    left = kin.marked(mark)
    return [Violation("process", f"process {each.pid} is left: {each.status()}, {' '.join(each.cmdline())[:200]}") for each in left]


def temporary(store: Path, directory: Path, cache: Path) -> list[Violation]:
    """Name temporary files of a run of which no process is left: in the store, in the directory of temporary files, in the cache."""
    found = [path for path in _below(store / ".tmp") if path.is_file()]
    found += directory.iterdir() if directory.exists() else []
    found += [path for path in _below(cache) if PART in path.name]
    return [Violation("temporary", f"{path} is left") for path in found]


def of_the_dead(store: Path, directory: Path, family: kin.Family, patience: float = PATIENCE) -> list[Violation]:
    """Name temporary files that belong to none of the processes of the leader that runs now, once there has been time to clear up."""

    def look() -> list[Path]:
        ours = {word for pid in family.hosts for word in _command(pid)}
        folders = [path for path in directory.glob("jobsys-*") if str(path) not in ours]
        return folders + [path for path in _below(store / ".tmp") if not _writer_lives(path)]

    if not family.hosts or kin.wait_for(lambda: not look(), patience):
        return []
    return [Violation("temporary", f"{path} is left of processes that are gone") for path in look()]


def locks(*directories: Path) -> list[Violation]:
    """Name files that are still locked."""
    return [Violation("lock", f"{path} is locked, and no process of the run is left") for path in kin.locks(list(directories))]


def released(store: JobStore) -> list[Violation]:
    """Check that the last leader gave its lease back."""
    last = store.last_lease()
    if last is not None and not store.last_beat(last.epoch)["released"]:
        return [Violation("lock", f"the lease of epoch {last.epoch} was not given back")]
    return []


def objects(store: JobStore, account: Account) -> list[Violation]:
    """Name objects of a finished run that no commit accounts for, or that were to be deleted."""
    live = account.live()
    last = {f"{job}-{account.commits[job][-1].token}" for job in live if account.commits[job]}
    deleted = {key for job in live for commit in account.commits[job] for key in commit.deleted}
    made = {f"{job}-{commit.token}" for job, commits in account.commits.items() for commit in commits}
    logged = {commit.token for commits in account.commits.values() for commit in commits} | {failure.token for failure in account.failures}
    kept = _referred_to(store)
    found = []
    for key in store.storage.list(""):
        top, _, rest = key.partition("/")
        owner = rest.partition("/")[0]
        if (
            top == "commits"
            or (top == "files" and (owner not in last or key in deleted))
            or (top == "values" and key not in kept)
            or (top == "graphs" and owner not in made)
            or (top == "logs" and owner.partition("-")[2] not in logged)
            or key == "kill.json"
        ):
            found.append(Violation("object", f"{key} belongs to no one"))
    return found


def _referred_to(store: JobStore) -> set[str]:
    """Collect the objects that hold what the run's value is made of."""
    progress, _ = replay(store)
    blobs: list[Blob | None] = [blob for node in progress.nodes.values() for blob in (node.body, node.value)]
    return {blob.where for blob in blobs if blob is not None and isinstance(blob.where, str)}


def _below(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*")) if directory.is_dir() else []


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def _writer_lives(path: Path) -> bool:
    """Tell from a temporary file's name whether the process that writes it lives; one that has just gone needs nobody."""
    number = path.name.split(".")[-2]
    return not path.exists() or Path(f"/proc/{number}").exists()
