"""A bad way to a server: a proxy that breaks connections by plan."""

import contextlib
import select
import socket
import struct
import threading
from typing import NamedTuple

UNAVAILABLE = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"


class Fault(NamedTuple):
    """What happens to one connection: it ends, by a reset or in order, after so many bytes each way; or others answer it."""

    up: int = 1 << 60
    down: int = 1 << 60
    reset: bool = True
    answer: bytes = b""


RESET = Fault(up=0)
LOST = Fault(down=0)  # the server does the work, its answer never arrives
BUSY = Fault(answer=UNAVAILABLE)


class BadWay:
    """A proxy: the first connection gets the first fault of the plan, the second the second, all further ones none."""

    def __init__(self, port: int) -> None:
        self.plan: list[Fault] = []
        self.connections = 0
        self._port = port
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with contextlib.suppress(OSError):  # closed already
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                fault = self.plan[self.connections] if self.connections < len(self.plan) else Fault()
                self.connections += 1
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client, fault)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket, fault: Fault) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server, contextlib.suppress(OSError):
            if fault.answer:
                client.recv(1 << 20)
                client.sendall(fault.answer)
                return
            self._relay(client, server, fault)
            if fault.reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _relay(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        left = {client: fault.up, server: fault.down}
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(1 << 16)
                target = server if source is client else client
                target.sendall(data[: left[source]])
                left[source] -= len(data)
                if not data or left[source] < 0:
                    return
