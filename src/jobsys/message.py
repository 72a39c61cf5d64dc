"""What leader and worker say to each other: both ends of the format, nothing of how it travels."""

import struct
from typing import Final

import msgspec

from jobsys.errors import IntegrityError
from jobsys.record import Blob, JobRecord, Part
from jobsys.requirements import Requirements

_HEAD: Final = struct.Struct("<I")


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job's value: where its pickle lies, and the jobs whose values its slots stand for."""

    blob: Blob
    refs: tuple[int, ...] = ()


class Order(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a worker needs to run one attempt of a job."""

    job: int
    attempt: int
    name: str
    body: Blob
    token: str  # names this attempt among all attempts of all leaders
    refs: tuple[int, ...] = ()
    values: dict[int, Value] = {}
    requirements: Requirements = Requirements()
    service: bool = False
    key: bytes = b""  # of this attempt: signs what it leaves without a leader
    near: dict[int, bytes] = {}  # of some values, by job, and of the body (SELF): what lies there, so that nobody need fetch it


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt failed, as the worker saw it."""

    reason: str
    message: str
    traceback: str = ""
    kind: str = ""  # the exception's class


class Report(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What an attempt leaves; its blobs with ``where`` 0 lie in the payload that follows it."""

    job: int
    attempt: int
    started: float  # seconds since the epoch
    seconds: float  # wall time
    token: str = ""
    cpu: float = 0.0  # seconds
    memory: int | None = None  # peak bytes
    host: str = ""
    value: Blob | None = None
    refs: tuple[int, ...] = ()  # local references of the value's slots
    jobs: tuple[JobRecord, ...] = ()
    parts: tuple[Part, ...] = ()  # of the jobs, where they are too many for one message
    log: Blob | None = None
    deleted: tuple[str, ...] = ()  # keys of global files to delete
    failure: Failure | None = None

    @property
    def made(self) -> int:
        """How many jobs the attempt made."""
        return len(self.jobs) + (sum(part.count for part in self.parts) if self.parts else 0)


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a running job's worker says before its report."""

    job: int
    attempt: int
    log: str = ""
    level: int = 20
    service_value: Blob | None = None  # the service is up; its value lies in the payload
    refs: tuple[int, ...] = ()


STOP: Final = b"stop"
"""Told to a service: stop, and report."""
AGAIN: Final = b"again"
"""Told to a service: say once more that it is up, to a leader that has not heard it."""

encode_order = msgspec.json.Encoder().encode
decode_order = msgspec.json.Decoder(Order).decode
_encode = msgspec.json.Encoder().encode
_decode_report = msgspec.json.Decoder(Report).decode
_decode_said = msgspec.json.Decoder(Said).decode


def attempt_token(epoch: int, owner: str, serial: int) -> str:
    """Name an attempt among all attempts of all leaders, also of a run that had a store under the same locator before."""
    return f"{epoch:x}-{owner[:12]}.{serial:x}"


def newness(token: str) -> tuple[int, int]:
    """Tell of two attempts of a run which was opened later: it has the greater one."""
    return int(token.partition("-")[0], 16), int(token.rpartition(".")[2], 16)


def encode_message(message: Report | Said, payload: bytes = b"") -> bytes:
    """Put a report or a remark and its payload into one piece."""
    head = _encode(message)
    return b"".join((_HEAD.pack(len(head)), head, payload))


def decode_report(data: bytes) -> tuple[Report, bytes]:
    """Take a report and its payload apart.

    Raises:
        IntegrityError: it is no report.
    """
    try:
        end = _HEAD.size + _HEAD.unpack_from(data)[0]
        return _decode_report(data[_HEAD.size : end]), data[end:]
    except (struct.error, msgspec.DecodeError) as error:
        raise IntegrityError(f"what should be the report of an attempt is damaged: {error}") from error


def decode_said(data: bytes) -> tuple[Said, bytes]:
    """Take a remark and its payload apart."""
    end = _HEAD.size + _HEAD.unpack_from(data)[0]
    return _decode_said(data[_HEAD.size : end]), data[end:]
