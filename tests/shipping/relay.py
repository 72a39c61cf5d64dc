"""A way for TCP between pretend hosts and this machine, which share no network: ends that meet at a socket in a file both see.

As a program: ``relay.py HOST:PORT PATH`` listens there, leads to the file's socket, and prints from where each connection comes.
"""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial


class Relay:
    """Takes connections, and has each of them lead on."""

    def __init__(self, listener: socket.socket, lead_on: Callable[[], socket.socket], note: Callable[[str], object] = str) -> None:
        self._listener = listener
        self._lead_on = lead_on
        self._note = note
        self._open: list[socket.socket] = []

    def serve(self) -> None:
        """Go on until it is closed."""
        with contextlib.suppress(OSError):  # closed
            while True:
                one, peer = self._listener.accept()
                self._note(str(peer[0]) if peer else "")
                other = self._lead_on()
                self._open += [one, other]
                for source, target in ((one, other), (other, one)):
                    threading.Thread(target=_pass, args=(source, target), daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):  # closed already
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either has gone
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def at_file(path: str) -> socket.socket:
    """Listen at a file."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    return listener


def to_file(path: str) -> socket.socket:
    """Connect to whoever listens at a file."""
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(path)
    return connected


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    with socket.create_server((host, int(port))) as made:
        print("listening", flush=True)
        Relay(made, lambda: to_file(sys.argv[2]), partial(print, flush=True)).serve()
