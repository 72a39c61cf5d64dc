import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobsys.errors import StorageError, UsageError
from jobsys.files import (
    clone,
    copy_rest,
    is_written_by_somebody,
    locked,
    make_again,
    occupy_standard_descriptors,
    pour,
    remove,
    sync_directory,
    working_directory,
    write_whole,
)


def test_written_whole_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    for data in (b"one", memoryview(b"two"), b""):
        for sync in (True, False):
            write_whole(target, data, sync=sync)
            assert target.read_bytes() == data
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_content_and_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_whole(target, "no bytes")  # type: ignore[arg-type]
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(folder, b"x")
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [target, folder]


def test_only_directories_are_synced_as_such(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "a")


def test_a_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside, seen = [0], []

    def work() -> None:
        for _ in range(50):
            with locked(tmp_path / "lock"):
                inside[0] += 1
                seen.append(inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 200


def test_the_kernel_frees_the_lock_of_a_dead_process(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with locked(tmp_path / "lock"):
            os.write(writer, b"x")
            os.kill(os.getpid(), 9)
    os.read(reader, 1)
    with locked(tmp_path / "lock"):
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -9, "the lock was not the dead process's"
    os.close(reader)
    os.close(writer)


def test_a_working_directory_that_was_deleted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert working_directory() == str(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="the working directory is not there any more"):
        working_directory()


def test_what_can_t_be_a_lock_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "directory.lock").mkdir()
    (tmp_path / "circle.lock").symlink_to(tmp_path / "circle.lock")
    for name in ("directory", "circle"):
        with pytest.raises(StorageError, match=rf"/{name}\.lock can't be opened as a lock: .*remove it"), locked(tmp_path / f"{name}.lock"):
            pytest.fail("it was locked")


def test_nothing_takes_the_place_of_closed_standard_streams() -> None:
    code = "import os, sys, jobsys.files as f; f.occupy_standard_descriptors(); os._exit(os.open('/', os.O_RDONLY))"
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", code], check=False)
    assert done.returncode == 3


def test_standard_streams_that_are_open_stay_what_they_are() -> None:
    before = [os.fstat(descriptor) for descriptor in (0, 1, 2)]
    occupy_standard_descriptors()
    assert all(os.path.samestat(os.fstat(number), stat) for number, stat in enumerate(before))


def test_a_directory_that_was_tidied_away_is_made_again_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "jobsys-0" / "host" / "worker"
    make_again(directory)
    for made in (directory, directory.parent, directory.parent.parent):
        assert made.stat().st_mode & 0o777 == 0o700
    (directory / "kept").touch()
    make_again(directory)
    assert (directory / "kept").exists()


def test_a_directory_that_another_user_has_made_in_its_place_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / "jobsys-0"
    taken.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    if not os.getuid():
        os.chown(taken, 12345, 12345)  # what root owns is trusted
    with pytest.raises(PermissionError, match="another user"):
        make_again(taken / "host" / "worker")
    assert list(taken.iterdir()) == []


def test_a_copy_inside_of_the_kernel_is_whole(tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("wb") as target:
        assert copy_rest(source.fileno(), target.fileno())
    assert (tmp_path / "b").read_bytes() == data


def test_what_the_kernel_can_t_copy_is_left_alone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    (tmp_path / "a").write_bytes(b"data")
    with (tmp_path / "a").open("rb") as source:
        assert not copy_rest(source.fileno(), writing)
        assert source.read() == b"data"
    with (tmp_path / "a").open("rb") as source, (tmp_path / "a").open("rb") as target, pytest.raises(OSError, match="Bad file"):
        copy_rest(source.fileno(), target.fileno())
    os.close(reading)
    os.close(writing)


def test_a_clone_has_the_content_or_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("wb") as target:
        cloned = clone(source.fileno(), target.fileno())
    assert (tmp_path / "b").read_bytes() == (b"data" if cloned else b"")


def test_who_could_still_write_to_a_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"data")
    with path.open("rb") as reading:
        if is_written_by_somebody(reading.fileno()):
            pytest.skip("this file system can't tell who writes")
        with path.open("r+b") as writing:
            assert is_written_by_somebody(reading.fileno())
            mapped = mmap.mmap(writing.fileno(), 4)
        assert is_written_by_somebody(reading.fileno()), "the mapping outlives its descriptor"
        mapped.close()
        with path.open("rb"):
            assert not is_written_by_somebody(reading.fileno())
    path.write_bytes(b"the next one is not held up")
    ends = os.pipe()
    assert is_written_by_somebody(ends[0])
    for end in ends:
        os.close(end)


def tree(folder: Path) -> dict[str, str]:
    """Read what is in a directory: the contents of files, the targets of links, and directories."""
    found = {}
    for path in folder.rglob("*"):
        what = os.readlink(path) if path.is_symlink() else "/" if path.is_dir() else path.read_text()
        found[str(path.relative_to(folder))] = what
    return found


def test_what_is_poured_into_a_directory_is_all_that_is_in_it(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for folder, kinds in ((new, "dfdlfdn"), (old, "dffdldx")):  # a directory, a file, a link; what is new, what is too much
        folder.mkdir()
        for number, kind in enumerate(kinds):
            path = folder / f"{number}{kind if kind in 'nx' else ''}"
            if kind == "d":
                (path / "below").mkdir(parents=True)
                (path / "below" / folder.name).write_text(f"{folder.name} {number}")
                (path / "both").write_text(f"{folder.name} {number}")
            elif kind == "l":
                path.symlink_to(folder)
            else:
                path.write_text(f"{folder.name} {number}")
    with (old / "0/both").open() as used:
        want = tree(new)
        pour(str(new), str(old))
        assert tree(old) == want
        assert used.read() == "old 0"
    assert set(tree(new).values()) == {"/"}


def test_what_is_removed_is_gone_but_not_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder/below").mkdir(parents=True)
    (tmp_path / "folder/file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("folder", "link", "link"):
        remove(str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
