"""How a run stands, as seen from outside: what its leader shows, whether that leader lives, and what the journal says if not."""

import shlex
import time

import msgspec

from jobsys.errors import FormatError
from jobsys.jobstores import JobStore, Lease
from jobsys.journal import replay
from jobsys.leader.lease import SILENCE, alive
from jobsys.progress import Counts, Progress
from jobsys.status import FailureStatus, RunningStatus, RunStatus


class LeaderStanding(msgspec.Struct, frozen=True):
    """The last leader of a run."""

    epoch: int
    host: str
    pid: int
    started: float
    alive: bool | None  # None: it is on another host, and nothing was heard of it for long
    left: bool  # it ended in order
    heartbeat_age: float | None  # seconds, by this host's clock


class Standing(msgspec.Struct, frozen=True):
    """A run, as shown to people and programs.

    ``state`` is starting, running, done, failed, canceled, or interrupted: its leader died without a word.
    """

    locator: str
    state: str
    counts: Counts
    running: list[RunningStatus]
    running_count: int
    failures: list[FailureStatus]
    failures_omitted: int
    leader: LeaderStanding | None
    source: str  # status: what the leader shows; journal: counted anew, since no leader lives
    updated: float
    done_before: int
    command: str
    directory: str

    @property
    def ended(self) -> bool:
        """Whether no leader is at work."""
        return self.state not in ("starting", "running")

    @property
    def fine(self) -> bool:
        """Whether the run is on its way, or has its result."""
        return self.state in ("starting", "running", "done")


def look(store: JobStore) -> Standing:
    """See how a run stands; cheap as long as its leader lives or has left in order.

    Raises:
        NoSuchJobStoreError: there is no job store.
    """
    info = store.info()
    lease = store.last_lease()
    leader = None if lease is None else _leader(store, lease)
    lives = leader is not None and leader.alive is True
    shown, source = _shown(store), "status"
    if shown is None or leader is None or shown.epoch != leader.epoch or (shown.state == "running" and not lives):
        if lives and shown is not None:
            # it has only just taken the run over, and what the one before it showed is still true
            shown = msgspec.structs.replace(shown, state="starting", running=[], running_count=0, failures=[], failures_omitted=0)
        else:
            shown, source = _from_journal(store, shown, leader, lives), "journal"
    return Standing(
        locator=store.locator,
        state=shown.state,
        counts=shown.counts,
        running=shown.running if lives else [],
        running_count=shown.running_count if lives else 0,
        failures=shown.failures,
        failures_omitted=shown.failures_omitted,
        leader=leader,
        source=source,
        updated=shown.updated,
        done_before=shown.done_before,
        command=shlex.join(info.command),
        directory=info.directory,
    )


def living_leader(store: JobStore) -> LeaderStanding | None:
    """Give the leader that is at work, or may be; None if surely none is."""
    lease = store.last_lease()
    leader = None if lease is None else _leader(store, lease)
    return leader if leader is not None and leader.alive is not False else None


def _leader(store: JobStore, lease: Lease) -> LeaderStanding:
    beat = store.last_beat(lease.epoch)
    age = max(0.0, time.time() - beat["time"]) if beat["time"] else None
    living = alive(store, lease)
    if living is None and age is not None and age < SILENCE:
        living = True
    return LeaderStanding(lease.epoch, lease.host, lease.pid, lease.time, living, bool(beat["released"]), age)


def _shown(store: JobStore) -> RunStatus | None:
    data = store.read_status()
    try:
        return None if data is None else msgspec.json.decode(data, type=RunStatus)
    except msgspec.DecodeError as error:
        raise FormatError(f"the status in {store.locator} can't be read: {error}") from error


def _from_journal(store: JobStore, shown: RunStatus | None, leader: LeaderStanding | None, lives: bool) -> RunStatus:
    progress, _ = replay(store, look=True)
    known = {} if shown is None else {failure.job: failure for failure in shown.failures}
    failures = [known.get(job) or _failure(progress, job) for job in progress.failed[:100]]
    return RunStatus(
        state=_state(progress, leader, lives),
        counts=progress.counts,
        failures=failures,
        failures_omitted=len(progress.failed) - len(failures),
        epoch=progress.epoch,
        started=leader.started if leader else 0.0,
        updated=time.time(),
        done_before=progress.counts.done,
    )


def _state(progress: Progress, leader: LeaderStanding | None, lives: bool) -> str:
    if progress.finished:
        return "done"
    if lives:
        return "starting" if progress.epoch == 0 or (leader is not None and progress.epoch < leader.epoch) else "running"
    if progress.canceled:
        return "canceled"
    if progress.failed and (progress.idle or (leader is not None and leader.left)):
        return "failed"
    return "failed" if leader is not None and leader.left and progress.epoch else "interrupted"


def _failure(progress: Progress, job: int) -> FailureStatus:
    node = progress.nodes[job]
    return FailureStatus(job, node.name, node.reason, node.failures + node.losses)
