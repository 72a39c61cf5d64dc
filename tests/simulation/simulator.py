"""A leader, its workers and their crashes, all in one thread and in any order, around the real Progress and Journal."""

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from jobsys.errors import NotFoundError
from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, Policy, Reason, RunCanceled, ServiceUp
from jobsys.jobstores import JobStore
from jobsys.journal import Journal, replay, write_snapshot
from jobsys.message import Report
from jobsys.progress import Discard, State, StopService, Submit
from jobsys.progress.policy import judge
from jobsys.record import Blob, JobRecord
from jobsys.storage.memory import MemoryStorage
from simulation.chaos import CALM, Chaos  # type: ignore[import-not-found]
from simulation.checks import Checked  # type: ignore[import-not-found]
from simulation.model import Model  # type: ignore[import-not-found]
from simulation.workflows import FOREVER, Spec  # type: ignore[import-not-found]
from states import state  # type: ignore[import-not-found]


class Crash(Exception):
    """The leader is killed."""


@dataclass
class Attempt:
    """An attempt that a worker has, and what it has said that the leader has not heard yet."""

    job: int
    token: str
    order: dict[str, Any]
    spec: Spec | None = None
    began: bool = False
    told_to_stop: bool = False
    ended: bool = False
    said: list[tuple[str, Any]] = field(default_factory=list)


class Simulator(Checked):  # type: ignore[misc]
    """Runs one workflow to its end."""

    def __init__(self, root: Spec, random: Random, chaos: Chaos, policy: Policy) -> None:
        self.root, self.random, self.chaos, self.policy = root, random, chaos, policy
        self.storage = MemoryStorage()
        self.store = JobStore("memory:simulation", self.storage)
        self.specs = {spec.path: spec for spec in root.walk()}
        self.tried: Counter[str] = Counter()
        self.durable: list[Event] = []
        self.late: list[tuple[str, int, Any]] = []  # commits of workers that nobody waits for any more
        self.committed: set[str] = set()  # objects that belong to commits which the leader accepted
        self.crashes = self.epoch = self.steps = 0

    # -- the whole -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Lead under disturbances, then calmly, with as many leaders as are needed for what fails only for a while."""
        self._lead_and_survive()
        for _ in range(self.random.randint(0, 12) * len(self.specs) if self.chaos is not CALM else 0):
            if not self._survive(self._any_step):
                break
        self.chaos = CALM
        for _ in range(40):
            while self._survive(self._any_step):
                pass
            self._check_at_end()
            if not any(self.model.jobs[job].spec.fails < FOREVER for job in self.progress.failed):
                return
            self._lead_and_survive()
        raise AssertionError("jobs that fail only for a while never get done")

    def done(self) -> set[str]:
        """Give the paths of the jobs that are done."""
        return {job.spec.path for job in self.model.jobs.values() if job.done}

    def outcome(self) -> tuple[bool, set[str]]:
        """Tell how the run ended; services beside failed jobs may have ended by themselves, or not yet."""
        return self.progress.finished, {path for path in self.done() if self.specs[path].kind != "service"}

    def result(self) -> Any:
        """Read the run's result."""
        return self._value(self.progress.values_for((0,)), 0)

    def _survive(self, step: Any) -> bool:
        try:
            return bool(step())
        except Crash:
            self._lead_and_survive()
            return True

    def _lead_and_survive(self) -> None:
        while True:
            try:
                return self._lead()
            except Crash:
                continue

    def _maybe_crash(self) -> None:
        if self.random.random() < self.chaos.crash:
            self.crashes += 1
            raise Crash

    # -- a leader --------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        if self.epoch:
            self._orphan()
        self.epoch += 1
        self.progress, last = replay(self.store)
        self.journal = Journal(self.store, self.epoch, f"leader {self.epoch}", last + 1)
        self.model = Model(self.root)
        for event in self.durable:
            self.model.apply(event)
        self.unwritten: list[Event] = []
        self.effects: list[Any] = []
        self.queue: list[int] = []
        self.out: dict[int, Attempt] = {}
        self._check()
        self._record(LeaderStarted(self.epoch, "owner", "host", 1, 0.0, self.policy))
        if self.progress.accepts(0):
            report, payload = self._commit_of(self.root, 0, "script")
            self._deliver_commit(0, (report, payload))
        self._flush()
        for message in [message for message in self.late if self.random.random() < 0.5]:  # left in the store
            self.late.remove(message)
            self._deliver_commit(*message[1:])
        self._flush()

    def _orphan(self) -> None:
        """Let the workers of the last leader live on for a while, or not."""
        for attempt in list(self.out.values()):
            if self.random.random() < 0.5:
                self._work(attempt)
            self.late += [(kind, attempt.job, what) for kind, what in attempt.said if kind == "commit" and self.random.random() < 0.8]

    def _record(self, event: Event) -> None:
        shadow = self._shadow() if self.random.random() < 0.15 else None
        self.journal.add(event)
        self.unwritten.append(event)
        effects = self.progress.apply(event)
        if shadow is not None:
            self._compare(shadow, event, effects)
        self.effects += effects
        self.model.apply(event)
        self._check_effects(effects)
        self._check()
        if self.random.random() < self.chaos.flush:
            self._flush()

    def _flush(self) -> None:
        self._maybe_crash()
        if self.journal.pending:
            self.journal.flush()
            self.durable += self.unwritten
            self.unwritten = []
        effects, self.effects = self.effects, []
        for effect in effects:
            self._maybe_crash()
            match effect:
                case Submit():
                    self.queue.append(effect.job)
                case StopService():
                    if effect.job in self.out:
                        self.out[effect.job].told_to_stop = True
                case Discard():
                    self.store.delete(effect.keys)
        if self.random.random() < self.chaos.snapshot:
            write_snapshot(self.store, self.progress, self.journal.segment - 1)
        if self.random.random() < 0.1:
            assert state(replay(self.store)[0]) == state(self.progress), "the journal tells another story"

    def _any_step(self) -> bool:
        steps: list[Any] = [(self._submit, job) for job in self.queue]
        for attempt in self.out.values():
            if attempt.said:
                steps.append((self._deliver, attempt))
            if not attempt.ended and (not attempt.began or attempt.told_to_stop or self._ends_early(attempt)):
                steps.append((self._work, attempt))
        steps += [(self._deliver_late, message) for message in self.late]
        if not steps:
            if not self.journal.pending and not self.effects:
                return False
            self._flush()
            return True
        self.steps += 1
        assert self.steps < 4000, "no end in sight"
        if self.random.random() < self.chaos.cancel:
            self._record(RunCanceled(0.0, "enough"))
            self._flush()
            assert self.progress.canceled
            raise Crash
        self._maybe_crash()
        do, what = self.random.choice(steps)
        do(what)
        return True

    def _submit(self, job: int) -> None:
        self.queue.remove(job)
        if not self.progress.accepts(job) or job in self.out:
            return
        node = self.progress.nodes[job]
        order = {"body": node.body, "refs": node.refs, "values": self.progress.values_for(node.refs)}
        self.out[job] = Attempt(job, f"{self.epoch}.{self.steps}", order)

    # -- workers ---------------------------------------------------------------------------------------------

    def _work(self, attempt: Attempt) -> None:
        """Run an attempt to its end, or a service until it is up or stopped."""
        if attempt.ended:
            return
        if attempt.began:
            self._end_service(attempt)
            return
        attempt.began = True
        try:
            path = self.store.read(attempt.order["body"]).decode()
            values = [self._value(attempt.order["values"], ref) for ref in attempt.order["refs"]]
        except NotFoundError:
            assert not self.progress.accepts(attempt.job), "what a job needs was deleted"
            attempt.ended = True
            self.out.pop(attempt.job, None)
            return
        job = self.model.jobs.get(attempt.job)
        if job is not None and not job.done:
            assert job.spec.path == path
            assert values == self.model.expected(attempt.job)
        spec = attempt.spec = self.specs[path]
        self.tried[path] += 1
        number = self.tried[path]
        if number <= spec.loses:
            attempt.said.append(("failed", self.random.choice((Reason.LOST, Reason.PREEMPTED, Reason.CANCELED))))
            if spec.kind != "service" and spec.fails < FOREVER and self.random.random() < 0.5:
                self.late.append(("commit", attempt.job, self._commit_of(spec, attempt.job, attempt.token)))
        elif number <= spec.loses + spec.fails:
            attempt.said.append(("failed", Reason.MEMORY if spec.memory else Reason.FAILED))
        elif spec.kind == "service":
            attempt.said.append(("up", json.dumps(spec.value).encode()))
            return
        else:
            attempt.said.append(("commit", self._commit_of(spec, attempt.job, attempt.token)))
        attempt.ended = True

    def _ends_early(self, attempt: Attempt) -> bool:
        spec = attempt.spec
        return spec is not None and (spec.fails_up > 0 or spec.early) and not attempt.said and self.random.random() < 0.5

    def _end_service(self, attempt: Attempt) -> None:
        spec = attempt.spec
        assert spec is not None
        if spec.fails_up and (not attempt.told_to_stop or self.random.random() < 0.5):
            spec.fails_up -= 1
            attempt.said.append(("failed", Reason.FAILED))
            attempt.ended = True
        elif attempt.told_to_stop or spec.early:
            attempt.said.append(("commit", self._commit_of(spec, attempt.job, attempt.token)))
            attempt.ended = True

    def _commit_of(self, spec: Spec, job: int, token: str) -> tuple[Report, bytes]:
        payload = bytearray()

        def place(data: bytes, large: bool) -> Blob:
            if large:
                return self.store.write_value(job, token, data)
            payload.extend(data)
            return Blob.of(data, 0, len(payload) - len(data))

        records = [
            JobRecord(
                name=made.path,
                body=Blob(0, 0, 0) if made.kind == "knot" else place(made.path.encode(), made.large),
                refs=made.refs,
                after=made.after,
                child_of=made.child_of,
                follow_on_of=made.follow_on_of,
                service_of=made.service_of,
                service_parent=made.service_parent,
                checkpoint=made.kind == "checkpoint",
            )
            for made in spec.made
        ]
        value = place(json.dumps(spec.path).encode(), spec.large and spec.kind != "service")
        return Report(job, 1, 0.0, 0.0, token, value=value, refs=spec.value_refs, jobs=tuple(records)), bytes(payload)

    def _value(self, values: dict[int, Any], job: int) -> Any:
        data = self.store.read(values[job].blob)
        inside = [self._value(values, ref) for ref in values[job].refs]
        own = json.loads(data) if data else None
        return [own, *inside] if isinstance(own, str) else own

    # -- what the leader hears -------------------------------------------------------------------------------

    def _deliver(self, attempt: Attempt) -> None:
        kind, what = attempt.said.pop(0)
        if kind == "up":
            for _ in range(1 + (self.random.random() < self.chaos.duplicate)):
                self._deliver_up(attempt.job, what)
            return
        if self.out.get(attempt.job) is attempt:
            del self.out[attempt.job]
        if kind == "commit":
            self._deliver_commit(attempt.job, what)
            if self.random.random() < self.chaos.duplicate:
                self.late.append((kind, attempt.job, what))
        else:
            self._deliver_failure(attempt, what)

    def _deliver_late(self, message: tuple[str, int, Any]) -> None:
        self.late.remove(message)
        self._deliver_commit(*message[1:])

    def _deliver_commit(self, job: int, what: tuple[Report, bytes]) -> None:
        assert self.progress.accepts(job) == self.model.accepts(job), f"is a commit of job {job} the first?"
        if self.progress.accepts(job):
            report, payload = what
            blobs = (report.value, *(made.body for made in report.jobs))
            self.committed |= {blob.where for blob in blobs if blob is not None and isinstance(blob.where, str)}
            self._record(Committed(report, self.journal.place(payload), self.progress.next_id))

    def _deliver_up(self, job: int, value: bytes) -> None:
        if self.progress.accepts(job) and self.progress.nodes[job].state is State.READY:
            self._record(ServiceUp(job, self.journal.place(value)))
        else:
            before = msgspec.json.encode(self.progress.snapshot())
            assert not self.progress.apply(ServiceUp(job, Blob(1, 1, 1)))
            assert msgspec.json.encode(self.progress.snapshot()) == before

    def _deliver_failure(self, attempt: Attempt, reason: str) -> None:
        job = attempt.job
        if not self.progress.accepts(job):
            return
        node = self.progress.nodes[job]
        event = AttemptFailed(job, 1, reason, 0.0, charged=True)
        if node.state is not State.UP:
            event = judge(self.policy, node, event, node.requirements.memory or 100, lambda wanted: (wanted.memory or 0) <= 1000)
        self._record(event)
