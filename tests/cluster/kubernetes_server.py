"""A real Kubernetes for tests: that of KUBECONFIG, or one node on this machine over the scripts and programs in ``infra/schedulers``."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from cluster.image import PYTHON, save_image  # type: ignore[import-not-found]
from cluster.kernel import refused  # type: ignore[import-not-found]
from s3.servers import SEARCHED, free_ports  # type: ignore[import-not-found]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = "infra/schedulers"
BUILT: Final = "kubernetes-1.20.2-amd64.tar.zst"
PACKAGES: Final = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "busybox": "busybox-static",
    "openssl": "openssl",
    "kubectl": "kubernetes-client",
    "zstd": "zstd",
}
PLUGINS: Final = "/usr/lib/cni"
NEEDS: Final = ("mount namespaces", "network namespaces joined by cables", "overlay file systems", "cgroups that limit memory")
STARTING: Final = 110  # seconds
RESYNC: Final = "5s"
IMAGE: Final = "localhost/busybox:test"


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs: how it is reached, and a directory that tasks share with this machine, if any."""

    kubeconfig: str
    image: str
    folder: Path | None = None
    containerd: Path | None = None  # the socket of the one that runs its pods, if it is our own

    def options(self, **more: str) -> dict[str, str]:
        """Give the settings with which tasks run there, and see the directory; ``more`` says where pods see directories within that."""
        options = {"kubeconfig": self.kubeconfig, "image": self.image}
        if self.folder is None:
            return options
        places = {"shared": (self.folder, str(self.folder)), **{name: (self.folder / name, path) for name, path in more.items()}}
        for folder, _ in places.values():
            folder.mkdir(exist_ok=True)
        pod = {"volumes": [{"name": name, "hostPath": {"path": str(folder)}} for name, (folder, _) in places.items()]}
        container = {"volumeMounts": [{"name": name, "mountPath": path} for name, (_, path) in places.items()]}
        return {**options, "pull-policy": "Never", "pod": json.dumps(pod), "container": json.dumps(container)}

    def python_image(self) -> str:
        """Give the name of an image with the leader's Python, which is made when it is first asked for."""
        assert self.containerd is not None
        ctr = ["ctr", "-a", str(self.containerd), "-n", "k8s.io", "images"]
        there = subprocess.run([*ctr, "ls", "-q"], check=True, capture_output=True, text=True, timeout=STARTING).stdout
        if PYTHON not in there.split():
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([*ctr, "import", str(save_image(Path(folder)))], check=True, capture_output=True, timeout=STARTING)
        return str(PYTHON)


def find_scripts() -> Path | None:
    """Find the directory of the scripts by TEST_SCHEDULERS, or below a ``shared`` beside the repository or one of its parents."""
    named = os.environ.get("TEST_SCHEDULERS")
    if named:
        return Path(named)
    return next((path for parent in REPOSITORY.parents if (path := parent / "shared" / SCRIPTS).is_dir()), None)


def missing() -> str | None:
    """Say what is missing for a server of our own, with the way out; None if it can be started."""
    scripts = find_scripts()
    if scripts is None or not (scripts / BUILT).exists():
        return f"there is no {SCRIPTS}/{BUILT} in a directory shared/ beside the repository: set TEST_SCHEDULERS, or KUBECONFIG"
    lacking = {program: package for program, package in PACKAGES.items() if shutil.which(program, path=f"{SEARCHED}:{PLUGINS}") is None}
    if lacking:
        return f"there is no program {min(lacking)!r}: apt-get install -y --no-install-recommends {' '.join(sorted(lacking.values()))}"
    if os.geteuid() != 0:
        return "it starts as root only: set KUBECONFIG to another one"
    return refused(NEEDS) or None


@contextlib.contextmanager
def started(state: Path) -> Iterator[Cluster]:
    """Run a Kubernetes of one node."""
    scripts = find_scripts()
    assert scripts is not None
    programs, folder = state / "bin", state / "shared"
    programs.mkdir(parents=True)
    folder.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", str(scripts / BUILT), "-C", str(programs)], check=True, timeout=STARTING)
    _hasten(programs / "kubelet")
    environment = {**os.environ, "PATH": SEARCHED, "PORT": str(free_ports(10)), "NO_PROXY": "127.0.0.1,localhost"}
    environment.pop("KUBECONFIG", None)
    try:
        _run([scripts / "k8s-up.sh", state / "k8s", programs], environment, state / "up.out")
        yield Cluster(str(state / "k8s" / "kubeconfig"), IMAGE, folder, state / "k8s/run/containerd.sock")
    finally:
        _run([scripts / "k8s-down.sh", state / "k8s"], environment, state / "down.out")


def _hasten(kubelet: Path) -> None:
    """Have a kubelet look at its pods again soon: one of 1.20 that missed a deletion finds out only then, by default after 60 to 90 s."""
    real = kubelet.with_name("real") / kubelet.name  # of the same name, by which the scripts know its process
    real.parent.mkdir()
    kubelet.rename(real)
    kubelet.write_text(f'#!/bin/sh\nexec {shlex.quote(str(real))} --sync-frequency {RESYNC} "$@"\n')
    kubelet.chmod(0o755)


def _run(command: list[Path | str], environment: dict[str, str], log: Path) -> None:
    with log.open("w") as stream:
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            timeout=STARTING,
            check=False,
        )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{log.read_text()}"


@pytest.fixture(scope="session")
def kubernetes_cluster(isolated_session: None) -> Iterator[Cluster]:
    """Give a cluster: one by KUBECONFIG, with the image that TEST_KUBERNETES_IMAGE names, or our own."""
    given = os.environ.get("KUBECONFIG")
    if given:
        yield Cluster(given, os.environ.get("TEST_KUBERNETES_IMAGE", "busybox"))
        return
    lacking = missing()
    if lacking is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Kubernetes: {lacking}")
    state = Path(tempfile.mkdtemp(prefix="jk-"))
    try:
        with started(state) as cluster:
            yield cluster
    finally:
        shutil.rmtree(state, ignore_errors=True)
