"""The way to one host: a process such as ssh, with frames going in and out of it. Never blocks; knows no job."""

import os
import selectors
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Final

from jobsys import framing
from jobsys.batch.outlet import Outlet
from jobsys.framing import Frame, FrameReader

_READ: Final = 1 << 20
_TAIL: Final = 4096
_NO_PROGRAM: Final = (126, 127)  # by the custom of shells
_TOO_OLD: Final = "Unknown option: -I"
_MARK: Final = b"jobsys, "
_OF_A_HOST: Final = _MARK + b"host "
_END_SECONDS: Final = 1.0  # for the process to end once its output has
_KILL_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Start:
    """How an agent is started: a command, what is written to it before the first frame, and what to do where there is no such program."""

    command: Sequence[str]
    preamble: Callable[[], bytes] = bytes  # made for each start: what it names may be good for some time only
    way_out: str = "is that on the host?"

    def missing(self, status: int | None, printed: str) -> str:
        """Say that the host does not have the program, or one that is too old, if that is what it printed; else nothing."""
        program = self.command[0]
        if _TOO_OLD in printed:
            return f"{program!r} is too old a Python there: {self.way_out}"
        if status in _NO_PROGRAM or any(program in line and "not found" in line for line in printed.splitlines()):
            return f"its shell can't start {program!r} (exit status {status}): {self.way_out}"
        return ""


class Connection:
    """A running process that leads to the agent of a host."""

    def __init__(
        self,
        argv: Sequence[str],
        preamble: bytes,
        selector: selectors.BaseSelector,
        hear: Callable[[list[Frame]], None],
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start the process; ``hear`` is called with the frames of whatever arrives, and once more when the stream has ended.

        ``note`` is called with what a host says of itself on its standard error, without the mark by which that is known.

        Raises:
            OSError: the program can't be started.
        """
        self._process = subprocess.Popen(  # the command is the leader's own
            list(argv), bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._selector = selector
        self._hear = hear
        self._note = note
        self._line = b""  # of the errors, as far as it has come
        self._reader: FrameReader | None = None  # None: the magic line has not come yet
        self._noise = b""
        self._errors = b""
        self.open = True
        stdin, self._output, self._error = _pipe(self._process.stdin), _pipe(self._process.stdout), _pipe(self._process.stderr)
        self._input = Outlet(stdin)
        for descriptor, read in ((self._output, self._read_output), (self._error, self._read_error)):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ, read)
        self._writing = False
        self._input_ends = False
        self._over = False  # events of one round may come after the end
        self.send(preamble)

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, data: bytes) -> None:
        """Send now what the pipe takes and the rest when there is room; that the other end has gone shows when reading."""
        if data and not self._input_ends:
            self._input.send(data)
            self._look()

    def end_input(self) -> None:
        """Have the other end read the end of the stream once it has read all that was sent."""
        self._input_ends = True
        self._look()

    def _flush(self, _: int) -> None:
        self._input.flush()
        self._look()

    def _look(self) -> None:
        stdin = self._process.stdin
        if self._over or stdin is None or stdin.closed:
            return
        if self._input.stuffed != self._writing:
            self._writing = self._input.stuffed
            if self._writing:
                self._selector.register(self._input.descriptor, selectors.EVENT_WRITE, self._flush)
            else:
                self._selector.unregister(self._input.descriptor)
        if self._input_ends and not self._writing:
            stdin.close()

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_output(self, _: int) -> None:
        data = None if self._over else _read(self._output)
        if data is None:
            return
        if not data:
            self._selector.unregister(self._output)
            self.open = False
        self._hear(self._cut(data))

    def _cut(self, data: bytes) -> list[Frame]:
        """Return the frames that are whole now; what comes before the magic line is none."""
        if self._reader is not None:
            return self._reader.feed(data)
        noise = self._noise + data
        before, magic, rest = noise.partition(framing.MAGIC)
        self._noise = before[-_TAIL:]
        if not magic:
            return []
        self._reader = FrameReader()
        return self._reader.feed(rest)

    def _read_error(self, _: int) -> None:
        data = None if self._over else _read(self._error)
        if data:
            self._errors = (self._errors + data)[-_TAIL:]
            *lines, rest = (self._line + data).split(b"\n")
            self._line = rest[:_TAIL]
            for line in lines:
                if line.startswith(_OF_A_HOST):
                    self._note(line.removeprefix(_MARK).decode(errors="replace"))
        elif data is not None:
            self._selector.unregister(self._error)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self) -> tuple[int | None, str]:
        """End the process and its group; return its exit status, if it ended by itself, and the last that it printed. To be called once."""
        status = None
        try:
            if not self.open:
                status = self._wait(_END_SECONDS)
        finally:
            self._kill()
        self._over = True
        descriptors = [self._output, self._error]
        if self._writing:  # else it may be closed, and its number another's
            descriptors.append(self._input.descriptor)
        for descriptor in descriptors:
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        while data := _read(self._error):
            self._errors = (self._errors + data)[-_TAIL:]
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(pipe)
        self.open = False
        printed = self._errors if self._reader is not None else self._noise + b"\n" + self._errors
        return status, printed[-_TAIL:].decode(errors="replace").strip()

    def _wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:  # all of it has ended
            return
        finally:
            self._wait(_KILL_SECONDS)


def _pipe(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


def _read(descriptor: int) -> bytes | None:
    """Read what is there: nothing at the end of the stream, None if that is still open."""
    try:
        return os.read(descriptor, _READ)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def arguments(ssh: Sequence[str], host: str, command: Sequence[str]) -> list[str]:
    """Write the command line: ssh hands one text to the host's shell."""
    return [*ssh, host, shlex.join(command)]
