"""The resident leader: takes what is queued in the database to a batch system, and what that tells back into the database.

The database is its memory: what it holds itself can be lost at any moment. There is one at a time, by the lease; the processes that
answer requests never talk to it, they find everything in the database.
"""

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import Connection

from jobsys.batch.base import BatchJob, BatchSystem
from jobsys.errors import RequirementError
from jobsys.sandbox import spec
from jobsys.server import attempts, running, tasks
from jobsys.server.database import Database
from jobsys.server.leases import Lease
from jobsys.server.running import ACTIVE, Out
from jobsys.server.states import RunState
from jobsys.server.tasks import Task

logger = logging.getLogger(__name__)

TICK: Final = 0.1
"""Seconds between two looks into the database."""
RENEW: Final = 5.0
RECONCILE: Final = 10.0
"""Seconds between two comparisons of all that should run with all that does: what the stream of events can miss is found then."""
_HEARD: Final = frozenset({RunState.QUEUED, RunState.CANCELING, RunState.CANCELED})


class Resident:
    """Leads until it is told to stop."""

    def __init__(
        self, database: Database, lease: Lease, batch: BatchSystem, site: spec.Site, clock: Callable[[], float] = time.time
    ) -> None:
        """Lead with a lease that was taken."""
        self._database = database
        self._lease = lease
        self._batch = batch
        self._site = site
        self._clock = clock
        self._ids = itertools.count(1)
        self._out: dict[int, Out] = {}  # by the ids of batch jobs
        self._by_task: dict[int, int] = {}
        self._waiting: dict[int, Task] = {}  # tasks for which there was no room yet
        self._event = 0
        self._due = {"renew": 0.0, "reconcile": clock() + RECONCILE}
        self._draining = False
        self._over = False

    @property
    def busy(self) -> int:
        """How many tasks the batch system has."""
        return len(self._out)

    def drain(self) -> None:
        """Take nothing new, and end when what runs has ended; safe to call from a signal handler."""
        self._draining = True

    def stop(self) -> None:
        """End now; what runs is canceled or, where the batch system can, left to the next leader. Safe to call from a signal handler."""
        self._over = True

    def run(self) -> None:
        """Lead.

        Raises:
            LeaderLostError: another process leads now.
            BatchSystemError: the batch system can't go on.
        """
        self._take_over()
        while not self._over and not (self._draining and not self._out):
            self.turn()

    # ── one turn ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def turn(self, timeout: float = TICK) -> None:
        """Take in what has happened on both sides."""
        updates = self._batch.updates(timeout)
        now = self._clock()
        if updates:
            with self._database.writing() as connection:
                self._lease.renew(connection)
                effects = running.take_in(connection, self._out, updates, now)
                again = attempts.load(connection, effects.again)
            for id in effects.over:
                self._forget(id)
            self._cancel(effects.unwanted)
            self._take(again)
        elif now >= self._due["renew"]:
            with self._database.writing() as connection:
                self._lease.renew(connection)
        if updates or now >= self._due["renew"]:
            self._due["renew"] = now + RENEW
        self._look(now)
        self._submit(now)

    def _look(self, now: float) -> None:
        """See what was asked for."""
        with self._database.reading() as connection:
            if now >= self._due["reconcile"]:
                self._due["reconcile"] = now + RECONCILE
                found = {task.seq: task for task in attempts.in_states(connection, (RunState.QUEUED, RunState.CANCELING))}
                states = {seq: task.state for seq, task in found.items()}
            else:
                self._event, states = attempts.news(connection, self._event, _HEARD)
                found = {}
            new = [
                seq for seq, state in states.items() if state is RunState.QUEUED and seq not in self._by_task and seq not in self._waiting
            ]
            fresh = [found[seq] for seq in new] if found else attempts.load(connection, new)
        self._take(task for task in fresh if task.state is RunState.QUEUED)
        ended = [seq for seq, state in states.items() if state is not RunState.QUEUED]
        for seq in ended:
            self._waiting.pop(seq, None)
        self._cancel(self._by_task[seq] for seq in ended if seq in self._by_task)
        self._finish_canceled([seq for seq in ended if seq not in self._by_task and states[seq] is RunState.CANCELING], now)

    def _take(self, found: Iterable[Task]) -> None:
        for task in found:
            if task.state is RunState.QUEUED and task.seq not in self._by_task:
                self._waiting[task.seq] = task

    def _cancel(self, ids: Iterable[int]) -> None:
        if wanted := list(ids):
            self._batch.cancel(wanted)

    def _finish_canceled(self, seqs: Iterable[int], now: float) -> None:
        """End tasks of which nothing runs."""
        for seq in seqs:
            with self._database.writing() as connection:
                self._lease.renew(connection)
                tasks.move(connection, seq, RunState.CANCELED, now, "canceled", {RunState.CANCELING})

    def _submit(self, now: float) -> None:
        room = self._batch.window - len(self._out)
        if not self._waiting or room <= 0 or self._draining:
            return
        jobs = []
        for seq in list(itertools.islice(self._waiting, room)):
            task = self._waiting.pop(seq)
            if (job := self._job(task, now)) is not None:
                jobs.append(job)
        if jobs:
            self._batch.submit(jobs)

    def _job(self, task: Task, now: float) -> BatchJob | None:
        """Make the batch job of a task; None where no machine can ever run it, which is the task's end."""
        made, document = running.out(task), json.loads(task.document)
        wanted = running.requirements(document)
        try:
            self._batch.check(wanted)
        except RequirementError as error:
            with self._database.writing() as connection:
                self._lease.renew(connection)
                attempts.begin(connection, task.seq, made.attempt, now, "")
                running.close(connection, made, now, str(error), "unsatisfiable")
                tasks.move(connection, task.seq, RunState.SYSTEM_ERROR, now, str(error))
            return None
        id = next(self._ids)
        self._out[id], self._by_task[task.seq] = made, id
        return BatchJob(id, task.name or task.id, wanted, running.order(task, made, self._site))

    def _forget(self, id: int) -> None:
        task = self._out.pop(id, None)
        if task is not None and self._by_task.get(task.seq) == id:
            del self._by_task[task.seq]

    # ── from the leader before ───────────────────────────────────────────────────────────────────────────────────────

    def _take_over(self) -> None:
        """Go on with what still runs, run again what was lost with the leader before, and take what is queued."""
        adopted = {order.id: (job.id, order) for job in self._batch.adopt() for order in [spec.decode_order(job.order)]}
        now, unwanted = self._clock(), {id for id, _ in adopted.values()}
        with self._database.writing() as connection:
            self._lease.renew(connection)
            self._event = attempts.last_event(connection)
            for task in self._all(connection, {*ACTIVE, RunState.QUEUED, RunState.CANCELING}):
                id, order = adopted.get(task.id, (0, None))
                if order is not None and order.attempt in {task.attempts, task.attempts + 1} and task.state is not RunState.CANCELING:
                    self._out[id] = running.out(task)._replace(attempt=order.attempt)
                    self._by_task[task.seq] = id
                    unwanted.discard(id)
                elif task.state is RunState.CANCELING:
                    tasks.move(connection, task.seq, RunState.CANCELED, now, "canceled")
                elif task.state is RunState.QUEUED:
                    self._waiting[task.seq] = task
                else:
                    self._lost(connection, task, now)
        self._cancel(unwanted)
        if self._out:
            logger.info("%d tasks of an earlier leader go on", len(self._out))

    def _all(self, connection: Connection, states: set[RunState]) -> Iterable[Task]:
        after = 0
        while some := attempts.in_states(connection, states, after):
            yield from some
            after = some[-1].seq

    def _lost(self, connection: Connection, task: Task, now: float) -> None:
        """Run a task again whose worker has gone with the leader: that is no fault of the task."""
        made = running.out(task)._replace(attempt=task.attempts)
        if task.state is RunState.PREEMPTED:
            tasks.move(connection, task.seq, RunState.QUEUED, now, "preempted")
        else:
            running.give_up(connection, made, now, "the leader ended while the task ran", "lost")
        self._waiting.update({each.seq: each for each in attempts.load(connection, [task.seq])})
