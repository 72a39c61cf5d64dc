"""A job as it is stored: frozen, JSON, without the user's objects. Knows nobody who reads it."""

from typing import Final, Self

import msgspec

from jobsys.digest import short
from jobsys.requirements import Requirements

SELF: Final = -1
"""In a commit's local references: the job that commits; 0, 1, … are the jobs it makes."""


def printable(text: str) -> str:
    """Write out what is no Unicode, such as the name of a file in another encoding: JSON can't hold it."""
    return text.encode("utf-8", "backslashreplace").decode()


class Blob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where bytes lie in the job store.

    ``where`` is the number of a journal segment, the key of an object, or 0: the payload of the message that carries this.
    """

    where: int | str
    offset: int
    length: int
    digest: bytes = b""  # 16 bytes of the SHA-256; without it nothing is unpickled

    @classmethod
    def of(cls, data: bytes, where: int | str = 0, offset: int = 0) -> Self:
        """Describe bytes that lie, or will lie, at a place."""
        return cls(where, offset, len(data), short(data) if data else b"")

    def within(self, payload: "Blob") -> "Blob":
        """Turn a place inside a message into the place in the store where the message's payload lies."""
        if self.where != 0 or self.length == 0:
            return self
        return Blob(payload.where, payload.offset + self.offset, self.length, self.digest)


class JobRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A job as its maker commits it; every reference is local to the commit (see SELF)."""

    name: str
    body: Blob
    requirements: Requirements = Requirements()
    refs: tuple[int, ...] = ()  # jobs whose values the body needs, by slot
    after: tuple[int, ...] = ()  # jobs that must be finished, subtree and all
    child_of: tuple[int, ...] = (SELF,)
    follow_on_of: tuple[int, ...] = ()
    service_of: int | None = None
    service_parent: int | None = None  # the service that must be up before this one starts
    checkpoint: bool = False
    retries: int | None = None  # None: the run's default


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Some of the jobs of a large commit: where their records lie, as JSON, in an object of the store that holds their bodies, too."""

    records: Blob
    count: int
