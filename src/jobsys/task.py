"""A task of a cluster: runs the jobs that its leader has put into the job store for it, and writes there what becomes of them.

A scheduler starts it, with nothing but the store between it and its leader, which may be dead: what was begun is finished all the same.
What turns out to be too much for one task is given back.
"""

import argparse
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from jobsys import framing
from jobsys.arrival.ahead import BEGUN
from jobsys.batch import wire
from jobsys.batch.agent import interpreter_options
from jobsys.batch.base import BatchState, BatchUpdate
from jobsys.batch.cluster import sizing
from jobsys.batch.cluster.doubts import Doubts
from jobsys.batch.cluster.mail import Box, Claim
from jobsys.batch.local.hosts import Begun
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine, this_machine
from jobsys.errors import BatchSystemError, JobsysError
from jobsys.framing import FrameReader
from jobsys.jobstores import keys, open_store
from jobsys.version import VERSION

SECRET: Final = "JOBSYS_TASK_SECRET"
"""The variable that holds the wave's key, as hexadecimal digits."""
NUMBER: Final = "JOBSYS_TASK"
"""The variable that holds the task's number in its wave."""
LINGER: Final = 2.0
"""Seconds for which a task without jobs waits for more: successors of what it ran."""
_POST: Final = (0.2, 1.0)  # seconds for which the first news waits for more to come, and all later news
_LOOKS: Final = (0.2, 10.0)  # seconds between two looks into the box: at first, and at most while nothing comes
_SLOWER: Final = 1.3
_SLACK: Final = 1.5  # times the seconds of a task: estimates are never quite right
_ENDS: Final = (BatchState.COMPLETED, BatchState.ENDED, BatchState.RETURNED)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)

logger = logging.getLogger(__name__)


class Task:
    """Hands on what the box says to a batch system, and that one's news to the box."""

    def __init__(
        self,
        box: Box,
        system: LocalBatchSystem,
        task_seconds: float,
        linger: float = LINGER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take both over; ``task_seconds`` is how long the task should run, ``linger`` how long it waits for more when it has no job."""
        self._box = box
        self._system = system
        self._task_seconds = task_seconds
        self._linger = linger
        self._clock = clock
        self._out: dict[int, BatchState | None] = {}  # jobs that are here, and what was said of each last
        self._finished = 0
        self._first = 0.0  # when the first job came
        self._latest = 0.0  # when a job ended, or came, the last time
        self._news: list[BatchUpdate] = []
        self._doubts = Doubts()
        self._post_at: float | None = None
        self._posted = 0.0
        self._look_at = 0.0
        self._looks = _LOOKS[0]
        self._signal = 0
        self._over = False

    def stop(self, number: int, _: object = None) -> None:
        """Have ``serve`` end soon, giving back what was not begun; safe to call from a signal handler."""
        self._signal = self._signal or number
        self._over = True

    def serve(self, machine: Machine) -> None:
        """Run what the box holds, then linger, and leave."""
        hello = wire.Hello(socket.gethostname(), os.getpid(), VERSION, machine)
        try:
            self._box.write(framing.pack(framing.HELLO, payload=wire.pack_hello(hello)))
            self._first = self._latest = self._clock()
            self._take(self._box.orders())
            while not self._over and (self._out or self._doubts or self._clock() < self._latest + self._linger):
                self._turn()
            self._leave()
        finally:
            self._system.shutdown()

    def _turn(self) -> None:
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        self._hear(self._system.updates(max(0.0, self._next() - self._clock())))
        self._add(self._doubts.cleared(self._clock()))
        self._give_back()
        if self._post_at is not None and self._clock() >= self._post_at:
            self._post()

    def _next(self) -> float:
        """Tell when something is due."""
        due = [self._look_at, self._clock() + 1.0]
        if self._post_at is not None:
            due.append(self._post_at)
        if self._doubts.due is not None:
            due.append(self._doubts.due)
        if not self._out and not self._doubts:
            due.append(self._latest + self._linger)
        return min(due)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, now: float) -> None:
        letters = self._box.look()
        for letter in letters:
            for kind, id, _, payload in FrameReader().feed(letter):
                self._obey(kind, id, payload)
        if letters or not self._out:
            self._looks = _LOOKS[0]
        else:
            self._looks = min(self._looks * _SLOWER, _LOOKS[1])
        self._look_at = now + self._looks

    def _obey(self, kind: int, id: int, payload: bytes) -> None:
        if kind == framing.SUBMIT:
            self._take(payload)
        elif kind == framing.CANCEL:
            self._system.cancel(framing.unpack_ids(payload))
        elif kind == framing.TELL:
            self._system.tell(id, payload)
        elif kind == framing.STOP:
            self._over = True

    def _take(self, payload: bytes) -> None:
        jobs = wire.unpack_jobs(payload)
        self._out.update(dict.fromkeys((job.id for job in jobs), None))
        self._latest = self._clock()
        self._system.submit(jobs)

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, news: list[BatchUpdate]) -> None:
        now = self._clock()
        for update in news:
            if update.state in _ENDS:
                self._out.pop(update.id, None)
                self._finished += update.state is not BatchState.RETURNED
                self._latest = now
            elif update.id in self._out and update.state is BatchState.RUNNING:
                self._out[update.id] = BatchState.RUNNING
        self._add(self._doubts.sift(news, now))

    def _add(self, news: list[BatchUpdate]) -> None:
        if news:
            now = self._clock()
            self._news += news
            if not self._out:
                self._look_at = min(self._look_at, now + _LOOKS[0])
            wait = 0.0 if not self._out else _POST[1] if self._posted else _POST[0]
            self._post_at = min(self._post_at if self._post_at is not None else now + wait, now + wait)

    def _give_back(self) -> None:
        """Give back what is too much for a task: it was sized by what was known before."""
        waiting = [id for id, state in self._out.items() if state is None]
        if not self._task_seconds or not waiting:
            return
        now = self._clock()
        running = now - self._latest
        keep = sizing.kept(now - self._first, self._finished, running, len(waiting), _SLACK * self._task_seconds)
        if keep < len(waiting):
            self._system.give_back(waiting[keep:])

    def _post(self, last: bytes = b"") -> None:
        """Write what is new to the leader."""
        news, self._news = self._news, []
        running = framing.pack(framing.RUNNING, payload=wire.pack_running(self._system.running())) if not last else b""
        self._box.write(framing.pack(framing.UPDATES, payload=wire.pack_updates(news)) + running + last)
        self._posted = self._clock()
        self._post_at = None

    def _leave(self) -> None:
        """Say what there is to say, and that nothing comes behind it; why what still runs ends here, or just died, the scheduler knows."""
        self._system.give_back([id for id, state in self._out.items() if state is None])
        with suppress(JobsysError):
            self._hear(self._system.updates(0))
        if not self._signal:
            self._add(self._doubts.cleared(math.inf))
        self._post(framing.pack(framing.BYE, self._signal, self._box.read))


def host(executor: str | None) -> list[str]:
    """Give the program of a task's worker host, and what it is told first; without an executor (MODULE:NAME) it runs jobs."""
    return ["-m", "jobsys.worker", "--wait", *(["--executor", executor] if executor else [])]


def blame(box: Box, error: JobsysError) -> None:
    """Tell the leader, which then ends the run, what no other task can do better; trouble with the store costs this task only."""
    if isinstance(error, BatchSystemError):
        box.write(framing.pack(framing.CANNOT_START, payload=str(error).encode()))


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m jobsys.task", add_help=False)
    parser.add_argument("--locator", required=True)
    parser.add_argument("--wave", required=True)
    parser.add_argument("--cores", type=float, required=True)
    parser.add_argument("--memory", type=int)
    parser.add_argument("--disk", type=int)
    parser.add_argument("--accelerators", type=int, default=0)
    parser.add_argument("--isolation", choices=["warm", "process"], default="warm")
    parser.add_argument("--work-dir")
    parser.add_argument("--task-seconds", type=float, default=60.0)
    parser.add_argument("--linger", type=float, default=LINGER)
    parser.add_argument("--executor")
    own, rest = list(arguments), []
    if "--" in own:
        cut = own.index("--")
        own, rest = own[:cut], own[cut + 1 :]
    return parser.parse_args(own), rest


def _machine(options: argparse.Namespace) -> Machine:
    """Give what the task was asked for: its jobs may use that and no more, whatever the host has."""
    here = this_machine(work_dir=options.work_dir)
    return Machine(
        options.cores, options.memory or here.memory, max(options.disk or 0, here.disk), here.accelerators[: options.accelerators]
    )


def main(arguments: Sequence[str]) -> int:
    """Run one task to its end."""
    logging.basicConfig(format="jobsys task: %(message)s")
    options, rest = _parse(arguments)
    secret, number = bytes.fromhex(os.environ.pop(SECRET)), int(os.environ[NUMBER])
    command = [sys.executable, *interpreter_options(), "-P", *host(options.executor)]
    begun = _begin(command, options.work_dir)
    try:
        store = open_store(options.locator)
        box = Box(store.storage, keys.TASKS, options.wave, number, secret)
        other = box.claim(Claim(socket.gethostname(), os.getpid(), time.time()))
        if other is not None:
            logger.warning("task %d was begun before, by process %d on %s: nothing is run twice", number, other.pid, other.host)
            return 0
        machine = _machine(options)
        system = LocalBatchSystem(command, machine=machine, isolation=options.isolation, directory=options.work_dir)
        if begun is not None:
            system.take_over(begun)
        system.prepare(rest)
        return _serve(Task(box, system, options.task_seconds, options.linger), box, machine)
    finally:
        if begun is not None:
            begun.discard()


def _begin(command: Sequence[str], parent: str | None) -> Begun | None:
    """Give a worker host that loads itself while the task is claimed, and no code of the user before that; None if it can't be started."""
    if told := os.environ.pop(BEGUN, ""):
        return Begun.found(told)
    try:
        return Begun(command, {}, parent)
    except (BatchSystemError, OSError) as error:  # the batch system meets the same with the first job, and tells it
        logger.info("the worker host can't be started early: %s", error)
        return None


def _serve(task: Task, box: Box, machine: Machine) -> int:
    """Run a task that has been claimed; give its exit status."""
    for each in _SIGNALS:
        signal.signal(each, task.stop)
    try:
        task.serve(machine)
    except JobsysError as error:
        blame(box, error)
        sys.stderr.write(f"jobsys task: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
