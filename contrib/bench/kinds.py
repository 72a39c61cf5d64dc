"""The peers: each starts, takes calls as ``call(function, *arguments)``, where an argument may be what an earlier call gave, and ends.

Imports nothing of jobsys, and each peer only when it is asked for, so that it runs in the peers' own environment.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from shapes import echo


class Peer(NamedTuple):
    """What can be done with a peer that has started; None where it knows no such thing."""

    fan: Callable[[int], list[Any]]  # makes so many independent calls, gives their values
    call: Callable[..., Any] | None = None
    value: Callable[[Any], Any] | None = None  # of what ``call`` gave


@contextmanager
def spawn(workers: int) -> Iterator[Peer]:
    """A new interpreter for each call, one after the other: the price of a process that knows nothing."""
    yield Peer(lambda count: [subprocess.run([sys.executable, "-c", "pass"], check=True) and number for number in range(count)])


@contextmanager
def fork(workers: int) -> Iterator[Peer]:
    """A fork for each call, one after the other: the least that a process of its own costs."""

    def call(number):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        return number

    yield Peer(lambda count: [call(number) for number in range(count)])


@contextmanager
def pool(workers: int) -> Iterator[Peer]:
    """The standard library's process pool, a message a call; it knows no graph, so the caller waits for what a call needs."""
    with ProcessPoolExecutor(workers) as executor:

        def call(function, *arguments):
            return executor.submit(function, *(each.result() if isinstance(each, Future) else each for each in arguments))

        yield Peer(lambda count: list(executor.map(echo, range(count), chunksize=1)), call, Future.result)


@contextmanager
def dask(workers: int) -> Iterator[Peer]:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield Peer(
            lambda count: client.gather(client.map(echo, range(count), pure=False)),
            lambda function, *arguments: client.submit(function, *arguments, pure=False),
            lambda future: future.result(),
        )


@contextmanager
def parsl(workers: int) -> Iterator[Peer]:
    import parsl as library
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=workers, address="127.0.0.1", provider=provider)
    apps: dict[Callable[..., Any], Any] = {}

    def call(function, *arguments):
        app = apps.get(function) or apps.setdefault(function, library.python_app(function))
        return app(*arguments)

    with tempfile.TemporaryDirectory() as folder, library.load(library.Config(executors=[executor], run_dir=folder)):
        yield Peer(
            lambda count: [future.result() for future in [call(echo, number) for number in range(count)]],
            call,
            lambda future: future.result(),
        )


@contextmanager
def ray(workers: int) -> Iterator[Peer]:
    import ray as library

    library.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    remote: dict[Callable[..., Any], Any] = {}

    def call(function, *arguments):
        task = remote.get(function) or remote.setdefault(function, library.remote(function))
        return task.remote(*arguments)

    try:
        yield Peer(lambda count: library.get([call(echo, number) for number in range(count)]), call, library.get)
    finally:
        library.shutdown()


def toil_main(job, count):
    return [job.addChildFn(echo, number, cores=1, memory="50M", disk="1M").rv() for number in range(count)]


@contextmanager
def toil(workers: int) -> Iterator[Peer]:
    from toil.common import Toil
    from toil.job import Job

    with tempfile.TemporaryDirectory() as folder:
        options = Job.Runner.getDefaultOptions(os.path.join(folder, "store"))
        options.logLevel, options.clean, options.maxCores = "ERROR", "never", workers

        def fan(count):
            with Toil(options) as workflow:
                return workflow.start(Job.wrapJobFn(toil_main, count, cores=1, memory="50M", disk="1M"))

        yield Peer(fan)


KINDS: dict[str, Callable[[int], AbstractContextManager[Peer]]] = {
    kind.__name__: kind for kind in (spawn, fork, pool, dask, parsl, ray, toil)
}
COLD = {"spawn", "fork", "toil"}  # nothing to warm up
