import logging
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import jobsys
from jobsys.context import Context, run_deferred
from jobsys.errors import NotFoundError, PicklingError, PromiseError, StorageError, UsageError
from jobsys.job import FunctionJob
from jobsys.jobstores import FileId, JobStore, create, keys
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.message import Order
from jobsys.record import Blob

NAMES = [
    "a.txt",
    "ü ñ.txt",
    "a/b",
    "a\nb",
    "..",
    ".",
    "",
    ".hidden",
    "x" * 300 + ".tar.gz",
    "é" * 200 + ".csv",
    "%2F",
    "b\udcff",
    "\ud800",
    "a\0b",
]


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    locator = f"memory:{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path / "store")
    store = create(locator, StoreInfo(FORMAT, 0.0, "0"), durable=False)
    yield store
    store.destroy()


def context_over(store: JobStore, directory: Path, job: int = 1, say: Any = None) -> Context:
    directory.mkdir(exist_ok=True)
    order = Order(job, 1, "tested", Blob(0, 0, 0), f"1.{job}")
    return Context(FunctionJob(len), order, store, directory, say or (lambda *_: None))


@pytest.fixture
def context(store: JobStore, tmp_path: Path) -> Iterator[Context]:
    made = context_over(store, tmp_path / "worker")
    yield made
    made.close()


def stored(context: Context) -> set[str]:
    return set(context._store.storage.list("files/"))


def test_current_outside_of_a_job() -> None:
    with pytest.raises(UsageError, match="no job runs here"):
        jobsys.current()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_is_kept_as_far_as_it_can_be(context: Context, name: str) -> None:
    with context.write_stream(name) as (stream, file):
        stream.write(b"data")
    assert file.size == 4
    path = context.read_file(file)
    assert path.parent.parent == context.temp_dir
    assert path.read_bytes() == b"data"
    if 0 < len(name) < 100 and name not in {".", "..", "\ud800"}:
        assert file.name == name
    if name.endswith((".gz", ".csv")):
        assert path.suffix == Path(name).suffix, "tools look at it"
    assert path.name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == path.name, "cut between characters"


@pytest.mark.parametrize("options", [{}, {"mutable": True}, {"path": "given"}, {"path": "given", "mutable": True}], ids=str)
def test_what_a_job_does_to_its_file_reaches_nobody_else(context: Context, options: dict[str, Any], tmp_path: Path) -> None:
    """As root, or with chmod, a mode of read-only protects nothing: it must not be the same file."""
    with context.write_stream("a") as (stream, file):
        stream.write(b"original")
    if "path" in options:
        options = options | {"path": tmp_path / "given"}
    path = context.read_file(file, **options)
    assert bool(path.stat().st_mode & stat.S_IWUSR) is bool(options.get("mutable"))
    path.chmod(0o600)
    with path.open("r+b") as changed:
        changed.write(b"CHANGED!")
    with context.read_stream(file) as again:
        assert again.read() == b"original"
    assert path.stat().st_nlink == 1


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
@pytest.mark.parametrize("options", [{}, {"mutable": True}, {"symlink": True}], ids=str)
def test_a_file_that_is_moved_away_is_read_by_others(context: Context, options: dict[str, Any], size: int) -> None:
    data = os.urandom(size)
    (context.temp_dir / "made.txt").write_bytes(data)
    file = context.write_file(context.temp_dir / "made.txt", move=True)
    assert not (context.temp_dir / "made.txt").exists()
    assert (file.name, file.size) == ("made.txt", size)
    context.settle()
    assert context.read_file(file, **options).read_bytes() == data
    with context.read_stream(file) as stream:
        assert stream.read() == data


def test_a_symlink_only_where_it_was_asked_for_and_can_be(context: Context) -> None:
    with context.write_stream("a") as (stream, file):
        stream.write(b"data")
    path = context.read_file(file, symlink=True)
    assert path.is_symlink() is (context._store.storage.local_path(str(file)) is not None)
    assert path.read_bytes() == b"data"
    assert not context.read_file(file, symlink=True, mutable=True).is_symlink()


@pytest.mark.parametrize("options", [{}, {"mutable": True}, {"symlink": True}], ids=str)
def test_what_is_there_already_is_not_written_over(context: Context, tmp_path: Path, options: dict[str, Any]) -> None:
    with context.write_stream("a") as (stream, file):
        stream.write(b"data")
    target = tmp_path / "mine"
    target.write_text("keep")
    with pytest.raises(FileExistsError):
        context.read_file(file, target, **options)
    assert target.read_text() == "keep"


@pytest.mark.parametrize("options", [{}, {"mutable": True}, {"symlink": True}], ids=str)
def test_a_deleted_file_leaves_nothing_at_the_path(context: Context, tmp_path: Path, options: dict[str, Any]) -> None:
    with context.write_stream("a") as (stream, file):
        stream.write(b"data")
    context._store.delete([str(file)])
    with pytest.raises(NotFoundError):
        context.read_file(file, tmp_path / "target", **options)
    assert not (tmp_path / "target").exists()
    with pytest.raises(NotFoundError), context.read_stream(file):
        pass
    with pytest.raises(NotFoundError):
        context.export_file(file, tmp_path / "out" / "target")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", ["jobsys-store.json", "journal/0000000001", "files/../x", "files/1-1.1/0/a", "files/1-1.1/0-a/b", "", "a"]
)
def test_only_global_files_can_be_read_or_deleted(context: Context, wrong: str) -> None:
    for use in (context.read_file, context.delete_file, context.read_stream, partial(context.export_file, url="/x")):
        with pytest.raises(UsageError, match="no id of a global file"):
            use(FileId(wrong, 1))
    assert context.deleted == []


def test_a_deletion_waits_for_the_commit(context: Context) -> None:
    with context.write_stream("a") as (_, file):
        pass
    context.delete_file(file)
    assert context.deleted == [str(file)]
    assert file.size == 0
    assert context.read_file(file).read_bytes() == b""


def test_a_stream_that_breaks_leaves_nothing(context: Context) -> None:
    def broken() -> None:
        with context.write_stream("a") as (stream, _):
            stream.write(bytes(1_000_000))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="middle"):
        broken()
    assert stored(context) == set()


def test_a_stream_may_be_closed_by_who_writes(context: Context) -> None:
    with context.write_stream("a") as (stream, file):
        stream.write(b"12345")
        stream.close()
    assert file.size == 5


def test_what_can_t_be_written_is_said_and_leaves_nothing(context: Context, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        context.write_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        context.write_file(tmp_path / "missing")
    for place in (tmp_path, tmp_path / "missing", f"file://{tmp_path}/missing"):
        with pytest.raises(StorageError):
            context.import_file(place)
    assert stored(context) == set()


def test_the_executable_bit_goes_all_the_way(context: Context, tmp_path: Path) -> None:
    script = tmp_path / "run me.sh"
    script.write_text("#!/bin/sh\n")
    for mode in (0o755, 0o644):
        script.chmod(mode)
        for file in (context.write_file(script), context.import_file(script), context.import_file("file://" + quote(str(script)))):
            assert file.name == "run me.sh"
            for mutable in (False, True):
                assert os.access(context.read_file(file, mutable=mutable), os.X_OK) is (mode == 0o755)
            context.export_file(file, tmp_path / "out" / "b c.sh")
            assert os.access(tmp_path / "out" / "b c.sh", os.X_OK) is (mode == 0o755)
            (tmp_path / "out" / "b c.sh").unlink()


def test_files_come_from_and_go_to_urls(context: Context, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "a b.txt").write_bytes(b"over http")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        root = f"http://127.0.0.1:{server.server_port}"
        file = context.import_file(f"{root}/a%20b.txt")
        with pytest.raises(NotFoundError):
            context.import_file(f"{root}/missing")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (file.name, file.size) == ("a b.txt", 9)
    context.export_file(file, f"file://{tmp_path}/deep/er/a%20b.txt")
    assert (tmp_path / "deep/er/a b.txt").read_bytes() == b"over http"
    context.export_file(file, tmp_path / "deep/er/a b.txt")
    assert context.import_file(tmp_path / "deep/er/a b.txt", name="renamed").name == "renamed"


def test_an_id_travels_with_what_it_knows() -> None:
    import pickle

    file = FileId("files/1-1.1/0-a%20b", 7, True)
    again = pickle.loads(pickle.dumps(file))
    assert (again, again.size, again.executable, again.name) == (file, 7, True, "a b")
    assert keys.is_file(file)


def test_temporary_directories_are_of_one_attempt(store: JobStore, tmp_path: Path) -> None:
    first, second = context_over(store, tmp_path / "worker"), context_over(store, tmp_path / "worker", 2)
    assert first.temp_dir == first.temp_dir != second.temp_dir
    (first.temp_dir / "deep").mkdir()
    (first.temp_dir / "deep" / "file").touch(mode=0o400)
    first.close()
    assert not first.temp_dir.exists() or list(first.temp_dir.iterdir()) == []
    second.close()


# -- clean-up ---------------------------------------------------------------------------------------------------


def note(path: Path, text: str) -> None:
    with path.open("a") as stream:
        stream.write(text)


def leave(path: Path) -> None:
    note(path, "exit ")
    raise SystemExit(3)


def test_deferred_functions_run_backwards_whatever_they_raise(store: JobStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = context_over(store, tmp_path / "worker")
    path = tmp_path / "notes"
    local = "closure "
    context.defer(note, path, "first")
    context.defer(lambda: note(path, local))
    context.defer(int, "x")
    context.defer(leave, path)
    with caplog.at_level(logging.ERROR):
        context.close()
    assert path.read_text() == "exit closure first"
    assert [record.message for record in caplog.records] == ["a deferred function failed"] * 2
    context.close()
    run_deferred(tmp_path / "worker")
    assert path.read_text() == "exit closure first", "once"


def test_deferred_functions_of_a_dead_process(store: JobStore, tmp_path: Path) -> None:
    """Somebody else calls them; a call that was being written down when the process died is left out."""
    context = context_over(store, tmp_path / "worker")
    for text in ("1", "2"):
        context.defer(note, tmp_path / "notes", text)
    context.defer(note, tmp_path / "notes", "half")
    [path] = (tmp_path / "worker").glob("deferred*")
    os.truncate(path, path.stat().st_size - 5)
    run_deferred(tmp_path / "worker")
    assert (tmp_path / "notes").read_text() in {"21"}
    assert list((tmp_path / "worker").glob("deferred*")) == []


def test_one_attempt_does_not_run_what_another_deferred(store: JobStore, tmp_path: Path) -> None:
    service, other = context_over(store, tmp_path / "worker"), context_over(store, tmp_path / "worker", 2)
    service.defer(note, tmp_path / "notes", "service")
    other.defer(note, tmp_path / "notes", "other ")
    other.close()
    assert (tmp_path / "notes").read_text() == "other "
    service.close()


def test_what_can_t_be_deferred(context: Context) -> None:
    with pytest.raises(PicklingError, match=r"the deferred call can't be pickled: args\[0\] is a _thread.lock"):
        context.defer(print, threading.Lock())
    with pytest.raises(PromiseError, match="can't wait for job 'len'"):
        context.defer(print, FunctionJob(len).rv())
    context.close()


def test_the_leader_s_log(store: JobStore, tmp_path: Path) -> None:
    said: list[tuple[int, str]] = []
    context = context_over(store, tmp_path / "worker", say=lambda level, text: said.append((level, text)))
    context.log("hello")
    context.log(Path("x"), logging.ERROR)  # type: ignore[arg-type]
    assert said == [(logging.INFO, "hello"), (logging.ERROR, "x")]


def test_a_directory_that_somebody_tidied_away_is_made_again(store: JobStore, tmp_path: Path) -> None:
    """As programs do that clean the system's temporary directory; a worker may be older than a week."""
    directory = tmp_path / "jobsys-0" / "worker"
    for use in (lambda context: context.temp_dir, lambda context: context.defer(len, "")):
        directory.parent.mkdir()
        context = context_over(store, directory)
        shutil.rmtree(directory.parent)
        use(context)
        assert directory.stat().st_mode & 0o777 == 0o700
        context.close()
        shutil.rmtree(directory.parent)


def test_what_a_job_has_forked_writes_files_of_its_own(context: Context, tmp_path: Path) -> None:
    """Children and parent go on from the same count, and often call their files the same."""
    (tmp_path / "a").write_bytes(b"mine")
    reading, writing = os.pipe()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            with os.fdopen(writing, "w") as answer:
                print(*(context.write_file(tmp_path / "a") for _ in range(2)), sep="\n", file=answer)
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        files = [*answers.read().split(), *(str(context.write_file(tmp_path / "a")) for _ in range(2))]
    assert len(set(files)) == len(files) == 6
    assert all(keys.is_file(file) for file in files)
