"""Run no-op calls on one of the things that a user could take instead of jobsys, and say how fast it was.

    python peers.py NAME N [--workers 2]

Prints one JSON line. The clock runs for the N calls and their answers only: what is started beforehand, and the ten calls that warm it up,
are told apart as ``start_s``. Toil has nothing that could be started beforehand: its figure is that of a whole workflow.
Imports nothing of jobsys, and each peer only when it is asked for, so that it runs in the peers' own environment.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager

Calls = Callable[[int], list]
"""Makes so many calls and returns what they returned."""

WARM_UP = 10


def echo(number):
    return number


@contextmanager
def spawn(workers: int) -> Iterator[Calls]:
    """A new interpreter for each call, one after the other: the price of a process that knows nothing."""
    yield lambda count: [subprocess.run([sys.executable, "-c", "pass"], check=True) and number for number in range(count)]


@contextmanager
def fork(workers: int) -> Iterator[Calls]:
    """A fork for each call, one after the other: the least that a process of its own costs."""

    def call(number):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        return number

    yield lambda count: [call(number) for number in range(count)]


@contextmanager
def pool(workers: int) -> Iterator[Calls]:
    """The standard library's process pool, a message a call."""
    with ProcessPoolExecutor(workers) as executor:
        yield lambda count: list(executor.map(echo, range(count), chunksize=1))


@contextmanager
def dask(workers: int) -> Iterator[Calls]:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield lambda count: client.gather(client.map(echo, range(count), pure=False))


@contextmanager
def parsl(workers: int) -> Iterator[Calls]:
    import parsl as library
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=workers, address="127.0.0.1", provider=provider)
    with tempfile.TemporaryDirectory() as folder, library.load(library.Config(executors=[executor], run_dir=folder)):
        app = library.python_app(echo)
        yield lambda count: [future.result() for future in [app(number) for number in range(count)]]


@contextmanager
def ray(workers: int) -> Iterator[Calls]:
    import ray as library

    library.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        task = library.remote(echo)
        yield lambda count: library.get([task.remote(number) for number in range(count)])
    finally:
        library.shutdown()


def toil_main(job, count):
    return [job.addChildFn(echo, number, cores=1, memory="50M", disk="1M").rv() for number in range(count)]


@contextmanager
def toil(workers: int) -> Iterator[Calls]:
    from toil.common import Toil
    from toil.job import Job

    with tempfile.TemporaryDirectory() as folder:
        options = Job.Runner.getDefaultOptions(os.path.join(folder, "store"))
        options.logLevel, options.clean, options.maxCores = "ERROR", "never", workers

        def calls(count):
            with Toil(options) as workflow:
                return workflow.start(Job.wrapJobFn(toil_main, count, cores=1, memory="50M", disk="1M"))

        yield calls


PEERS: dict[str, Callable[[int], AbstractContextManager[Calls]]] = {
    peer.__name__: peer for peer in (spawn, fork, pool, dask, parsl, ray, toil)
}
COLD = {"spawn", "fork", "toil"}  # nothing to warm up


def measure(name: str, count: int, workers: int) -> dict[str, object]:
    """Make ``count`` calls and time them."""
    begun = time.perf_counter()
    with PEERS[name](workers) as calls:
        if name not in COLD:
            calls(WARM_UP)
        start = time.perf_counter()
        answers = calls(count)
        seconds = time.perf_counter() - start
    if list(answers) != list(range(count)):
        raise RuntimeError(f"{name} gave wrong answers")
    return {
        "peer": name,
        "n": count,
        "seconds": round(seconds, 6),
        "jobs_per_s": round(count / seconds, 1),
        "start_s": round(start - begun, 4),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(measure(options.name, options.count, options.workers)), flush=True)


if __name__ == "__main__":
    main()
