"""Runs one attempt at a task: bring inputs, run executors, store outputs; says what happens while it happens."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from jobsys.sandbox.inputs import InputError, check_urls, make_places, remove, stage
from jobsys.sandbox.layout import below, binds
from jobsys.sandbox.outputs import store
from jobsys.sandbox.running import Watch, run
from jobsys.sandbox.runtimes.base import ImageError, Runtime, Start
from jobsys.sandbox.spec import Ended, Noted, Order, Printed, Result, Running, Said, Staging, Started

_MOST_SUMS: Final = 200


class Files(NamedTuple):
    """Where a task keeps its files on the host."""

    tree: str
    logs: str


def attempt(order: Order, runtime: Runtime, directory: Path, say: Callable[[Said], None], keep_log: Callable[[str, str], None]) -> Result:
    """Make an attempt at a task; raises nothing that comes from the task.

    Args:
        order: it.
        runtime: makes sandboxes.
        directory: empty; for the task's files, which are gone in the end.
        say: told what happens.
        keep_log: keeps a whole log (its path) under a name such as ``0.stdout``.
    """
    files = Files(str(directory / "tree"), str(directory / "logs"))
    try:
        for each in files:
            os.makedirs(each, exist_ok=True)
        say(Staging(time.time(), socket.gethostname()))
        return _Attempt(order, runtime, files, say, keep_log).result()
    except OSError as error:
        return _failed(f"{error.filename or 'a file'}: {error.strerror}")
    finally:
        if not order.site.keep:
            remove(str(directory))


def _failed(reason: str) -> Result:
    return Result("SYSTEM_ERROR", time.time(), reason)


class _Attempt:
    """What the steps of an attempt share."""

    def __init__(
        self, order: Order, runtime: Runtime, files: Files, say: Callable[[Said], None], keep_log: Callable[[str, str], None]
    ) -> None:
        self._order = order
        self._task = order.task
        self._runtime = runtime
        self._files = files
        self._say = say
        self._keep_log = keep_log
        self._binds = binds(order.task)
        seconds = order.limits.seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._metadata: dict[str, str] = {"runtime": runtime.name, "host": socket.gethostname()}

    def result(self) -> Result:
        """Go through the steps."""
        try:
            check_urls(self._task, self._order.site)
            make_places(self._files.tree, self._task, self._binds)
            self._note_sums("input", stage(self._files.tree, self._task))
            for image in dict.fromkeys(executor.image for executor in self._task.executors):
                if note := self._runtime.prepare(image):
                    self._say(Noted(note))
        except (InputError, ImageError) as error:
            return Result("SYSTEM_ERROR", time.time(), str(error), [], self._metadata)
        self._say(Running(time.time()))
        failed, over = self._execute()
        kept = store(self._files.tree, self._task)
        trouble = "; ".join(kept.problems)
        for note in kept.notes:
            self._say(Noted(note))
        self._note_sums("output", kept.sums)
        if over or (trouble and not failed):
            return Result("SYSTEM_ERROR", time.time(), over or trouble, kept.outputs, self._metadata)
        if trouble:
            self._say(Noted(trouble))
        return Result("EXECUTOR_ERROR" if failed else "COMPLETE", time.time(), failed, kept.outputs, self._metadata)

    def _execute(self) -> tuple[str, str]:
        """Run executors until one fails; say how it failed, and whether a limit of the task ended it."""
        for number, executor in enumerate(self._task.executors):
            logs = f"{self._files.logs}/{number}"
            start = Start(
                name=f"jobsys-{self._order.id}-{self._order.attempt}-{number}",
                image=executor.image,
                command=executor.command,
                workdir=self._workdir(executor.workdir),
                env=executor.env,
                binds=self._binds,
                tree=self._files.tree,
                limits=self._order.limits,
                shell=self._order.site.shell,
            )
            self._say(Started(number, time.time()))
            told = Watch(lambda out, err, n=number: self._say(Printed(n, out, err)), self._deadline, self._order.site.tail, self._used)  # type: ignore[misc]
            outcome = run(self._runtime, executor, start, logs, told)
            self._say(Ended(number, time.time(), outcome.exit_code, outcome.stdout, outcome.stderr))
            if outcome.note:
                self._say(Noted(f"executors[{number}]: {outcome.note}"))
            for name in ("stdout", "stderr"):
                if os.path.exists(f"{logs}.{name}"):
                    self._keep_log(f"{number}.{name}", f"{logs}.{name}")
            if outcome.over:
                return "", outcome.over
            if outcome.exit_code and not executor.ignore_error:
                return f"executors[{number}] ended with exit code {outcome.exit_code}", ""
        return "", ""

    def _workdir(self, workdir: str) -> str:
        """Have the working directory there where executors share it."""
        if workdir and any(bind.directory and (workdir + "/").startswith(bind.path + "/") for bind in self._binds):
            os.makedirs(below(self._files.tree, workdir), exist_ok=True)
        return workdir

    def _note_sums(self, what: str, sums: dict[str, str]) -> None:
        for path, digest in list(sums.items())[:_MOST_SUMS]:
            self._metadata[f"{what} {path}"] = f"sha256:{digest}"

    def _used(self) -> int:
        total = 0
        for folder, _, names in os.walk(self._files.tree):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:  # deleted meanwhile
                    continue
        return total
