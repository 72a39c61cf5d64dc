"""Job stores in a bucket of S3: ``s3://bucket/prefix``."""

import os
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from jobsys.digest import sha256
from jobsys.errors import FormatError, LocatorError, NoSuchJobStoreError
from jobsys.jobstores import keys
from jobsys.jobstores.base import JobStore
from jobsys.jobstores.commons import Commons, Holder
from jobsys.storage.s3.bucket import Bucket
from jobsys.storage.s3.options import Options
from jobsys.storage.s3.storage import S3Storage

_BUCKET: Final = re.compile(r"arn:[^/\s]+:accesspoint[/:][A-Za-z0-9-]+|[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


COMMONS: Final = "jobsys-code"
"""Where the code lies that runs side by side share: ``s3://bucket/team/jobsys-code`` is that of ``s3://bucket/team/run``."""


class Place(NamedTuple):
    """A bucket and what all keys of a run begin with; an empty prefix is a bucket for one run alone."""

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
    if found[0].endswith("--x-s3"):
        raise LocatorError(
            f"{locator!r} is a directory bucket of S3 Express, which lists no keys in order: choose a general purpose bucket"
        )
    prefix = rest[found.end() :].strip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in {"", ".", ".."} or not part.isprintable() for part in parts):
        raise LocatorError(f"{locator!r}: the prefix must be parts between single slashes, none of them '.' or '..'")
    if parts and parts[-1].startswith(COMMONS):
        raise LocatorError(f"{locator!r}: code that runs share lies there; choose another name for a run")
    return Place(found[0], prefix)


def storage(locator: str, options: Options | None = None) -> S3Storage:
    """Give the storage at a locator; options that are not given are those of the environment.

    Raises:
        LocatorError: it is none.
        UsageError: an option makes no sense.
    """
    place = parse(locator)
    return S3Storage(Bucket(place.bucket, options or Options.of(os.environ)), place.prefix, immutable=keys.immutable, own=keys.is_own)


def commons(locator: str, options: Options | None = None) -> Commons | None:
    """Give what the run at a locator shares with those beside it; None where a bucket is one run's, or its server can't be trusted.

    Raises:
        LocatorError: it is none.
        UsageError: an option makes no sense.
    """
    place = parse(locator)
    options = options or Options.of(os.environ)
    if not place.prefix or options.unfenced:
        return None
    return _commons(place.bucket, place.prefix.rpartition("/")[0], options)


def commons_below(locator: str, options: Options | None = None) -> tuple[Commons, Callable[[Holder], bool]]:
    """Give what the runs right below a locator share, and what tells whether one of them is surely gone.

    Raises:
        LocatorError: it is none.
        UsageError: an option makes no sense.
    """
    place, options = parse(locator), options or Options.of(os.environ)

    def is_gone(holder: Holder) -> bool:
        if not holder.locator.startswith(f"s3://{place.bucket}/"):
            return False
        try:
            return JobStore(holder.locator, storage(holder.locator, options)).info().run != holder.run
        except NoSuchJobStoreError:
            return True
        except (FormatError, LocatorError):
            return False

    return _commons(place.bucket, place.prefix, options), is_gone


def _commons(bucket: str, parent: str, options: Options) -> Commons:
    readers = f"-{sha256(options.key())[:16]}" if options.sse_key else ""  # who has another key can't read what lies there
    return Commons(S3Storage(Bucket(bucket, options), f"{parent}/{COMMONS}{readers}"))
