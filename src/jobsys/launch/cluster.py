"""Jobs in tasks of a cluster's scheduler: code, environment and jobsys itself are shipped, the job store is all that joins the hosts."""

import importlib
import json
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from jobsys import task
from jobsys.arrival import core
from jobsys.batch.base import BatchSystem
from jobsys.batch.cluster import adopting
from jobsys.batch.cluster.commands import CommandScheduler
from jobsys.batch.cluster.mail import Office
from jobsys.batch.cluster.scheduler import PassingError, Scheduler, TextScheduler
from jobsys.batch.cluster.system import ClusterBatchSystem, Tasks
from jobsys.config import Config
from jobsys.errors import BatchSystemError, UsageError
from jobsys.jobstores import JobStore, keys
from jobsys.launch.base import Launch
from jobsys.launch.remote import Remote, send
from jobsys.launch.way import Way, way_to_store
from jobsys.message import decode_order, decode_report
from jobsys.requirements import Requirements
from jobsys.sealing import sign

SCHEDULERS: Final = {
    "aws-batch": "jobsys.batch.cluster.aws_batch:AwsBatch",
    "dask": "jobsys.batch.cluster.dask:DaskScheduler",
    "grid-engine": "jobsys.batch.cluster.grid_engine:GridEngine",
    "htcondor": "jobsys.batch.cluster.htcondor:HTCondor",
    "kubernetes": "jobsys.batch.cluster.kubernetes:Kubernetes",
    "lsf": "jobsys.batch.cluster.lsf:Lsf",
    "pbs": "jobsys.batch.cluster.pbs:Pbs",
    "slurm": "jobsys.batch.cluster.slurm:Slurm",
    "tes": "jobsys.batch.cluster.tes:TesScheduler",
    "torque": "jobsys.batch.cluster.pbs:Torque",
}
"""Name -> MODULE:CLASS of a `Scheduler` or `TextScheduler`, made from its options; loaded on use."""
ENTRY_POINTS: Final = "jobsys.schedulers"
"""The group of entry points by which other distributions add to them."""
_ELSEWHERE: Final = "192.0.2.1"  # any host that is not here: on the way to it, this machine's address is found
_END_OF_INPUT: Final = "JOBSYS_END_OF_INPUT"


def known() -> dict[str, Callable[[], Any]]:
    """Give what loads the class of each scheduler, by name."""
    found: dict[str, Callable[[], Any]] = {point.name: point.load for point in entry_points(group=ENTRY_POINTS)}
    for name, place in SCHEDULERS.items():
        found[name] = lambda place=place: _load(place)  # type: ignore[misc]
    return found


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def scheduler(name: str, words: tuple[str, ...]) -> Scheduler:
    """Make a scheduler from its options, each ``NAME=VALUE``.

    Raises:
        UsageError: an option makes no sense.
    """
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--batch-option {word!r}: write NAME=VALUE")
        options[key] = value
    made = known()[name]()(options)
    return CommandScheduler(made) if isinstance(made, TextScheduler) else made


def make(launch: Launch) -> BatchSystem:
    """Ship everything, and make the batch system of a scheduler.

    Raises:
        UsageError: an option makes no sense, or tasks can't reach the store.
        ResourceException: the code can't be shipped.
    """
    config, store = launch.config, launch.store
    launch.check_seen()
    made = scheduler(config.batch_system, config.batch_option)
    try:
        made.learn()
    except PassingError as error:
        launch.say(f"{made.name} does not answer yet: {error}")
    way, adoptable = _way(launch)
    remote = send(launch, way)

    def script(wave: str, requirements: Requirements) -> str:
        """Write the program of a wave's tasks."""
        secret = {task.SECRET: store.key.wave(wave).hex()}
        own = ["--locator", way.locator, "--wave", wave, *_limits(config, requirements, launch.executor)]
        command = ["-m", "jobsys.task", *own, "--", *remote.arguments]
        host = {"arguments": task.host(launch.executor), "parent": config.work_dir, "without": list(secret)}
        return task_script(remote, command, secret, made.index, made.first, host)

    cancel_others(store, launch.say, made.name)
    office = Office(store.storage, keys.TASKS, store.key.wave)
    replaced = partial(store.replaced, launch.lease.epoch)
    tasks = Tasks(script, config.task_seconds, _log(launch, way), adoptable, config.batch_option, replaced)
    return ClusterBatchSystem(made, office, tasks)


def cancel_left(store: JobStore) -> int:
    """Cancel what a leader that died has left in queues and on hosts; give the number of times that it had asked for tasks.

    Raises:
        BatchSystemError: a scheduler can't be reached.
    """
    office = Office(store.storage, keys.TASKS, store.key.wave)
    left = [each for each in adopting.records(office) if not each.canceled]
    for each in left:
        with closing(scheduler(each.scheduler, each.options)) as made:
            adopting.cancel(office, made, each)
    return len(left)


def cancel_others(store: JobStore, say: Callable[[str], None], ours: str = "") -> None:
    """Cancel what earlier leaders have left to other schedulers than ``ours``; where one can't be reached from here that is said."""
    office = Office(store.storage, keys.TASKS, store.key.wave)
    for each in list(adopting.records(office)):
        if each.canceled or each.scheduler == ours:
            continue
        try:
            with closing(scheduler(each.scheduler, each.options)) as made:
                adopting.cancel(office, made, each)
        except (BatchSystemError, UsageError, KeyError, ImportError) as error:
            say(f"tasks {each.native or each.name} that were left to {each.scheduler} could not be canceled: {error}")


def keep_finished(store: JobStore) -> None:
    """Have the leader find as commits what canceled tasks had finished, for a batch system that reads no letters; delete the rest."""
    office = Office(store.storage, keys.TASKS, store.key.wave)
    for each in list(adopting.records(office)):
        for data, report in adopting.finished(office, each) if each.canceled else ():
            order = decode_order(data)
            done, _ = decode_report(report)
            if done.failure is None and (done.job, done.token) == (order.job, order.token):
                store.put_commit(done.job, done.token, sign(order.key, report))
        if each.canceled:
            office.close(each.name)


def task_script(remote: Remote, command: list[str], secret: Mapping[str, str], index: str, first: int, host: Mapping[str, object]) -> str:
    """Write a program for /bin/sh: it finds its number, and becomes a Python that is told on its input what it needs.

    ``host`` is what that needs to start the command's worker host ahead of it (``arrival.ahead``).
    """
    start = remote.start(command)
    start["environment"] = {**start["environment"], **secret}
    start["arrive"]["host"] = host
    program = shlex.join(core.bootstrap_command(remote.python))
    return (
        "#!/bin/sh\n"
        f"{task.NUMBER}=$((${{{index}:-{first}}} - {first}))\n"
        f"export {task.NUMBER}\n"
        f"exec {program} <<'{_END_OF_INPUT}'\n{json.dumps(start)}\n{_END_OF_INPUT}\n"
    )


def _way(launch: Launch) -> tuple[Way, bool]:
    """Find how tasks reach the store, and whether those of an earlier leader still can."""
    config, store = launch.config, launch.store
    if store.locator.startswith("file:") and config.file_workers == "shared":
        return Way(store.locator, {}, store.shared_file_url, store.storage.url), True
    lasting = store.locator.startswith(("http:", "https:")) or config.s3_workers == "direct"
    return way_to_store(launch, [_ELSEWHERE]), lasting


def _log(launch: Launch, way: Way) -> str:
    if launch.config.task_log:
        path = Path(launch.config.task_log).absolute()
    elif way.locator.startswith("file:") and (root := launch.store.storage.local_path(keys.STORE)) is not None:
        path = Path(os.path.dirname(root)) / keys.TASK_LOG
    else:
        return ""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--task-log {path} can't be made: {error.strerror}: name a directory that tasks can write to") from error
    return str(path)


def _limits(config: Config, requirements: Requirements, executor: str) -> list[str]:
    words = ["--cores", f"{requirements.cores:g}", "--accelerators", str(requirements.accelerators)]
    for name, size in (("memory", requirements.memory), ("disk", requirements.disk)):
        if size is not None:
            words += [f"--{name}", str(size)]
    words += ["--isolation", config.isolation, "--task-seconds", f"{config.task_seconds:g}"]
    words += ["--executor", executor] if executor else []
    return [*words, "--work-dir", config.work_dir] if config.work_dir else words
