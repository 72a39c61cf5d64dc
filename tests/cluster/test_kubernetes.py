"""Tasks on a real Kubernetes (1.20 where it is our own): the contract, and what only it can show."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from cluster.kubernetes_server import Cluster  # type: ignore[import-not-found]
from jobsys.batch.cluster.kube_api import Api
from jobsys.batch.cluster.kube_objects import ASK
from jobsys.batch.cluster.kubernetes import Kubernetes
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import CHECKS, Bench, new_name

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(300, func_only=True),  # what starts a cluster has limits of its own
]

LEAST = Requirements(cores=0.1, memory=32 << 20, walltime=600.0)


@pytest.fixture
def bench(kubernetes_cluster: Cluster) -> Bench:
    return Bench(
        lambda: Kubernetes(kubernetes_cluster.options()),
        folder=kubernetes_cluster.folder,
        requirements=Requirements(cores=0.25, memory=32 << 20, walltime=600.0),
        large=40,
        unknown="jobsys-never-given",
        patience=150.0,  # a kubelet of 1.20 that misses a deletion looks again after 90 s
    )


ABLE: Final = [check for check, needs in CHECKS.items() if "logs" not in needs]
"""What can be asked of it: what pods print stays with Kubernetes."""


@pytest.mark.parametrize("check", ABLE, ids=[check.__name__ for check in ABLE])
def test_contract(check, bench: Bench) -> None:
    if "files" in CHECKS[check] and bench.folder is None:
        pytest.skip("no directory is shared with this cluster")
    check(bench)


def ended(scheduler: Kubernetes, native: str, seconds: float = 60.0) -> Seen:
    deadline = time.monotonic() + seconds
    while True:
        seen = scheduler.look({native: [0]}).get(TaskId(native, 0))
        if seen is not None and seen.state is TaskState.ENDED:
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


def submit(scheduler: Kubernetes, script: str, requirements: Requirements = LEAST) -> str:
    return scheduler.submit(Ask(new_name(), 1, requirements, script))


def test_memory(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes(kubernetes_cluster.options())
    native = submit(scheduler, "exec tail /dev/zero\n")
    seen = ended(scheduler, native)
    assert (seen.reason, seen.exit_status) == (Reason.MEMORY, -9)
    assert seen.host


def test_walltime(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes({**kubernetes_cluster.options(), "start-seconds": "1"})
    native = submit(scheduler, "exec sleep 600\n", Requirements(cores=0.1, memory=32 << 20, walltime=1.0))
    assert ended(scheduler, native).reason is Reason.TIME_LIMIT


def test_last_words(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes(kubernetes_cluster.options())
    seen = ended(scheduler, submit(scheduler, "echo it broke because of ☃ >&2\nexit 3\n"))
    assert (seen.reason, seen.exit_status, seen.message.strip()) == (Reason.FAILED, 3, "it broke because of ☃")


def test_an_image_that_is_nowhere(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes({**kubernetes_cluster.options(), "image": "localhost/nowhere:none", "start-seconds": "2"})
    seen = ended(scheduler, submit(scheduler, "exit 0\n"))
    assert seen.reason is Reason.FAILED
    assert "localhost/nowhere:none" in seen.message


def test_a_host_that_is_nowhere(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes({**kubernetes_cluster.options(), "node-selector": "jobsys/no=such", "unschedulable-seconds": "1"})
    seen = ended(scheduler, submit(scheduler, "exit 0\n"))
    assert seen.reason is Reason.FAILED
    assert "Unschedulable" in seen.message


def test_nothing_is_left_of_what_is_refused(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes({**kubernetes_cluster.options(), "priority-class": "no-such-class"})
    name = new_name()
    with pytest.raises(AskRefusedError, match="no-such-class"):
        scheduler.submit(Ask(name, 2, LEAST, "exit 0\n"))
    assert scheduler.find(name) is None
    assert "no-such-class" in scheduler.check(LEAST)


class Counted(Api):
    """Keeps a log of what is asked for."""

    def __init__(self, *where: str) -> None:
        super().__init__(*where)
        self.log: list[str] = []

    def _send(self, method: str, target: str, *rest: Any) -> Any:
        self.log.append(f"{method} {target}")
        return super()._send(method, target, *rest)


def test_a_look_costs_no_request_and_a_watch_goes_on_where_it_was_cut(kubernetes_cluster: Cluster) -> None:
    api = Counted(kubernetes_cluster.kubeconfig)
    scheduler = Kubernetes(kubernetes_cluster.options(), api)
    native = scheduler.submit(Ask(new_name(), 3, LEAST, "exec sleep 2\n"))
    scheduler.look({native: range(3)})
    api.log.clear()
    deadline = time.monotonic() + 60
    while any(seen.state is not TaskState.ENDED for seen in scheduler.look({native: range(3)}).values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert api.log == []
    for watched in (scheduler._jobs, scheduler._pods):
        if watched._stream is not None:
            watched._stream.close()
    submit(scheduler, "exit 0\n")
    scheduler.look({native: range(3)})
    assert api.log
    assert all("watch=1" in line for line in api.log if line.startswith("GET"))
    scheduler.close()


@contextlib.contextmanager
def a_special_host(api: Api, name: str) -> Iterator[None]:
    """Give a host a label, a taint and two accelerators."""
    path = f"/api/v1/nodes/{name}"
    taints = [{"key": "jobsys/test", "value": "yes", "effect": "NoSchedule"}]
    api.request("PATCH", path, {"metadata": {"labels": {"jobsys/test": "yes"}}, "spec": {"taints": taints}})
    for place in ("capacity", "allocatable"):
        api.request("PATCH", f"{path}/status", {"status": {place: {"example.com/gpu": "2"}}})
    try:
        yield
    finally:
        api.request("PATCH", path, {"metadata": {"labels": {"jobsys/test": None}}, "spec": {"taints": None}})


def test_labels_taints_and_accelerators(kubernetes_cluster: Cluster) -> None:
    if kubernetes_cluster.containerd is None:
        pytest.skip("hosts of a cluster that is not our own are left as they are")
    options = {**kubernetes_cluster.options(), "accelerator": "example.com/gpu", "unschedulable-seconds": "1"}
    special = {"node-selector": "jobsys/test=yes", "tolerations": "jobsys/test=yes:NoSchedule"}
    with a_special_host(Api(kubernetes_cluster.kubeconfig), "localhost"):
        scheduler, other = Kubernetes({**options, **special}), Kubernetes(options)
        runs, many, plain = (
            submit(scheduler, "exit 0\n", Requirements(cores=0.1, memory=32 << 20, accelerators=2)),
            submit(scheduler, "exit 0\n", Requirements(cores=0.1, memory=32 << 20, accelerators=3)),
            submit(other, "exit 0\n"),
        )
        seen = {native: ended(scheduler, native) for native in (runs, many, plain)}
    assert seen[runs].reason is None
    assert "Insufficient example.com/gpu" in seen[many].message
    assert "taint" in seen[plain].message


@pytest.fixture
def limited(kubernetes_cluster: Cluster) -> Iterator[dict[str, str]]:
    """Give the options of a namespace that has room for two pods, and for 128 MiB in all."""
    api, name = Api(kubernetes_cluster.kubeconfig), new_name()
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2", "limits.memory": "128Mi"}}}
    path = f"/api/v1/namespaces/{name}"
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        api.request("POST", f"{path}/resourcequotas", quota)
        deadline = time.monotonic() + 30
        while not (api.request("GET", f"{path}/resourcequotas/small").get("status") or {}).get("hard"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield {**kubernetes_cluster.options(), "namespace": name}
    finally:
        api.request("DELETE", path)


def test_quota(limited: dict[str, str]) -> None:
    scheduler = Kubernetes(limited)
    native = scheduler.submit(Ask(new_name(), 6, LEAST, f"exit ${scheduler.index}\n"))
    deadline = time.monotonic() + 120
    told: set[str] = set()
    seen: dict[TaskId, Seen] = {}
    while sum(one.state is TaskState.ENDED for one in seen.values()) < 6:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
        seen = scheduler.look({native: range(6)})
        told |= {one.message for one in seen.values() if one.state is TaskState.QUEUED}
    assert [seen[TaskId(native, number)].exit_status for number in range(6)] == list(range(6))
    assert scheduler._has_jobs() or "the namespace's quota is used up" in told
    large = Requirements(cores=0.1, memory=129 << 20)
    assert "exceeded quota" in scheduler.check(large)
    assert scheduler.check(LEAST) == ""
    if not scheduler._has_jobs():
        with pytest.raises(AskRefusedError, match="exceeded quota"):
            submit(scheduler, "exit 0\n", large)
    scheduler.close()


def test_what_is_over_goes_when_its_time_has_come(kubernetes_cluster: Cluster) -> None:
    scheduler = Kubernetes({**kubernetes_cluster.options(), "ttl": "1"})
    native = submit(scheduler, "exit 0\n")
    ended(scheduler, native)
    time.sleep(2.1)  # Kubernetes counts whole seconds
    scheduler.learn()
    api, deadline = Api(kubernetes_cluster.kubeconfig), time.monotonic() + 60
    while api.get("secrets", native) is not None or list(api.list("pods", labelSelector=f"{ASK}={native}")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ended(scheduler, native).reason is None
    assert scheduler.find(native) is None
