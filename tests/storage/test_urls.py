import errno
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.urls import local_file, read_url, url_name, url_size, write_url

ODD = "sp ace 'q\" ünï\n%20#?:"


def read(url: str) -> bytes:
    with read_url(url) as stream:
        return stream.read()


def write(url: str, data: bytes = b"data") -> None:
    with write_url(url) as stream:
        stream.write(data)


def interrupted() -> Iterator[bytes]:
    yield bytes(1_000_000)
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["plain", ODD, "-x", "a:b", "%41"])
@pytest.mark.parametrize("form", ["path", "uri", "localhost", "one slash"])
def test_every_form_of_a_file(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / name
    url = {"path": str(path), "uri": path.as_uri(), "localhost": path.as_uri().replace("//", "//localhost", 1)}.get(
        form, path.as_uri().replace("//", "", 1)
    )
    with pytest.raises(NotFoundError):
        read(url)
    with pytest.raises(NotFoundError):
        url_size(url)
    write(url)
    assert path.read_bytes() == read(url) == b"data"
    assert local_file(url) == path
    assert url_name(url) == name
    assert url_size(url) == 4


def test_a_digest_at_the_end_of_a_url_is_none_of_its_path(tmp_path: Path) -> None:
    url = (tmp_path / "a").as_uri()
    write(url)
    assert read(f"{url}#sha256={'0f' * 32}") == b"data"
    (tmp_path / "a#b").write_bytes(b"2")
    assert read(f"{url}#b") == b"2"


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("file:a/b")
    assert read("a/b") == read("./a/b") == b"data"
    assert local_file("file:a%2Fb") == tmp_path / "a" / "b"


def test_surrogates_survive(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    write(Path(os.fsdecode(path)).as_uri())
    assert Path(os.fsdecode(path)).read_bytes() == b"data"


@pytest.mark.parametrize("url", ["", "file:", "file://", "a\0b"])
def test_what_names_no_file(url: str) -> None:
    with pytest.raises(StorageError, match="names no file"):
        read(url)


def test_a_file_of_another_machine_is_refused() -> None:
    with pytest.raises(StorageError, match=r"another machine \(host\).*three slashes"):
        read("file://host/etc/passwd")


def test_directories_are_refused(tmp_path: Path) -> None:
    for url in (str(tmp_path), tmp_path.as_uri(), f"{tmp_path}/new/"):
        for action in (read, write):
            with pytest.raises(StorageError, match="is a directory; only files"):
                action(url)
    with pytest.raises(StorageError, match="directory"):
        url_name("https://host/folder/")
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    write(str(path), b"old")
    with pytest.raises(KeyboardInterrupt), write_url(str(path)) as stream:
        stream.writelines(interrupted())
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a"]


def test_an_export_keeps_links_and_gets_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    write(str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    old = os.umask(0)
    os.umask(old)
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o666 & ~old


def test_devices_and_pipes_are_written_as_they_are(tmp_path: Path) -> None:
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(read(str(pipe))))
    thread.start()
    write(str(pipe))
    thread.join()
    assert got == [b"data"]
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_full_disk_is_named() -> None:
    with pytest.raises(StorageError, match="/dev/full: the disk is full"):
        write("/dev/full")


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StorageError, match=r"a/b: .*a file, not a directory|exists") as caught:
        write(str(tmp_path / "a" / "b"))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno in (errno.ENOTDIR, errno.EEXIST)


def test_s3_on_a_host_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("jobsys.storage.s3.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match="s3:// needs boto3, which this host does not have"):
        read_url("s3://bucket/key")


# ── by fsspec ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_other_schemes_by_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.register_implementation("other", Other, clobber=True)
    with pytest.raises(NotFoundError, match="other://jobsys/a%20b"):
        read("other://jobsys/a%20b")
    write("other://user:secret@jobsys/new/a%20b")
    assert read("other://jobsys/new/a%20b") == b"data"
    assert url_size("other://jobsys/new/a%20b") == 4
    assert url_name("other://jobsys/new/a%20b?x=1") == "a b"
    assert local_file("other://jobsys/a") is None
    with pytest.raises(StorageError, match="directory"):
        read("other://jobsys/new")
    with pytest.raises(KeyboardInterrupt), write_url("other://jobsys/none") as stream:
        stream.writelines(interrupted())
    with pytest.raises(NotFoundError):
        url_size("other://jobsys/none")


try:
    from fsspec.implementations.memory import MemoryFileSystem
except ImportError:
    MemoryFileSystem = object


class Other(MemoryFileSystem):  # type: ignore[misc]
    """A driver with errors of its own."""

    protocol = "other"
    store: dict = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("other://").rpartition("@")[2].strip("/")

    def _open(self, path: str, *arguments, **options):
        if "broken" in path:
            raise EOFError(f"password secret is wrong for {path}")
        return super()._open(path, *arguments, **options)


def test_a_drivers_own_errors_are_translated_without_secrets() -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.register_implementation("other", Other, clobber=True)
    for action in (read, write):
        with pytest.raises(StorageError, match=r"can't use other://jobsys/broken\?… \(EOFError\)") as caught:
            action("other://user:secret@jobsys/broken?token=secret")
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_an_unknown_scheme_is_named() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(StorageError, match="nosuch"):
        read("nosuch://a/b")


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for action in (read, write, url_size):
        with pytest.raises(StorageError, match=r"ftp://host/a needs fsspec: pip install 'jobsys\[urls\]'"):
            action("ftp://user:secret@host/a")
