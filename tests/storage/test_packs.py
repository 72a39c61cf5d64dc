"""Packs: who appends, where they end, and what damage looks like."""

import errno
import os
import resource
import shutil
import threading
from pathlib import Path

import pytest

from jobsys.errors import IntegrityError, NotFoundError, StorageError
from jobsys.storage import openfiles, packs, records
from jobsys.storage.local import OPEN_FILES
from jobsys.storage.packed import PackedStorage
from jobsys.storage.packs import is_reserved


def new(root: Path) -> PackedStorage:
    return PackedStorage(root, packed="d/", immutable=lambda key: True)


def files(root: Path) -> list[str]:
    """Name what lies in the folder, without the tokens."""
    return sorted(name[:13] + name[22:] for name in os.listdir(root / "d"))


def pack(root: Path, suffix: str = "") -> Path:
    (found,) = [path for path in (root / "d").iterdir() if path.name.startswith("pack-") and path.name.endswith(suffix)]
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_small_objects_take_one_sync_of_a_file_that_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new(root)
    storage.put("d/0", b"first")
    calls: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            calls.append(name)
            return getattr(os, name)

    for module in (packs, openfiles):
        monkeypatch.setattr(module, "os", Counting())
    for number in range(1, 50):
        assert storage.put(f"d/{number}", b"x" * 100, if_absent=True)
    assert {name: calls.count(name) for name in calls if name not in {"getpid", "path"}} == {"pwritev": 49, "fdatasync": 49, "stat": 49}


def test_a_pack_is_shut_when_it_is_left_and_others_are_when_one_is_begun(root: Path) -> None:
    first, second = new(root), new(root)
    first.put("d/1", b"1")
    assert files(root) == ["pack-00000001.open"]
    assert pack(root).stat().st_size > packs.FILL
    first.release()
    assert files(root) == ["pack-00000001.end", "pack-00000001.shut"]
    assert pack(root, ".shut").stat().st_size == int(pack(root, ".end").read_text()) < 100, "no zeros stay"
    first.release()
    second.put("d/2", b"2")
    first.put("d/3", b"3")
    assert files(root) == [
        *("pack-00000001.end", "pack-00000001.shut"),
        *("pack-00000002.end", "pack-00000002.shut"),
        "pack-00000003.open",
    ]
    assert [second.get(f"d/{number}") for number in (1, 2, 3)] == [b"1", b"2", b"3"]


def test_a_large_pack_is_followed_by_another(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "LARGE", 10_000)
    storage = new(root)
    for number in range(50):
        storage.put(f"d/{number:02}", b"%02d" % number * 500)
    assert files(root) == [f"pack-{number:08d}.{suffix}" for number in range(1, 6) for suffix in ("end", "shut")]
    for reader in (storage, new(root)):
        assert all(reader.get(f"d/{number:02}", 2, 2) == b"%02d" % number for number in range(50))
        assert len(list(reader.list("d/"))) == 50


def test_many_packs_do_not_take_many_open_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "LARGE", 1)
    storage = new(root)
    for number in range(OPEN_FILES + 30):
        storage.put(f"d/{number}", b"x")
    assert len(storage._packs._files) <= OPEN_FILES
    assert storage.get("d/0") == b"x"


def test_who_reads_little_does_not_go_through_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "LARGE", 200_000)
    storage = new(root)
    for number in range(4000):
        storage._beside.durable = False
        storage.put(f"d/{number:05}", b"%05d" % number * 20)
    reads: list[int] = []
    real = os.pread

    def counting(descriptor: int, length: int, at: int) -> bytes:
        reads.append(length)
        return real(descriptor, length, at)

    monkeypatch.setattr(os, "pread", counting)
    for number in (0, 17, 1400, 3999):
        reads.clear()
        assert new(root).get(f"d/{number:05}", 2, 3) == (b"%05d" % number)[2:5]
        assert len(reads) < 60, number
    reader = new(root)
    for number in range(0, 4000, 50):
        assert reader.get(f"d/{number:05}") == b"%05d" % number * 20
    reads.clear()
    assert reader.get("d/01234") == b"01234" * 20
    assert len(reads) == 1, "who reads much knows by now where everything is"
    with pytest.raises(NotFoundError):
        new(root).get("d/04000")


def test_what_was_deleted_alone_is_not_found_by_who_reads_little(root: Path) -> None:
    """The record of the deletion lies in a later pack, or out of order, where bisection does not come by."""
    storage = new(root)
    for number in range(5):
        storage.put(f"d/{number}", b"x")
    storage.delete(["d/1"])
    for reader in (storage, new(root)):
        with pytest.raises(NotFoundError):
            reader.get("d/1")
        assert reader.get("d/2") == b"x"
    assert list(storage.list("d/")) == ["d/0", "d/2", "d/3", "d/4"]


def test_a_pack_that_is_renamed_while_the_folder_is_listed_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long folder is listed piece by piece: the old name goes before it is reached, the new one comes where the list has been."""
    storage = new(root)
    storage.put("d/1", b"1")
    for number in range(packs.AT_ONCE):
        (root / "d" / f"other-{number}").touch()
    real = os.listdir

    def listing(path: int) -> list[str]:
        monkeypatch.setattr(os, "listdir", real)
        names = [name for name in real(path) if not name.endswith(".open")]
        os.rename(pack(root), pack(root, ".open").with_suffix(".shut"))
        return names

    monkeypatch.setattr(os, "listdir", listing)
    assert "d/1" in new(root).list("d/")
    assert not list((root / "d").glob("*.open"))


def test_a_limit_of_a_file_s_size_is_one_of_an_object_s_size(root: Path) -> None:
    storage = new(root)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        for number in range(8):
            assert storage.put(f"d/{number}", b"%d" % number * 30_000, if_absent=True)
        with pytest.raises(StorageError, match="ulimit -f"):
            storage.put("d/8", b"x" * 100_001)
        assert storage.put("d/9", b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for reader in (storage, new(root)):
        assert all(reader.get(f"d/{number}") == b"%d" % number * 30_000 for number in range(8))
        assert list(reader.list("d/")) == [*(f"d/{number}" for number in range(8)), "d/9"]


def test_a_list_looks_at_each_key_of_many_packs_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "LARGE", 1)
    storage = new(root)
    storage._beside.durable = False
    for number in range(60):
        storage.put(f"d/{number:02}", b"x")
    looked: list[str] = []
    real = records.Contents.find

    def counting(contents: records.Contents, key: str) -> int | None:
        looked.append(key)
        return real(contents, key)

    monkeypatch.setattr(records.Contents, "find", counting)
    assert len(list(storage.list("d/"))) == 60
    assert len(looked) <= 60


def test_who_looks_makes_nothing(root: Path) -> None:
    assert list(new(root).list("d/")) == []
    with pytest.raises(NotFoundError):
        new(root).get("d/1")
    assert not root.exists()
    storage = new(root)
    storage.put("d/1", b"1")
    assert new(root).get("d/1") == b"1"
    assert files(root) == ["pack-00000001.open"]
    storage.release()
    assert not new(root).put("d/1", b"2", if_absent=True)
    assert files(root) == ["pack-00000001.end", "pack-00000001.shut"], "what is there for good is refused without a pack"


def test_a_read_only_folder_can_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack was shut, and whoever did it died before its end was written down."""
    storage = new(root)
    storage.put("d/1", b"1")
    os.rename(pack(root), pack(root).with_suffix(".shut"))
    reader = new(root)

    def refuse(*arguments: object, **named: object) -> bool:
        raise StorageError("can't write: permission denied")

    monkeypatch.setattr(reader._beside, "put", refuse)
    assert reader.get("d/1") == b"1"
    with pytest.raises(StorageError, match="permission denied"):
        reader.put("d/2", b"")
    assert new(root).get("d/1") == b"1"
    assert files(root) == ["pack-00000001.end", "pack-00000001.shut"]


def test_a_record_that_could_not_be_synced_never_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may say of the next sync of the same file that all is well, although it is not."""
    storage, reader = new(root), new(root)
    storage.put("d/1", b"1")
    real = os.fdatasync

    def fail(descriptor: int) -> None:
        monkeypatch.setattr(os, "fdatasync", real)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StorageError, match="failed to read or write"):
        storage.put("d/2", b"lost", if_absent=True)
    assert list(reader.list("d/")) == list(new(root).list("d/")) == ["d/1"]
    assert storage.put("d/2", b"kept", if_absent=True)
    assert reader.get("d/2") == new(root).get("d/2") == b"kept"


@pytest.mark.parametrize("ended", [True, False])
def test_a_copy_that_was_brought_up_to_date_is_whole(root: Path, tmp_path: Path, ended: bool) -> None:
    """It holds a pack under two names, as it was before and as it is now: nothing was deleted from it."""
    copy = tmp_path / "copy"
    storage = new(root)
    storage.put("d/1", b"1")
    shutil.copytree(root, copy)
    storage.put("d/2", b"2")
    storage.release()
    shutil.copytree(root, copy, dirs_exist_ok=True)
    if not ended:
        (copy / "d" / pack(root, ".end").name).unlink()
    assert list(new(copy).list("d/")) == ["d/1", "d/2"]
    assert new(copy).get("d/2") == b"2"
    assert not new(copy).put("d/2", b"other", if_absent=True)
    writer = new(copy)
    assert writer.put("d/3", b"3", if_absent=True)
    assert list(new(copy).list("d/")) == ["d/1", "d/2", "d/3"]
    assert files(copy) == ["pack-00000001.end", "pack-00000001.shut", "pack-00000002.open"]
    writer.delete(["d/1", "d/2", "d/3"])
    assert files(copy) == []


def test_what_could_not_be_synced_is_written_again_before_it_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full: neither the sync succeeded, nor could the end be written down; the system tells of a failed sync once."""
    storage, looker = new(root), new(root)
    storage.put("d/1", b"1")

    def fail(*arguments: object, **named: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        patch.setattr(os, "link", fail)
        with pytest.raises(StorageError, match="disk is full"):
            storage.put("d/2", b"2" * 300_000, if_absent=True)
    assert files(root) == ["pack-00000001.shut"]
    monkeypatch.setattr(looker._beside, "put", fail)
    looker.get("d/2")
    done: list[tuple[str, int]] = []
    write, sync = os.pwrite, os.fsync

    def writing(descriptor: int, data: bytes, at: int) -> int:
        written = write(descriptor, data, at)
        done.extend(("written", place) for place in range(at, at + written))
        return written

    def syncing(descriptor: int) -> None:
        done.append(("synced", 0))
        sync(descriptor)

    monkeypatch.setattr(os, "pwrite", writing)
    monkeypatch.setattr(os, "fsync", syncing)
    before = pack(root).read_bytes()
    assert not new(root).put("d/2", b"", if_absent=True)
    start = before.index(b"2" * 300)
    assert {("written", place) for place in range(start, start + 300_000)} <= set(done[: done.index(("synced", 0))])
    assert pack(root, ".shut").read_bytes() == before


def test_of_a_pack_only_the_last_record_is_written_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new(root)
    storage.put("d/1", b"1" * 10_000)
    storage.put("d/2", b"2" * 10)
    os.rename(pack(root), pack(root).with_suffix(".shut"))
    written: list[int] = []
    write = os.pwrite

    def writing(descriptor: int, data: bytes, at: int) -> int:
        written.append(len(data))
        return write(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", writing)
    assert list(storage.list("d/")) == ["d/1", "d/2"]
    assert written
    assert sum(written) < 100


def test_what_goes_wrong_in_a_stream_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new(root)
    storage.put("d/1", b"1" * 1_000_000)
    with storage.reader("d/1") as stream:
        assert stream.read(10) == b"1" * 10
        os.truncate(pack(root), 600_000)
        with pytest.raises(IntegrityError, match="is damaged behind byte"):
            stream.read()
    with storage.reader("d/1") as stream, monkeypatch.context() as patch:

        def fail(descriptor: int, length: int, at: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(os, "pread", fail)
        with pytest.raises(StorageError, match=r"can't read .*/d/1: the disk"):
            stream.read()


@pytest.mark.parametrize("written", [0, 5, 60, 150])
def test_a_disk_that_is_full_in_the_middle_of_a_record(root: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    storage = new(root)
    storage.put("d/1", b"1" * 100)

    def short(descriptor: int, parts: list[bytes], at: int) -> int:
        return os.pwrite(descriptor, b"".join(parts)[:written], at)

    class Full:
        pwritev = staticmethod(short)

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def pwrite(self, descriptor: int, data: bytes, at: int) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packs, "os", Full())
        if written == 150:
            assert storage.put("d/2", b"2" * 100), "the zeros behind it are not needed"
        else:
            with pytest.raises(StorageError, match="disk is full"):
                storage.put("d/2", b"2" * 100)
    there = ["d/1", "d/2"] if written == 150 else ["d/1"]
    assert list(new(root).list("d/")) == list(storage.list("d/")) == there
    assert storage.put("d/3", b"3")
    assert list(new(root).list("d/")) == [*there, "d/3"]


def test_a_full_disk_can_be_cleaned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, other = new(root), new(root)
    for number in range(3):
        storage.put(f"d/{number}", b"x")
    other.put("d/3", b"x")

    def refuse(*arguments: object, **named: object) -> bool:
        raise StorageError("can't write: the disk is full")

    for each in (storage, other):
        monkeypatch.setattr(each._beside, "put", refuse)
    other.delete([f"d/{number}" for number in range(4)])
    assert files(root) == []
    assert list(storage.list("d/")) == []


def test_what_a_killed_writer_left_half_is_not_there(root: Path) -> None:
    storage = new(root)
    storage.put("d/1", b"1" * 100)
    growing = storage._packs._growing
    assert growing is not None
    growing.append("d/2", b"2" * 100, gone=False, sync=True)
    with pack(root).open("r+b") as stream:
        stream.seek(growing.pack.known + 80)
        stream.write(bytes(200))
    assert list(new(root).list("d/")) == ["d/1"]
    assert new(root).put("d/2", b"again", if_absent=True)
    assert new(root).get("d/2") == b"again"


def test_damage_in_a_pack_is_no_end_of_it(root: Path) -> None:
    storage = new(root)
    for number in range(3):
        storage.put(f"d/{number}", b"x" * 100)
    damaged = bytearray(pack(root).read_bytes())
    damaged[len(damaged[: damaged.index(b"d/1")]) - 5] ^= 1
    pack(root).write_bytes(damaged)
    for suffix in (".open", ".shut"):
        os.rename(pack(root), pack(root).with_suffix(suffix))
        for look in (lambda: list(new(root).list("d/")), lambda: new(root).get("d/1"), lambda: new(root).put("d/9", b"")):
            with pytest.raises(IntegrityError, match="is damaged behind byte"):
                look()
    with pytest.raises(IntegrityError, match="put it back from a copy"):
        storage.get("d/1")


@pytest.mark.parametrize("harm", ["cut", "flip", "end"])
def test_damage_at_the_end_of_a_pack_that_was_shut_is_told(root: Path, harm: str) -> None:
    storage = new(root)
    for number in range(3):
        storage.put(f"d/{number}", b"x" * 100)
    storage.release()
    path = pack(root, ".shut")
    data = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(data[:-150])
    elif harm == "flip":
        data[-110] ^= 1
        path.write_bytes(data)
    else:
        pack(root, ".end").chmod(0o600)
        pack(root, ".end").write_text("nonsense")
    with pytest.raises(IntegrityError, match="is damaged"):
        list(new(root).list("d/"))


def test_what_is_shut_while_it_is_read_counts_as_far_as_was_agreed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader finds a record that its writer wrote after another had shut the pack."""
    writer, reader, other = new(root), new(root), new(root)
    writer.put("d/1", b"1")
    growing = writer._packs._growing
    assert growing is not None
    real = records.whole

    def late(read: records.Read, start: int) -> list[records.Record]:
        monkeypatch.setattr(packs, "whole", real)
        other.put("d/1x", b"by another")
        growing.append("d/2", b"too late", gone=False, sync=True)
        return real(read, start)

    monkeypatch.setattr(packs, "whole", late)
    assert list(reader.list("d/")) == ["d/1"]
    assert list(reader.list("d/")) == ["d/1", "d/1x"]


def test_of_two_that_begin_at_once_the_later_takes_a_later_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new(root)
    storage.put("d/0", b"0")
    storage.release()
    real = storage._packs._sync_folder

    def rival() -> None:
        monkeypatch.setattr(storage._packs, "_sync_folder", real)
        (root / "d" / "pack-00000002-00000000.open").touch()
        real()

    monkeypatch.setattr(storage._packs, "_sync_folder", rival)
    assert storage.put("d/1", b"1")
    assert files(root)[2:] == ["pack-00000002.end", "pack-00000002.shut", "pack-00000003.open"]


def test_a_store_that_others_make_packs_in_is_taken_over_without_packs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS, say; and whoever is on the machine that has the disk makes none any more, either."""
    here, there = new(root), new(root)
    here.put("d/0", b"0")
    here.put("d/1", b"1")
    monkeypatch.setattr(there._packs, "_is_own_disk", lambda: False)
    assert not there.put("d/1", b"other", if_absent=True)
    assert there.put("d/2", b"2", if_absent=True)
    assert not here.put("d/2", b"other", if_absent=True)
    assert here.put("d/3", b"3", if_absent=True)
    assert there.put("d/1", b"replaced")
    assert [each.get("d/1") for each in (here, there, new(root))] == [b"replaced"] * 3
    assert list(here.list("d/")) == list(there.list("d/")) == ["d/0", "d/1", "d/2", "d/3"]
    assert files(root) == ["1", "2", "3", "pack-00000001.end", "pack-00000001.shut", "pack-loose"]
    assert (root / "d" / "2").read_bytes() == b"2"
    assert (root / "d" / packs.LOOSE).exists()
    here.delete(["d/2"])
    with pytest.raises(NotFoundError):
        there.get("d/2")
    with pytest.raises(StorageError, match="delete it on that machine"):
        here.delete(["d/1"])
    here.delete([f"d/{number}" for number in range(4)])
    assert list(there.list("d/")) == []


def test_without_packs_nobody_lists_the_folder_for_each_object(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, reader = new(root), new(root)
    for each in (storage, reader):
        monkeypatch.setattr(each._packs, "_is_own_disk", lambda: False)
    listed: list[object] = []
    real = os.listdir

    def counting(path: int) -> list[str]:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(os, "listdir", counting)
    for number in range(30):
        assert storage.put(f"d/{number}", b"x", if_absent=True)
        assert reader.get(f"d/{number}") == storage.get(f"d/{number}") == b"x"
    assert len(listed) < 6


def test_a_root_that_is_gone_is_an_error(root: Path) -> None:
    storage = new(root)
    storage.put("d/1", b"1")
    os.rename(root, root.with_name("away"))
    for call in (lambda: storage.put("d/2", b"2"), lambda: list(storage.list("d/"))):
        with pytest.raises(StorageError, match="is gone"):
            call()
    assert not root.exists()


def test_a_forked_process_appends_to_a_pack_of_its_own(root: Path) -> None:
    storage = new(root)
    storage.put("d/1", b"1")
    pid = os.fork()
    if not pid:
        os._exit(0 if storage.put("d/2", b"2") else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert storage.put("d/3", b"3")
    assert list(storage.list("d/")) == ["d/1", "d/2", "d/3"]


def test_threads_share_a_pack(root: Path) -> None:
    storage = new(root)
    won: list[tuple[int, int]] = []

    def work(number: int) -> None:
        won.extend((number, turn) for turn in range(30) if storage.put(f"d/{turn}", b"%d" % number, if_absent=True))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turn for _, turn in won) == list(range(30))
    assert all(storage.get(f"d/{turn}") == b"%d" % number for number, turn in won)
    assert files(root) == ["pack-00000001.open"]


def test_names_of_packs_are_no_keys(root: Path) -> None:
    storage = new(root)
    for name in ("pack-00000001-0123abcd.open", "pack-00000001-0123abcd.end", packs.LOOSE, packs.DELETED):
        assert is_reserved(name)
        with pytest.raises(StorageError, match="can't be the key of an object"):
            storage.put(f"d/{name}", b"")
    assert not is_reserved("pack-1")
    assert not root.exists()
    with pytest.raises(StorageError, match="no URL of its own"):
        storage.url("d/1")
    assert storage.local_path("d/1") is None
    assert storage.local_path("e/1") == f"{root}/e/1"


def test_links_in_the_place_of_packs_are_not_followed(root: Path, tmp_path: Path) -> None:
    storage = new(root)
    storage.put("d/1", b"1")
    storage.release()
    path = pack(root, ".shut")
    os.rename(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="Too many levels"):
        new(root).get("d/1")
