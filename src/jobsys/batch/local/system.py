"""The local batch system: joins decisions (lanes) to processes (hosts) over sockets. One thread, no waiting but in ``updates``."""

import os
import resource
import selectors
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal

from jobsys import framing, slots
from jobsys.batch.amount import check_fits
from jobsys.batch.base import BatchJob, BatchState, BatchSystem, BatchUpdate, Reason, RunningJob
from jobsys.batch.local.hosts import Begun, HostProcess
from jobsys.batch.local.lanes import Lanes
from jobsys.batch.local.shapes import Lane, Work
from jobsys.batch.local.spares import Spares
from jobsys.batch.local.workers import Worker, canceled
from jobsys.batch.machine import Machine, this_machine
from jobsys.errors import BatchSystemError, ScriptError
from jobsys.framing import Death
from jobsys.requirements import Requirements
from jobsys.workdir import WorkDirectory

_LONG: Final = 50_000_000  # nanoseconds after which a job counts as long: it is announced, and what waits behind it is recalled
_TICK: Final = 0.05
_WAKE: Final = 0.5
_IDLE_MOST: Final = 64
_IDLE_SECONDS: Final = 60.0
_LANES_MAX: Final = 900
_OTHER_FILES: Final = 128  # that a leader may have open beside its ways to workers
_SHOWN: Final = 5  # names in a message
_HOST_DEATHS: Final = 3
_HOST_SECONDS: Final = 10.0
_WORKER_DEATHS: Final = 10


class LocalBatchSystem(BatchSystem):
    """Runs batch jobs on this machine, as many at once as its cores, memory, disk and accelerators allow."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        machine: Machine | None = None,
        max_jobs: int | None = None,
        isolation: Literal["warm", "process"] = "warm",
        directory: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the command that starts a worker host; nothing is started before the first job comes.

        Args:
            command: to which the arguments for the connection are appended; with ``--wait`` the host waits for ``prepare``.
            machine: what jobs may use; this machine, if it is not given.
            max_jobs: how many jobs run at once at most.
            isolation: ``process`` runs each job in a process of its own, ``warm`` one after the other in few.
            directory: below which a directory for the workers' files is made; the system's temporary one, if it is not given.
            clock: tells the seconds that pass.
        """
        self.environment: Mapping[str, str] = {}  # variables for the workers, over those of this process
        self._command = list(command)
        self._arguments: list[str] | None = None
        self._machine = machine or this_machine(work_dir=directory)
        self._once = isolation == "process"
        self._clock = clock
        self._parent = directory
        self._directory: WorkDirectory | None = None
        self._lanes_max = most_lanes()
        self._lanes = Lanes(self._machine, max_lanes=min(max_jobs or _LANES_MAX, self._lanes_max), ahead=not self._once)
        self._host: HostProcess | None = None
        self._host_deaths: deque[float] = deque(maxlen=_HOST_DEATHS)
        self._worker_deaths = 0  # in a row, of workers that had begun no job
        self._workers: dict[int, Worker] = {}
        self._spares = Spares()
        self._news: list[BatchUpdate] = []
        self._selector = selectors.DefaultSelector()
        self._next_tick = 0.0
        self._woken = 0.0
        self._error: BatchSystemError | None = None
        self._closed = False
        self._stirred = False  # something happened on a watched descriptor

    def take_over(self, begun: Begun) -> None:
        """Use a worker host that was started before, by the same command."""
        if (taken := begun.take()) is not None:
            self._host, self._directory = taken
            self._follow(self._host)

    def prepare(self, arguments: Sequence[str]) -> None:
        """Say by what worker hosts load the code, this one and those that follow it; where the command has them wait, before any job."""
        self._arguments = list(arguments)
        if self._host is not None:
            self._host.prepare(self._arguments)

    def check(self, requirements: Requirements) -> None:
        """Raise RequirementError if this machine can never meet the requirements."""
        check_fits(requirements, self._machine)

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        """Take jobs over; those that fit start at once."""
        if self._closed:
            raise BatchSystemError("the local batch system is shut down")
        add = self._lanes.add
        for job in jobs:
            add(job)
        self._dispatch()

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        """Collect news in order; wait up to ``timeout`` seconds for the first (None: for ever).

        Raises:
            BatchSystemError: the workers' code can't be loaded, or worker hosts die again and again.
        """
        end = None if timeout is None else self._clock() + timeout
        while True:
            now = self._clock()
            self._mind_host()
            for key, mask in self._selector.select(self._wait(now, end)):
                key.data(mask)
            self._tick()
            self._dispatch()
            if self._news:
                news, self._news = self._news, []
                return news
            if self._error is not None:
                raise self._error
            if self._stirred or (end is not None and self._clock() >= end):
                self._stirred = False
                return []

    def watch(self, descriptor: int, callback: Callable[[int], None], events: int = selectors.EVENT_READ) -> None:
        """Call back from within ``updates`` when a descriptor is ready, and have it return then, with or without news; 0 events end it."""

        def stir(mask: int) -> None:
            self._stirred = True
            callback(mask)

        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)
        if events:
            self._selector.register(descriptor, events, stir)

    def cancel(self, ids: Collection[int]) -> None:
        """Stop jobs, started or not, with all their processes; each gives one update ENDED, CANCELED."""
        for id in ids:
            work = self._lanes.cancel(id)
            if work is None:
                continue
            if work.lane is None:
                self._news.append(canceled(id))
            elif (worker := self._workers.get(work.lane.number)) is not None:
                self._stop(worker, work)
        self._next_tick = 0.0

    def give_back(self, ids: Collection[int]) -> None:
        """Return those of the jobs that no worker has been given yet; each gives one update RETURNED."""
        for id in ids:
            work = self._lanes.find(id)
            if work is not None and work.lane is None and self._lanes.cancel(id) is not None:
                self._news.append(BatchUpdate(id, BatchState.RETURNED))

    def tell(self, id: int, message: bytes) -> None:
        """Send a message to the worker of a running job; ignored where the job has ended."""
        work = self._lanes.find(id)
        if work is not None and work.lane is not None and (worker := self._workers.get(work.lane.number)) is not None:
            self._send(worker, framing.pack(framing.TELL, id, 0, message))

    def running(self) -> Mapping[int, RunningJob]:
        """Tell which jobs run now."""
        workers = self._workers.values()
        return {work.job.id: worker.runs_since() for worker in workers if (work := worker.begun()) is not None}

    def shutdown(self, *, leave: bool = False) -> None:  # noqa: ARG002 - nothing here can be adopted
        """Stop everything; when it returns no process and no queued job is left. Safe to call twice."""
        self._closed = True
        for worker in self._workers.values():
            worker.link.close()
        self._workers.clear()
        self._spares.clear()
        self._lanes = Lanes(self._machine, max_lanes=1)
        host, self._host = self._host, None
        try:
            if host is not None:
                host.stop()
        finally:
            self._selector.close()
            directory, self._directory = self._directory, None
            if directory is not None:
                directory.remove()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _dispatch(self) -> None:
        now = self._clock()
        for lane in self._lanes.dispatch(now) if self._error is None else ():
            worker = self._workers.get(lane.number)
            if worker is None:
                worker = self._start_worker(lane)
                if worker is None:
                    return
            if now - self._woken > _WAKE and self._host is not None:
                self._woken = now
                self._host.wake()
            self._send(worker, worker.write_orders())
        if self._once and self._host is not None and self._error is None:
            running = len(self._lanes.busy)
            waiting = len(self._lanes.works()) - running
            self._spares.refill(self._host, min(waiting, self._lanes_max - len(self._workers)), running)

    def _send(self, worker: Worker, data: bytes) -> None:
        link = worker.link
        if link.open:
            link.send(data)
            if link.stuffed:
                self._selector.modify(link, selectors.EVENT_READ | selectors.EVENT_WRITE, self._selector.get_key(link).data)

    def _stop(self, worker: Worker, work: Work) -> None:
        """End a job that was sent: kill it if it is the first of its lane, else have it given back."""
        if worker.lane.sent[0] is work:
            if self._host is not None:
                self._host.kill(worker.slot, work.job.id)
        else:
            self._recall(worker)

    def _recall(self, worker: Worker) -> None:
        if not worker.lane.recalled:
            worker.lane.recalled = True
            self._send(worker, framing.pack(framing.RECALL))

    def _tick(self) -> None:
        """Look at jobs that take long: announce them, take back what waits behind them, end those that were canceled."""
        now = self._clock()
        if now < self._next_tick:
            return
        self._next_tick = now + _TICK
        clock = time.monotonic_ns()
        for lane in self._lanes.busy.values():
            worker = self._workers.get(lane.number)
            work = worker.begun() if worker is not None else None
            if worker is None or work is None:
                continue
            if not worker.announced and clock - worker.row[slots.BEGUN] > _LONG:
                worker.announced = lane.stuck = True
                self._news.append(worker.running(work.job.id))
                if len(lane.sent) > 1:
                    self._recall(worker)
            if work.canceled:
                self._stop(worker, work)
        for lane in self._lanes.surplus(now, keep=int(self._machine.cores), seconds=_IDLE_SECONDS, most=_IDLE_MOST):
            self._drop_link(self._workers[lane.number])

    def _wait(self, now: float, end: float | None) -> float | None:
        """Tell how long to sleep at most."""
        if self._news or self._error is not None:
            return 0.0
        ends = [] if end is None else [end]
        for lane in self._lanes.busy.values():
            worker = self._workers.get(lane.number)
            if worker is not None and (not worker.announced or any(work.canceled for work in lane.sent)):
                ends.append(self._next_tick)
                break
        return max(0.0, min(ends) - now) if ends else None

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _handle_worker(self, worker: Worker, mask: int) -> None:
        link = worker.link
        if mask & selectors.EVENT_WRITE:
            link.flush()
            if not link.stuffed:
                self._selector.modify(link, selectors.EVENT_READ, self._selector.get_key(link).data)
        if mask & selectors.EVENT_READ:
            self._read(worker)
            if not link.open:
                self._drop_link(worker)

    def _read(self, worker: Worker) -> bool:
        """Take what a worker says; False if there was nothing."""
        frames = worker.link.receive()
        for kind, id, number, payload in frames:
            if kind in (framing.DONE, framing.FAILED):
                self._finish(worker, kind, id, number, payload)
            elif kind == framing.SAY:
                self._news.append(worker.said(id, payload))
            elif kind == framing.GAVE_BACK:
                back = self._lanes.given_back(worker.lane, framing.unpack_ids(payload))
                self._news += [canceled(work.job.id) for work in back]
        return bool(frames)

    def _finish(self, worker: Worker, kind: int, id: int, number: int, payload: bytes) -> None:
        work = self._lanes.ended(worker.lane, number * 1e-6)
        if work.job.id != id:
            raise BatchSystemError(f"a worker answered for job {id} instead of {work.job.id}")
        worker.announced = False
        self._worker_deaths = 0
        if self._host_deaths:
            self._host_deaths.clear()
        if work.canceled:
            self._news.append(canceled(id))
        elif kind == framing.DONE:
            self._news.append(worker.completed(id, payload, number * 1e-6))
        else:
            self._news.append(worker.failed(id, payload))

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_worker(self, lane: Lane) -> Worker | None:
        host = self._host or self._start_host()
        if host is None:
            return None
        spare = self._spares.take() if self._once and not lane.devices else None
        if spare is None:
            slot = host.free_slots.pop()
            link = host.fork(slot, lane.devices, once=self._once)
        else:
            slot, link = spare
        worker = self._workers[lane.number] = Worker(lane, link, slot, host.slots[slot])
        self._selector.register(link, selectors.EVENT_READ, lambda mask: self._handle_worker(worker, mask))
        return worker

    def _start_host(self) -> HostProcess | None:
        if self._directory is not None and not self._directory.path.is_dir():  # somebody tidied up
            self._directory.remove()
            self._directory = None
        if self._directory is None:
            try:
                self._directory = WorkDirectory.make(self._parent)
            except OSError as error:
                where = self._parent or tempfile.gettempdir()
                way = "make room, or name another one by --work-dir or TMPDIR"
                self._error = BatchSystemError(f"workers can't have a directory in {where}: {error.strerror}; {way}")
                return None
        try:
            self._host = host = HostProcess.start(self._command, self._directory, self.environment)
        except BatchSystemError as error:
            self._error = error
            return None
        if self._arguments is not None:
            host.prepare(self._arguments)
        self._follow(host)
        return host

    def _follow(self, host: HostProcess) -> None:
        self._selector.register(host.link, selectors.EVENT_READ, lambda mask: self._handle_host(host, mask))

    def _mind_host(self) -> None:
        """Have what the host was too busy to take, such as many requests for workers while it loads code, sent as soon as it takes more."""
        if self._host is not None and self._host.link.stuffed:
            link = self._host.link
            self._selector.modify(link, selectors.EVENT_READ | selectors.EVENT_WRITE, self._selector.get_key(link).data)

    def _handle_host(self, host: HostProcess, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            host.link.flush()
            self._selector.modify(host.link, selectors.EVENT_READ, self._selector.get_key(host.link).data)
        for kind, id, number, payload in host.link.receive():
            if kind == framing.READY:
                host.ready = True
            elif kind == framing.CANNOT_START:
                refuse = ScriptError if number else BatchSystemError
                self._error = refuse(f"the workers can't start: {payload.decode(errors='replace')}\n{host.printed()}".strip())
            elif kind == framing.DIED:
                death = framing.unpack_death(payload)
                for worker in [worker for worker in self._workers.values() if worker.slot == id]:
                    self._bury(worker, death)
                self._spares.forget(id)
                host.slots.clear(id)
                host.free_slots.append(id)
        if not host.link.open:
            self._host_died(host)

    def _bury(self, worker: Worker, death: Death) -> None:
        """Report the end of a worker: first what it said, then the job it died in; what it had not begun waits again."""
        while worker.link.open and self._read(worker):
            pass
        self._drop_link(worker)
        del self._workers[worker.lane.number]
        work = worker.begun()
        if work is not None:
            self._lanes.ended(worker.lane, None)
            self._news.append(canceled(work.job.id) if work.canceled else worker.ended(work.job.id, death))
        elif death.exit_status:
            self._worker_deaths += 1
            if self._worker_deaths >= _WORKER_DEATHS:
                log = death.log.decode(errors="replace").strip()
                self._error = BatchSystemError(f"workers end before they begin a job: {death.message}\n{log}".strip())
        self._news += [canceled(dropped.job.id) for dropped in self._lanes.close(worker.lane)]

    def _drop_link(self, worker: Worker) -> None:
        if worker.link.fileno() >= 0:
            self._selector.unregister(worker.link)
            worker.link.close()

    def _host_died(self, host: HostProcess) -> None:
        """Report what ran as lost, let the rest wait for the next host."""
        self._selector.unregister(host.link)
        self._host = None
        self._spares.clear()
        ran = sorted({repr(work.job.name) for worker in self._workers.values() if (work := worker.begun()) is not None})
        for worker in list(self._workers.values()):
            self._bury(worker, Death(reason=Reason.LOST, message="its worker host died"))
        status = host.bury()
        now = self._clock()
        self._host_deaths.append(now)
        if self._error is None and len(self._host_deaths) == _HOST_DEATHS and now - self._host_deaths[0] < _HOST_SECONDS:
            when = f" while {', '.join(ran[:_SHOWN])} ran: a job may kill its parent process" if ran else ""
            when = when or ("" if host.ready else " before the script was imported: importing it may end the process")
            self._error = BatchSystemError(
                f"worker hosts die again and again, the last with status {status}{when}; mend the cause, then run again with --restart\n"
                f"{host.printed()}".strip()
            )


def most_lanes() -> int:
    """Tell how many workers there can be: each takes a descriptor here, and two until a host, which may be busy, has been sent its own."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _LANES_MAX if files == resource.RLIM_INFINITY else max(1, min(_LANES_MAX, (files - _OTHER_FILES) // 2))
