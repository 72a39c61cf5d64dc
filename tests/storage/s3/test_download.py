"""Streams out of a bucket: what breaks off in the middle has no end."""

import io

import pytest

from jobsys.errors import StorageError
from jobsys.storage.s3 import download
from jobsys.storage.s3.access import Access
from jobsys.storage.s3.bucket import Piece
from jobsys.storage.s3.download import ObjectReader
from jobsys.storage.s3.persist import Persistence

SIZE = 10


class Failing:
    """A bucket of one object, of which nothing comes from some byte on."""

    def __init__(self, until: int) -> None:
        self.until = until

    def get(self, key: str, start: int, length: int, tag: str) -> Piece:
        if start >= self.until:
            raise StorageError("no permission any more")
        return Piece(bytes(range(start, min(SIZE, start + length))), SIZE, "tag")


@pytest.fixture
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectReader:
    monkeypatch.setattr(download, "FIRST", 2)
    monkeypatch.setattr(download, "_PIECE", 2)
    return ObjectReader(Access(Failing(request.param), Persistence()), "key")  # type: ignore[arg-type]


@pytest.mark.parametrize("reader", [6], indirect=True)
def test_what_failed_does_not_end_like_what_was_read_whole(reader: ObjectReader) -> None:
    with reader, io.BufferedReader(reader, 4) as stream:
        assert stream.read(6) == bytes(range(6))
        for _ in range(2):
            with pytest.raises(StorageError, match="no permission any more"):
                stream.read(1)


@pytest.mark.parametrize("reader", [SIZE], indirect=True)
def test_what_nobody_reads_any_further_is_not_asked_for_again(reader: ObjectReader) -> None:
    assert reader.read(3) == bytes(range(2))
    assert reader.readall() == bytes(range(2, SIZE))
    reader.close()
    assert reader.closed
