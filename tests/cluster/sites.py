"""The clusters on which whole workflows run: owns how each is used, what is in its queue, and how somebody else cancels there."""

import contextlib
import functools
import os
import random
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import pytest
from distributed import Client, Future

from cluster import dask_server, kubernetes_server  # type: ignore[import-not-found]
from cluster.condor_server import Condor  # type: ignore[import-not-found]
from cluster.image import CACHE as IMAGE_CACHE  # type: ignore[import-not-found]
from cluster.interpreter import NAME, copy_interpreter  # type: ignore[import-not-found]
from cluster.lean import lean_python  # type: ignore[import-not-found]
from cluster.site import Site  # type: ignore[import-not-found]

POD_GATEWAY: Final = "198.51.100.1"
"""This machine, to the pods of the network that `k8s-up.sh` makes."""
Sites = Callable[[Any, Path], AbstractContextManager[Site]]


def _call(environment: Mapping[str, str], *words: str) -> str:
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def grid_engine_site(environment: dict[str, str], folder: Path) -> Iterator[Site]:
    """Use Grid Engine."""

    def queued() -> list[str]:
        return [line.split()[0] for line in _call(environment, "qstat", "-u", "*").splitlines()[2:]]

    yield Site("grid-engine", environment, queued, lambda native: _call(environment, "qdel", native), _own_cache(), folder)


@contextlib.contextmanager
def slurm_site(cluster: Any, folder: Path) -> Iterator[Site]:
    """Use Slurm."""
    environment = cluster.environment

    def queued() -> list[str]:
        return _call(environment, "squeue", "-h", "-r", "-o", "%i").split()

    yield Site("slurm", environment, queued, lambda native: _call(environment, "scancel", native), _own_cache(), folder)


@contextlib.contextmanager
def dask_site(cluster: dask_server.Cluster, folder: Path) -> Iterator[Site]:
    """Use Dask."""

    def keys(dask_scheduler: Any = None) -> list[str]:
        """List what has not ended; runs in Dask's scheduler, where it gets by value, as it is no module's."""
        return [key for key, task in dask_scheduler.tasks.items() if task.state not in ("memory", "erred", "released", "forgotten")]

    with Client(scheduler_file=str(cluster.file), set_as_default=False) as client:

        def cancel(native: str) -> None:
            client.cancel([Future(native, client)], force=True)

        options = ("--batch-option", f"scheduler={cluster.file}")
        yield Site("dask", {}, lambda: client.run_on_scheduler(keys), cancel, options, folder, nap=2)


@contextlib.contextmanager
def htcondor_site(condor: Condor, _: Path) -> Iterator[Site]:
    """Use HTCondor, whose jobs are another user's, on hosts that have none of the directories that the leader has."""
    folder = condor.home / uuid.uuid4().hex[:8]
    folder.mkdir(mode=0o755)
    python = condor.home / "python"
    if not python.exists():
        copy_interpreter(python)
    start = condor.home / "start"  # the home of that user's account may be that of an earlier pool
    start.write_text(f'#!/bin/sh\nHOME={condor.home} exec {python}/bin/{NAME} "$@"\n')
    start.chmod(0o755)
    address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"  # by which its tasks are known
    options = (*_shipped(address, str(start)), "--batch-option", f"prefix={condor.tools}")

    def queued() -> list[str]:
        return condor.run("condor_q", "-af:j", "JobStatus").splitlines()

    def cancel(native: str) -> None:
        condor.run("condor_rm", native.split()[0])

    yield Site("htcondor", {}, queued, cancel, options, folder, (), address, lean_python())
    assert list(condor.home.glob(".local/state/jobsys/htcondor/*")) == [], "scripts are left"


@contextlib.contextmanager
def kubernetes_site(cluster: kubernetes_server.Cluster, _: Path) -> Iterator[Site]:
    """Use Kubernetes; of this machine's directories, pods see where jobs write down that they ran."""
    if cluster.folder is None:
        pytest.skip("no directory is shared with this cluster")
    folder = cluster.folder / uuid.uuid4().hex[:8]
    folder.mkdir()
    environment = {"KUBECONFIG": cluster.kubeconfig, "PYTHONWARNINGS": "ignore:Unverified HTTPS"}
    space = f"jobsys-{folder.name}"  # in which nothing is left of earlier tests
    _call(environment, "kubectl", "create", "namespace", space)
    given = {**cluster.options(cache=IMAGE_CACHE), "image": cluster.python_image(), "namespace": space}
    options = (*_shipped(POD_GATEWAY, NAME), *(word for item in given.items() for word in ("--batch-option", "=".join(item))))
    kubectl = functools.partial(_call, environment, "kubectl", "--namespace", space)

    def queued() -> list[str]:
        left = "--field-selector=status.phase!=Succeeded,status.phase!=Failed"
        return kubectl("get", "pods", left, "-o", "name").split()

    def cancel(native: str) -> None:
        kubectl("delete", native, "--wait=false")

    yield Site("kubernetes", environment, queued, cancel, options, folder, (), POD_GATEWAY, lean_python("kubernetes"))


def _own_cache() -> tuple[str, ...]:
    """Give the options with which tasks, whose home is the account's own, keep code in the session's directory."""
    return ("--env", f"JOBSYS_CACHE={tempfile.gettempdir()}/cache")


def _shipped(address: str, python: str) -> tuple[str, ...]:
    """Give the options for hosts that share nothing with the leader, reach it at this address, and have such a Python."""
    return ("--file-workers", "leader", "--store-address", address, "--ship-env", "always", "--worker-python", python)


SITES: Final[dict[str, tuple[str, Sites]]] = {
    "slurm": ("slurm", slurm_site),
    "grid_engine": ("grid_engine", grid_engine_site),
    "htcondor": ("condor", htcondor_site),
    "kubernetes": ("kubernetes_cluster", kubernetes_site),
    "dask": ("dask_cluster", dask_site),
}
"""For each, the fixture that starts it, and how it is used."""
