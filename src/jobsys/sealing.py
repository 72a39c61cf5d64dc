"""What a run's key signs: HMAC-SHA256, under a key of its own for each purpose. Pure: knows no store and no file."""

import hashlib
import hmac
import struct
from typing import Final, NoReturn

from jobsys.errors import IntegrityError

NO_SEAL: Final = "it does not bear the seal of this run's key: it was changed, or put there, by somebody who can write to the store"
TAG: Final = 32
"""Bytes of a tag."""
ATTEMPT_KEY: Final = 16
"""Bytes of the key that an order carries."""
BEGINNING: Final = bytes(TAG)
"""What stands for the tag before the first segment."""
_SEGMENT: Final = struct.Struct("<QQ")
_NUMBER: Final = struct.Struct("<Q")
_HEAD, _FOOT = b',"seal":"', b'"}'
_SEALED: Final = len(_HEAD) + 2 * TAG + len(_FOOT)


class RunKey:
    """The secret of one run. It never travels: not in a pickle, not in a log, not in the job store."""

    __slots__ = ("_attempts", "_documents", "_segments", "_snapshots", "_waves")

    def __init__(self, secret: bytes) -> None:
        """Derive from 32 random bytes what signs each kind of thing."""
        self._segments, self._snapshots, self._attempts, self._documents, self._waves = (
            hmac.digest(secret, b"jobsys 2 " + purpose, "sha256") for purpose in (b"segment", b"snapshot", b"attempt", b"document", b"wave")
        )

    def __repr__(self) -> str:
        return "<the key of a run>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the key of a run does not travel")

    def segment(self, number: int, length: int, digest: bytes, previous: bytes) -> bytes:
        """Sign a segment of the journal, and with it all before: ``previous`` is the tag of the one before.

        Args:
            number: the segment's.
            length: bytes of its events.
            digest: the SHA-256 of all its bytes.
            previous: the tag before.
        """
        return hmac.digest(self._segments, _SEGMENT.pack(number, length) + digest + previous, "sha256")

    def snapshot(self, segment: int, digest: bytes, tag: bytes) -> bytes:
        """Sign the state behind a segment that has a tag."""
        return hmac.digest(self._snapshots, _NUMBER.pack(segment) + digest + tag, "sha256")

    def attempt(self, job: int, token: str) -> bytes:
        """Make the key by which a worker signs what it leaves without a leader; it signs for nothing but this attempt."""
        return hmac.digest(self._attempts, _NUMBER.pack(job) + token.encode(), "sha256")[:ATTEMPT_KEY]

    def wave(self, name: str) -> bytes:
        """Make the key by which a leader and the tasks of a cluster that it asked for at once sign what they write to each other."""
        return hmac.digest(self._waves, name.encode(), "sha256")

    def seal(self, name: str, document: bytes) -> bytes:
        """Sign a JSON object by a last field ``seal``; ``name`` says which document it is, so that none passes for another."""
        return document[:-1] + _HEAD + self._document(name, document).hex().encode() + _FOOT

    def bears_seal(self, name: str, sealed: bytes) -> bool:
        """Tell whether a document is as this key signed it under this name."""
        return hmac.compare_digest(self.seal(name, sealed[:-_SEALED] + b"}"), sealed)

    def _document(self, name: str, document: bytes) -> bytes:
        return hmac.digest(self._documents, name.encode() + b"\0" + hashlib.sha256(document).digest(), "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Compare two tags in a time that tells nothing of either."""
    return hmac.compare_digest(one, other)


def sign(key: bytes, report: bytes) -> bytes:
    """Put an attempt's tag behind the report that it leaves."""
    return report + hmac.digest(key, report, "sha256")


def signed(data: bytes) -> bytes:
    """Give what ``sign`` signed; nothing is checked."""
    return data[:-TAG]


def check_signed(key: bytes, data: bytes) -> None:
    """Refuse a report that this attempt did not sign.

    Raises:
        IntegrityError: it did not.
    """
    if not same(sign(key, signed(data)), data):
        raise IntegrityError("it was not signed by the attempt that it names")
