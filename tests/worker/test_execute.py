"""One order through a JobExecutor in a process of its own, as a worker has it: output in a log, a socket's worth of leader at hand."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

import jobsys
from jobsys import pickling
from jobsys.context import current
from jobsys.errors import JobFailure
from jobsys.graph import SPILL, encode
from jobsys.job import FunctionJob, Service
from jobsys.jobstores import Aside, FileId, JobStore, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.message import AGAIN, STOP, Failure, Order, Report, Said, decode_report, decode_said, encode_message, encode_order
from jobsys.promise import promise_job
from jobsys.record import SELF, Blob
from jobsys.sealing import signed
from jobsys.worker.execute import JobExecutor


class Desk:
    """The leader's side: keeps what is said, and tells what it was given to tell."""

    def __init__(self, directory: Path, log: int, told: list[bytes | None] | None = None) -> None:
        self.directory, self.log, self.log_start, self.last = directory, log, 0, False
        self.said: list[tuple[Said, bytes]] = []
        self._told = told or []

    def say(self, message: bytes) -> None:
        self.said.append(decode_said(message))

    def receive(self, timeout: float | None = None) -> bytes | None:
        return self._told.pop(0) if self._told else STOP


class Bench:
    """A store, an executor, and descriptors 1 and 2 that lead into a file, as in a worker process."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.store: JobStore = create(str(folder / "store"), StoreInfo(FORMAT, 0.0, "0"), durable=False)
        self.executor = JobExecutor(self.store, **options)
        self.log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        (folder / "worker").mkdir()
        self.segments = 0

    def order(self, promise: Any) -> Order:
        job = promise_job(promise)
        if isinstance(job, Service):
            FunctionJob(len, ("",)).add_service(job)
        encoded = encode(promise, (), None, "it", Aside(self.store, 0, "0"))
        self.segments += 1
        assert self.store.append(self.segments, b"".join(encoded.payload))
        [record] = [record for record in encoded.jobs if (record.service_of is not None) == isinstance(job, Service)]
        body = record.body.within(Blob(self.segments, 0, 0))
        return Order(self.segments, 1, record.name, body, f"1.{self.segments:x}")

    def run(self, promise: Any, told: list[bytes | None] | None = None, *, last: bool = False) -> "Outcome":
        order = self.order(promise)
        desk = Desk(self.folder / "worker", self.log, told)
        desk.last = last
        desk.log_start = os.fstat(self.log).st_size
        return Outcome(self.store, *decode_report(self.executor.run(encode_order(order), desk)), desk)

    def ordered(self, order: Order) -> "Outcome":
        """Run an order as it is."""
        desk = Desk(self.folder / "worker", self.log, None)
        desk.log_start = os.fstat(self.log).st_size
        return Outcome(self.store, *decode_report(self.executor.run(encode_order(order), desk)), desk)


class Outcome:
    def __init__(self, store: JobStore, report: Report, payload: bytes, desk: Desk) -> None:
        self.store, self.report, self.payload, self.desk = store, report, payload, desk

    def _read(self, blob: Blob | None) -> bytes:
        assert blob is not None
        return self.store.read(blob) if blob.where else self.payload[blob.offset : blob.offset + blob.length]

    @property
    def value(self) -> Any:
        assert self.report.failure is None, self.report.failure
        return pickling.load(self._read(self.report.value), lambda slot: slot)

    @property
    def failure(self) -> Any:
        assert self.report.failure is not None
        return self.report.failure

    @property
    def log(self) -> bytes:
        return self._read(self.report.log) if self.report.log is not None else b""


@pytest.fixture
def bench(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    kept = [os.dup(1), os.dup(2)]
    made: list[Bench] = []
    streams: list[Any] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(tmp_path, **options))
        sys.stdout.flush()
        for descriptor in (1, 2):
            os.dup2(made[-1].log, descriptor)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            streams.append(os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))
            monkeypatch.setattr(sys, name, streams[-1])
        return made[-1]

    with capfd.disabled():
        yield make
        for stream in streams:
            stream.close()
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
    for number in kept:
        os.close(number)
    for table in made:
        os.close(table.log)


def do(function: Callable[..., Any], *args: Any) -> Any:
    return jobsys.job(function)(*args)


# -- output -----------------------------------------------------------------------------------------------------


def test_output_of_every_kind_is_kept_and_of_one_job_only(bench: Callable[..., Bench]) -> None:
    def chatty(word: str) -> None:
        os.write(1, word.encode() + b"-bytes\xff\xfe\n")
        subprocess.run(["sh", "-c", f"echo {word}-child; echo {word}-error >&2"], check=True)
        print(f"{word}-print ü")

    table = bench()
    first, second, silent = table.run(do(chatty, "one")), table.run(do(chatty, "two")), table.run(do(len, "x"))
    assert first.log == b"one-bytes\xff\xfe\none-child\none-error\none-print \xc3\xbc\n"
    assert second.log == first.log.replace(b"one", b"two")
    assert silent.report.log is None


def test_output_of_5_mb_is_an_object_of_its_own_and_more_is_cut_at_its_beginning(bench: Callable[..., Bench]) -> None:
    def flood(size: int) -> None:
        os.write(1, b"first\n")
        os.write(1, b"x" * size)
        os.write(1, b"\nlast")

    table = bench(max_log=6_000_000)
    whole = table.run(do(flood, 5_000_000))
    assert whole.report.log is not None
    assert whole.report.log.where == "logs/1-1.1"
    assert len(whole.log) == 5_000_011
    cut = table.run(do(flood, 7_000_000)).log
    note, _, rest = cut.partition(b"\n")
    assert note == b"[jobsys: the first 1000011 bytes are not kept; --max-log-size says how many are]"
    assert len(rest) == 6_000_000
    assert rest.endswith(b"x\nlast")


# -- failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "message", "reason"),
    [
        (lambda: ValueError("wrong"), "ValueError: wrong", "failed"),
        (lambda: ValueError(), "ValueError", "failed"),
        (lambda: SystemExit(0), "the job called sys.exit(0): a job ends by returning, and fails by raising", "failed"),
        (lambda: SystemExit("why"), "the job called sys.exit('why'): a job ends by returning, and fails by raising", "failed"),
        (lambda: KeyboardInterrupt(), "KeyboardInterrupt", "failed"),
        (lambda: GeneratorExit(), "GeneratorExit", "failed"),
        (lambda: MemoryError(), "MemoryError", "memory"),
        (lambda: JobFailure("as said"), "as said", "failed"),
        (
            lambda: FileNotFoundError(2, "No such file", "/data/\udcff"),
            "FileNotFoundError: [Errno 2] No such file: '/data/\\udcff'",
            "failed",
        ),
    ],
    ids=lambda value: "" if callable(value) else value[:30],
)
def test_whatever_is_raised_ends_in_the_report(
    bench: Callable[..., Bench], made: Callable[[], BaseException], message: str, reason: str
) -> None:
    def fails() -> None:
        error = made()  # here: what some packages do to pickles of exceptions is not meant
        raise error

    outcome = bench().run(do(fails))
    assert (outcome.failure.message, outcome.failure.reason) == (message, reason)
    assert outcome.failure.kind == type(made()).__name__
    assert "in fails\n    raise error\n" in outcome.failure.traceback
    assert "jobsys/worker" not in outcome.failure.traceback, "the user's own frames only"


def test_an_exception_in_jobsys_called_by_the_job_shows_the_job_s_line(bench: Callable[..., Bench]) -> None:
    def reads() -> None:
        current().read_file(FileId("nonsense", 0))  # this very line

    trace = bench().run(do(reads)).failure.traceback
    assert 'read_file(FileId("nonsense", 0))' in trace
    assert "jobsys/context" not in trace


def test_chains_groups_and_notes_are_kept(bench: Callable[..., Bench]) -> None:
    def fails() -> None:
        try:
            {}["key"]  # type: ignore[index]
        except KeyError as error:
            group = ExceptionGroup("several", [ValueError("inner")])
            group.add_note("look here")
            raise group from error

    trace = bench().run(do(fails)).failure.traceback
    for part in ("KeyError: 'key'", "direct cause", "several (1 sub-exception)", "ValueError: inner", "look here"):
        assert part in trace


def test_broken_and_huge_exceptions(bench: Callable[..., Bench]) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def broken() -> None:
        raise Broken

    def huge() -> None:
        raise ValueError("<" + "x" * 1_000_000 + ">")

    def endless(n: int = 0) -> Any:
        return endless(n + 1) + 1

    table = bench()
    assert table.run(do(broken)).failure.message.endswith(".Broken: (its __str__ raises RuntimeError)")
    failure = table.run(do(huge)).failure
    assert len(failure.message) < 10_000
    assert failure.message.startswith("ValueError: <xxx")
    assert failure.message.endswith("xxx>")
    assert len(failure.traceback) < 70_000
    failure = table.run(do(endless)).failure
    assert failure.kind == "RecursionError"
    assert "Previous line repeated" in failure.traceback


def test_tracebacks_name_the_leader_s_files(bench: Callable[..., Bench], tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    path = tmp_path / "copy" / "shipped.py"
    path.write_text("def fails():\n    raise ValueError('here')\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), path, "exec"), space)
    trace = bench(places=[(str(tmp_path / "copy"), "/home/me/project")]).run(do(space["fails"])).failure.traceback
    assert 'File "/home/me/project/shipped.py", line 2, in fails\n    raise ValueError' in trace
    assert "copy" not in trace


def test_a_value_that_can_t_travel_is_a_failure_that_names_it(bench: Callable[..., Bench]) -> None:
    failure = bench().run(do(lambda: [threading.Lock()])).failure
    assert "returned can't be pickled: [0] is a _thread.lock" in failure.message
    assert failure.kind == "PicklingError"


def test_a_large_value_is_spilled(bench: Callable[..., Bench]) -> None:
    outcome = bench().run(do(lambda: bytes(SPILL)))
    assert outcome.report.value is not None
    assert str(outcome.report.value.where).startswith("values/1-1.1/")
    assert outcome.value == bytes(SPILL)


# -- what one job leaves to the next ----------------------------------------------------------------------------


def test_surroundings_are_restored(bench: Callable[..., Bench], tmp_path: Path) -> None:
    class Silent:
        def flush(self) -> None:
            raise ValueError("closed")

    def disturb(folder: Path) -> None:
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()
        os.environ["LEFT"] = "1"
        os.environ["PATH"] = "/nowhere"
        del os.environ["HOME"]
        sys.path.insert(0, "/left")
        sys.argv[:] = ["left"]
        os.umask(0o777)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 100)
        sys.stdout = sys.stderr = Silent()
        os.close(1)
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)

    def look() -> Any:
        print("seen")
        os.write(2, b"too\n")
        handlers = repr(signal.getsignal(signal.SIGALRM)), repr(signal.getsignal(signal.SIGTERM))
        return (
            os.getcwd(),
            dict(os.environ),
            list(sys.path),
            list(sys.argv),
            handlers,
            signal.getitimer(signal.ITIMER_REAL),
            os.umask(0o022),
        )

    table = bench()
    table.run(do(len, ""))  # which ends the alarm of the test's own time limit
    before = table.run(do(look)).value
    table.run(do(disturb, tmp_path / "gone")).value  # noqa: B018
    after = table.run(do(look))
    assert after.value == before
    assert sorted(after.log.splitlines()) == [b"seen", b"too"]


def test_the_last_job_of_a_process_is_reported_whatever_it_has_changed(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturb() -> int:
        os.environ["LEFT"] = "1"
        sys.stdout.write("half a line")
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        sys.stdout = io.StringIO()
        print("into the job's own stream")
        os.umask(0o777)
        signal.setitimer(signal.ITIMER_REAL, 100)
        return 3

    monkeypatch.setenv("LEFT", "0")
    outcome = bench().run(do(disturb), last=True)
    assert outcome.value == 3
    assert outcome.log == b"half a line"
    assert sys.stdout.fileno() == 1
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert os.umask(0o022) != 0o777
    assert os.environ["LEFT"] == "1"  # nobody comes after it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the job leaves its streams open
@pytest.mark.parametrize("end", ["none", "other", "gone", "closed", "own"])
def test_a_job_that_ends_its_output_leaves_the_next_one_with_some(bench: Callable[..., Bench], end: str) -> None:
    def silence() -> int:
        match end:
            case "none":
                sys.stdout = sys.stderr = None
            case "other":
                sys.stdout = sys.stderr = "no stream"
            case "gone":
                del sys.stdout, sys.stderr
            case "closed":
                sys.stdout.close()
                sys.stderr.close()
            case "own":
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        return 1

    def talk() -> int:
        print("heard")
        print("too", file=sys.stderr)
        return 2

    table = bench()
    assert table.run(do(silence)).value == 1
    for _ in range(2):
        outcome = table.run(do(talk))
        assert outcome.value == 2
        assert sorted(outcome.log.splitlines()) == [b"heard", b"too"]


def test_surroundings_are_restored_after_a_failure(bench: Callable[..., Bench]) -> None:
    def fails() -> None:
        os.environ["LEFT"] = "1"
        os.chdir("/")
        raise ValueError

    table = bench()
    table.run(do(fails))
    assert table.run(do(lambda: (os.environ.get("LEFT"), os.getcwd()))).value == (None, os.getcwd())


def test_an_attempt_cleans_up_even_if_it_fails(bench: Callable[..., Bench]) -> None:
    def fails(notes: Path) -> None:
        context = current()
        (context.temp_dir / "file").touch()
        context.defer(notes.write_text, str(context.temp_dir))
        raise ValueError

    table = bench()
    outcome = table.run(do(fails, table.folder / "notes"))
    assert outcome.failure.kind == "ValueError"
    assert not Path((table.folder / "notes").read_text()).exists()
    assert list((table.folder / "worker").iterdir()) == []
    with pytest.raises(jobsys.UsageError):
        current()


def test_it_is_fast(bench: Callable[..., Bench]) -> None:
    """Generous: 35 µs are wanted and 28 were measured; what this finds is a file or a fork an order."""
    table = bench()
    order, desk = encode_order(table.order(do(len, "abc"))), Desk(table.folder / "worker", table.log)
    best = min(_took(lambda: table.executor.run(order, desk)) for _ in range(300))
    assert best < 400e-6


def _took(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


# -- services ---------------------------------------------------------------------------------------------------


class Serving(Service):
    events: ClassVar[list[str]] = []

    def __init__(self, *fails: str, value: Any = "address", checks: int = 99) -> None:
        super().__init__()
        self.fails, self.value, self.checks = fails, value, checks

    def _note(self, what: str) -> None:
        Serving.events.append(what)
        if what in self.fails:
            raise ValueError(what)

    def start(self, context: Any) -> Any:
        self._note("start")
        return self.value

    def check(self, context: Any) -> bool:
        self._note("check")
        self.checks -= 1
        return self.checks > 0

    def stop(self, context: Any) -> None:
        self._note("stop")


@pytest.mark.parametrize(
    ("service", "told", "events", "failure"),
    [
        (Serving(), [None, STOP], ["start", "check", "stop"], None),
        (Serving(), [STOP], ["start", "stop"], None),  # told before it was up
        (Serving("start"), [], ["start", "stop"], "ValueError: start"),
        (Serving("check"), [None], ["start", "check", "stop"], "ValueError: check"),
        (Serving(checks=1), [None], ["start", "check", "stop"], "service 'Serving' no longer works: its check returned False"),
        (Serving("stop"), [STOP], ["start", "stop"], "ValueError: stop"),
        (Serving(value=threading.Lock), [STOP], ["start", "stop"], None),
    ],
    ids=["works", "early", "start", "check", "false", "stop", "class"],
)
def test_services(bench: Callable[..., Bench], service: Serving, told: list[bytes | None], events: list[str], failure: str | None) -> None:
    Serving.events.clear()
    outcome = bench().run(service.rv(), told)
    assert Serving.events == events
    assert (outcome.report.failure.message if outcome.report.failure else None) == failure
    assert len(outcome.desk.said) == (0 if failure == "ValueError: start" else 1)


def test_a_service_s_value_is_told_small_or_large_but_never_as_a_promise(bench: Callable[..., Bench]) -> None:
    table = bench()
    for value in ("small", bytes(SPILL)):
        (said, payload), *_ = table.run(Serving(value=value).rv()).desk.said
        place = said.service_value
        assert place is not None
        data = table.store.read(place) if place.where else payload[place.offset : place.offset + place.length]
        assert pickling.load(data, lambda slot: slot) == value
        assert bool(place.where) is (value != "small")

    class Promising(Serving):
        def start(self, context: Any) -> Any:
            return do(len, "x")

    assert "can't promise its value" in table.run(Promising().rv()).failure.message


class Handing(Serving):
    def start(self, context: Any) -> Any:
        with context.write_stream("address") as (stream, file):
            stream.write(b"address")
        return file


def test_a_file_survives_a_power_cut_before_anybody_is_told_of_it(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    table = bench()
    settled: list[list[str]] = []
    monkeypatch.setattr(table.store.storage, "settle", lambda keys: settled.append(list(keys)))
    assert len(table.run(do(write_two)).value) == 2
    assert [len(keys) for keys in settled] == [2]
    monkeypatch.setattr(Desk, "say", lambda desk, message: settled.append(["told"]))
    table.run(Handing().rv())
    assert [keys[0].rpartition("-")[2] for keys in settled[1:]] == ["address", "told"]


def write_two() -> list[FileId]:
    made = []
    for name in ("a", "b"):
        with current().write_stream(name) as (stream, file):
            stream.write(b"x")
        made.append(file)
    return made


def fork_and_look() -> list[bool]:
    context, (reading, writing) = current(), os.pipe()
    if not os.fork():
        os.write(writing, str(context._later()).encode())
        os._exit(0)
    os.wait()
    return [os.read(reading, 100) == b"None", context._later() == []]


def test_a_process_that_a_job_forks_syncs_at_once(bench: Callable[..., Bench]) -> None:
    """It has no report of its own before which it could be done."""
    assert bench().run(do(fork_and_look)).value == [True, True]


def undelivered(bench: Bench, job: int, token: str, value: bytes) -> FileId:
    """Have an attempt write a file, and find its leader gone when it reports."""
    with bench.store.write_file(job, token, "result") as (stream, file):
        stream.write(value)
    bench.executor._signs = (token, b"key")  # as the order said
    bench.executor.undelivered(encode_message(Report(job, 1, 0.0, 0.0, token, value=Blob.of(value)), value))
    return file


def test_of_two_attempts_without_a_leader_each_leaves_its_commit(tmp_path):
    """Which of them counts is the next leader's to say: it alone knows the journal."""
    bench = Bench(tmp_path)
    files = [undelivered(bench, 7, token, token.encode()) for token in ("1.1", "1.2")]
    assert [decode_report(signed(commit))[1] for _, commit in bench.store.commits()] == [b"1.1", b"1.2"]
    assert list(bench.store.storage.list("files/")) == files


def test_a_failure_without_a_leader_leaves_nothing(tmp_path):
    bench = Bench(tmp_path)
    with bench.store.write_file(7, "1.1", "left"):
        pass
    bench.executor.undelivered(encode_message(Report(7, 1, 0.0, 0.0, "1.1", failure=Failure("failed", "went wrong"))))
    assert list(bench.store.commits()) == []
    assert list(bench.store.storage.list("files/")) == []


def test_what_an_executor_failed_with_is_no_commit(tmp_path):
    bench = Bench(tmp_path)
    JobExecutor(bench.store).undelivered(b"Traceback (most recent call last): ...")
    assert list(bench.store.commits()) == []


def test_a_report_that_comes_when_others_have_finished_the_run_leaves_nothing(tmp_path):
    """Its process had been stopped, and goes on."""
    bench = Bench(tmp_path)
    for status in (b'{"state": "running"}', b"", b"[1]", b"\xff"):
        bench.store.write_status(status)
        assert not bench.store.is_finished()
    kept = undelivered(bench, 7, "1.1", b"v")
    bench.store.write_status(b'{"state": "done"}')
    undelivered(bench, 8, "1.2", b"v")
    assert [key for key, _ in bench.store.commits()] == ["commits/000000000007-1.1"]
    assert list(bench.store.storage.list("files/")) == [str(kept)]


def test_what_comes_with_the_order_is_not_fetched_but_checked(bench: Callable[..., Bench]) -> None:
    place = bench()
    order = place.order(do(lambda: 5))
    body = place.store.read(order.body)
    place.store.storage.delete([f"journal/{place.segments:010d}"])
    told = msgspec.structs.replace(order, near={SELF: body})
    assert place.ordered(told).value == 5
    changed = msgspec.structs.replace(order, near={SELF: body[:-1] + b"!"})
    assert "was not unpickled" in place.ordered(changed).failure.message


def test_a_service_says_again_that_it_is_up(bench: Callable[..., Bench]) -> None:
    outcome = bench().run(Serving().rv(), [AGAIN, STOP])
    first, second = outcome.desk.said
    assert first == second
