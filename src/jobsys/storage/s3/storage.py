"""Storage in a bucket, below a prefix."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from typing import BinaryIO, Final

from jobsys.errors import StorageError
from jobsys.storage import blocks
from jobsys.storage.base import LONGEST_KEY, Stat, Storage, Stretch, check_key, check_prefix, check_range
from jobsys.storage.s3 import objects
from jobsys.storage.s3.access import Access
from jobsys.storage.s3.answers import RangeError, RefusedError
from jobsys.storage.s3.bucket import PAGE, Bucket, Page, Source
from jobsys.storage.s3.download import BUFFER, FIRST, ObjectReader, pieces, stretch
from jobsys.storage.s3.options import CUSTOMER
from jobsys.storage.s3.persist import Persistence
from jobsys.storage.s3.probe import prove
from jobsys.storage.s3.upload import PART, upload, writing

LONGEST: Final = 1024
"""The most bytes that S3 takes for prefix and key together."""
SENT_ON_FOR: Final = 3600
"""Seconds for which one is good that is used at once; a transfer that has begun goes on."""


def is_here(url: str) -> bool:
    """Tell whether a URL is one of S3; that is, of the one server that a process knows."""
    return url[:5].lower() == "s3://"


class S3Storage(Storage):
    """Objects in a bucket.

    Whatever fails in passing is tried again for some ten minutes, so a call may happen twice: a create-once whose first answer was lost
    is refused the second time, as by every storage.
    """

    def __init__(
        self,
        bucket: Bucket,
        prefix: str = "",
        *,
        immutable: Callable[[str], bool] = lambda _: False,
        own: Callable[[str], bool] = lambda _: True,
        persistence: Persistence | None = None,
    ) -> None:
        """Use what lies below a prefix; nothing is sent yet.

        Args:
            bucket: where.
            prefix: what all keys begin with, without a slash at its end.
            immutable: tells the keys of objects that never change: pieces of them are kept for reads to come.
            own: tells the keys whose older versions and unfinished uploads go when all is destroyed.
            persistence: the patience with the server.

        Raises:
            StorageError: the prefix is too long.
        """
        self.bucket = bucket
        self.access = Access(bucket, persistence)
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if len(self.prefix.encode()) + LONGEST_KEY > LONGEST:
            raise StorageError(f"{bucket.place(prefix)} is too long a place: at most {LONGEST - LONGEST_KEY - 1} bytes of prefix")
        self._immutable = immutable
        self._own = own
        self._blocks = blocks.Blocks(self._get_range)

    def place(self, key: str) -> str:
        """Give the object's key in the bucket."""
        check_key(key)
        return self.prefix + key

    def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
        """Write an object whole: by one request, or in parts where it is large and may replace another."""
        place, view = self.place(key), memoryview(data).cast("B")
        if if_absent:
            return self._create(place, bytes(view))
        if len(view) > PART:
            upload(self.access, place, view)
        else:
            body = bytes(view)
            self.access(lambda: self.bucket.put(place, body))
        return True

    def _create(self, place: str, body: bytes) -> bool:
        if self.bucket.options.unfenced:
            if self.access(lambda: self._is_there(place)):
                return False
            self.access(lambda: self.bucket.put(place, body))
            return True
        try:
            self.access(lambda: self.bucket.put(place, body, if_absent=True))
        except RefusedError:
            return False
        return True

    def _is_there(self, place: str) -> bool:
        return place in self.bucket.page(place).keys[:1]

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it."""
        place = self.place(key)
        check_range(start, length)
        if length is None or length > FIRST:
            return b"".join(pieces(self.access, place, start, length))
        if not length:
            self.stat(key)
            return b""
        in_blocks = length <= blocks.SIZE and self._immutable(key)
        return self._blocks.get(key, start, length) if in_blocks else self._get_range(key, start, length)

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        place = self.place(key)
        try:
            return self.access(lambda: self.bucket.get(place, start, length)).data
        except RangeError:
            return b""

    @contextmanager
    def reader(self, key: str) -> Iterator[BinaryIO]:
        """Read a stream, a few requests ahead; all of one version of the object, or there is an error."""
        with ObjectReader(self.access, self.place(key)) as raw, io.BufferedReader(raw, BUFFER) as stream:
            yield stream

    def writer(self, key: str, *, executable: bool = False, later: list[str] | None = None) -> AbstractContextManager[BinaryIO]:  # noqa: ARG002
        """Send a large object in parts while it is being written, a small one by one request at the end."""
        return writing(self.access, self.place(key))

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Ask for one page of keys after the other."""
        check_prefix(prefix)
        for page in self._pages(self.prefix + prefix, self.prefix + after if after else ""):
            for key in page.keys:
                yield key[len(self.prefix) :]

    def tally(self) -> tuple[int, int]:
        """Count the objects and their bytes, by the pages of a list."""
        pages = list(self._pages(self.prefix, ""))
        return sum(len(page.keys) for page in pages), sum(page.size for page in pages)

    def _pages(self, place: str, last: str) -> Iterator[Page]:
        more = True
        while more:
            page = self.access(partial(self.bucket.page, place, last))
            yield page
            more = page.more and bool(page.keys)
            last = page.keys[-1] if page.keys else last

    def delete(self, keys: Iterable[str]) -> None:
        """Delete many objects by each request."""
        waiting = (self.place(str(key)) for key in keys)  # a file's id is more than a text
        while batch := list(islice(waiting, PAGE)):
            self.access(partial(self.bucket.delete, batch))

    def stat(self, key: str) -> Stat:
        """Ask for size and time."""
        place = self.place(key)
        found = self.access(lambda: self.bucket.head(place))
        return Stat(found.size, found.modified)

    def url(self, key: str) -> str:
        """Make a URL for who has access to the bucket; it opens nothing to others, so it may be written down."""
        return self.bucket.place(self.place(key))

    def signed(self, key: str) -> str | None:
        """Make a URL that needs nothing else; None where the reader would have to send the user's own key, or say that he pays."""
        options = self.bucket.options
        return None if options.sse == CUSTOMER or options.requester_pays else self.bucket.signed_url(self.place(key), SENT_ON_FOR)

    def stretch(self, key: str, start: int = 0, length: int | None = None) -> Stretch:
        """Begin to read in the middle."""
        check_range(start, length)
        return stretch(self.access, self.place(key), start, length)

    def copy_in(self, url: str, key: str) -> int | None:
        """Have the server copy another object; give its size. None where the URL is none of S3."""
        if not is_here(url):
            return None
        place = objects.at(url, self.bucket.options)
        found = place.access(lambda: place.access.bucket.head(place.key))
        objects.copy(Source(place.access.bucket.name, place.key, found.tag, found.size), objects.Place(self.access, self.place(key)))
        return found.size

    def copy_out(self, key: str, url: str) -> bool:
        """Have the server copy an object to another place; False where the URL is none of S3."""
        if not is_here(url):
            return False
        place, options = self.place(key), self.bucket.options
        found = self.access(lambda: self.bucket.head(place))
        secret = options.key() if options.sse == CUSTOMER else b""
        objects.copy(Source(self.bucket.name, place, found.tag, found.size, secret), objects.at(url, options))
        return True

    def hurry(self) -> None:
        """Ask again for some seconds only."""
        self.access.hurry()

    def wait_at_most(self, seconds: float) -> None:
        """Give up after so many seconds."""
        self.access.wait_at_most(seconds)

    def prove(self) -> None:
        """Find out with racing writers whether create-once holds on this server.

        Raises:
            StorageError: it does not, and the user did not say that this is known.
        """
        prove(self.access, self.prefix)

    def destroy(self) -> None:
        """Delete what was begun to be sent, and every object with its older versions; those still to be seen go last."""
        for begun in self.access(lambda: list(self.bucket.uploads(self.prefix))):
            if self._is_own(begun.key):
                self.access(partial(self.bucket.abort, begun))
        if self.access(self.bucket.keeps_versions):
            there = set(self.list(""))
            found = self.access(lambda: [each for each in self.bucket.versions(self.prefix) if self._is_own(each[0])])
            found.sort(key=lambda each: each[0][len(self.prefix) :] in there)
            for start in range(0, len(found), PAGE):
                self.access(partial(self.bucket.delete_versions, found[start : start + PAGE]))
        self.delete(list(self.list("")))

    def _is_own(self, place: str) -> bool:
        return self._own(place[len(self.prefix) :])
