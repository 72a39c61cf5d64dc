"""Expectations, and work in many threads and processes at once, for the contracts."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from jobsys.errors import NotFoundError, StorageError
from jobsys.storage.base import Storage

RACERS = 16


@contextmanager
def made(make: Callable[[], Storage]) -> Iterator[Storage]:
    """Make a storage and destroy it in the end."""
    storage = make()
    try:
        yield storage
    finally:
        storage.destroy()


def refused(call: Callable[..., object], *arguments: object) -> None:
    """Expect a StorageError."""
    try:
        call(*arguments)
    except StorageError:
        return
    raise AssertionError(f"{call.__name__}{arguments} was not refused")


def absent(call: Callable[..., object], *arguments: object) -> None:
    """Expect a NotFoundError."""
    try:
        call(*arguments)
    except NotFoundError:
        return
    raise AssertionError(f"{call.__name__}{arguments} found something")


def in_threads(work: Callable[[int], None], count: int = RACERS) -> None:
    """Run work in threads beside each other, each with its number; an error in one is raised here."""
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work, number) for number in range(count)]:
            future.result()


def opened(open_stream: Callable[[str], AbstractContextManager[BinaryIO]], key: str) -> None:
    """Open a stream and close it at once."""
    with open_stream(key):
        pass


def in_processes(work: Callable[[int], object]) -> list[Any]:
    """Run work in processes forked off together, and give what each returned."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(RACERS)

    def run(number: int, sender: Connection) -> None:
        gate.wait()
        sender.send(work(number))

    receivers, processes = [], []
    for number in range(RACERS):
        receiver, sender = context.Pipe(duplex=False)
        processes.append(context.Process(target=run, args=(number, sender)))
        processes[-1].start()
        sender.close()
        receivers.append(receiver)
    results = [receiver.recv() for receiver in receivers]
    for process in processes:
        process.join()
    return results
