"""Global files in a bucket: imported from and exported to it, copied by the server, or only referred to."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobsys.context import Context
from jobsys.errors import NotFoundError, StorageError
from jobsys.job import FunctionJob
from jobsys.jobstores import JobStore, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.message import Order
from jobsys.record import Blob
from jobsys.storage.s3 import objects
from jobsys.storage.urls import read_url, url_name, url_size, write_url
from s3 import servers  # type: ignore[import-not-found]

SIZES = (0, 1, 5 << 20, (17 << 20) + 1)
ODD = "sp ace/q'\"ü%20#?+&.txt"


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, ceph: "servers.Server", s3_place: Callable[..., str], tmp_path: Path) -> Iterator[JobStore]:
    place = s3_place(ceph)
    made = create(place if request.param == "s3" else str(tmp_path / "store"), StoreInfo(FORMAT, 0.0, "0"), durable=False)
    yield made
    made.destroy()


@pytest.fixture
def context(store: JobStore, tmp_path: Path) -> Iterator[Context]:
    (tmp_path / "worker").mkdir()
    order = Order(1, 1, "tested", Blob(0, 0, 0), "1.1")
    made = Context(FunctionJob(len), order, store, tmp_path / "worker", lambda *_: None)
    yield made
    made.close()


@pytest.fixture
def elsewhere(ceph: "servers.Server", s3_place: Callable[..., str]) -> str:
    """A place in a bucket that is no job store's."""
    return f"{s3_place(ceph)}/{uuid.uuid4().hex}"


def written(url: str, size: int = 100) -> bytes:
    data = os.urandom(size)
    with write_url(url) as stream:
        stream.write(data)
    return data


def read(url: str) -> bytes:
    with read_url(url) as stream:
        return stream.read()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_imported_and_exported_is_the_same(context: Context, elsewhere: str, size: int) -> None:
    data = written(f"{elsewhere}/{ODD}", size)
    assert url_size(f"{elsewhere}/{ODD}") == size
    file = context.import_file(f"{elsewhere}/{ODD}")
    assert (file.size, file.name) == (size, url_name(f"{elsewhere}/{ODD}"))
    assert context.read_file(file).read_bytes() == data
    context.export_file(file, f"{elsewhere}/out {ODD}")
    assert read(f"{elsewhere}/out {ODD}") == data


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_copy_in_the_server_is_sent_by_nobody(context: Context, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(f"{elsewhere}/a", 10_000)

    def never(*_: object) -> None:
        raise AssertionError("bytes pass through this machine")

    with monkeypatch.context() as patch:
        patch.setattr("jobsys.storage.s3.bucket.Bucket.get", never)
        patch.setattr("jobsys.storage.s3.bucket.Bucket.put", never)
        file = context.import_file(f"{elsewhere}/a")
        context.export_file(file, f"{elsewhere}/b")
    assert read(f"{elsewhere}/b") == data


def test_what_is_too_large_for_one_copy_is_copied_in_parts(context: Context, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "ONE_COPY", 8 << 20)
    monkeypatch.setattr(objects, "PART_COPY", 5 << 20)
    data = written(f"{elsewhere}/a", (12 << 20) + 5)
    file = context.import_file(f"{elsewhere}/a")
    context.export_file(file, f"{elsewhere}/b")
    assert read(f"{elsewhere}/b") == data


def test_a_reference_is_read_where_it_lies(context: Context, elsewhere: str) -> None:
    data = written(f"{elsewhere}/{ODD}", 6 << 20)
    before = list(context._store.storage.list("files/"))
    file = context.import_file(f"{elsewhere}/{ODD}", reference=True)
    assert list(context._store.storage.list("files/")) == before
    assert file.size == len(data)
    assert context.read_file(file).read_bytes() == data
    assert context.read_file(file, symlink=True).read_bytes() == data
    with context.read_stream(file) as stream:
        assert stream.read() == data
    context.export_file(file, f"{elsewhere}/copy")
    assert read(f"{elsewhere}/copy") == data
    context.delete_file(file)
    context._store.delete(context.deleted)
    assert read(f"{elsewhere}/{ODD}") == data, "the original is nobody's to delete"


@pytest.mark.parametrize("size", [10, 6 << 20])
def test_an_original_that_was_replaced_is_told(context: Context, elsewhere: str, size: int) -> None:
    written(f"{elsewhere}/a", size)
    file = context.import_file(f"{elsewhere}/a", reference=True)
    written(f"{elsewhere}/a", size)
    with pytest.raises(StorageError, match="is not what it was any more"):
        context.read_file(file)


def test_what_is_not_there(context: Context, elsewhere: str, tmp_path: Path) -> None:
    for reference in (False, True):
        with pytest.raises(NotFoundError, match=r"there is nothing under s3://.*/none"):
            context.import_file(f"{elsewhere}/none", reference=reference)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(StorageError, match="can't be referred to"):
        context.import_file(tmp_path / "x", reference=True)
    with pytest.raises(StorageError, match="names no object"):
        context.import_file("s3://bucket/", name="x")
