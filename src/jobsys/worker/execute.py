"""Order in, report out: run one attempt of a job. The one place around the user's code."""

import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jobsys import pickling
from jobsys.context import Context, run_deferred
from jobsys.errors import GraphError, JobFailure, JobsysError
from jobsys.graph import encode
from jobsys.job import FunctionJob, Job, Service, VirtualJob, made
from jobsys.jobstores import JobStore
from jobsys.message import STOP, Failure, Order, Report, Said, decode_order, decode_report, encode_message
from jobsys.record import Blob
from jobsys.worker.executor import Channel

logger = logging.getLogger(__name__)

CHECK_EVERY: Final = 1.0  # seconds between two looks at a service
_INLINE_LOG: Final = 64 * 1024
_OWN_FRAMES: Final = (str(Path(__file__).parent.parent) + os.sep,)


class JobExecutor:
    """Runs orders against one job store, in an interpreter that has the user's code."""

    def __init__(self, store: JobStore, max_log: int = 10 * 1024 * 1024) -> None:
        """Read from and write to ``store``; keep at most ``max_log`` bytes of what an attempt prints, from its end."""
        self._store = store
        self._max_log = max_log
        self._host = socket.gethostname()

    def run(self, order: bytes, channel: Channel) -> bytes:
        """Run one attempt; whatever the job's code does ends up in the report."""
        todo = decode_order(order)
        started, clock, cpu = time.time(), time.perf_counter(), _cpu()
        try:
            fields, payload = self._attempt(todo, channel)
        except Exception as error:  # noqa: BLE001 - the place around the user's code
            fields, payload = {"failure": _failure(error)}, []
        except SystemExit as error:
            fields, payload = {"failure": Failure("failed", f"the job called sys.exit({error.code!r})", kind="SystemExit")}, []
        log = self._take_log(todo, channel, payload)
        report = Report(
            job=todo.job,
            attempt=todo.attempt,
            started=started,
            seconds=time.perf_counter() - clock,
            token=todo.token,
            cpu=_cpu() - cpu,
            host=self._host,
            log=log,
            **fields,
        )
        return encode_message(report, b"".join(payload))

    def undelivered(self, report: bytes) -> None:
        """Leave a commit in the store: the leader has gone, the next one takes it up."""
        done, _ = decode_report(report)
        if done.failure is None:
            self._store.put_commit(done.job, report)

    def after_death(self, directory: Path) -> None:
        """Run what a dead worker's job had deferred."""
        run_deferred(directory)

    def _attempt(self, order: Order, channel: Channel) -> tuple[dict[str, Any], list[bytes]]:
        body = pickling.load(self._store.read(order.body), _Values(self._store, order))
        job = body if isinstance(body, Job) else FunctionJob(*body, name=order.name)

        def say(level: int, text: str) -> None:
            channel.say(encode_message(Said(order.job, order.attempt, text, level)))

        children: list[Job] = []
        context = Context(job, order, self._store, channel.directory, say)
        token = made.set(children)
        try:
            with context.active():
                value = self._serve(job, context, channel) if isinstance(job, Service) else _call(body, job, context)
            encoded = encode(
                value,
                children,
                job,
                f"the value that {order.name!r} returned",
                lambda data: self._store.write_value(order.job, order.token, data),
            )
        finally:
            made.reset(token)
            context.close()
        report = {"value": encoded.value, "refs": encoded.refs, "jobs": encoded.jobs, "deleted": tuple(context.deleted), "files": context.wrote_files}
        return report, encoded.payload

    def _serve(self, service: Service, context: Context, channel: Channel) -> None:
        """Start a service, hand its value out, and keep it up until told to stop."""
        try:
            value, refs = pickling.dump(service.start(context), f"the value of service {service.name!r}")
            if refs:
                raise GraphError(f"service {service.name!r} can't promise its value: start must return the value itself")
            said = Said(context.job_id, context.attempt, service_value=Blob(0, 0, len(value)))
            channel.say(encode_message(said, value))
            while channel.receive(CHECK_EVERY) != STOP:
                if not service.check(context):
                    raise JobFailure(f"service {service.name!r} no longer works: its check returned False")
        finally:
            service.stop(context)

    def _take_log(self, order: Order, channel: Channel, payload: list[bytes]) -> Blob | None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if channel.log < 0:
            return None
        size = os.fstat(channel.log).st_size
        start = max(channel.log_start, size - self._max_log)
        if size <= start:
            return None
        text = os.pread(channel.log, size - start, start)
        if len(text) > _INLINE_LOG:
            return self._store.write_log(order.job, order.token, text)
        place = Blob(0, sum(map(len, payload)), len(text))
        payload.append(text)
        return place


class _Values:
    """Gives the value for each slot of a body, each job's value once."""

    def __init__(self, store: JobStore, order: Order) -> None:
        self._store = store
        self._refs = order.refs
        self._values = order.values
        self._known: dict[int, Any] = {}

    def __call__(self, slot: int) -> Any:
        return self.of(self._refs[slot])

    def of(self, job: int) -> Any:
        if job not in self._known:
            value = self._values[job]
            data = self._store.read(value.blob)
            refs = value.refs
            self._known[job] = pickling.load(data, lambda slot: self.of(refs[slot])) if data else None
        return self._known[job]


def load_value(store: JobStore, order_values: dict[int, Any], job: int) -> Any:
    """Read one job's value, with the values inside it."""
    return _Values(store, Order(0, 0, "", Blob(0, 0, 0), "", values=order_values)).of(job)


def _call(body: Any, job: Job, context: Context) -> Any:
    if isinstance(job, VirtualJob):
        raise GraphError(f"{job!r} has nothing to run")
    if body is job:
        return job.run(context)
    function, args, kwargs = body
    plain: Callable[..., Any] = getattr(function, "call", function) if hasattr(function, "as_job") else function
    return plain(*args, **kwargs)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _failure(error: Exception) -> Failure:
    reason = "memory" if isinstance(error, MemoryError) else "failed"
    kind = type(error).__qualname__
    message = f"{kind}: {error}"
    if isinstance(error, JobsysError):
        return Failure(reason, str(error), kind=kind)
    return Failure(reason, message, "".join(traceback.format_exception(_trimmed(error))), kind)


def _trimmed(error: Exception) -> Exception:
    """Leave out jobsys' own frames at the beginning of a traceback."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN_FRAMES):
        frames = frames.tb_next
    return error.with_traceback(frames)
