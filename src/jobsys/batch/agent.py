"""The agent: a local batch system at the far end of a stream, for a leader on another host. It relays, and decides nothing.

A batch system starts it with ``python -m jobsys.batch.agent [OPTIONS] -- ARGS``; ARGS are those of the worker host. Frames come in on its
standard input and go out on its standard output. When the input ends, or the leader is silent for long, it leaves no process behind.
"""

import argparse
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchState, BatchUpdate
from jobsys.batch.local.system import LocalBatchSystem
from jobsys.batch.machine import Machine, this_machine
from jobsys.batch.outlet import Outlet
from jobsys.errors import BatchSystemError
from jobsys.framing import Frame, FrameReader
from jobsys.version import VERSION

_READ: Final = 1 << 20
_PATIENCE: Final = 60.0
_PUSH: Final = 1.0  # seconds from one list of what runs to the next
_DRAIN: Final = 5.0
_FLAGS: Final = {  # of sys.flags, those that a child needs to be told
    "debug": "d", "optimize": "O", "dont_write_bytecode": "B", "no_user_site": "s", "no_site": "S", "ignore_environment": "E",
    "verbose": "v", "bytes_warning": "b", "quiet": "q", "isolated": "I",
}  # fmt: skip

logger = logging.getLogger(__name__)


class Agent:
    """Hands on what a leader says to a local batch system, and that one's news to the leader."""

    def __init__(
        self, system: LocalBatchSystem, reading: int, writing: int, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take over the batch system and both directions of the stream."""
        self._system = system
        self._reading = reading
        self._outlet = Outlet(writing)
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        self._patience = patience
        self._clock = clock
        self._heard = clock()
        self._next_push = 0.0
        self._out = 0  # jobs that the leader waits for
        self._over = False
        os.set_blocking(reading, False)
        system.watch(reading, self._listen)

    def stop(self, *_: object) -> None:
        """Have ``serve`` return soon; safe to call from a signal handler."""
        self._over = True

    def watch_signals(self) -> None:
        """Have signals wake ``serve`` and end it in order."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.stop)
        self._system.watch(reading, lambda _: self._swallow(reading))

    def serve(self, machine: Machine) -> int:
        """Say hello, then relay until the leader says stop or is gone; return the exit status."""
        hello = wire.Hello(socket.gethostname(), os.getpid(), VERSION, machine)
        self._send(framing.HELLO, wire.pack_hello(hello))
        try:
            while not self._over:
                self._turn()
        except BatchSystemError as error:
            self._send(framing.CANNOT_START, str(error).encode())
            self._outlet.drain(_DRAIN)
            return 1
        finally:
            self._system.shutdown()
        return 0

    def _turn(self) -> None:
        for frame in self._frames:
            self._obey(*frame)
        self._frames.clear()
        news = self._system.updates(self._wait())
        if news:
            self._report(news)
        now = self._clock()
        if self._out and now >= self._next_push:
            self._next_push = now + _PUSH
            self._send(framing.RUNNING, wire.pack_running(self._system.running()))
        if now - self._heard >= self._patience:
            logger.warning("the leader has said nothing for %g s: ending", self._patience)
            self._over = True

    def _wait(self) -> float:
        """Tell how long to wait for news at most."""
        if self._over:
            return 0.0
        next_time = self._heard + self._patience
        if self._out:
            next_time = min(next_time, self._next_push)
        return max(0.0, next_time - self._clock())

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _listen(self, _: int) -> None:
        try:
            data = os.read(self._reading, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard = self._clock()
            self._frames += self._reader.feed(data)
        else:
            self._over = True
            self._system.watch(self._reading, self._listen, 0)

    @staticmethod
    def _swallow(descriptor: int) -> None:
        with suppress(BlockingIOError):
            os.read(descriptor, 4096)

    def _obey(self, kind: int, id: int, _: int, payload: bytes) -> None:
        if kind == framing.SUBMIT:
            jobs = wire.unpack_jobs(payload)
            self._out += len(jobs)
            self._system.submit(jobs)
        elif kind == framing.CANCEL:
            self._system.cancel(framing.unpack_ids(payload))
        elif kind == framing.GIVE_BACK:
            self._system.give_back(framing.unpack_ids(payload))
        elif kind == framing.TELL:
            self._system.tell(id, payload)
        elif kind == framing.PING:
            self._send(framing.PONG)
        elif kind == framing.STOP:
            self._over = True

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _report(self, news: Sequence[BatchUpdate]) -> None:
        self._out -= sum(update.state not in (BatchState.RUNNING, BatchState.MESSAGE) for update in news)
        self._send(framing.UPDATES, wire.pack_updates(news))

    def _send(self, kind: int, payload: bytes = b"") -> None:
        self._outlet.send(framing.pack(kind, payload=payload))
        self._look()

    def _flush(self, _: int) -> None:
        self._outlet.flush()
        self._look()

    def _look(self) -> None:
        """Wait for room, if something waits for it; end where nobody reads."""
        self._system.watch(self._outlet.descriptor, self._flush, selectors.EVENT_WRITE if self._outlet.stuffed else 0)
        self._over = self._over or self._outlet.broken


def interpreter_options() -> list[str]:
    """List the options with which this interpreter was started, for another that is to behave like it."""
    options = ["-" + letter * int(getattr(sys.flags, name)) for name, letter in _FLAGS.items() if getattr(sys.flags, name)]
    options += [f"-W{text}" for text in sys.warnoptions]
    for name, value in sys._xoptions.items():
        options += ["-X", name if value is True else f"{name}={value}"]
    return options


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m jobsys.batch.agent", add_help=False)
    parser.add_argument("--max-cores", type=float)
    parser.add_argument("--max-memory", type=int)
    parser.add_argument("--max-disk", type=int)
    parser.add_argument("--isolation", choices=["warm", "process"], default="warm")
    parser.add_argument("--work-dir")
    parser.add_argument("--patience", type=float, default=_PATIENCE)
    parser.add_argument("--quiet-start", action="store_true")
    own, rest = list(arguments), []
    if "--" in own:
        cut = own.index("--")
        own, rest = own[:cut], own[cut + 1 :]
    return parser.parse_args(own), rest


def _take_stream() -> tuple[int, int]:
    """Take standard input and output away from everything else in this process and from its children."""
    reading, writing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return reading, writing


def main(arguments: Sequence[str]) -> int:
    """Serve the leader at the other end of standard input and output."""
    reading, writing = _take_stream()
    logging.basicConfig(format="jobsys agent: %(message)s")
    options, rest = _parse(arguments)
    if not options.quiet_start:
        os.write(writing, framing.MAGIC)
    try:
        machine = this_machine(cores=options.max_cores, memory=options.max_memory, disk=options.max_disk, work_dir=options.work_dir)
    except OSError as error:
        text = f"the work directory {options.work_dir!r} can't be used: {error.strerror}: make it there, or choose another with --work-dir"
        os.write(writing, framing.pack(framing.CANNOT_START, payload=text.encode()))
        return 1
    command = [sys.executable, *interpreter_options(), "-P", "-m", "jobsys.worker", *rest]
    system = LocalBatchSystem(command, machine=machine, isolation=options.isolation, directory=options.work_dir)
    agent = Agent(system, reading, writing, options.patience)
    agent.watch_signals()
    return agent.serve(machine)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
