"""An answer of an API server that goes on for a minute: a thread reads it, so that whoever looks waits for nobody."""

import contextlib
import importlib
import json
import queue
import socket
import threading
from typing import Any, Final

from jobsys.late import Logger

Json = dict[str, Any]

logger = Logger(__name__)

CHUNK: Final = 1 << 16
_END: Final = 5.0  # seconds


class Stream:
    """The events of one watch, a line each."""

    def __init__(self, answer: Any) -> None:
        """Start to read an answer of urllib3 whose body has not been read."""
        self.over = False
        """No more events will come: the server's time for it is up, or the connection was cut."""
        self._answer = answer
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="jobsys-kubernetes-watch", daemon=True)
        self._thread.start()

    def take(self) -> list[Json]:
        """Give the events that have come since this was last asked, without waiting for any."""
        found: list[Json] = []
        for _ in range(self._lines.qsize()):  # no more, however quickly more come
            line = self._lines.get()
            event = None if line is None else _event(line)
            if event is None:
                self.over = True
                return found
            found.append(event)
        return found

    def close(self) -> None:
        """Read no more, and end the thread."""
        connection = self._answer.connection
        with contextlib.suppress(OSError):  # the other side may have ended it already
            if connection is not None and connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(_END)

    def _read(self) -> None:
        rest = b""
        try:
            for chunk in self._answer.stream(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    self._lines.put(line)
        except (importlib.import_module("urllib3").exceptions.HTTPError, OSError, ValueError) as error:  # the last: TLS, closed meanwhile
            logger.debug("a watch was cut: %s", error)
        finally:
            self._answer.close()
            self._lines.put(None)


def _event(line: bytes) -> Json | None:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "type" in event and isinstance(event.get("object"), dict):
        return event
    logger.warning("a watch of Kubernetes says what is no event, and is begun anew: %.200r", line)
    return None
