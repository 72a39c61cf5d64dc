"""What an attempt printed: flushed, cut to its end, taken from the file that descriptors 1 and 2 write to."""

import os
import sys


def take_log(log: int, start: int, most: int) -> bytes:
    """Give what was written since ``start``: the last ``most`` bytes, and a line that says what was cut. Nothing if ``log`` is -1."""
    flush("stdout")
    flush("stderr")
    if log < 0:
        return b""
    size = os.fstat(log).st_size
    if size <= start:  # a job that truncates its output has printed nothing
        return b""
    begin = max(start, size - most)
    text = _read(log, begin, size - begin)
    if begin > start:
        text = f"[jobsys: the first {begin - start} bytes are not kept; --max-log-size says how many are]\n".encode() + text
    return text


def flush(name: str) -> bool:
    """Flush what a job has left in the place of an output stream; tell whether that worked."""
    try:
        getattr(sys, name).flush()
    except Exception:  # noqa: BLE001  # it was closed, or what it stands for was, or it is None, no stream at all, or deleted
        return False
    return True


def _read(log: int, begin: int, length: int) -> bytes:
    pieces = []
    while length > 0 and (piece := os.pread(log, length, begin)):
        pieces.append(piece)
        begin += len(piece)
        length -= len(piece)
    return b"".join(pieces)
