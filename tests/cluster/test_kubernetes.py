"""Tasks on a real Kubernetes (1.20 where it is our own): the contract, and what only it can show."""

import time

import pytest

from cluster.kubernetes_server import Cluster  # type: ignore[import-not-found]
from jobsys.batch.cluster.kubernetes import Kubernetes
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing.scheduler import CHECKS, Bench, new_name

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(300, func_only=True),  # what starts a cluster has limits of its own
    pytest.mark.filterwarnings("ignore:Unverified HTTPS"),  # as the kubeconfig of our own says
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


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_contract(check, bench: Bench) -> None:
    if "logs" in CHECKS[check] or ("files" in CHECKS[check] and bench.folder is None):
        pytest.skip("what pods print stays with Kubernetes" if "logs" in CHECKS[check] else "no directory is shared with this cluster")
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
