"""A run from its job store to its value: opens the store, has the code shipped, leads, and gives the value back."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any, Final

from jobsys import early, session, shipment, workdir
from jobsys.batch.base import BatchSystem
from jobsys.batch.local.hosts import Begun
from jobsys.clock import SYSTEM, Clock
from jobsys.collecting import seldom
from jobsys.config import Config
from jobsys.display import make_display
from jobsys.errors import (
    BatchSystemError,
    CanceledError,
    DeadlockError,
    FailedJobsError,
    GraphError,
    IntegrityError,
    JobStoreError,
    LeaseLostError,
    NoSuchJobStoreError,
    RequirementError,
    StorageError,
    UsageError,
)
from jobsys.events import Policy
from jobsys.files import working_directory
from jobsys.graph import encode
from jobsys.harmless import for_stream
from jobsys.job import Job
from jobsys.jobstores import Aside, JobStore, Lease, create, locate, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.journal import confirm, lease_lost, made_by, replay, restore, take_over
from jobsys.launch import launch
from jobsys.launch.base import Launch
from jobsys.leader import Leader, acquire, leftovers, release
from jobsys.leader.lease import HERE, Here
from jobsys.leader.listener import Listener
from jobsys.message import Report, attempt_token
from jobsys.progress import Made, Progress
from jobsys.promise import Promise
from jobsys.record import printable
from jobsys.resource import ResourceException
from jobsys.shipping.surroundings import without_values
from jobsys.status import explain
from jobsys.version import VERSION
from jobsys.worker.execute import load_value

logger = logging.getLogger(__name__)

SHOWN_FAILURES: Final = 20
TIDY_PAUSES: Final = (0.2, 0.5, 1.0)  # seconds before what could not be tidied up is tried again: nobody comes back to it
_NOTHING_KEPT: Final = "nothing is kept (--clean always)"


def go(workflow: Any, config: Config, listeners: Sequence[Listener], begun: Begun | None) -> Any:
    """Run a workflow and return its value; ``begun`` is a worker host that was started before."""
    try:
        store = _open(config)
        if others := store.openness():
            _say(f"{others}: who can write there may stop, roll back or delete this run, and read it; no code of theirs will run")
        with _leading(store) as lease, _cleaning(store, lease, config.clean), session.noting(), ExitStack() as stack:
            leader = _lead(Launch(config, store, lease, stack, _say, begun), workflow, listeners)
            return _outcome(leader, store, "" if config.clean == "always" else _way_on())
    except KeyboardInterrupt:
        raise CanceledError(_interrupted(config)) from None


def _interrupted(config: Config) -> str:
    """Say what an interrupt left that came before the leader listened for it, or was the second."""
    try:
        store = locate(config.job_store, s3=early.s3_options(config))
        store.hurry()
        store.info()
    except (JobStoreError, StorageError):
        return f"the run was interrupted (SIGINT) before anything was submitted; there is no job store at {config.job_store}"
    return f"the run in {store.locator} was interrupted (SIGINT); {_way_on()}"


def _way_on() -> str:
    again = "run the script again with --restart" if session.current() is None else "call jobsys.run again with restart=True"
    return f"{again} to go on where it stopped"


def _open(config: Config) -> JobStore:
    durable, s3 = config.durability == "power-cut", early.s3_options(config)
    if config.restart:
        store = open_store(config.job_store, durable, config.key_file, s3)
        info = store.sealed_info()  # before anything is written: without the key, nothing in it can be believed
        if info.config.get("s3_unfenced") and s3 is not None and not s3.unfenced:
            raise UsageError(f"the run in {store.locator} was begun with --s3-unfenced, which its server needs: give it again")
        return store
    command = tuple(printable(word) for word in without_values((sys.executable, *_command())))
    asked = _stored(config) | ({"s3_unfenced": True} if s3 is not None and s3.unfenced else {})  # the environment may have said so
    info = StoreInfo(FORMAT, time.time(), VERSION, config=asked, command=command, directory=printable(working_directory()))
    return create(config.job_store, info, durable, config.key_file, s3)


def _destroy(store: JobStore, lease: Lease) -> None:
    """Delete the store at the end of a run, whose value or error matters more than a store that can't be deleted."""
    try:
        with suppress(NoSuchJobStoreError):  # it went with the refusal of a graph
            store.info()
            if store.replaced(lease.epoch):
                _say(f"{store.locator} was not deleted: another leader has taken the run over")
            else:
                store.destroy()
    except (JobStoreError, StorageError) as error:
        _say(f"{store.locator} was not deleted: {error}")


@contextmanager
def _cleaning(store: JobStore, lease: Lease, clean: str) -> Iterator[None]:
    """Delete the store behind the run if that is wished; never one that another leader holds, nor a result that was not handed out."""
    try:
        yield
    except LeaseLostError:
        raise
    except BaseException:
        if clean == "always":
            _destroy(store, lease)
        raise
    if clean != "never":
        _destroy(store, lease)


@contextmanager
def _leading(store: JobStore, clock: Clock = SYSTEM, here: Here = HERE) -> Iterator[Lease]:
    """Hold the lease; give it back in any case in which the store is there and can still be written."""
    lease = acquire(store, _say, clock, here)
    try:
        yield lease
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            store.hurry()
        with suppress(StorageError, JobStoreError):
            release(store, lease, clock, here)
        raise
    with suppress(NoSuchJobStoreError):  # it was deleted behind the run
        release(store, lease, clock, here)


def _stored(config: Config) -> dict[str, Any]:
    return {key: printable(value) if isinstance(value, str) else value for key, value in config.stored().items()}


def _command() -> list[str]:
    """Say how this script was started, so that ``jobsys restart`` can do it again; nothing starts what was typed."""
    if session.current() is not None:
        return []
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name not in {"", "__main__"}:  # which is a directory or an archive, given by its path
        name = spec.name.removesuffix(".__main__")
        return ["-m", name, *sys.argv[1:]]
    return [os.path.abspath(sys.argv[0]), *sys.argv[1:]] if sys.argv and sys.argv[0] else []


def _lead(what: Launch, workflow: Any, listeners: Sequence[Listener], clock: Clock = SYSTEM) -> Leader | None:
    """Begin or resume the run and lead it to its end; None if it was finished before."""
    config, store, lease = what.config, what.store, what.lease
    progress, last, tag = restore(store)
    if progress.finished:
        confirm(store, last)
        _say("the run was finished before: this is its stored value")
        if not store.last_beat(lease.epoch - 1)["released"]:  # who led then died at the very end
            workdir.sweep(config.work_dir)
            _remove_leftovers(store, progress, clock)
        return None
    try:
        first = _first_commit(workflow, store, lease, clock) if progress.nodes[0].value is None else None
        batch = launch(what)
        if first is not None:
            _check_requirements(batch, made_by(store, first[0]), config.policy)
    except BaseException as error:
        if isinstance(error, IntegrityError) and store.replaced(lease.epoch):  # who has come has deleted what this one left
            raise lease_lost(store, f"after epoch {lease.epoch}") from None
        if not config.restart and not isinstance(error, StorageError):  # of which the message says how to go on with --restart
            _destroy(store, lease)  # nothing was submitted: the mended script begins anew
        raise
    started = take_over(store, lease, config.policy, progress, last, tag)
    leader = Leader(store, lease, started, batch, [*make_display(config.progress), *listeners], clock)
    try:
        with _signals(leader), nullcontext() if config.batch_system == "inline" else seldom():  # there, garbage is the jobs', too
            leader.start(first, config.stop_on_first_failure)
            leader.run()
    except BaseException as error:
        if isinstance(error, BatchSystemError) and "--restart" not in str(error):
            error.add_note(f"All is kept in {store.locator}: mend the cause and {_way_on()}")
        with suppress(StorageError):
            leader.close()
        raise
    leader.close()
    if leader.progress.finished and lease.epoch > 1:
        _remove_leftovers(store, leader.progress, clock)
    return leader


def _remove_leftovers(store: JobStore, progress: Progress, clock: Clock) -> None:
    """Delete what belongs to no one, now that the run is finished and no worker is left; the result does not depend on it."""
    for pause in (*TIDY_PAUSES, None):
        try:
            leftovers.remove(store, progress)
            store.sweep()
        except StorageError as error:
            if pause is None:
                _say(f"what leaders that died had left in {store.locator} could not be removed: {error}")
            else:
                clock.sleep(pause)
        else:
            return


def _first_commit(workflow: Any, store: JobStore, lease: Lease, clock: Clock) -> tuple[Report, bytes]:
    """Turn the script's graph into the commit of job 0. Its objects bear the leader: one that was replaced can't overwrite them."""
    if isinstance(workflow, Job):
        workflow = workflow.rv()
    if callable(workflow) and not isinstance(workflow, Promise):
        raise GraphError(f"{workflow!r} is a function: call it, run({getattr(workflow, '__name__', 'main')}(…), …), to make its job")
    token = attempt_token(lease.epoch, lease.owner, 0)
    encoded = encode(workflow, (), None, "what jobsys.run was given", Aside(store, 0, token))
    report = Report(
        job=0,
        attempt=1,
        started=clock.time(),
        seconds=0.0,
        token=token,
        value=encoded.value,
        refs=encoded.refs,
        jobs=encoded.jobs,
        parts=encoded.parts,
    )
    if not report.made:
        raise GraphError(
            f"there is no job in what jobsys.run was given ({workflow!r}): give a promise, a Job, or something that holds promises"
        )
    return report, b"".join(encoded.payload)


def _check_requirements(batch: BatchSystem, made: Made, policy: Policy) -> None:
    for requirements, name in {policy.complete(job.requirements): job.name for _, jobs in made for job in jobs}.items():
        try:
            batch.check(requirements)
        except RequirementError as error:
            raise RequirementError(f"job {name!r} can't run: {error}") from error


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
        leader.store.hurry()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # started with nohup
        numbers.remove(signal.SIGHUP)
    before: dict[int, Any] = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outcome(leader: Leader | None, store: JobStore, resume: str) -> Any:
    if leader is None:
        with suppress(ResourceException):  # what can't be shipped was not: no worker has sent anything that names it
            shipment.name_script()
        return _value(store, replay(store)[0])
    progress = leader.progress
    if progress.finished:
        return _value(store, progress)
    if leader.canceled:
        raise CanceledError(f"the run in {store.locator} was stopped ({leader.canceled}); {resume or _NOTHING_KEPT}")
    if leader.failures:
        rest = f"All else is kept in {store.locator}: mend the cause and {resume}" if resume else f"{_NOTHING_KEPT}: mend the cause"
        raise FailedJobsError(f"{_failures(leader)}\n\n{rest}", leader.failures)
    waiting = [f"job {node.id} ({node.name})" for node in progress.nodes.values() if node.id and not node.finished][:10]
    reason = leader.deadlocked() or "they wait for each other's values"
    raise DeadlockError(f"nothing runs and nothing can start: {', '.join(waiting)}: {reason}")


def _failures(leader: Leader) -> str:
    failures, counts = leader.failures, leader.progress.counts
    them = "it" if counts.failed == 1 else "them"
    never = counts.waiting + counts.ready
    head = f"{counts.failed} job{'' if counts.failed == 1 else 's'} failed" + (
        f", and {never} {'others' if counts.ready else f'that wait for {them}'} never ran" if never else ""
    )
    shown = explain(failures[:SHOWN_FAILURES])
    omitted = len(failures) - SHOWN_FAILURES
    return f"{head}:\n\n{shown}" + (f"\n\n… and {omitted} more: see 'jobsys logs --failed'" if omitted > 0 else "")


def _value(store: JobStore, progress: Progress) -> Any:
    return load_value(store, progress.values_for((0,)), 0)


def _say(text: str) -> None:
    sys.stderr.write(for_stream(f"jobsys: {text}\n", sys.stderr))
