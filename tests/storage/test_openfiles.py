import gc
import io
import os
from pathlib import Path

import pytest

from jobsys.errors import StorageError
from jobsys.storage.openfiles import NEW, READ, Descriptor, ReadingFile, WritingFile, discard, is_same, read_range, write_all


def test_short_reads_and_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = str(tmp_path / "a"), bytes(range(256))
    pread, write = os.pread, os.write
    monkeypatch.setattr(os, "pread", lambda number, length, start: pread(number, min(length, 7), start))
    monkeypatch.setattr(os, "write", lambda number, piece: write(number, piece[:5]))
    descriptor = os.open(path, NEW)
    write_all(descriptor, memoryview(data).cast("H"))
    os.close(descriptor)
    assert read_range(Descriptor(os.open(path, READ)), 0, None) == data
    assert read_range(Descriptor(os.open(path, READ)), 10, 100) == data[10:110]
    assert read_range(Descriptor(os.open(path, READ)), 250, 1 << 50) == data[250:]


def test_a_descriptor_closes_with_its_last_user(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    file = Descriptor(os.open(tmp_path / "a", READ))
    number = file.number
    del file
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_the_same_file_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    os.link(tmp_path / "a", tmp_path / "c")
    found = os.stat(tmp_path / "a")
    assert [is_same(str(tmp_path / name), found) for name in ("a", "b", "c", "none", "a/b")] == [True, False, True, False, False]
    for name in ("a", "a", "none/none", ""):
        discard(str(tmp_path / name) if name else "")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_streams_fail_in_plain_words() -> None:
    with (
        WritingFile(os.open("/dev/full", os.O_WRONLY), "/place", sync=False) as raw,
        pytest.raises(StorageError, match="/place: the disk is full"),
    ):
        raw.write(b"x")
    for size in (1, -1):
        stream = io.BufferedReader(ReadingFile("/proc/self/mem"))
        with stream, pytest.raises(StorageError, match="can't read /proc/self/mem: the disk or file server failed"):
            stream.read(size)


def test_a_failed_sync_is_told_and_the_file_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = WritingFile(os.open(tmp_path / "a", NEW), str(tmp_path / "a"), sync=True)

    def fail(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="the disk or file server failed"):
        raw.close()
    assert raw.closed
    raw.close()


def test_a_failed_flush_at_the_end_is_no_clean_exit() -> None:
    raw = WritingFile(os.open("/dev/full", os.O_WRONLY), "/place", sync=False)
    with pytest.raises(StorageError, match="disk is full"), raw.buffered() as stream:
        stream.write(b"small")
    assert raw.closed
