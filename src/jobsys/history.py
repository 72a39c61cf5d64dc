"""What happened in a run, read back from its journal: every job, its attempts, when it could start and what it came from.

The one place that statistics, logs and pictures of a graph are made from; works while the run goes on, and after it.
"""

from typing import Final

import msgspec

from jobsys import journal
from jobsys.collecting import uncollected
from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, RunCanceled
from jobsys.jobstores import JobStore
from jobsys.message import Report
from jobsys.progress import Progress, State, Submit
from jobsys.record import SELF, Blob, JobRecord
from jobsys.requirements import Requirements

DONE: Final = "done"
"""How an attempt ended that was committed; every other one ended for a reason, see events.Reason."""


class Attempt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One attempt of a job that has ended."""

    number: int
    outcome: str
    ended: float
    seconds: float
    epoch: int  # of the leader that took it in
    host: str = ""
    cpu: float = 0.0
    memory: int | None = None  # peak bytes
    ready: float = 0.0  # when it could have started; 0 where that is not known
    exit_status: int | None = None
    message: str = ""
    traceback: str = ""
    log: Blob | None = None
    retry: bool = False

    @property
    def started(self) -> float:
        """When it began."""
        return self.ended - self.seconds

    @property
    def waited(self) -> float:
        """Seconds for which it could have run and did not."""
        return max(0.0, self.started - self.ready) if self.ready else 0.0


class JobHistory(msgspec.Struct):
    """A job, and what became of it. References are job numbers; 0 is the script."""

    number: int
    name: str
    maker: int
    requirements: Requirements  # of the newest attempt
    parents: tuple[int, ...] = ()
    follows: tuple[int, ...] = ()
    service_of: int | None = None
    refs: tuple[int, ...] = ()  # the jobs whose values it was given
    after: tuple[int, ...] = ()
    value_refs: tuple[int, ...] = ()  # the jobs whose values are inside its own value
    checkpoint: bool = False
    knot: bool = False  # runs no code
    state: State = State.WAITING
    superseded: bool = False  # made by a checkpoint that has run again since
    attempts: list[Attempt] = []

    @property
    def failures(self) -> int:
        """How many attempts ended without a commit."""
        return sum(attempt.outcome != DONE for attempt in self.attempts)

    @property
    def seconds(self) -> float:
        """How long all attempts took."""
        return sum(attempt.seconds for attempt in self.attempts)


class Leadership(msgspec.Struct):
    """The time of one leader, as far as the journal tells."""

    epoch: int
    host: str
    pid: int
    started: float
    ended: float  # when the last thing happened that it wrote down


class History(msgspec.Struct):
    """All that happened in a run so far."""

    jobs: dict[int, JobHistory]
    leaders: list[Leadership]
    progress: Progress
    canceled: str = ""  # why the last leader stopped the run

    @property
    def elapsed(self) -> float:
        """Seconds during which a leader was at work."""
        return sum(leader.ended - leader.started for leader in self.leaders)


def read_history(store: JobStore) -> History:
    """Read a run back, whole.

    Raises:
        NoSuchJobStoreError: there is no job store.
        IntegrityError: the journal is damaged.
    """
    store.info()
    reader = _Reader(store)
    with uncollected(), journal.making_sense(store):
        for page in journal.pages(store):
            for event in page.events:
                reader.take(event)
        return reader.result()


def read_log(store: JobStore, attempt: Attempt) -> str | None:
    """Read what an attempt printed; None where nothing was kept."""
    return None if attempt.log is None else store.peek(attempt.log).decode(errors="replace")


class _Reader:
    """Takes in events in the journal's order."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._jobs: dict[int, JobHistory] = {}
        self._leaders: list[Leadership] = []
        self._made: dict[int, list[range]] = {}
        self._ready: dict[int, float] = {}
        self._progress = Progress()
        self._canceled = ""

    def take(self, event: Event) -> None:
        """Take in one event."""
        journal.check_new(self._progress, event)
        now = 0.0  # of a service that came up it is not known when it did
        match event:
            case Committed():
                report = event.report
                now = report.started + report.seconds
                self._committed(event, report, now)
            case AttemptFailed():
                now = event.time
                self._failed(event)
            case LeaderStarted():
                now = event.time
                self._canceled = ""
                self._leaders.append(Leadership(event.epoch, event.host, event.pid, now, now))
            case RunCanceled():
                now = event.time
                self._canceled = event.reason
        effects = journal.apply(self._store, self._progress, event)
        if self._leaders and now > self._leaders[-1].ended:
            self._leaders[-1].ended = now
        for effect in effects:
            if type(effect) is Submit and now:
                self._ready[effect.job] = now + effect.delay

    def result(self) -> History:
        """Give what was read, with every job's present state."""
        nodes = self._progress.nodes
        for number, job in self._jobs.items():
            node = nodes.get(number)
            job.state = State.DONE if node is None else node.state
        return History(self._jobs, self._leaders, self._progress, self._canceled)

    def _committed(self, event: Committed, report: Report, ended: float) -> None:
        self._supersede(report.job)
        first = event.first
        job = self._jobs.get(report.job)
        if job is not None:
            payload = event.payload
            log = None if report.log is None else report.log.within(payload)
            job.value_refs = _numbers(report.refs, report.job, first)
            job.attempts.append(
                Attempt(
                    number=len(job.attempts) + 1,
                    outcome=DONE,
                    ended=ended,
                    seconds=report.seconds,
                    epoch=self._epoch,
                    host=report.host,
                    cpu=report.cpu,
                    memory=report.memory,
                    ready=self._ready.get(report.job, 0.0),
                    log=log,
                )
            )
        if report.made:
            self._made.setdefault(report.job, []).append(range(first, first + report.made))
            records = (record for _, some in journal.made_by(self._store, report) for record in some)
            for number, record in enumerate(records, first):
                self._jobs[number] = _job(number, record, report.job, first)

    def _failed(self, event: AttemptFailed) -> None:
        job = self._jobs.get(event.job)
        if job is None:
            return
        job.attempts.append(
            Attempt(
                number=len(job.attempts) + 1,
                outcome=str(event.reason),
                ended=event.time,
                seconds=event.seconds,
                epoch=self._epoch,
                host=event.host,
                memory=event.memory,
                # one that took no time known to us was never seen to start: no waiting time can be told
                ready=self._ready.get(event.job, 0.0) if event.seconds else 0.0,
                exit_status=event.exit_status,
                message=event.message,
                traceback=event.traceback,
                log=event.log,
                retry=event.retry,
            )
        )
        if event.requirements is not None:
            job.requirements = event.requirements

    def _supersede(self, maker: int) -> None:
        """Mark what came of a job's earlier commit: a checkpoint has run again."""
        waiting = [maker] if maker in self._made else []
        while waiting:
            for numbers in self._made.pop(waiting.pop(), ()):
                for number in numbers:
                    self._jobs[number].superseded = True
                    waiting.append(number)

    @property
    def _epoch(self) -> int:
        return self._leaders[-1].epoch if self._leaders else 0


def _job(number: int, record: JobRecord, maker: int, first: int) -> JobHistory:
    service_of = record.service_of
    return JobHistory(
        number=number,
        name=record.name,
        maker=maker,
        requirements=record.requirements,
        parents=() if service_of is not None else _numbers(record.child_of, maker, first),
        follows=_numbers(record.follow_on_of, maker, first),
        service_of=None if service_of is None else _numbers((service_of,), maker, first)[0],
        refs=_numbers(record.refs, maker, first),
        after=_numbers(record.after, maker, first),
        checkpoint=record.checkpoint,
        knot=record.body.length == 0,
    )


def _numbers(refs: tuple[int, ...], maker: int, first: int) -> tuple[int, ...]:
    """Turn the references of a commit into job numbers."""
    return tuple([maker if ref == SELF else first + ref for ref in refs]) if refs else ()
