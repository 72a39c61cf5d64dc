"""Drives a Progress by hand: short words for events."""

from typing import Any

import msgspec

from jobsys.events import AttemptFailed, Committed, LeaderStarted, Policy, RunCanceled, ServiceUp
from jobsys.message import Report
from jobsys.progress import Discard, Progress, StopService, Submit
from jobsys.progress.machine import Snapshot
from jobsys.record import Blob, JobRecord

BODY = Blob(0, 0, 10)
KNOT = Blob(0, 0, 0)
VALUE = Blob(0, 10, 5)


def job(name: str = "job", *, body: Blob = BODY, **fields: Any) -> JobRecord:
    """Describe a job; it is a child of its maker unless told otherwise."""
    if "follow_on_of" in fields or "service_of" in fields:
        fields.setdefault("child_of", ())
    return JobRecord(name, body, **fields)


class Run:
    """A run, and what was to be done about the last event."""

    def __init__(self, *made: JobRecord, refs: tuple[int, ...] = (), policy: Policy | None = None) -> None:
        self.progress = Progress()
        self.epoch = 0
        self.policy = policy or Policy(retries=0)
        self.effects: list[Any] = []
        self.lead()
        self.commit(0, *made, refs=refs)

    def apply(self, event: Any) -> None:
        self.effects = self.progress.apply(event)
        snapshot = msgspec.json.encode(self.progress.snapshot())
        restored = Progress.restore(msgspec.json.decode(snapshot, type=Snapshot))
        assert msgspec.json.encode(restored.snapshot()) == snapshot

    def commit(self, number: int, *made: JobRecord, refs: tuple[int, ...] = (), value: Blob = VALUE, deleted: tuple[str, ...] = ()) -> int:
        """Commit a job; return the number of the first job it made."""
        first = self.progress.next_id
        report = Report(number, 1, 0.0, 0.0, value=value, refs=refs, jobs=made, deleted=deleted)
        self.apply(Committed(report, Blob(7, 100, 1000), first))
        return first

    def up(self, number: int, value: Blob = VALUE) -> None:
        self.apply(ServiceUp(number, value))

    def fail(self, number: int, retry: bool = False, delay: float = 0.0, charged: bool = True, reason: str = "failed") -> None:
        self.apply(AttemptFailed(number, 1, reason, 0.0, retry=retry, delay=delay, charged=charged))

    def lead(self) -> None:
        self.epoch += 1
        self.apply(LeaderStarted(self.epoch, "owner", "host", 1, 0.0, self.policy))

    def cancel(self) -> None:
        self.apply(RunCanceled(0.0, "enough"))

    @property
    def ready(self) -> list[int]:
        return sorted(self.progress.ready)

    @property
    def submitted(self) -> list[int]:
        return [effect.job for effect in self.effects if isinstance(effect, Submit)]

    @property
    def stopped(self) -> list[int]:
        return [effect.job for effect in self.effects if isinstance(effect, StopService)]

    @property
    def discarded(self) -> list[str]:
        return [key for effect in self.effects if isinstance(effect, Discard) for key in effect.keys]
