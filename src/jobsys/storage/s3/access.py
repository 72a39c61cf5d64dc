"""A bucket that is asked again: what passes by is waited for, credentials are looked for anew, a clock that is off is allowed for."""

from collections.abc import Callable
from typing import TypeVar

from jobsys.storage.s3.answers import CredentialsError, PassingError, SkewError
from jobsys.storage.s3.bucket import Bucket
from jobsys.storage.s3.persist import Persistence

T = TypeVar("T")


class Access:
    """The way to one bucket, for all threads and for processes forked off."""

    def __init__(self, bucket: Bucket, persistence: Persistence | None = None) -> None:
        """Send nothing yet."""
        self.bucket = bucket
        self._persist = persistence or Persistence()

    def hurry(self) -> None:
        """Give up soon on what fails: see `Persistence.hurry`."""
        self._persist.hurry()

    def wait_at_most(self, seconds: float) -> None:
        """Have less patience."""
        self._persist.wait_at_most(seconds)

    def __call__(self, ask: Callable[[], T]) -> T:
        """Send what may have to be sent again; it may happen twice.

        Raises:
            StorageError: it failed for good, or for longer than one waits.
        """
        tried = 0

        def mend(error: PassingError) -> bool:
            nonlocal tried
            if isinstance(error, SkewError):
                self.bucket.client.shift(error.seconds)
            if isinstance(error, CredentialsError):
                tried += 1
                self.bucket.client.renew()
                return self._persist.answered or tried == 1
            return True

        return self._persist(ask, mend)
