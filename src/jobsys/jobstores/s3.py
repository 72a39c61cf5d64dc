"""Job stores in a bucket of S3: ``s3://bucket/prefix``."""

import os
import re
from typing import Final, NamedTuple

from jobsys.errors import LocatorError
from jobsys.jobstores import keys
from jobsys.storage.s3.bucket import Bucket
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.storage import S3Storage

_BUCKET: Final = re.compile(r"arn:[^/\s]+:accesspoint[/:][A-Za-z0-9-]+|[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


class Place(NamedTuple):
    """A bucket and what all keys of a run begin with."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        """Write it as a locator."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse(locator: str) -> Place:
    """Read ``s3://bucket/prefix``; the prefix may be missing.

    Raises:
        LocatorError: it is none.
    """
    rest = locator.partition(":")[2]
    found = _BUCKET.match(rest, 2) if rest.startswith("//") else None
    if found is None or rest[found.end() :][:1] not in {"", "/"}:
        raise LocatorError(f"{locator!r} names no bucket; write s3://bucket or s3://bucket/prefix")
    prefix = rest[found.end() :].strip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in {"", ".", ".."} or not part.isprintable() for part in parts):
        raise LocatorError(f"{locator!r}: the prefix must be parts between single slashes, none of them '.' or '..'")
    return Place(found[0], prefix)


def storage(locator: str, options: Options | None = None) -> S3Storage:
    """Give the storage at a locator; options that are not given are those of the environment.

    Raises:
        LocatorError: it is none.
        UsageError: an option makes no sense.
    """
    place = parse(locator)
    return S3Storage(Bucket(place.bucket, options or Options.of(os.environ)), place.prefix, immutable=keys.immutable, own=keys.is_own)
