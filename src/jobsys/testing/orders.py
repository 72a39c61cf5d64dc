"""Orders for the checks of a batch system: what a job does when it is one of theirs.

A worker host runs them when started with ``--executor jobsys.testing.orders:prepare``.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from jobsys.batch.base import BatchJob
from jobsys.requirements import Requirements

PATIENCE: Final = 60.0


class SayAndReceive(Protocol):
    """The part of a worker's channel that the orders of these checks use."""

    def say(self, message: bytes) -> None:
        """Send a message to the leader."""

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Wait for a message from the leader."""


def order(do: str, **arguments: Any) -> bytes:
    """Write an order that ``run_order`` can read; ``padding`` makes it long."""
    return json.dumps({"do": do, **arguments}).encode()


def run_order(data: bytes, channel: SayAndReceive) -> bytes:
    """Do what an order of these checks says."""
    arguments = json.loads(data)
    do = arguments.pop("do")
    return DEEDS[do](channel, **arguments)


def _echo(_: SayAndReceive, text: str = "", size: int = 0, padding: str = "") -> bytes:
    return (text or str(len(padding))).encode() + b"." * size


def _sleep(_: SayAndReceive, seconds: float) -> bytes:
    time.sleep(seconds)
    return b"slept"


def _fail(_: SayAndReceive, text: str) -> bytes:
    raise ValueError(text)


def _exit(_: SayAndReceive, status: int, printed: str = "") -> bytes:
    os.write(1, printed.encode())
    os._exit(status)


def _kill(_: SayAndReceive, number: int) -> bytes:
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)
    return b"survived"


def _say(channel: SayAndReceive, texts: list[str]) -> bytes:
    for text in texts:
        channel.say(text.encode())
    return b"said"


def _print(_: SayAndReceive, text: str) -> bytes:
    os.write(1, text.encode())
    return b"printed"


def _serve(channel: SayAndReceive) -> bytes:
    channel.say(b"ready")
    while (message := channel.receive(1.0)) != b"stop":
        if message is not None:
            channel.say(b"heard " + message)
    return b"stopped"


def _spawn(channel: SayAndReceive, seconds: float) -> bytes:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # wherever it is
    channel.say(str(child.pid).encode())
    time.sleep(seconds)
    return str(child.pid).encode()


DEEDS: Final[dict[str, Callable[..., bytes]]] = {
    "echo": _echo,
    "sleep": _sleep,
    "fail": _fail,
    "exit": _exit,
    "kill": _kill,
    "print": _print,
    "say": _say,
    "serve": _serve,
    "spawn": _spawn,
}


class OrderExecutor:
    """An executor for the orders of these checks."""

    def run(self, order: bytes, channel: SayAndReceive) -> bytes:
        """Run one order."""
        return run_order(order, channel)


def prepare(_: Sequence[str]) -> OrderExecutor:
    """Make the executor, as a worker host asks for it."""
    return OrderExecutor()


def job(id: int, do: str, *, requirements: Requirements | None = None, service: bool = False, **arguments: Any) -> BatchJob:
    """Make a batch job of an order."""
    return BatchJob(id, do, requirements or Requirements(cores=1, memory=1_000_000_000), order(do, **arguments), service)
