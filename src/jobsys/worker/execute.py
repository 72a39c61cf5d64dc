"""Order in, report out: run one attempt of a job. The one place around the user's code."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from jobsys import pickling, sealing
from jobsys.clock import SYSTEM, Clock
from jobsys.context import Context, run_deferred
from jobsys.errors import GraphError, IntegrityError, StorageError
from jobsys.function import JobFunction
from jobsys.graph import SPILL, encode
from jobsys.job import FunctionJob, Job, Options, Service, VirtualJob, made
from jobsys.jobstores import Aside, JobStore
from jobsys.message import Order, Report, Said, Value, decode_order, decode_report, encode_message
from jobsys.record import SELF, Blob, printable
from jobsys.worker.executor import Channel
from jobsys.worker.explain import Explainer
from jobsys.worker.output import take_log
from jobsys.worker.rehearsal import rehearse
from jobsys.worker.serve import serve
from jobsys.worker.surroundings import Surroundings

_INLINE_LOG: Final = 64 * 1024


class JobExecutor:
    """Runs orders against one job store, in an interpreter that has the user's code."""

    def __init__(
        self, store: JobStore, max_log: int = 10 * 1024 * 1024, places: Sequence[tuple[str, str]] = (), clock: Clock = SYSTEM
    ) -> None:
        """Read from and write to ``store``.

        Args:
            store: the run's job store.
            max_log: how many bytes are kept of what an attempt prints, from its end.
            places: directories of this machine, and where their content lies on the leader: so tracebacks name the user's own files.
            clock: by which reports tell when, and how long.
        """
        self._store = store
        self._max_log = max_log
        self._clock = clock
        self._host = socket.gethostname()
        self._explainer = Explainer(places)
        self._surroundings: Surroundings | None = None
        self._signs = ("", b"")  # token and key of the newest attempt

    def run(self, order: bytes, channel: Channel) -> bytes:
        """Run one attempt; whatever the job's code does ends up in the report."""
        todo = decode_order(order)
        self._signs = (todo.token, todo.key)
        started, began, cpu = self._clock.time(), self._clock.monotonic(), _cpu()
        fields: dict[str, Any]
        payload: list[bytes] = []
        surroundings = self._noted(channel.log, last=channel.last)
        try:
            fields, payload = self._attempt(todo, channel)
        except KeyboardInterrupt as error:
            if channel.log < 0:  # this is the leader's own process, and a person wants it to end
                raise
            fields = {"failure": self._explainer.failure(error)}
        except BaseException as error:  # noqa: BLE001 - the place around the user's code, which may raise anything
            fields = {"failure": self._explainer.failure(error)}
        finally:
            if not (todo.service and channel.log < 0):  # a service beside other jobs in this very process
                surroundings.restore()
        report = Report(
            job=todo.job,
            attempt=todo.attempt,
            started=started,
            seconds=self._clock.monotonic() - began,
            token=todo.token,
            cpu=_cpu() - cpu,
            host=self._host,
            log=self._log(todo, channel, payload),
            **fields,
        )
        return encode_message(report, b"".join(payload))

    def _noted(self, log: int, *, last: bool) -> Surroundings:
        """Give the surroundings before the first job of this process; each job is followed by their restoration."""
        noted = self._surroundings
        if noted is None or noted.pid != os.getpid():
            noted = self._surroundings = Surroundings(log, last=last)
        return noted

    def undelivered(self, report: bytes) -> None:
        """Leave a commit in the store: the leader has gone, the next one takes it up. Without one, nothing is left.

        Nor is anything where others have finished the run meanwhile: then this process had been stopped, and nobody will look.
        """
        try:
            done, _ = decode_report(report)
        except IntegrityError:  # it is the traceback of an executor that failed, and there is no leader to be told
            return
        token, key = self._signs
        if done.failure is None and done.token == token and not self._store.is_finished():
            self._store.put_commit(done.job, token, sealing.sign(key, report))
        else:
            self._store.delete_files_of(done.job, done.token)

    def after_death(self, directory: Path) -> None:
        """Run what a dead worker's job had deferred."""
        run_deferred(directory)

    def rehearse(self, directory: Path) -> None:
        """Go the way of an order in this process, with nothing of the user's or the run's, so that its forks are faster."""
        with suppress(StorageError):  # for want of room: forks are slower, or say what is wrong when they want some themselves
            rehearse(lambda store: JobExecutor(store, self._max_log, clock=self._clock), directory)

    def _attempt(self, order: Order, channel: Channel) -> tuple[dict[str, Any], list[bytes]]:
        body = pickling.load(
            _read(self._store, order, SELF, order.body, f"the body of job {order.job} ({order.name})"), _Values(self._store, order)
        )
        job = body if isinstance(body, Job) else FunctionJob.prepared(body, Options(name=order.name))

        def say(level: int, text: str) -> None:
            channel.say(encode_message(Said(order.job, order.attempt, printable(text), level)))

        children: list[Job] = []
        aside = Aside(self._store, order.job, order.token)
        context = Context(job, order, self._store, channel.directory, say)
        token, entered = made.set(children), context.enter()
        try:
            if isinstance(job, Service):
                serve(job, context, channel, lambda data: aside.value(data) if len(data) >= SPILL else None)
                value = None
            else:
                value = _call(body, job, context)
            encoded = encode(value, children, job, f"the value that {order.name!r} returned", aside)
            context.settle()
        finally:
            made.reset(token)
            context.leave(entered)
        report = {
            "value": encoded.value,
            "refs": encoded.refs,
            "jobs": encoded.jobs,
            "parts": encoded.parts,
            "deleted": tuple(context.deleted),
        }
        return report, encoded.payload

    def _log(self, order: Order, channel: Channel, payload: list[bytes]) -> Blob | None:
        """Put what was printed behind the payload, or into the store."""
        text = take_log(channel.log, channel.log_start, self._max_log)
        if not text:
            return None
        if len(text) > _INLINE_LOG:
            return self._store.write_log(order.job, order.token, text)
        place = Blob.of(text, 0, sum(map(len, payload)))
        payload.append(text)
        return place


class _Values:
    """Gives the value for each slot of a body, each job's value once."""

    def __init__(self, store: JobStore, order: Order) -> None:
        self._store = store
        self._order = order
        self._refs = order.refs
        self._values = order.values
        self._known: dict[int, Any] = {}

    def __call__(self, slot: int) -> Any:
        return self.of(self._refs[slot])

    def of(self, job: int) -> Any:
        """Load a value after all those that it holds: a chain of them may be longer than Python's stack is deep."""
        known = self._known
        waiting = [] if job in known else [job]
        while waiting:
            value = self._values[waiting[-1]]
            if waiting[-1] in known:  # it is part of two values
                waiting.pop()
                continue
            missing = [ref for ref in value.refs if ref not in known]
            if missing:
                waiting += missing
            else:
                known[waiting[-1]] = self._load(waiting[-1], value)
                waiting.pop()
        return known[job]

    def _load(self, job: int, value: Value) -> Any:
        data = _read(self._store, self._order, job, value.blob, f"the value of job {job}")
        return pickling.load(data, lambda slot: self._known[value.refs[slot]]) if data else None


def _read(store: JobStore, order: Order, near: int, blob: Blob, what: str) -> bytes:
    """Get what is to be unpickled: it may have come with the order."""
    try:
        if data := order.near.get(near):
            return store.checked(blob, data)
        return store.read(blob)
    except IntegrityError as error:
        raise IntegrityError(f"{what} was not unpickled: {error}") from None


def load_value(store: JobStore, order_values: dict[int, Value], job: int) -> Any:
    """Read one job's value, with the values inside it."""
    return _Values(store, Order(0, 0, "", Blob(0, 0, 0), "", values=order_values)).of(job)


def _call(body: Any, job: Job, context: Context) -> Any:
    if isinstance(job, VirtualJob):
        raise GraphError(f"{job!r} has nothing to run")
    if body is job:
        return job.run(context)
    function, args, kwargs = body
    return (function.call if isinstance(function, JobFunction) else function)(*args, **kwargs)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
