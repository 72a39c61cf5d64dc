"""A task: what it takes, gives back, writes, and when it leaves."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from batch.cluster.places import store_at  # type: ignore[import-not-found]
from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchJob, BatchState, BatchUpdate, Reason, RunningJob
from jobsys.batch.cluster.mail import Box, Claim, Office
from jobsys.batch.local.hosts import Begun
from jobsys.batch.machine import Machine
from jobsys.errors import BatchSystemError, StorageError
from jobsys.framing import FrameReader
from jobsys.jobstores import keys
from jobsys.requirements import Requirements
from jobsys.storage.memory import MemoryStorage
from jobsys.task import NUMBER, SECRET, Task, blame, main

MACHINE = Machine(1, 10**9, 10**9)


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pretend:
    """A batch system that runs one job after the other, each for so many seconds."""

    def __init__(self, clock: Clock, seconds: float = 1.0) -> None:
        self.clock = clock
        self.seconds = seconds
        self.waiting: deque[int] = deque()
        self.ends: float | None = None
        self.told: list[bytes] = []
        self.news: list[BatchUpdate] = []
        self.at_running: Callable[[], None] = lambda: None
        self.over = False

    def submit(self, jobs: Sequence[BatchJob]) -> None:
        self.waiting += [job.id for job in jobs]

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        if self.news:
            news, self.news = self.news, []
            return news
        if self.waiting and self.ends is None:
            self.ends = self.clock.now + self.seconds
            self.at_running()
            return [BatchUpdate(self.waiting[0], BatchState.RUNNING, host="h", pid=1)] if self.seconds > 0.05 else []
        end = self.clock.now + (timeout or 0.0)
        if self.ends is not None and self.ends <= end:
            self.clock.now, self.ends = max(self.ends, self.clock.now), None
            return [BatchUpdate(self.waiting.popleft(), BatchState.COMPLETED, b"done", "h", seconds=self.seconds)]
        self.clock.now = end
        return []

    def give_back(self, ids: Collection[int]) -> None:
        for id in ids:
            if id in self.waiting and id != self.waiting[0]:
                self.waiting.remove(id)
                self.news.append(BatchUpdate(id, BatchState.RETURNED))

    def cancel(self, ids: Collection[int]) -> None:
        self.news += [BatchUpdate(id, BatchState.ENDED) for id in ids if id in self.waiting]
        self.waiting = deque(id for id in self.waiting if id not in ids)

    def tell(self, id: int, message: bytes) -> None:
        self.told.append(message)

    def running(self) -> Mapping[int, RunningJob]:
        return {self.waiting[0]: RunningJob("h", 1, 0.0)} if self.waiting else {}

    def shutdown(self, *, leave: bool = False) -> None:
        self.over = True


def jobs(*ids: int) -> bytes:
    return wire.pack_jobs([BatchJob(id, "j", Requirements(), b"") for id in ids])


class Scene:
    """A task and its leader's end of the store."""

    def __init__(self, seconds: float, *ids: int, task_seconds: float = 60.0) -> None:
        self.storage = storage = MemoryStorage()
        self.clock = Clock()
        self.office = Office(storage, "tasks/", lambda _: b"secret")
        self.office.write_orders("w", [jobs(*ids)])
        self.system = Pretend(self.clock, seconds)
        self.task = Task(Box(storage, "tasks/", "w", 0, b"secret"), self.system, task_seconds, clock=self.clock)  # type: ignore[arg-type]
        self.letters: list[list[tuple[int, int, int, bytes]]] = []

    def serve(self) -> None:
        self.task.serve(MACHINE)
        self.letters = [FrameReader().feed(letter.data) for letter in sorted(self.office.letters())]

    def states(self) -> dict[int, BatchState]:
        return {update.id: update.state for update in self.news() if update.state is not BatchState.RUNNING}

    def news(self) -> list[BatchUpdate]:
        frames = [frame for letter in self.letters for frame in letter]
        return [update for kind, *_, payload in frames if kind == framing.UPDATES for update in wire.unpack_updates(payload, "h")]

    def bye(self) -> tuple[int, int]:
        kind, signal, read, _ = self.letters[-1][-1]
        assert kind == framing.BYE
        return signal, read


def test_a_task_says_hello_runs_its_jobs_lingers_and_leaves():
    scene = Scene(1.0, 1, 2, 3)
    scene.serve()
    assert scene.letters[0][0][0] == framing.HELLO
    assert wire.unpack_hello(scene.letters[0][0][3]).machine == MACHINE
    assert scene.states() == dict.fromkeys((1, 2, 3), BatchState.COMPLETED)
    assert scene.bye() == (0, 0)
    assert scene.clock.now == pytest.approx(1000 + 3 + 2, abs=0.3)
    assert scene.system.over


def test_many_short_jobs_are_few_letters():
    scene = Scene(0.01, *range(1, 1001))
    scene.serve()
    assert len(scene.states()) == 1000
    assert len(scene.letters) < 20


def test_what_is_too_much_is_given_back():
    scene = Scene(100.0, *range(1, 51))
    scene.serve()
    assert scene.states() == {1: BatchState.COMPLETED} | dict.fromkeys(range(2, 51), BatchState.RETURNED)


def test_what_fits_is_kept_and_the_rest_given_back():
    scene = Scene(1.9, *range(1, 201))
    scene.serve()
    done = sum(state is BatchState.COMPLETED for state in scene.states().values())
    assert 40 <= done <= 50  # of 1.9 s each in 90 s


def test_a_last_job_is_given_back_too_where_it_would_run_into_the_limit_of_its_task():
    scene = Scene(100.0, 1, 2)
    scene.serve()
    assert scene.states() == {1: BatchState.COMPLETED, 2: BatchState.RETURNED}


def test_nothing_is_given_back_where_each_job_has_its_own_task():
    scene = Scene(100.0, 1, task_seconds=0)
    scene.serve()
    assert scene.states() == {1: BatchState.COMPLETED}


def test_more_jobs_come_by_letter_and_the_last_word_says_what_was_read():
    scene = Scene(1.0, 1)
    scene.office.write("w", 0, 1, framing.pack(framing.SUBMIT, payload=jobs(7, 8)))
    scene.office.write("w", 0, 2, framing.pack(framing.TELL, 1, 0, b"hello"))
    scene.serve()
    assert scene.states() == dict.fromkeys((1, 7, 8), BatchState.COMPLETED)
    assert scene.system.told == [b"hello"]
    assert scene.bye() == (0, 2)


def test_jobs_are_canceled_and_the_task_stopped_by_letter():
    scene = Scene(1000.0, 1, 2)
    scene.office.write("w", 0, 1, framing.pack(framing.CANCEL, payload=framing.pack_ids([2])))
    scene.office.write("w", 0, 2, framing.pack(framing.STOP))
    scene.serve()
    assert scene.states() == {2: BatchState.ENDED}
    assert scene.clock.now < 1010


def test_a_signal_gives_back_what_was_not_begun_and_leaves_the_rest_to_the_scheduler():
    scene = Scene(1000.0, 1, 2, 3)
    scene.system.at_running = lambda: scene.task.stop(15)
    scene.serve()
    assert scene.states() == {2: BatchState.RETURNED, 3: BatchState.RETURNED}
    assert scene.bye() == (15, 0)


class Dying(Pretend):
    """A batch system in which each job that begins dies at once, and something else happens so many seconds later."""

    def __init__(self, clock: Clock, later: float, deed: Callable[[], None]) -> None:
        super().__init__(clock, 1000.0)
        self.later, self.deed = later, deed
        self.waits: list[float] = []

    def updates(self, timeout: float | None) -> list[BatchUpdate]:
        self.waits.append(timeout or 0.0)
        found = super().updates(max(0.01, min(timeout or 0.0, 0.1)))
        if found and found[0].state is BatchState.RUNNING:
            id = self.waiting.popleft()
            self.ends, self.later = None, self.clock.now + self.later
            self.news.append(BatchUpdate(id, BatchState.ENDED, reason=Reason.KILLED, exit_status=-15))
        elif self.clock.now >= self.later:
            self.deed()
        return found


def dying(later: float, deed: Callable[[Scene], None]) -> Scene:
    scene = Scene(1000.0, 1, task_seconds=0)
    scene.task._system = Dying(scene.clock, later, lambda: deed(scene))  # type: ignore[assignment] # noqa: SLF001
    scene.serve()
    return scene


def test_a_job_that_dies_with_its_task_is_left_to_the_scheduler_whichever_dies_first() -> None:
    """A scheduler that preempts signals all processes: the job's own death says nothing against the job."""
    scene = dying(0.3, lambda scene: scene.task.stop(15))
    assert scene.states() == {}
    assert [update.state for update in scene.news()] == [BatchState.RUNNING]
    assert scene.bye() == (15, 0)


def test_a_job_that_dies_alone_was_killed() -> None:
    scene = dying(5.0, lambda scene: scene.task.stop(15))
    assert scene.states() == {1: BatchState.ENDED}
    assert [update.reason for update in scene.news() if update.state is BatchState.ENDED] == [Reason.KILLED]


def test_a_task_that_has_only_doubts_left_waits_and_does_not_spin() -> None:
    scene = dying(5.0, lambda scene: scene.task.stop(15))
    assert scene.task._system.waits.count(0.0) < 20  # type: ignore[attr-defined] # noqa: SLF001


def test_a_task_that_its_leader_ends_tells_of_deaths_just_before() -> None:
    def stop(scene: Scene) -> None:
        scene.office.write("w", 0, 1, framing.pack(framing.STOP))

    scene = dying(0.2, stop)
    assert scene.states() == {1: BatchState.ENDED}
    assert scene.bye() == (0, 1)


def test_trouble_with_the_store_on_one_host_does_not_end_the_run():
    scene = Scene(1.0, 1)
    box = Box(scene.storage, "tasks/", "w", 0, b"secret")
    blame(box, StorageError("the disk failed to read"))
    assert scene.office.letters() == []
    blame(box, BatchSystemError("the code can't be loaded"))
    assert len(scene.office.letters()) == 1


def test_a_task_that_was_begun_before_leaves_nothing_of_its_worker_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Begun] = []

    class Watched(Begun):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    store, work = store_at(tmp_path / "store"), tmp_path / "work"
    work.mkdir()
    assert Box(store.storage, keys.TASKS, "wave", 0, store.key.wave("wave")).claim(Claim("other", 1, 0.0)) is None
    monkeypatch.setattr("jobsys.task.Begun", Watched)
    monkeypatch.setenv(SECRET, store.key.wave("wave").hex())
    monkeypatch.setenv(NUMBER, "0")
    assert main(["--locator", store.locator, "--wave", "wave", "--cores", "1", "--work-dir", str(work), "--", "no code at all"]) == 0
    assert [each.take() for each in made] == [None]
    assert list(work.iterdir()) == []
