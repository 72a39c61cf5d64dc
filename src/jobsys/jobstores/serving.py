"""A process that serves a job store to workers elsewhere: started and ended here, what it answers is not decided here."""

import os
import secrets
import selectors
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Final, Self

from jobsys.errors import StorageError
from jobsys.storage import wire
from jobsys.storage.server import ANYWHERE, make_url

_READY: Final = 60.0
_END: Final = 5.0


class StoreServer:
    """The server of one job store, in a process of its own; ready when made, and ended with this process however that ends.

    Start it from a thread that lives as long as it shall: the kernel takes the end of that thread for the end of the process.
    """

    def __init__(
        self,
        locator: str | os.PathLike[str],
        *,
        address: str | None = None,
        listen: str = ANYWHERE,
        durable: bool = True,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Serve a store, which need not exist.

        Args:
            locator: the store.
            address: this machine's name in the URL that others get (default: its host name).
            listen: the address to listen at.
            durable: whether every write is synced.
            environment: how the store is reached, beside what is found in the environment of this process (credentials, say).

        Raises:
            StorageError: it can't be started, or can't listen there.
        """
        self.token = secrets.token_urlsafe(32)
        locator = os.fspath(locator)
        command = [sys.executable, "-P", "-m", "jobsys.jobstores.server", f"--store={locator}", f"--listen={listen}"]
        command += [f"--parent={os.getpid()}", *([] if durable else ["--no-sync"])]
        variables = os.environ | {**environment, wire.TOKEN_VARIABLE: self.token, "PYTHONPATH": _path()}
        try:
            self._process = subprocess.Popen(  # the command is this very program
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=variables, text=True, start_new_session=True
            )
        except OSError as error:
            raise StorageError(f"the server of the job store {locator} can't be started: {error}") from error
        try:
            said = _first_line(self._process.stdout)
        except BaseException:
            self.close()
            raise
        if not said.startswith("http:"):
            self.close()
            reason = said.removeprefix("error: ").strip() or f"it ended, or took more than {_READY:.0f} s"
            raise StorageError(f"the server of the job store {locator} did not start: {reason}")
        self.pid = self._process.pid
        self.url = make_url(address or socket.gethostname(), int(said.strip().rpartition(":")[2]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process; what it was just receiving is dropped."""
        self._process.terminate()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _path() -> str:
    """Have the new process find this very jobsys, and import nothing from the current directory."""
    own = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(part for part in (own, os.environ.get("PYTHONPATH", "")) if part)


def _first_line(stream: IO[str] | None) -> str:
    """Wait for a line, or for the end of the stream, but not for ever."""
    if stream is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(_READY) else ""
