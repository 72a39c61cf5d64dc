"""run(): the one way in. Opens the job store, ships the code, leads, and gives the value back."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import msgspec

from jobsys import shipment
from jobsys.batch.base import BatchSystem
from jobsys.batch.inline import InlineBatchSystem
from jobsys.batch.local import LocalBatchSystem, this_machine
from jobsys.config import Config
from jobsys.display import make_display
from jobsys.errors import (
    CanceledError,
    DeadlockError,
    FailedJobsError,
    GraphError,
    NoSuchJobStoreError,
    RequirementError,
    UsageError,
)
from jobsys.graph import encode
from jobsys.job import Job, loading, made
from jobsys.jobstores import JobStore, Lease, create, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.journal import replay
from jobsys.leader import Leader, acquire
from jobsys.leader.listener import Listener
from jobsys.message import Report
from jobsys.progress import Progress
from jobsys.promise import Promise
from jobsys.record import JobRecord
from jobsys.requirements import Requirements
from jobsys.status import explain
from jobsys.worker.code import arguments
from jobsys.worker.execute import JobExecutor, load_value

logger = logging.getLogger(__name__)


def run(
    workflow: Any, options: Config | argparse.Namespace | str | None = None, *, listeners: Sequence[Listener] = (), **changes: Any
) -> Any:
    """Run a workflow and return its value.

    Args:
        workflow: a promise, a Job, or anything that holds promises: what comes back is the same with values for promises.
        options: a parsed command line (see argument_parser), a Config, or a locator.
        listeners: told about the run while it goes on.
        changes: options by keyword, such as ``restart=True``; they win.

    Raises:
        UsageError: the graph, the options or a requirement make no sense; nothing was submitted.
        JobStoreError: the store exists already, is missing on restart, or another leader holds it.
        FailedJobsError: jobs failed; it lists each of them. ``restart`` tries them again.
        CanceledError: the run was stopped; ``restart`` goes on.
    """
    _check_place()
    config = Config.of(options, **changes)
    logging.getLogger("jobsys").setLevel(config.log_level.upper())
    store, lease = _open(config)
    try:
        return _lead(workflow, config, store, lease, listeners)
    finally:
        last = store.last_lease()
        if last is not None and last.owner == lease.owner:
            store.beat(lease.epoch, -1, time.time(), released=True)


def _check_place() -> None:
    if loading.get():
        raise UsageError(
            "jobsys.run was called while a worker imported the script: workers import it to find its jobs, so the call "
            'must stand under `if __name__ == "__main__":`'
        )
    if made.get() is not None:
        raise UsageError("jobsys.run was called inside a job: call job functions there and return their promises instead")


def _open(config: Config) -> tuple[JobStore, Lease]:
    durable = config.durability == "power-cut"
    if config.restart:
        store = open_store(config.job_store, durable)
        return store, acquire(store, say=_say)
    info = StoreInfo(
        FORMAT, time.time(), version("jobsys"), config=config.stored(), command=(sys.executable, *_command()), directory=os.getcwd()
    )
    store = create(config.job_store, info, durable)
    return store, acquire(store, say=_say)


def _command() -> list[str]:
    """Say how this script was started, so that ``jobsys restart`` can do it again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name:
        name = spec.name.removesuffix(".__main__")
        return ["-m", name, *sys.argv[1:]]
    return [os.path.abspath(sys.argv[0]), *sys.argv[1:]] if sys.argv and sys.argv[0] else []


def _lead(workflow: Any, config: Config, store: JobStore, lease: Lease, listeners: Sequence[Listener]) -> Any:
    progress, last = replay(store)
    first = None
    if progress.nodes[0].value is None:
        first = _first_commit(workflow, config, store)
    elif progress.finished:
        _say("the run was finished before: this is its stored value")
        return _value(store, progress)
    batch = _batch_system(config, store, lease)
    display = make_display(config.progress)
    leader = Leader(store, lease, progress, last, batch, [*display, *listeners])
    try:
        with _signals(leader):
            if first is not None:
                _check_requirements(leader, first[0].jobs)
            leader.start(config.policy, first, config.stop_on_first_failure)
            leader.run()
    finally:
        leader.close()
    try:
        return _outcome(leader, store, progress)
    finally:
        if config.clean == "always" or (config.clean == "on-success" and progress.finished):
            store.destroy()


def _first_commit(workflow: Any, config: Config, store: JobStore) -> tuple[Report, bytes]:
    """Turn the script's graph into the commit of job 0."""
    if isinstance(workflow, Job):
        workflow = workflow.rv()
    if callable(workflow) and not isinstance(workflow, Promise):
        raise GraphError(f"{workflow!r} is a function: call it, run({getattr(workflow, '__name__', 'main')}(…), …), to make its job")
    encoded = encode(workflow, (), None, "what jobsys.run was given", lambda data: store.write_value(0, "0", data))
    if not encoded.jobs:
        raise GraphError(f"there is no job in what jobsys.run was given ({workflow!r}): give a promise, a Job, or something that holds promises")
    jobs = tuple(_with_defaults(job, config) for job in encoded.jobs)
    report = Report(job=0, attempt=1, started=time.time(), seconds=0.0, value=encoded.value, refs=encoded.refs, jobs=jobs)
    return report, b"".join(encoded.payload)


def _with_defaults(job: JobRecord, config: Config) -> JobRecord:
    del config
    return job


def _check_requirements(leader: Leader, jobs: Sequence[JobRecord]) -> None:
    seen: set[Requirements] = set()
    for job in jobs:
        if job.requirements not in seen:
            seen.add(job.requirements)
            problem = leader.refusal(job.requirements)
            if problem:
                raise RequirementError(f"job {job.name!r} can't run: {problem}")


def _batch_system(config: Config, store: JobStore, lease: Lease) -> BatchSystem:
    if config.batch_system == "inline":
        executor = JobExecutor(store, config.max_log_size)
        return InlineBatchSystem(executor.run)
    if config.batch_system != "local":
        raise UsageError(f"there is no batch system {config.batch_system!r}: there are 'local' and 'inline'")
    if store.locator.startswith("memory:"):
        raise UsageError("a memory: job store can't be seen by other processes: use --batch-system inline with it, or a file: store")
    shipment.ship(store, lease.epoch)
    command = [sys.executable, "-m", "jobsys.worker", *arguments(store.locator, lease.epoch, config.max_log_size, config.durability == "power-cut")]
    machine = this_machine(cores=config.max_cores, memory=config.max_memory, disk=config.max_disk, work_dir=config.work_dir)
    return LocalBatchSystem(command, machine=machine, isolation="process" if config.isolation == "process" else "warm", directory=config.work_dir)


@contextmanager
def _signals(leader: Leader) -> Iterator[None]:
    """End the run in order at Ctrl-C and SIGTERM; at once at the second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        if leader.canceled:
            raise KeyboardInterrupt
        leader.cancel(f"signal {signal.Signals(number).name}")

    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outcome(leader: Leader, store: JobStore, progress: Progress) -> Any:
    resume = "run the script again with --restart to go on where it stopped"
    if progress.finished:
        return _value(store, progress)
    status = leader.status(final=True)
    if leader.canceled:
        raise CanceledError(f"the run in {store.locator} was stopped ({leader.canceled}); {resume}")
    if status.failures:
        count = status.counts.failed
        never = status.counts.waiting + status.counts.ready
        head = f"{count} job{'s' if count > 1 else ''} failed" + (f", and {never} that wait for {'it' if count == 1 else 'them'} never ran" if never else "")
        more = f"\n\n… and {status.failures_omitted} more: see 'jobsys status'" if status.failures_omitted else ""
        raise FailedJobsError(f"{head}:\n\n{explain(status.failures)}{more}\n\nThe others are kept in {store.locator}: mend the cause and {resume}")
    waiting = [f"job {node.id} ({node.name})" for node in progress.nodes.values() if node.id and not node.finished][:10]
    reason = leader.deadlocked() or "they wait for each other's values"
    raise DeadlockError(f"nothing runs and nothing can start: {', '.join(waiting)}: {reason}")


def _value(store: JobStore, progress: Progress) -> Any:
    return load_value(store, progress.values_for((0,)), 0)


def _say(text: str) -> None:
    print(f"jobsys: {text}", file=sys.stderr)
