"""The leader's end of a socket to a worker or a worker host: never blocks."""

import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from jobsys.framing import Frame, FrameReader

_READ: Final = 1 << 18


class Link:
    """A stream of frames both ways."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connected socket."""
        connection.setblocking(False)
        self._socket = connection
        self._reader = FrameReader()
        self._room = memoryview(bytearray(_READ))  # room made anew for each piece would take longer than reading
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()
        self.open = True

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    @property
    def stuffed(self) -> bool:
        """Tell whether something waits for room on its way out."""
        return bool(self._unsent)

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send now what the kernel takes and keep the rest; descriptors travel along and are closed here.

        That the other end has gone shows when reading, not here.
        """
        self._unsent.append((memoryview(data), descriptors))
        self.flush()

    def flush(self) -> None:
        """Send on what was kept."""
        unsent = self._unsent
        try:
            while unsent:
                view, descriptors = unsent[0]
                if descriptors:
                    count = socket.send_fds(self._socket, [view], descriptors)
                    _close(descriptors)
                else:
                    count = self._socket.send(view)
                if count == len(view):
                    unsent.popleft()
                else:
                    unsent[0] = (view[count:], ())
        except BlockingIOError:
            return
        except OSError:
            self._forget()

    def receive(self) -> list[Frame]:
        """Take what has arrived; ``open`` is False once the other end has gone and everything was read."""
        try:
            count = self._socket.recv_into(self._room)
        except BlockingIOError:
            return []
        except OSError:
            count = 0
        if not count:
            self.open = False
            return []
        return self._reader.feed(bytes(self._room[:count]))

    def close(self) -> None:
        """Close the socket; the other end reads the end of the stream."""
        self.open = False
        self._forget()
        self._socket.close()

    def _forget(self) -> None:
        for _, descriptors in self._unsent:
            _close(descriptors)
        self._unsent.clear()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
