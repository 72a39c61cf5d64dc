"""The real leader with a watch on it, and what a run of it costs."""

from typing import Any, NamedTuple, cast

from counted import CountedStorage
from watch import Watch, resident

from jobsys.batch.base import BatchUpdate
from jobsys.leader import Leader
from jobsys.leader.attempts import Attempt
from jobsys.message import Report

LONG = 4000
"""Bytes of a report from which on it is that of a job that made jobs."""


class Snapshot(NamedTuple):
    """One that was taken."""

    nodes: int
    bytes: int
    cpu: float  # seconds, as is the next
    wall: float


class Sample(NamedTuple):
    """How things stand at a moment."""

    now: float  # simulated seconds
    done: int
    nodes: int  # jobs that are remembered
    resident: int  # bytes of the whole process, the simulation's among them


class WatchedLeader(Leader):
    """Does what a leader does; what it does is timed from outside, by the steps of its loop."""

    watch: Watch
    most_nodes = 0
    turns = 0

    def begin(self, watch: Watch) -> "WatchedLeader":
        """Begin to watch."""
        self.watch = watch
        self.snapshots: list[Snapshot] = []
        self.samples: list[Sample] = []
        return self

    @property
    def waits(self) -> int:
        """How many jobs are ready that the batch system does not have yet."""
        return self._attempts.waiting

    def turn(self, take: bool = True) -> None:
        """Do what the loop does once; without ``take``, only give orders."""
        self._submit()
        for update in self._batch.updates(self._timeout()) if take else ():
            self._take(update)
        self._flush()
        if take:
            self._tick()

    def _submit(self) -> None:
        self.turns += 1
        with self.watch.on("order"):
            super()._submit()
        self.watch.enter("take")  # until the journal is written

    def _flush(self) -> None:
        if self.watch.inside("take"):
            self.watch.leave()
        self.most_nodes = max(self.most_nodes, len(self.progress.nodes))
        with self.watch.on("journal"):
            super()._flush()

    def _act(self) -> None:
        with self.watch.on("act"):
            super()._act()

    def _completed(self, attempt: Attempt, update: BatchUpdate) -> None:
        if len(update.payload) < LONG:
            super()._completed(attempt, update)
        else:
            with self.watch.on("make"):
                super()._completed(attempt, update)

    def _commit(self, report: Report, payload: bytes) -> bool:
        self.watch.times["commit"] += 1
        self.watch.times["made"] += report.made
        return super()._commit(report, payload)

    def _ended(self, attempt: Attempt, update: BatchUpdate) -> None:
        with self.watch.on("lost"):
            super()._ended(attempt, update)

    def _show(self, final: bool = False) -> None:
        with self.watch.on("status"):
            super()._show(final)
        self.samples.append(Sample(self._clock.monotonic(), self.progress.counts.done, len(self.progress.nodes), resident()))

    def _take_snapshot(self) -> None:
        before = self._totals()
        with self.watch.on("snapshot"):
            super()._take_snapshot()
        after = self._totals()
        self.snapshots.append(Snapshot(len(self.progress.nodes), *(new - old for new, old in zip(after, before, strict=True))))

    def _totals(self) -> tuple[Any, ...]:
        watch, storage = self.watch, cast("CountedStorage", self.store.storage)
        watch.leader()
        both = ("snapshot", "storage")
        return storage.written["snapshots"], sum(watch.cpu[kind] for kind in both) / 1e9, sum(watch.wall[kind] for kind in both) / 1e9
