"""A large graph as one object: the bodies of its jobs, then their records in parts, so that who reads it never holds more than a part."""

from collections.abc import Iterable, Sequence
from typing import BinaryIO, Final

import msgspec

from jobsys.errors import IntegrityError
from jobsys.record import Blob, JobRecord, Part

SIZE: Final = 1_000
"""Records in a part."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[JobRecord]).decode


def write_parts(stream: BinaryIO, key: str, bodies: Iterable[bytes], records: Sequence[JobRecord]) -> tuple[Part, ...]:
    """Write a graph; say where its parts lie.

    Args:
        stream: of the new object, at its beginning.
        key: the object's.
        bodies: one after the other, as the places in the records say.
        records: of all jobs.
    """
    size = 0
    for body in bodies:
        size += stream.write(body)
    parts = []
    for start in range(0, len(records), SIZE):
        some = records[start : start + SIZE]
        data = _encode(some)
        parts.append(Part(Blob.of(data, key, size), len(some)))
        size += stream.write(data)
    return tuple(parts)


def read_part(part: Part, data: bytes) -> tuple[Blob, list[JobRecord]]:
    """Read the records of a part from its bytes; give them with the place into which the places of their bodies point.

    Raises:
        IntegrityError: that is not what a part is.
    """
    try:
        records = _decode(data)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{part.records.where} holds no records of jobs where it should: {error}") from error
    if len(records) != part.count:
        raise IntegrityError(f"{part.records.where} holds the records of {len(records)} jobs where it should hold {part.count}")
    return Blob(part.records.where, 0, 0), records
