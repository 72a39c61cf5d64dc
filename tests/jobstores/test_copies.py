"""Files that go into a store and out of it: which way they take, and that they are what they were."""

import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from jobsys.digest import LARGE, hand_on
from jobsys.errors import IntegrityError, StorageError, UsageError
from jobsys.files import copy_rest, is_written_by_somebody
from jobsys.jobstores import FileId, JobStore, copies, create, keys
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.storage.memory import MemoryStorage

SIZES = [0, 1000, LARGE + 1]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return create(str(tmp_path / "store"), StoreInfo(FORMAT, 0.0, "0"), durable=True)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.write_bytes(b"x" * 1000)
    with path.open("rb") as stream:
        if is_written_by_somebody(stream.fileno()):
            pytest.skip("this file system can't tell who writes, so that nothing is adopted")
    return path


def where(store: JobStore, file: FileId) -> Path:
    return Path(str(store.storage.local_path(str(file))))


def read(store: JobStore, file: FileId) -> bytes:
    with store.read_file(file) as stream:
        return stream.read()


def out(store: JobStore, file: FileId, path: Path) -> bytes:
    with path.open("w+b") as target:
        store.copy_file(file, target)
    return path.read_bytes()


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_is_moved_is_the_stored_one(store: JobStore, mine: Path, size: int) -> None:
    data = os.urandom(size)
    mine.write_bytes(data)
    mine.chmod(0o750)
    inode = mine.stat().st_ino
    file = store.keep_file(1, "1.1", "a", str(mine), move=True)
    assert not mine.exists()
    found = where(store, file).stat()
    assert (found.st_ino, found.st_mode & 0o777) == (inode, 0o555)
    assert (file.size, file.executable, file.name) == (size, True, "a")
    assert read(store, FileId(str(file), size, True, file.digest)) == data, "and it has the right digest"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["writer", "names", "link", "memory", "copy"])
def test_what_others_may_still_write_to_is_copied(store: JobStore, mine: Path, way: str, size: int) -> None:
    data = os.urandom(size)
    mine.write_bytes(data)
    source, inode = mine, mine.stat().st_ino
    if way == "names":
        os.link(mine, mine.with_name("other"))
    if way == "link":
        source = mine.with_name("link")
        source.symlink_to(mine)
    if way == "memory":
        store = JobStore("memory:", MemoryStorage())
    later: list[str] = []
    with mine.open("r+b" if way == "writer" else "rb") as stream:
        file = store.keep_file(1, "1.1", "a", str(source), move=way != "copy", later=later)
        if way == "writer":
            stream.write(b"y" * size)
    assert source.exists() is (way == "copy")
    assert (file.size, read(store, FileId(str(file), size, False, file.digest))) == (size, data)
    if way != "memory":
        assert where(store, file).stat().st_ino != inode
        assert later == [str(file)]
    if way == "link":
        assert mine.read_bytes() == data


def test_a_file_that_can_t_be_moved_in_stays(store: JobStore, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(5, "planned")

    monkeypatch.setattr(copies, "hand_on", fail)
    with pytest.raises(OSError, match="planned"):
        store.keep_file(1, "1.1", "a", str(mine), move=True)
    monkeypatch.undo()
    monkeypatch.setattr("jobsys.storage.local.os.fsync", fail)
    with pytest.raises(StorageError, match="failed to read or write"):
        store.keep_file(1, "1.1", "a", str(mine), move=True)
    assert mine.read_bytes() == b"x" * 1000
    assert list(store.storage.list("files/")) == []


def test_a_stored_file_is_not_moved_away_from_those_who_read_it(store: JobStore, mine: Path) -> None:
    """Its path is found behind a link that `read_file` has made."""
    file = store.keep_file(1, "1.1", "a", str(mine))
    mine.with_name("link").symlink_to(where(store, file).parent)
    for path in (where(store, file), mine.with_name("link") / where(store, file).name):
        with pytest.raises(UsageError, match="pass on the id"):
            store.keep_file(1, "1.1", "b", str(path), move=True)
    assert read(store, file) == b"x" * 1000


def write(store: JobStore, way: str, path: Path, data: bytes) -> FileId:
    if way == "stream":
        with store.write_file(1, "1.1", "a") as (stream, file):
            stream.write(data)
        return file
    path.write_bytes(data)
    return store.keep_file(1, "1.1", "a", str(path), move=way == "move")


@pytest.mark.parametrize("way", ["stream", "copy", "move"])
def test_who_reads_a_file_as_it_was_left_reads_it_once(store: JobStore, mine: Path, way: str) -> None:
    """Its digest tells nothing then; as soon as anything about the file has changed, it is looked at again."""
    data = os.urandom(LARGE + 1)
    file = write(store, way, mine, data)
    if not file.mark:
        pytest.skip("the temporary directory is not on a file system that only this host writes to")
    other = FileId(str(file), file.size, False, b"another digest", file.mark)
    assert read(store, other) == out(store, other, mine.with_name("out")) == data
    stored = where(store, file)
    before = stored.stat()
    stored.chmod(0o644)
    stored.write_bytes(b"wrong" + data[5:])
    stored.chmod(before.st_mode)
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))
    for use in (read, lambda *_: out(store, file, mine.with_name("out"))):
        with pytest.raises(IntegrityError, match="put it back"):
            use(store, file)
    stored.unlink()
    stored.write_bytes(data)
    assert read(store, file) == data, "put back, it is another inode, and what was written"


def test_what_took_the_place_of_a_file_is_not_marked(store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who can write to the directory is faster than whoever wrote the file."""
    publish = store.storage._beside._publish  # type: ignore[attr-defined]

    def exchange(temporary: str, path: str, *rest: Any, **options: Any) -> bool:
        done: bool = publish(temporary, path, *rest, **options)
        os.unlink(path)
        Path(path).write_bytes(b"wrong" * LARGE)
        return done

    monkeypatch.setattr(store.storage._beside, "_publish", exchange)  # type: ignore[attr-defined]
    for way in ("stream", "copy"):
        file = write(store, way, tmp_path / "mine", b"right" * LARGE)
        assert file.mark == b""
        with pytest.raises(IntegrityError):
            read(store, file)


def change(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(data)


@pytest.mark.parametrize("way", ["stream", "move"])
def test_what_is_written_to_while_it_is_hashed_has_no_mark_that_says_otherwise(
    store: JobStore, mine: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    mine.write_bytes(b"right" * LARGE)

    def hash_and_change(source: Any, *rest: Any) -> Any:
        found = hand_on(source, *rest)
        change(Path(f"/proc/self/fd/{source.fileno()}").resolve(), b"wrong")
        return found

    monkeypatch.setattr(copies, "hand_on", hash_and_change)
    if way == "move":
        file = store.keep_file(1, "1.1", "a", str(mine), move=True)
    else:
        with store.write_file(1, "1.1", "a") as (stream, file):
            os.write(stream.fileno(), b"right" * LARGE)
    monkeypatch.undo()
    with pytest.raises(IntegrityError):
        read(store, file)


def test_what_a_program_has_mapped_has_no_mark(store: JobStore) -> None:
    """What it writes to pages that it has written to before need not change the file's times."""
    with store.write_file(1, "1.1", "a") as (stream, file):
        descriptor = os.dup(stream.fileno())
        os.write(descriptor, b"right" * LARGE)
        mapped = mmap.mmap(descriptor, 5 * LARGE)
        os.close(descriptor)
    assert (file.size, file.mark) == (5 * LARGE, b"")
    mapped[:5] = b"wrong"
    mapped.close()
    with pytest.raises(IntegrityError):
        read(store, file)


def test_the_size_is_that_of_the_file_wherever_a_program_writes(store: JobStore) -> None:
    with store.write_file(1, "1.1", "a") as (stream, file):
        os.pwrite(stream.fileno(), b"right", 0)
    assert (file.size, read(store, file)) == (5, b"right")


@pytest.mark.parametrize("way", ["copy_rest", "_clone"])
def test_what_changes_while_it_is_copied_is_refused(store: JobStore, mine: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    file = write(store, "copy", mine, b"right" * LARGE)
    if not file.mark:
        pytest.skip("the temporary directory is not on a file system that only this host writes to")

    def copy_what_changes(source: Any, target: Any) -> bool:
        change(where(store, file), b"wrong")
        return copy_rest(source, target) if way == "copy_rest" else target.write(b"wrong" + b"right" * (LARGE - 1)) > 0

    monkeypatch.setattr(copies, way, copy_what_changes)
    with pytest.raises(IntegrityError):
        out(store, file, mine.with_name("out"))


def test_an_id_travels_with_its_mark() -> None:
    import pickle

    for mark in (b"", b"m" * 16):
        file = FileId(keys.file(1, "1.1", 0, "a-b"), 5, True, b"d", mark)
        again = pickle.loads(pickle.dumps(file))
        assert (again, again.digest, again.mark, again.name) == (file, b"d", mark, "a-b")
