"""Shared memory in which workers write what they run: a worker's watchers read it without asking the worker.

A slot is a row of 64-bit words; each word is written whole, a row is not. Who acts on a row stops its worker and reads it again.
"""

import mmap
import os
import tempfile
from typing import Final

JOB: Final = 0  # the job begun last; stays until the next
STATE: Final = 1
BEGUN: Final = 2  # monotonic clock, nanoseconds
MEMORY_LIMIT: Final = 3  # bytes; 0: none
TIME_LIMIT: Final = 4  # nanoseconds; 0: none
LOG_START: Final = 5  # where the job's output begins in the worker's log
BASELINE: Final = 6  # resident bytes of the worker before the job
PID: Final = 7
MEMORY: Final = 8  # bytes now; written by the host
PEAK: Final = 9  # most bytes seen of job PEAK_JOB; written by the host
PEAK_JOB: Final = 10
STILL: Final = 11  # nanoseconds for which job STILL_JOB stood still; written by the host
STILL_JOB: Final = 12

UNUSED: Final = 0
IDLE: Final = 1
RUNNING: Final = 2
DELIVERING: Final = 3  # the job is over, its report is on the way

_WORDS: Final = 16
_SIZE: Final = _WORDS * 8

Slot = memoryview  # of 16 unsigned 64-bit words, indexed by the names above


def reserve(count: int) -> int:
    """Make the memory of cleared slots, and give its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("jobsys-slots")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, count * _SIZE)
    return descriptor


class Slots:
    """All slots of one worker host."""

    def __init__(self, descriptor: int) -> None:
        """Map the slots behind an open file."""
        self.descriptor = descriptor
        self.count = os.fstat(descriptor).st_size // _SIZE
        self._map = mmap.mmap(descriptor, self.count * _SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._slots = [self._words[index * _WORDS : (index + 1) * _WORDS] for index in range(self.count)]

    @classmethod
    def create(cls, count: int) -> "Slots":
        """Make cleared slots; whoever inherits the descriptor shares them."""
        return cls(reserve(count))

    def __getitem__(self, index: int) -> Slot:
        """Return the words of one slot."""
        return self._slots[index]

    def clear(self, index: int) -> None:
        """Make a slot ready for another worker."""
        slot = self._slots[index]
        for word in range(_WORDS):
            slot[word] = 0

    def close(self) -> None:
        """Unmap the memory."""
        for slot in self._slots:
            slot.release()
        self._slots = []
        self._words.release()
        self._map.close()
        os.close(self.descriptor)
