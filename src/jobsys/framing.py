"""Frames on a stream of bytes: what a leader, an agent, a worker host and its workers say to each other. Knows no socket.

A frame is a header (kind, id, number, length) and a payload. What ``id`` and ``number`` mean is written beside each kind.
"""

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

# leader -> worker
ORDER: Final = 1  # id: job; payload: the order
RECALL: Final = 2  # give back every order that was not begun
TELL: Final = 3  # id: job; payload: a message for it
LIMITS: Final = 4  # id: bytes of memory, number: milliseconds, of every order from here on; 0: none
# worker -> leader
DONE: Final = 16  # id: job; number: microseconds it ran; payload: the report
FAILED: Final = 17  # the same, but the executor raised; payload: the traceback
SAY: Final = 18  # id: job; payload: a message of it
GAVE_BACK: Final = 19  # payload: the ids that will not be begun
# leader -> host
FORK: Final = 32  # id: slot; number: 1 to run one job only; payload: numbers of its accelerators; carries the worker's socket
KILL: Final = 33  # id: job; number: slot; ends the worker if that is what it runs
WAKE: Final = 34  # watch the workers again
STOP: Final = 35  # end all workers, then yourself
PREPARE: Final = 36  # payload: what the code is loaded by; the first frame to a host that was started with --wait
# host -> leader
READY: Final = 48  # the code is loaded
CANNOT_START: Final = 49  # payload: why; number: 1 if the script is wrong
DIED: Final = 50  # id: slot; payload: Death
# leader -> agent; TELL and STOP too
SUBMIT: Final = 64  # payload: jobs
CANCEL: Final = 65  # payload: ids
GIVE_BACK: Final = 67  # payload: ids of jobs that can begin elsewhere; those that still wait come back as RETURNED
PING: Final = 66  # answer, so that each knows that the other is there
# agent -> leader; CANNOT_START too, also in HELLO's place
HELLO: Final = 80  # payload: which host this is, and what it has
UPDATES: Final = 81  # payload: news of jobs
RUNNING: Final = 82  # payload: all jobs that run there now
PONG: Final = 83  # the answer to PING
# task -> leader; HELLO, UPDATES and RUNNING too
BYE: Final = 84  # number: how many letters of the leader were read; id: the signal that ended the task, or 0; nothing comes behind it

MAGIC: Final = b"\njobsys stream 1\n"  # before an agent's first frame; what a login prints comes before it

_HEADER: Final = struct.Struct("<BQII")
_unpack: Final = _HEADER.unpack_from
HEADER_SIZE: Final = _HEADER.size
NUMBER_MAX: Final = 2**32 - 1

Frame = tuple[int, int, int, bytes]

header: Final = _HEADER.pack  # (kind, id, number, length of the payload)


class Death(msgspec.Struct, array_like=True, omit_defaults=True):
    """How a worker process ended."""

    exit_status: int | None = None  # negative: the signal's number
    reason: str = ""  # the value of a Reason; empty where the worker left as it was asked to
    message: str = ""
    memory: int | None = None
    limit: int | None = None
    log: bytes = b""


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        """Start at a frame's first byte."""
        self._rest = bytearray()
        self._needed = HEADER_SIZE

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames that are whole now."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._needed:
                return []
            data = bytes(rest)
            self._rest = rest = bytearray()
        frames: list[Frame] = []
        add = frames.append
        position, size = 0, len(data)
        needed = HEADER_SIZE
        while size - position >= HEADER_SIZE:
            kind, id, number, length = _unpack(data, position)
            start = position + HEADER_SIZE
            end = start + length
            if end > size:
                needed += length
                break
            add((kind, id, number, data[start:end]))
            position = end
        if position < size:
            rest += data[position:]
            self._needed = needed
        return frames


def pack(kind: int, id: int = 0, number: int = 0, payload: bytes = b"") -> bytes:
    """Make one frame."""
    return header(kind, id, number, len(payload)) + payload


def payload_size(header: bytes) -> int:
    """Tell how many bytes follow a header."""
    length: int = _unpack(header)[3]
    return length


def pack_ids(ids: Iterable[int]) -> bytes:
    """Write job ids as a payload."""
    return msgspec.msgpack.encode(list(ids))


def unpack_ids(payload: bytes) -> list[int]:
    """Read job ids from a payload."""
    return msgspec.msgpack.decode(payload, type=list[int])


def pack_death(death: Death) -> bytes:
    """Write a death as a payload."""
    return msgspec.msgpack.encode(death)


def unpack_death(payload: bytes) -> Death:
    """Read a death from a payload."""
    return msgspec.msgpack.decode(payload, type=Death)
