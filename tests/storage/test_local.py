"""What only storage in a directory can do wrong: full and read-only disks, vanished roots, killed writers, forks."""

import contextlib
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from jobsys import processes
from jobsys.errors import NotFoundError, StorageError
from jobsys.storage import local
from jobsys.storage.local import LocalStorage
from jobsys.storage.openfiles import read_range

ODD = "sp ace 'q\" ünï\n%20#?"


def temporaries(storage: LocalStorage) -> list[str]:
    return os.listdir(f"{storage.root}/.tmp")


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "root", immutable=lambda key: key.startswith("journal/"))


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[bool]:
    """Mount a small tmpfs where that is allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "a" / "b")
    assert list(storage.list("")) == []
    with pytest.raises(NotFoundError):
        storage.get("x")
    storage.delete(["x"])
    assert storage.sweep() == 0
    assert list(tmp_path.iterdir()) == []
    storage.put("x", b"")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", [ODD, "-rf", "~", "$HOME;", "x" * 255])
def test_any_root_will_do_and_its_url_is_encoded(tmp_path: Path, name: str) -> None:
    storage = LocalStorage(tmp_path / name)
    storage.put("a%b/~c", b"1")
    url = storage.url("a%b/~c")
    assert url.isascii()
    assert not set(url) & set(" \n\"'?#")
    assert unquote(urlsplit(url).path) == storage.local_path("a%b/~c")
    assert Path(storage.local_path("a%b/~c")).read_bytes() == b"1"


def test_a_relative_root_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage("root")
    monkeypatch.chdir("/")
    storage.put("a", b"")
    assert (tmp_path / "root" / "a").exists()


def test_objects_are_read_only_and_executable_on_request(storage: LocalStorage) -> None:
    storage.put("a", b"")
    with storage.writer("b", executable=True) as stream:
        stream.write(b"#!/bin/sh\nexit 7\n")
    assert os.stat(storage.local_path("a")).st_mode & 0o777 == 0o444
    assert os.stat(storage.local_path("b")).st_mode & 0o777 == 0o555
    assert subprocess.run([storage.local_path("b")], check=False).returncode == 7


def test_a_key_under_an_object_is_refused_by_name(storage: LocalStorage) -> None:
    storage.put("a", b"")
    with pytest.raises(StorageError, match="root/a/b: a part of this path is a file"):
        storage.put("a/b", b"")
    storage.put("c/d", b"")
    with pytest.raises(StorageError, match="root/c: it is a directory"):
        storage.put("c", b"")
    assert temporaries(storage) == []


def test_what_is_no_object_is_not_listed(storage: LocalStorage) -> None:
    storage.put("a/b", b"")
    for name in (".nfs000000000123456700000001", "ä", "with space"):
        Path(storage.root, "a", name).touch()
    assert list(storage.list("")) == ["a/b"]


def test_unrelated_directories_are_not_walked(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a/1/x", "a/2/x", "b/1/x", "ab/1"):
        storage.put(key, b"")
    walked = []
    scandir = os.scandir

    def watched(directory: int):
        walked.append(os.readlink(f"/proc/self/fd/{directory}").removeprefix(storage.root))
        return scandir(directory)

    monkeypatch.setattr(os, "scandir", watched)
    assert list(storage.list("a/1")) == ["a/1/x"]
    assert list(storage.list("a/", after="a/1/x")) == ["a/2/x"]
    assert walked == ["/a", "/a/1", "/a", "/a/1", "/a/2"]


def test_folders_left_empty_go_and_come_back(storage: LocalStorage) -> None:
    storage.put("d/e/f", b"")
    storage.delete(["d/e/f"])
    assert os.listdir(f"{storage.root}/d") == []
    storage.put("d/w/to/1/x", b"")
    storage.put("d/w/y", b"")
    storage.delete(["d/w/to/1/x"])
    assert os.listdir(f"{storage.root}/d/w") == ["y"]
    storage.delete(["d/w/y"])
    assert os.listdir(f"{storage.root}/d") == []
    assert storage.put("d/e/f", b"", if_absent=True)
    subprocess.run(["rm", "-r", f"{storage.root}/d"], check=True)
    assert storage.put("d/e/f", b"")


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("action", ["put", "get", "list", "writer", "reader", "stat"])
def test_a_vanished_root_is_named_and_not_made_anew(storage: LocalStorage, action: str) -> None:
    storage.put("journal/a", b"")
    os.rename(storage.root, f"{storage.root}.away")
    for one in (storage, LocalStorage(storage.root) if os.path.isdir(storage.root) else storage):
        with pytest.raises(StorageError, match=f"{storage.root} is gone.*--restart") as caught:
            call(one, action)
        assert not isinstance(caught.value, NotFoundError)
    assert not os.path.exists(storage.root)
    os.rename(f"{storage.root}.away", storage.root)
    storage.put("journal/b", b"")


def call(storage: LocalStorage, action: str) -> None:
    calls = {
        "put": lambda: storage.put("new/folder", b""),
        "get": lambda: storage.get("b"),
        "list": lambda: list(storage.list("")),
        "stat": lambda: storage.stat("b"),
        "reader": lambda: storage.reader("b").__enter__(),
        "writer": lambda: storage.writer("b").__enter__(),
    }
    calls[action]()


def test_a_full_disk_says_how_full_and_leaves_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "-o", "size=1m") as done, contextlib.ExitStack() as stack:
        words = "the disk is full .*MiB free in .*--restart"
        if not done:  # unprivileged: a limit of this process stands in for the limit of the disk
            words = ".*larger than this process or file system allows"
            stack.enter_context(limited(900_000))
        storage = LocalStorage(tmp_path / "small" / "root")
        storage.put("a", b"kept")
        with pytest.raises(StorageError, match=f"can't write .*/a: {words}"):
            storage.put("a", bytes(2_000_000))
        for size in (50_000, 2_000_000):
            with pytest.raises(StorageError, match=words), storage.writer("b/c") as stream:
                stream.writelines([bytes(size)] * 40)
        assert temporaries(storage) == []
        assert list(storage.list("")) == ["a"]
        assert storage.get("a") == b"kept"
        storage.put("b/c", bytes(500_000))


@contextlib.contextmanager
def limited(size: int) -> Iterator[None]:
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_limit_on_files_is_named(storage: LocalStorage) -> None:
    with limited(100_000), pytest.raises(StorageError, match="ulimit -f"):
        storage.put("a", bytes(200_000))
    assert list(storage.list("")) == temporaries(storage) == []


def change_modes(folders: list[str], mode: int) -> None:
    for folder in folders:
        os.chmod(folder, mode)


def test_a_read_only_place_can_be_read_and_says_why_not_more(tmp_path: Path) -> None:
    with mounted(tmp_path / "mount") as done:
        storage = LocalStorage(tmp_path / "mount" / "root")
        storage.put("a/b", b"1")
        words = "mounted read-only" if done else "permission denied"
        folders = [storage.root, f"{storage.root}/a", f"{storage.root}/.tmp"]
        if done:
            subprocess.run(["mount", "-o", "remount,ro", tmp_path / "mount"], check=True)
        else:
            change_modes(folders, 0o500)
        if not done and os.access(storage.root, os.W_OK):  # a container's root, who may write anywhere but to /sys
            with pytest.raises(StorageError, match=r"mounted read-only|forbid|denied"):
                LocalStorage("/sys/jobsys").put("a/b", b"1")
            return
        assert storage.get("a/b") == b"1"
        for action in (lambda: storage.put("a/c", b""), lambda: storage.writer("a/c").__enter__(), lambda: storage.delete(["a/b"])):
            with pytest.raises(StorageError, match=words):
                action()
        with pytest.raises(StorageError, match=words):
            storage.destroy()
        if not done:
            change_modes(folders, 0o700)
        assert storage.get("a/b") == b"1"


def test_what_is_mounted_is_emptied_and_stays(tmp_path: Path) -> None:
    with mounted(tmp_path / "mount") as done:
        storage = LocalStorage(tmp_path / "mount")
        storage.put("a/b", b"")
        storage.destroy()
        assert os.path.exists(storage.root) == done
        storage.put("a", b"")


def test_destroying_a_link_leaves_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    storage = LocalStorage(tmp_path / "link")
    storage.put("a", b"")
    storage.destroy()
    assert list(tmp_path.iterdir()) == []


def test_destroyed_beside_a_writer(storage: LocalStorage) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(StorageError):
                storage.put(f"a/{number % 7}/{number}", b"")

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.1)
    with contextlib.suppress(StorageError):  # allowed to lose against who never stops writing, not to hang
        storage.destroy()
    stop.set()
    thread.join()
    storage.destroy()
    assert not os.path.exists(storage.root)


# ── a server whose answers get lost ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("if_absent", [True, False])
def test_a_repeated_call_finds_its_own_work(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, if_absent: bool) -> None:
    name = "link" if if_absent else "rename"
    real = getattr(os, name)

    def twice(source: str, target: str) -> None:
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, name, twice)
    assert storage.put("a/b", b"mine", if_absent=if_absent)
    assert storage.get("a/b") == b"mine"
    monkeypatch.undo()
    assert not storage.put("a/b", b"other", if_absent=True)
    assert temporaries(storage) == []


# ── durability ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_synced_and_in_which_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def call(first, *rest) -> None:
            real(first, *rest)
            done.append(name if rest else os.path.basename(os.readlink(f"/proc/self/fd/{first}")))

        monkeypatch.setattr(os, name, call)

    for name in ("link", "rename", "fsync"):
        watch(name)
    storage = LocalStorage(tmp_path / "above" / "root")
    storage.put("a/b/c", b"")
    made_by_others = tmp_path.parent.name  # if they were killed before they had synced it
    above = [made_by_others, tmp_path.name, "above"]
    assert [name for name in done if "." not in name] == [*above, "root", "root", "a", "rename", "b"]
    done.clear()
    LocalStorage(tmp_path / "above" / "root").put("a/b/c", b"")
    assert [name for name in done if "." not in name] == ["above", "root", "a", "rename", "b"]
    done.clear()
    storage.put("a/b/d", b"", if_absent=True)
    assert done[1:] == ["link", "b"]
    done.clear()
    assert not storage.put("a/b/d", b"", if_absent=True)
    assert done[1:] == ["b"], "who was first may not have synced it yet"
    done.clear()
    with storage.writer("a/b/e"):
        pass
    assert done[1:] == ["rename", "b"]
    done.clear()
    later: list[str] = []
    for name in ("f", "g"):
        with storage.writer(f"a/b/{name}", later=later):
            pass
    assert done[1::2] == ["rename", "rename"], "each is synced before it has its name"
    assert later == ["a/b/f", "a/b/g"]
    done.clear()
    storage.settle(later)
    assert done == ["b"], "once for both"
    done.clear()
    (tmp_path / "mine").write_bytes(b"")
    monkeypatch.setattr(local, "is_written_by_somebody", lambda _: False)
    with (tmp_path / "mine").open("rb") as source, storage.adopting("a/b/h", str(tmp_path / "mine"), source.fileno()) as adopted:
        assert adopted
    assert done[0] == "rename"
    assert "." in done[1], "it is synced under a temporary name"
    assert done[2:] == ["rename", "b"]
    done.clear()
    LocalStorage(tmp_path / "above" / "root", durable=False).put("a/b/f", b"")
    assert done == ["rename"]


WRITER = """
import sys
from jobsys.storage.local import LocalStorage
from jobsys.storage.openfiles import read_range
storage = LocalStorage(sys.argv[1], durable=False)
number = int(sys.argv[2])
print("go", flush=True)
while True:
    number += 1
    data = b"%012d" % number * 20_000
    storage.put("put/same", data)
    storage.put(f"put/{number % 50}", data, if_absent=True)
    with storage.writer("stream/same") as stream:
        for start in range(0, len(data), 50_000):
            stream.write(data[start : start + 50_000])
    storage.put("last", b"%d" % number)
    print(number, flush=True)
"""


def test_killed_writers_leave_nothing_partial(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / ODD, durable=False)
    chance, number = random.Random(1), 0
    for _ in range(25):
        command = [sys.executable, "-c", WRITER, storage.root, str(number)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == "go\n"
            time.sleep(chance.uniform(0, 0.05))
            writer.kill()
            acknowledged = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        number = max(acknowledged, default=number)
        if acknowledged:
            assert int(storage.get("last")) >= number
        for key in storage.list(""):
            data = storage.get(key)
            assert key == "last" or (len(data) == 240_000 and data == data[:12] * 20_000), key
    left = len(temporaries(storage))
    assert storage.sweep() == left
    assert temporaries(storage) == []
    storage.destroy()
    assert not os.path.exists(storage.root)


def test_a_sweep_removes_what_this_process_could_not_delete_before(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "planned")

    with monkeypatch.context() as disk:
        disk.setattr("jobsys.storage.openfiles.os.unlink", failing)
        storage.put("x", b"x", if_absent=True)
    assert len(temporaries(storage)) == 1
    assert storage.sweep() == 1
    assert temporaries(storage) == []
    assert storage.get("x") == b"x"


def test_a_sweep_spares_what_a_living_process_writes(storage: LocalStorage) -> None:
    with storage.writer("x") as stream:
        stream.write(b"x")
        assert storage.sweep(age=-60) == 0
    assert storage.get("x") == b"x"


def test_a_sweep_removes_what_only_its_age_tells_about_after_a_week(storage: LocalStorage) -> None:
    """A process of another machine, or of this one before it was started anew, may have had any number."""
    storage.put("x", b"")
    folder = Path(storage.root) / ".tmp"
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = processes.namespace()
    names = [f"0123456789abcdef.{'0' * 12}.{dead}.0", f"0123456789abcdef..{dead}.0", f"0123456789abcdef.{here}.x.0", f"x.{here}.{dead}"]
    for name in names:
        (folder / name).touch()
    assert storage.sweep() == 0
    (folder / f"0123456789abcdef.{here}.{dead}.0").touch()
    assert storage.sweep() == 1
    assert storage.sweep(age=-60) == len(names)


# ── files kept open ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_immutable_files_are_kept_open_and_not_too_many(storage: LocalStorage) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(local.OPEN_FILES * 2):
        for key in (f"journal/{number}", f"other/{number}"):
            storage.put(key, b"%d" % number)
            assert storage.get(key) == storage.get(key, 0, 9) == b"%d" % number
    assert len(os.listdir("/proc/self/fd")) == before + local.OPEN_FILES
    storage.delete([f"journal/{local.OPEN_FILES * 2 - 1}"])
    assert len(os.listdir("/proc/self/fd")) == before + local.OPEN_FILES - 1
    storage.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert storage.get("journal/1") == b"1"


def test_threads_and_forks_read_beside_each_other(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "OPEN_FILES", 3)
    for number in range(20):
        storage.put(f"journal/{number}", b"%02d" % number * 100)

    def read(seed: int) -> int:
        chance, wrong = random.Random(seed), 0
        for _ in range(2000):
            number = chance.randrange(20)
            wrong += storage.get(f"journal/{number}", 2 * chance.randrange(99), 2) != b"%02d" % number
        return wrong

    failures: list[int] = []
    threads = [threading.Thread(target=lambda seed=seed: failures.append(read(seed))) for seed in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for seed in range(6):  # at any moment, with threads in the middle of a read
        child = os.fork()
        if not child:
            os._exit(min(read(seed), 1) if storage.put(f"own/{seed}", b"") else 2)
        children.append(child)
    for thread in threads:
        thread.join()
    assert failures == [0] * 4
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    assert len(list(storage.list("own/"))) == 6


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStorage:
    """Other hosts use its directory, as far as it knows."""
    monkeypatch.setattr(local, "is_own_disk", lambda _path: False)
    monkeypatch.setattr(local, "PAUSE", 0.001)
    return LocalStorage(tmp_path / "root", durable=False, immutable=lambda key: key.startswith("kept/"))


@pytest.mark.parametrize("key", ["a", "kept/a"])
@pytest.mark.parametrize("times", [1, local.RACES, local.RACES + 1])
def test_what_is_gone_from_nfs_since_it_was_opened_is_opened_again(
    on_nfs: LocalStorage, monkeypatch: pytest.MonkeyPatch, key: str, times: int
) -> None:
    really, failures = read_range, [errno.ESTALE] * times

    def read_stale(*arguments: Any) -> bytes:
        if failures:
            raise OSError(failures.pop(), "Stale file handle")
        return really(*arguments)

    on_nfs.put(key, b"new")
    monkeypatch.setattr(local, "read_range", read_stale)
    if times > local.RACES:
        with pytest.raises(StorageError, match="the file server no longer knows"):
            on_nfs.get(key)
    assert on_nfs.get(key) == b"new"


def test_what_nfs_is_just_replacing_is_waited_for(on_nfs: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(key: str) -> bytes:
        with on_nfs.reader(key) as file:
            return file.read()

    def size(key: str) -> bytes:
        return b"new"[: on_nfs.stat(key).size]

    def replace(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            on_nfs.put("a", b"new")

    monkeypatch.setattr(time, "sleep", replace)
    old = tmp_path / "root" / ".nfs000000000000003200000001"
    on_nfs.put("b", b"")
    old.touch()
    for read in (on_nfs.get, stream, size):
        waited: list[float] = []
        on_nfs.delete(["a"])
        assert read("a") == b"new"
        assert len(waited) == 3
    waited = []
    with pytest.raises(NotFoundError):
        on_nfs.get("c")
    assert len(waited) == local.RACES
    old.unlink()
    waited = []
    with pytest.raises(NotFoundError):
        on_nfs.get("c")
    assert not waited


@pytest.mark.parametrize("made", [True, False])
def test_a_name_that_nfs_believes_taken_is_looked_at_again(on_nfs: LocalStorage, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
    really = os.link
    refused: list[str] = []

    def link_stale(source: str, target: str) -> None:
        if not refused:
            refused.append(target)
            if made:
                Path(target).touch()
            raise FileExistsError(errno.EEXIST, "as far as is known here", target)
        really(source, target)

    on_nfs.put("b", b"")
    monkeypatch.setattr(os, "link", link_stale)
    assert on_nfs.put("a", b"mine", if_absent=True) is not made
    assert on_nfs.get("a") == (b"" if made else b"mine")


def test_a_replaced_object_leaves_no_temporary_file_to_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path / "root")
    monkeypatch.setattr(local, "discard", lambda path: not path)
    storage.put("a", b"")
    with storage.writer("a") as stream:
        stream.write(b"1")
    assert not storage._left


def test_a_mount_on_which_hosts_do_not_see_each_other_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path / "not" / "yet")
    storage.prove()
    asked: list[str] = []

    def options(path: str) -> frozenset[str]:
        asked.append(path)
        return frozenset({"rw", "nocto"})

    monkeypatch.setattr(local, "options", options)
    with pytest.raises(StorageError, match="mounted with nocto"):
        storage.prove()
    assert asked == [str(tmp_path)]
