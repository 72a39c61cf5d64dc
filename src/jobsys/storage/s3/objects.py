"""Import and export by ``s3://bucket/key``: streams, and copies that the server makes by itself. A key is meant as it stands."""

import functools
import io
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import BinaryIO, Final, NamedTuple

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.s3.access import Access
from jobsys.storage.s3.bucket import Bucket, Found, Part, Source, Upload
from jobsys.storage.s3.download import BUFFER, ObjectReader
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.upload import complete, even_part_size, writing

ONE_COPY: Final = 5 << 30
"""The most bytes that one request copies."""
PART_COPY: Final = 1 << 29
"""The least bytes of a part that is copied."""
_URL: Final = re.compile(r"s3://(arn:[^/]+:accesspoint[/:][^/]+|(?!arn:)[^/]+)/(.+)", re.IGNORECASE | re.DOTALL)


class Place(NamedTuple):
    """An object anywhere, and the way to it."""

    access: Access
    key: str


def at(url: str, options: Options | None = None) -> Place:
    """Find the way to an object: on the server that the options name, else on that of the environment.

    Raises:
        StorageError: the URL names none.
    """
    match = _URL.fullmatch(url)
    if match is None or match[2].endswith("/"):
        raise StorageError(f"{url} names no object of S3: write s3://bucket/key")
    options = options or Options.of(os.environ)
    return Place(_access(match[1], options.endpoint_url, options.requester_pays), match[2])


@functools.lru_cache(maxsize=32)
def _access(bucket: str, endpoint: str, requester_pays: bool) -> Access:
    """Go to another's bucket as to one's own, but for what is only true of one's own: its owner and its keys."""
    return Access(Bucket(bucket, Options(endpoint_url=endpoint, requester_pays=requester_pays)))


def look(url: str) -> Found:
    """Tell size, time and version of an object.

    Raises:
        NotFoundError: it is not there.
    """
    place = at(url)
    return place.access(lambda: place.access.bucket.head(place.key))


@contextmanager
def read(url: str, tag: str = "") -> Iterator[BinaryIO]:
    """Read an object as a stream; with a tag, only that version of it.

    Raises:
        NotFoundError: it is not there.
        StorageError: it is another version by now.
    """
    place = at(url)
    with ObjectReader(place.access, place.key, tag) as raw, io.BufferedReader(raw, BUFFER) as stream:
        yield stream


def below(url: str) -> Iterator[str]:
    """Give the keys of all objects below a prefix that is meant as a directory, relative to it, in order.

    Raises:
        NotFoundError: there is none.
    """
    place = at(url.rstrip("/"))
    prefix, last, more, found = place.key + "/", "", True, False
    while more:
        page = place.access(functools.partial(place.access.bucket.page, prefix, last))
        for key in page.keys:
            if not key.endswith("/"):  # what some tools leave to mark a directory
                found = True
                yield key.removeprefix(prefix)
            last = key
        more = page.more
    if not found:
        raise NotFoundError(f"there is nothing below {url}")


def write(url: str) -> AbstractContextManager[BinaryIO]:
    """Write an object as a stream; nothing is visible before a clean exit."""
    place = at(url)
    return writing(place.access, place.key)


def copy(source: Source, target: Place) -> None:
    """Have the server copy an object; this machine sees none of its bytes.

    Raises:
        NotFoundError: the source is not there.
        StorageError: it is another version by now, or can't be copied.
    """
    access = target.access
    if source.size <= ONE_COPY:
        access(lambda: access.bucket.copy(source, target.key))
        return
    upload: Upload = access(lambda: access.bucket.begin(target.key))
    try:
        size = max(even_part_size(source.size), PART_COPY)
        starts = range(0, source.size, size)
        parts: list[Part] = [
            access(functools.partial(access.bucket.copy_part, upload, number, source, start, min(size, source.size - start)))
            for number, start in enumerate(starts, 1)
        ]
        access(lambda: complete(access.bucket, upload, parts, source.size))
    except BaseException:
        with suppress(StorageError):  # it matters less than what it fails after
            access.bucket.abort(upload)
        raise
