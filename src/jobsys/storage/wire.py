"""How a storage is spoken to over HTTP: the paths, headers and errors that server and client share. Sends and receives nothing.

``GET``, ``HEAD`` and ``PUT /o/KEY`` are an object, ``GET`` and ``HEAD /s/NAME`` a shared file, wherever it lies, ``GET /list`` is a page of
keys, ``POST /delete`` takes a list of keys. Who sends ``Jobsys-Elsewhere`` with a GET may be sent on (307) to a URL that needs no token.
"""

import hmac
import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from jobsys.errors import IntegrityError, NotFoundError, StorageError
from jobsys.storage.base import PassingError

TOKEN_VARIABLE: Final = "JOBSYS_STORE_TOKEN"
URL_VARIABLE: Final = "JOBSYS_STORE_URL"

OBJECTS: Final = "/o/"
SHARED: Final = "/s/"
LIST: Final = "/list"
DELETE: Final = "/delete"

MODIFIED: Final = "Jobsys-Modified"  # seconds since the epoch, as a float
ELSEWHERE: Final = "Jobsys-Elsewhere"  # who sends it can be told another place, and comes back if that is no good
EXECUTABLE: Final = "Jobsys-Executable"
COMPLETE: Final = "Jobsys-Complete"  # the last header: a head that was cut off would pass for a whole one
ERROR: Final = "Jobsys-Error"  # the body of an error, percent-encoded, where an answer can have no body

PAGE: Final = 1000
"""The most keys in one list, and in one deletion."""
SMALL: Final = 1 << 20
"""Up to so many bytes an object is read and written in one piece."""

_KINDS: Final[dict[str, tuple[type[StorageError], int]]] = {
    "NotFoundError": (NotFoundError, 404),
    "IntegrityError": (IntegrityError, 409),
    "PassingError": (PassingError, 503),
    "StorageError": (StorageError, 500),
}
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")


class Keys(msgspec.Struct):
    """A page of keys, and whether there may be more behind it."""

    keys: list[str]
    more: bool


class _Error(msgspec.Struct):
    error: str
    message: str


class Range(NamedTuple):
    """The bytes that are asked for: from where, and how many (None: to the end)."""

    start: int
    length: int | None

    def header(self) -> str:
        """Write it as the value of the header ``Range``."""
        return f"bytes={self.start}-" + ("" if self.length is None else str(self.start + self.length - 1))


def read_range_header(text: str | None) -> Range | None:
    """Read the header ``Range``; None where all is asked for, or more than one stretch."""
    match = _RANGE.fullmatch(text or "")
    if match is None:
        return None
    start = int(match[1])
    length = int(match[2]) - start + 1 if match[2] else None
    return None if length is not None and length < 1 else Range(start, length)


def complete(length: str | int) -> str:
    """Write the value of the last header, which tells that all others came whole, the length above all."""
    return f"{length};"


def object_path(key: str) -> str:
    """Give the path of an object."""
    return OBJECTS + quote(key, safe="/~=")


def shared_path(name: str) -> str:
    """Give the path of a shared file."""
    return SHARED + quote(name, safe="/~=")


def is_loopback(host: str | None) -> bool:
    """Tell whether a host's name or address means, wherever it is said, that very machine."""
    name = (host or "").lower().removeprefix("::ffff:")
    return name in {"localhost", "::1"} or name.endswith(".localhost") or name.startswith("127.")


def credentials(token: str) -> str:
    """Write a token as the value of the header ``Authorization``."""
    return f"Bearer {token}"


def is_token(text: str) -> bool:
    """Tell whether a text can be sent as a token at all."""
    return re.fullmatch(r"[!-~]+", text) is not None


def are_credentials(text: str | None, token: str) -> bool:
    """Compare the header with the token, in a time that tells nothing of either."""
    return hmac.compare_digest((text or "").encode("utf-8", "replace"), credentials(token).encode())


def encode_error(error: StorageError) -> tuple[int, bytes]:
    """Write an error as the status and the body of an answer."""
    name = next(name for name, (kind, _) in _KINDS.items() if isinstance(error, kind))
    return _KINDS[name][1], msgspec.json.encode(_Error(name, str(error)))


def decode_error(body: bytes, header: str | None) -> StorageError | None:
    """Read an error back from an answer's body, or its header; None where it is not of a storage."""
    try:
        found = msgspec.json.decode(unquote(header) if header else body, type=_Error)
        return _KINDS[found.error][0](found.message)
    except (msgspec.DecodeError, KeyError):
        return None
