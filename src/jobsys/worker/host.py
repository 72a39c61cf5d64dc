"""A worker host: loads the code once, then forks worker processes from itself, watches them and clears up behind them.

It has one thread, so that forking is safe, and it runs no job.
"""

import gc
import os
import select
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from jobsys import framing, processes, slots
from jobsys.framing import Death, FrameReader
from jobsys.slots import Slots
from jobsys.worker import places, watch
from jobsys.worker.birth import be_worker, detach
from jobsys.worker.executor import Executor
from jobsys.worker.loop import Worker, load_threading
from jobsys.worker.places import Places
from jobsys.worker.warming import warm_up
from jobsys.worker.watch import Excess

_QUIET: Final = 1.0  # seconds without work after which the host sleeps until it is woken
_GRACE: Final = 10.0  # for workers that save a report after the leader's death
_AFTER_DEATH: Final = 30.0
_DESCRIPTORS: Final = 64
_DONE: Final = framing.pack_death(Death(exit_status=0))


class _Child(msgspec.Struct):
    slot: int
    directory: Path
    excess: Excess | None = None  # why the host killed it


class _Birth(msgspec.Struct):
    slot: int
    devices: list[str]
    once: bool


class _Cleaner(msgspec.Struct):
    directory: Path
    deadline: float


class Kin(NamedTuple):
    """The processes before and behind a host."""

    leader: int
    guard: int


class Host:
    """Forks and watches the workers of one code environment."""

    def __init__(self, control: socket.socket, shared: Slots, directory: Path, executor: Executor, kin: Kin, lock: int = -1) -> None:
        """Take over the socket to the leader, the shared slots, the run's directory here.

        ``lock`` is a descriptor that says that the directory is in use: no fork keeps it, so that nothing a job leaves can.
        """
        self._control = control
        self._slots = shared
        self._base = directory
        self._places = Places(directory / f"host-{os.getpid()}")
        self._executor = executor
        self._leader, self._guard = kin
        self._lock = lock
        self._reader = FrameReader()
        self._links: deque[int] = deque()
        self._children: dict[int, _Child] = {}
        self._cleaners: dict[int, _Cleaner] = {}
        self._offspring = processes.OwnChildren()
        self._busy = 0.0  # when a worker was last seen at work
        self._watched = 0.0  # when all of them were last looked at
        self._rehearsed = False
        self._asked = 0.0  # when the leader last said something
        self._ooms = processes.oom_kills()
        self._stop = False
        self._orphaned = False  # the leader has gone
        self._signals: tuple[int, ...] = ()  # the pipe in which the kernel's signals arrive
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Do what the leader asks until it says stop, or is gone."""
        self._catch_signals()
        processes.adopt_orphans()
        _freeze()
        for left in self._base.glob("host-*/worker-*") if hasattr(self._executor, "after_death") else ():
            self._clean(left)  # an earlier host was killed
        self._places.open()
        self._selector.register(self._control, selectors.EVENT_READ, self._listen)
        self._tell(framing.pack(framing.READY))
        while not self._stop:
            self._turn()
        self._end()

    def _catch_signals(self) -> None:
        self._signals = reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stop", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(reading, selectors.EVENT_READ, self._reap)

    def _turn(self) -> None:
        pause = self._pause()
        due = None if pause is None else max(time.monotonic(), self._watched + pause)
        events = self._selector.select(None if due is None else max(0.0, due - time.monotonic()))
        if due is not None and (late := time.monotonic() - due) > watch.STOOD_STILL:  # what it does itself below is no reason
            watch.excuse((self._slots[child.slot] for child in self._children.values()), late)
        for key, _ in events:
            key.data()
        if due is not None and time.monotonic() >= due:  # whatever woke it before that is no reason to look
            self._watch()

    def _pause(self) -> float | None:
        """Tell how long after one look at the workers the next one is due; None where there is nothing to be watched."""
        clock = time.monotonic_ns()
        now = clock / 1e9
        watching = bool(self._children) and now - max(self._busy, self._asked) < _QUIET
        if self._cleaners or (watching and now - self._asked < _QUIET):  # whatever was ordered just now may begin unseen
            return watch.TICK
        return watch.pause((self._slots[child.slot] for child in self._children.values()), clock) if watching else None

    # ── the leader ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, frames: bytes) -> None:
        try:
            self._control.sendall(frames)
        except OSError:
            self._stop = self._orphaned = True

    def _listen(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, _DESCRIPTORS)
        except OSError:
            data, descriptors = b"", []
        self._links.extend(descriptors)
        if not data:
            self._stop = self._orphaned = True
        births = []
        for kind, id, number, payload in self._reader.feed(data):
            self._asked = time.monotonic()
            if kind == framing.FORK:
                births.append(_Birth(id, msgspec.msgpack.decode(payload, type=list[str]), once=bool(number)))
            elif kind == framing.KILL:
                self._kill(number, id)
            elif kind == framing.STOP:
                self._stop = True
        if births:
            self._fork(births)

    def _kill(self, slot: int, job: int) -> None:
        for pid, child in self._children.items():
            if child.slot == slot:
                self._punish(pid, child, Excess(job, "canceled", "canceled"))

    def _rehearse(self) -> None:
        """Get ready to fork often."""
        self._rehearsed = True
        with suppress(OSError):  # forks are slower, or say what is wrong when they meet it themselves
            warm_up(self._places.base / "rehearsal")
        if hasattr(self._executor, "rehearse"):
            self._executor.rehearse(self._places.base / "rehearsal")
            _freeze()

    # ── a worker's birth ─────────────────────────────────────────────────────────────────────────────────────────────

    def _fork(self, births: Sequence[_Birth]) -> None:
        """Fork workers for the sockets that came along, the first ones first.

        Everything is made before the first fork: after each one this process copies the pages that it writes to, too.
        """
        if not self._rehearsed and any(birth.once for birth in births):
            self._rehearse()
        if not all(birth.once for birth in births):
            load_threading()  # once here instead of once a worker
        links = [self._links.popleft() for _ in births]
        host, own, pids = os.getpid(), self._own_descriptors(), []
        workers = [self._worker(birth, link) for birth, link in zip(births, links, strict=True)]
        for number, link in enumerate(links):
            pid = os.fork()
            if pid == 0:
                try:
                    detach(host, own, links[number + 1 :])
                    be_worker(workers[number], births[number].devices)
                    os._exit(0)
                finally:
                    os._exit(70)  # an exception was printed nowhere but here; the leader reports the death
            os.close(link)
            pids.append(pid)
        for pid, birth, worker in zip(pids, births, workers, strict=True):
            worker.handed_over()
            self._slots[birth.slot][slots.PID] = pid
            self._children[pid] = _Child(birth.slot, worker.directory)

    def _worker(self, birth: _Birth, link: int) -> Worker:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, link)
        return Worker(connection, self._slots[birth.slot], self._executor, self._places.take(), once=birth.once)

    def _own_descriptors(self) -> list[int]:
        """List what no fork may keep: of these, the leader's socket and the lock would outlive this process in whatever a job leaves."""
        optional = [descriptor for descriptor in (self._offspring.file, self._lock) if descriptor >= 0]
        return [self._selector.fileno(), self._control.fileno(), *self._signals, *self._links, *optional]

    # ── a worker's life ──────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self) -> None:
        self._watched = now = time.monotonic()
        for pid, child in list(self._children.items()):
            row = self._slots[child.slot]
            if row[slots.STATE] in (slots.RUNNING, slots.DELIVERING):
                self._busy = now
            excess = watch.measure(pid, row)
            if excess is not None:
                self._punish(pid, child, excess)
        for pid, cleaner in self._cleaners.items():
            if now > cleaner.deadline:
                processes.end_tree(pid)

    def _punish(self, pid: int, child: _Child, excess: Excess) -> None:
        """Kill a worker, unless the job in question is over by now."""
        processes.freeze(pid)
        if child.excess is None and watch.is_running(self._slots[child.slot], excess.job):
            child.excess = excess
            processes.end_tree(pid)
        else:
            processes.send(pid, signal.SIGCONT)

    # ── a worker's death ─────────────────────────────────────────────────────────────────────────────────────────────

    def _reap(self) -> None:
        try:
            os.read(self._signals[0], 4096)
        except BlockingIOError:
            return
        self._collect()

    def _collect(self) -> None:
        ended: list[tuple[_Child, int]] = []
        with suppress(ChildProcessError):  # none is left
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if (child := self._children.pop(pid, None)) is not None:
                    ended.append((child, os.waitstatus_to_exitcode(status)))
                elif (cleaner := self._cleaners.pop(pid, None)) is not None:
                    places.remove(cleaner.directory)
        if ended:
            self._end_orphans()
            self._bury(ended)

    def _end_orphans(self) -> None:
        """Kill what dead workers left: living workers keep their own, so whatever else comes to this process has no owner."""
        for pid in self._offspring.pids():
            known = pid in self._children or pid in self._cleaners or pid == self._guard
            if not known and processes.is_running(pid):
                processes.end_tree(pid)

    def _bury(self, ended: Sequence[tuple[_Child, int]]) -> None:
        frames, leavings = [], []
        for child, status in ended:
            in_job = self._slots[child.slot][slots.STATE] in (slots.RUNNING, slots.DELIVERING)
            death = _DONE
            leave = self._places.give_back
            if status or in_job:
                death = framing.pack_death(self._explain(child, status, in_job=in_job))
                leave = self._clean if in_job and hasattr(self._executor, "after_death") else places.remove
            frames.append(framing.pack(framing.DIED, child.slot, 0, death))
            leavings.append((leave, child.directory))
        self._tell(b"".join(frames))
        for leave, directory in leavings:  # told first: the leader clears the rows, and the next jobs wait for that
            leave(directory)

    def _explain(self, child: _Child, status: int, *, in_job: bool) -> Death:
        row = self._slots[child.slot]
        excess = child.excess
        death = Death(exit_status=status)
        if excess is not None:
            death.reason, death.message, death.memory, death.limit = excess.reason, excess.message, excess.memory, excess.limit
        elif status == -signal.SIGKILL and self._kernel_killed():
            death.reason = "memory"
            death.message = "killed by the kernel: the machine, or the control group, ran out of memory; ask for more with memory="
        elif status < 0:
            death.reason = "killed"
            death.message = f"its process was killed by signal {-status} ({signal.Signals(-status).name})"
        elif in_job:
            death.reason, death.message = "failed", f"its process exited with status {status} in the middle of the job"
        if death.memory is None and row[slots.PEAK_JOB] == row[slots.JOB]:
            death.memory = row[slots.PEAK] or None
        death.log = places.tail(child.directory, row[slots.LOG_START])
        return death

    def _kernel_killed(self) -> bool:
        before, self._ooms = self._ooms, processes.oom_kills()
        return self._ooms > before

    def _clean(self, directory: Path) -> None:
        host = os.getpid()
        pid = os.fork()
        if pid:
            self._cleaners[pid] = _Cleaner(directory, time.monotonic() + _AFTER_DEATH)
            return
        try:
            detach(host, self._own_descriptors())
            self._executor.after_death(directory)  # type: ignore[attr-defined]  # asked for before the fork
        finally:
            os._exit(0)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self) -> None:
        """End all workers, let what clears up behind them finish, remove the directory."""
        deadline = time.monotonic() + _GRACE
        if self._children and all(self._slots[child.slot][slots.STATE] == slots.IDLE for child in self._children.values()):
            self._await_child()  # whose leader let go of it leaves by itself
        while self._children and time.monotonic() < deadline:
            for pid, child in self._children.items():
                if self._slots[child.slot][slots.STATE] != slots.DELIVERING:
                    processes.end_tree(pid)
            self._await_child()
        for pid in self._children:
            processes.end_tree(pid)
        while self._cleaners and time.monotonic() < deadline + _AFTER_DEATH:
            time.sleep(0.01)
            self._collect()
            self._watch()
        self._collect()
        processes.send(self._guard, signal.SIGKILL)
        with suppress(ChildProcessError):  # a job may have killed it before
            os.waitpid(self._guard, 0)
        with suppress(ChildProcessError):  # nothing is below a process that adopts orphans and has no child
            os.waitpid(-1, os.WNOHANG)
            processes.end_descendants(os.getpid())
        if self._orphaned or not processes.is_running(self._leader):  # the guard may be the first to notice, or the only one
            places.remove(self._base)
        self._places.close()

    def _await_child(self) -> None:
        """Collect the dead as soon as there are any, after a moment at the latest."""
        select.select([self._signals[0]], [], [], 0.005)
        with suppress(BlockingIOError):
            os.read(self._signals[0], 4096)
        self._collect()


def _freeze() -> None:
    """Keep the garbage collector of forks from touching what is here: each page it writes would be copied."""
    gc.collect()
    gc.freeze()
