"""The leader's loop: submit what is ready, take in what came back, journal it, and only then act on it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from jobsys.batch.base import BatchState, BatchSystem, BatchUpdate
from jobsys.clock import SYSTEM, Clock
from jobsys.errors import BatchSystemError, IntegrityError, NotFoundError, RequirementError, StorageError
from jobsys.events import AttemptFailed, Committed, Event, Reason, RunCanceled, ServiceUp
from jobsys.jobstores import JobStore, Lease
from jobsys.journal import Started, apply, attempts_over, lease_lost, open_commit, write_snapshot
from jobsys.leader.attempts import Attempt, Attempts
from jobsys.leader.lease import BEAT
from jobsys.leader.listener import Listener
from jobsys.leader.view import View
from jobsys.message import AGAIN, STOP, Report, decode_order, decode_report, decode_said, newness
from jobsys.progress import Discard, Node, StopService, Submit
from jobsys.progress.policy import judge
from jobsys.requirements import Requirements
from jobsys.status import FailureStatus, RunStatus

logger = logging.getLogger(__name__)

PORTION: Final = 512
"""How many attempts must find room in the batch system's window before any is submitted; a smaller window is filled by eighths."""
AT_ONCE: Final = 4096
"""How many attempts are submitted before the leader looks at what came back, and gives a sign of life."""
TICK: Final = 0.25
STATUS_EVERY: Final = 1.0
SWEEP_EVERY: Final = 10.0  # what killed workers had begun to write may be large
SNAPSHOT_EVERY: Final = 50_000  # events
SERVICE_GRACE: Final = 10.0  # seconds for services to stop when the run ends without its result
PATIENCE: Final = 60.0  # seconds for which a heartbeat, a status or a snapshot may fail to be written
DEADLOCK_AFTER: Final = 60.0  # seconds with nothing but services running and clients that don't fit
_STATES: Final = frozenset(BatchState)
_OVER: Final = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)


class Leader:
    """Runs one run to its end. Everything it decides comes from ``progress``, everything it knows is in the journal."""

    def __init__(
        self, store: JobStore, lease: Lease, started: Started, batch: BatchSystem, listeners: Sequence[Listener] = (), clock: Clock = SYSTEM
    ) -> None:
        """Lead the run in ``store`` that ``take_over`` started."""
        self.store = store
        self.progress = progress = started.progress
        self.canceled = ""
        self._lease = lease
        self._journal = started.journal
        self._batch = batch
        self._clock = clock
        self._listeners = listeners
        self._attempts = Attempts(progress, lease, store.key, started.journal.recall)
        self._effects = started.effects
        self._lost: list[tuple[int, str]] = []  # jobs and tokens of attempts of which nothing may be left
        self._unseen: list[tuple[Event, str]] = []
        self._stop_on_failure = False
        self._checked: dict[Requirements, str] = {}
        self._beats = 0
        self._due = dict.fromkeys(("beat", "status", "kill", "snapshot", "sweep"), 0.0)
        self._troubled: dict[str, float] = {}  # of these, what fails, and since when
        self._since_snapshot = 0
        self._only_services_for = 0.0  # seconds, of those in which this leader was awake to see it
        self._services_seen = 0.0
        self._view = View(progress, store, lease, clock)

    # -- the way in ------------------------------------------------------------------------------------------

    def start(self, first: tuple[Report, bytes] | None = None, stop_on_failure: bool = False) -> None:
        """Begin with ``first``, the script's own commit, or go on.

        Raises:
            LeaseLostError: another leader was quicker.
        """
        self._stop_on_failure = stop_on_failure
        with self._unless_replaced():
            if first is not None:
                self._commit(*first)
            self._flush()
            self._adopt_commits()
            self._adopt_attempts()

    def run(self) -> None:
        """Lead until the result is there, nothing more can run, or somebody stops the run (``cancel``).

        Raises:
            LeaseLostError: another leader took the run over.
        """
        with self._unless_replaced():
            while not self._at_end():
                self._submit()
                for update in self._batch.updates(self._timeout()):
                    self._take(update)
                self._flush()
                self._tick()
            self._stop_services()
        if self.canceled:
            self._record(RunCanceled(self._clock.time(), self.canceled))
            self._flush()
        with suppress(BatchSystemError, StorageError):  # the outcome is there
            self._batch.updates(0)  # so that it knows that what it told is kept

    @contextmanager
    def _unless_replaced(self) -> Iterator[None]:
        """Tell a leader that comes back late what has happened: a later one has deleted what it would have read."""
        try:
            yield
        except IntegrityError:
            if self.store.replaced(self._lease.epoch):
                raise lease_lost(self.store, f"after epoch {self._lease.epoch}") from None
            raise

    def cancel(self, reason: str) -> None:
        """Ask the loop to end; safe to call from a signal handler."""
        self.canceled = self.canceled or reason

    def close(self) -> None:
        """Leave: stop what runs, and show the last status, unless what happened could not be kept: then another leader may show its own."""
        try:
            self._batch.shutdown(leave=self._succeeded())
            self._sweep()
            if not self._journal.pending and not self.store.replaced(self._lease.epoch):
                self._show(final=True)
        finally:
            for listener in self._listeners:
                listener.close()

    def _succeeded(self) -> bool:
        """Tell whether another leader has come, as far as the store says."""
        try:
            return self.store.replaced(self._lease.epoch)
        except StorageError as error:
            logger.info("nobody can tell whether another leader leads the run: %s", error)
            return False

    @property
    def failures(self) -> list[FailureStatus]:
        """The jobs that failed for good."""
        return self._view.failures

    def status(self, final: bool = False) -> RunStatus:
        """Tell how the run is going."""
        return self._view.status(self._attempts, self._batch, self.canceled, final)

    def deadlocked(self) -> str:
        """Say why nothing can go on, where that is so although nothing failed; else an empty text."""
        if self._only_services_for > DEADLOCK_AFTER:
            return (
                "only services run, and their clients find no room beside them: run where there is more, or ask for less "
                "(a job holds a tenth of a core at least)"
            )
        return ""

    # -- the loop's steps ------------------------------------------------------------------------------------

    def _at_end(self) -> bool:
        if self.canceled or self.progress.finished or self.deadlocked():
            return True
        if self._stop_on_failure and self.progress.failed:
            return True
        return self.progress.idle and not self._journal.pending and not self._effects

    def _timeout(self) -> float:
        if self._attempts.queued and self._room():
            return 0.0
        due = self._attempts.next_due()
        return TICK if due is None else max(0.0, min(TICK, due - self._clock.monotonic()))

    def _room(self) -> int:
        """Tell how many attempts may be submitted now."""
        window = self._batch.window
        room = window - len(self._attempts.out)
        return 0 if room < min(PORTION, window // 8) else min(room, AT_ONCE)

    def _submit(self) -> None:
        room = self._room()
        if not room or not self._attempts.waiting:
            return
        jobs = []
        for node in self._attempts.due(self._clock.monotonic(), room):
            problem = self._problem(node)
            if problem:
                self._fail(node, AttemptFailed(node.id, 0, Reason.FAILED, self._clock.time(), message=problem))
            else:
                jobs.append(self._attempts.order(node))
        if jobs:
            self._batch.submit(jobs)

    def _problem(self, node: Node) -> str:
        requirements = node.requirements
        if requirements not in self._checked:
            self._checked[requirements] = self.refusal(requirements)
        return self._checked[requirements]

    def refusal(self, requirements: Requirements) -> str:
        """Say why no machine can ever meet these requirements; an empty text if one can."""
        try:
            self._batch.check(requirements)
        except RequirementError as error:
            return str(error)
        return ""

    def _take(self, update: BatchUpdate) -> None:
        attempt = self._attempts.out.get(update.id)
        if attempt is None:
            logger.info("news of an attempt that is closed: %s", update.state, extra={"event": "late-update"})
            return
        if update.state not in _STATES:
            logger.warning("job %s: the batch system says %r, an unknown state", attempt.job, update.state, extra={"event": "state"})
            return
        match update.state:
            case BatchState.COMPLETED:
                self._attempts.take(update.id)
                self._completed(attempt, update)
            case BatchState.ENDED:
                self._attempts.take(update.id)
                self._ended(attempt, update)
            case BatchState.RETURNED if attempt.job in self.progress.up:  # its value is out
                self._attempts.take(update.id)
                self._ended(attempt, update)
            case BatchState.RETURNED:
                self._attempts.again(update.id)
            case BatchState.MESSAGE:
                self._said(attempt, update)
            case BatchState.RUNNING:
                pass  # what runs is asked for when it is shown

    def _completed(self, attempt: Attempt, update: BatchUpdate) -> None:
        report, payload = decode_report(update.payload)
        if (report.job, report.token) != (attempt.job, attempt.token):  # a job has spoken in its worker's place
            self._ended(attempt, BatchUpdate(update.id, BatchState.ENDED, reason=Reason.FAILED, message="it reported for another attempt"))
            return
        if update.memory is not None:
            report = msgspec.structs.replace(report, memory=update.memory)
        failure = report.failure
        if failure is None:
            if not self._commit(report, payload):
                self._lost.append((attempt.job, attempt.token))
            return
        node = self.progress.nodes.get(attempt.job)
        if node is None or not self.progress.accepts(attempt.job):
            self._lost.append((attempt.job, attempt.token))
            return
        log, text = report.log, b""
        if log is not None and log.where == 0:
            text = payload[log.offset : log.offset + log.length]
            log = self._journal.place(text)
        elif log is not None:
            with suppress(NotFoundError):  # what a person reads is not worth the run
                text = self.store.peek(log)
        failed = AttemptFailed(
            job=attempt.job,
            attempt=attempt.number,
            reason=failure.reason,
            time=self._clock.time(),
            token=attempt.token,
            host=report.host,
            message=failure.message,
            traceback=failure.traceback,
            log=log,
            seconds=report.seconds,
            memory=report.memory,
        )
        self._fail(node, failed, attempt, text)

    def _commit(self, report: Report, payload: bytes) -> bool:
        """Accept a commit, unless the job has one: the first wins."""
        if not self.progress.accepts(report.job):
            logger.info("job %s was committed before", report.job, extra={"event": "commit-refused", "job": report.job})
            return False
        self._record(Committed(report, self._journal.place(payload, whole=False), self.progress.next_id))
        return True

    def _ended(self, attempt: Attempt, update: BatchUpdate) -> None:
        node = self.progress.nodes.get(attempt.job)
        if node is None or not self.progress.accepts(attempt.job):
            self._lost.append((attempt.job, attempt.token))
            return
        failed = AttemptFailed(
            job=attempt.job,
            attempt=attempt.number,
            reason=update.reason or Reason.LOST,
            time=self._clock.time(),
            token=attempt.token,
            host=update.host or self._lease.host,
            exit_status=update.exit_status,
            message=update.message,
            log=self._journal.place(update.log) if update.log else None,
            memory=update.memory,
        )
        self._fail(node, failed, attempt, update.log, update.limit)

    def _fail(self, node: Node, failed: AttemptFailed, attempt: Attempt | None = None, log: bytes = b"", limit: int | None = None) -> None:
        if attempt is None:
            judged = failed  # nothing was tried: trying again can't help
        elif attempt.service and node.id in self.progress.up:
            judged = failed  # its clients have its value: another start would give another one
        else:
            judged = judge(self.progress.policy, node, failed, limit, lambda wanted: not self.refusal(wanted))
        self._record(judged)
        if not judged.retry:
            self._view.failed(judged, node, log)
        if attempt is not None:
            self._lost.append((attempt.job, attempt.token))

    def _said(self, attempt: Attempt, update: BatchUpdate) -> None:
        said, payload = decode_said(update.payload)
        if said.service_value is not None and self.progress.accepts(attempt.job):
            value = said.service_value
            if value.where == 0:
                value = value.within(self._journal.place(payload, whole=False))
            self._record(ServiceUp(attempt.job, value))
        if said.log:
            for listener in self._listeners:
                listener.on_log(attempt.job, attempt.name, said.level, said.log)

    # -- remembering, then acting ----------------------------------------------------------------------------

    def _record(self, event: Event) -> None:
        job = event.report.job if isinstance(event, Committed) else getattr(event, "job", 0)
        node = self.progress.nodes.get(job)
        self._journal.add(event)
        self._effects += apply(self.store, self.progress, event)
        if self._listeners:
            self._unseen.append((event, node.name if node else ""))

    def _flush(self) -> None:
        """Write the journal, and only then do what follows from it."""
        if self._journal.pending:
            self._since_snapshot += self._journal.pending
            self._journal.flush()
        self._act()
        unseen, self._unseen = self._unseen, []
        for event, name in unseen:
            for listener in self._listeners:
                listener.on_event(event, name)

    def _act(self) -> None:
        """Do what follows from what is durable now."""
        effects, self._effects = self._effects, []
        now = self._clock.monotonic()
        discarded: list[str] = []
        for effect in effects:
            match effect:
                case Submit():
                    self._attempts.add(effect, now)
                    self._ask_again(effect.job)
                case StopService():
                    self._stop_service(effect.job)
                case Discard():
                    discarded += effect.keys
        if discarded:
            self.store.delete(discarded)
        lost, self._lost = self._lost, []
        for job, token in lost:
            self.store.delete_files_of(job, token)

    def _ask_again(self, job: int) -> None:
        """Have a service that runs already say that it is up: only an earlier leader may have heard it, or it came before it counted."""
        id = self._attempts.id_of(job)
        if id is not None and self._attempts.out[id].service:
            self._batch.tell(id, AGAIN)

    def _stop_service(self, job: int) -> None:
        id = self._attempts.id_of(job)
        if id is not None:
            self._batch.tell(id, STOP)

    def _stop_services(self) -> None:
        """Let services end in order; their ends are not journaled, so that a resumed run starts them again for their clients."""
        up = {id for job in self.progress.up if (id := self._attempts.id_of(job)) is not None}
        for id in up:
            self._batch.tell(id, STOP)
        deadline = self._clock.monotonic() + SERVICE_GRACE
        while up and self._clock.monotonic() < deadline:
            for update in self._batch.updates(TICK):
                if update.id not in up:
                    self._take(update)
                elif update.state in _OVER:
                    up.remove(update.id)
            self._flush()

    def _adopt_commits(self) -> None:
        """Take in the commits of workers that outlived the last leader; not of attempts that were given up for lost before."""
        adopted = []
        ended: tuple[dict[str, bool], set[str]] | None = None
        for key, data in self.store.commits():
            ended = attempts_over(self.store, self._journal.segment - 1) if ended is None else ended
            over, leaders = ended
            adopted.append(key)
            try:
                report, payload = open_commit(self.store.key, data)
            except IntegrityError as error:
                logger.warning("%s does not count, its job runs again: %s", key, error, extra={"event": "commit-damaged"})
                continue
            ours = report.token.rpartition(".")[0] in leaders  # else a run left it that had its store here before
            new = ours and report.token not in over and report.failure is None
            if over.get(report.token) or (new and self._commit(report, payload)):
                continue
            self._lost.append((report.job, report.token))
        self._flush()
        self.store.delete(adopted)

    def _adopt_attempts(self) -> None:
        """Go on with what an earlier leader has submitted and the batch system still has; what is over by the journal is canceled.

        Of several attempts of a job only the last was not given back: of that, the journal knows nothing.
        """
        adopted = self._batch.adopt()
        if not adopted:
            return
        over, leaders = attempts_over(self.store, self._journal.segment - 1)
        unwanted = []
        orders = [(job, decode_order(job.order)) for job in adopted]
        for job, order in sorted(orders, key=lambda each: newness(each[1].token), reverse=True):
            node = self.progress.nodes.get(order.job)
            ours = order.token.rpartition(".")[0] in leaders and order.token not in over
            if node is not None and ours and self.progress.accepts(order.job) and self._attempts.id_of(order.job) is None:
                self._attempts.adopt(job.id, order)
                self._ask_again(order.job)
            else:
                unwanted.append(job.id)
        if unwanted:
            self._batch.cancel(unwanted)
        logger.info("of %d attempts of an earlier leader %d go on", len(adopted), len(adopted) - len(unwanted))

    # -- now and then ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._every("beat", BEAT, now, self._beat)
        self._every("status", STATUS_EVERY, now, self._show)
        self._every("kill", 2.0, now, self._look_for_kill)
        self._every("sweep", SWEEP_EVERY, now, self._sweep)
        if self._since_snapshot > SNAPSHOT_EVERY + 2 * len(self.progress.nodes):
            self._every("snapshot", 1.0, now, self._take_snapshot)
        self._watch_services(now)

    def _every(self, what: str, seconds: float, now: float, act: Callable[[], None]) -> None:
        """Do what is no part of the run's outcome: that it fails now and then must not end the run."""
        if now < self._due[what]:
            return
        self._due[what] = now + seconds
        try:
            act()
        except StorageError as error:
            if what not in self._troubled:
                logger.warning("%s: %s; the run goes on", what, error, extra={"event": "trouble"})
            if now - self._troubled.setdefault(what, now) > PATIENCE:
                raise
        else:
            self._troubled.pop(what, None)

    def _take_snapshot(self) -> None:
        write_snapshot(self.store, self.progress, self._journal.segment - 1, self._journal.tag)
        self._since_snapshot = 0

    def _beat(self) -> None:
        if self.store.replaced(self._lease.epoch):  # one that has nothing to write would not notice for long
            raise lease_lost(self.store, f"after epoch {self._lease.epoch}")
        self._beats += 1
        self.store.beat(self._lease.epoch, self._beats, self._clock.time())

    def _show(self, final: bool = False) -> None:
        status = self.status(final)
        self._view.save(status)
        for listener in self._listeners:
            listener.on_status(status)

    def _sweep(self) -> None:
        with suppress(StorageError):  # room on a disk is not worth the run
            self.store.sweep()

    def _look_for_kill(self) -> None:
        request = self.store.asked_to_stop()
        if request is not None:
            self.cancel(request.decode(errors="replace"))

    def _watch_services(self, now: float) -> None:
        up = self.progress.up
        stuck = bool(up) and not self._batch.shared and len(self._attempts.out) > len(up) and self._only_run(up)
        passed, self._services_seen = now - self._services_seen, now
        if not stuck or self._attempts.next_due() is not None:
            self._only_services_for = 0.0
        else:
            self._only_services_for += min(passed, STATUS_EVERY)  # a leader that was stopped for long knows nothing of that time

    def _only_run(self, up: frozenset[int]) -> bool:
        """Tell whether nothing runs but these services."""
        running = self._batch.running()
        return len(running) <= len(up) and set(running) <= {self._attempts.id_of(job) for job in up}
