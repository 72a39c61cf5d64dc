"""Writes to a descriptor without ever waiting: sends what the kernel takes and keeps the rest."""

import os
import select
import time
from collections import deque


class Outlet:
    """The writing end of a pipe; that nobody reads at the other end shows in ``broken``, not as an error."""

    def __init__(self, descriptor: int) -> None:
        """Take over a descriptor."""
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.broken = False
        self._unsent: deque[memoryview] = deque()

    @property
    def stuffed(self) -> bool:
        """Tell whether something waits for room."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Send now what the kernel takes and keep the rest."""
        if not self.broken:
            self._unsent.append(memoryview(data))
            self.flush()

    def flush(self) -> None:
        """Send on what was kept."""
        unsent = self._unsent
        try:
            while unsent:
                count = os.write(self.descriptor, unsent[0])
                if count == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][count:]
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            unsent.clear()

    def drain(self, seconds: float) -> None:
        """Wait until all is sent, or so long."""
        end = time.monotonic() + seconds
        room = select.poll()  # not select, which takes no descriptor above 1023
        room.register(self.descriptor, select.POLLOUT)
        while self.stuffed and (left := end - time.monotonic()) > 0:
            room.poll(left * 1000)
            self.flush()
