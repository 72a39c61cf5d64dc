"""The simulation of large clusters: its batch system keeps the contract as far as it can, and its runs end as they should."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jobsys.batch.base import BatchState, Reason
from jobsys.storage.base import Storage
from jobsys.testing.batch import CHECKS, check_batch_system
from jobsys.testing.orders import job, run_order

SCALE = Path(__file__).resolve().parents[2] / "contrib" / "scale"
ABILITIES = {"limits"}  # it has no processes: none can die, be killed or be left, and none is named


@pytest.fixture(scope="module", autouse=True)
def modules() -> Iterator[None]:
    """Let the modules of contrib/scale import each other, as they do when they run, and nobody else import them."""
    namesakes = {path.stem: sys.modules.pop(path.stem) for path in SCALE.glob("*.py") if path.stem in sys.modules}  # tests/cluster
    before = set(sys.modules)
    sys.path.insert(0, str(SCALE))
    yield
    sys.path.remove(str(SCALE))
    for name in set(sys.modules) - before:
        if str(SCALE) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.modules.update(namesakes)


class OrderWorker:
    """Does what the orders of the contract say, in no time; services are told when to end."""

    def accept(self, job):
        return json.loads(job.order), job.order

    def begin(self, work):
        arguments, _ = work
        if arguments["do"] == "serve":
            return None, [b"ready"]
        return float(arguments.get("seconds", 0)), [text.encode() for text in arguments.get("texts", ())]

    def report(self, work, host, began, seconds):
        arguments, order = work
        if arguments["do"] == "serve":
            return b"stopped"
        return b"slept" if arguments["do"] == "sleep" else run_order(order, self)

    def told(self, work, message):
        return message == b"stop", [] if message == b"stop" else [b"heard " + message]

    def say(self, message):
        """Hear again what was said when the job began."""

    def receive(self, timeout=None):
        raise AssertionError("nobody listens")


def a_cluster(**size: Any) -> Any:
    from clock import SimulatedClock  # type: ignore[import-not-found]
    from pretended import Cluster, Size  # type: ignore[import-not-found]

    return Cluster(Size(**{"hosts": 4, "cores": 2, **size}), OrderWorker(), SimulatedClock(), Random(1))


@pytest.mark.parametrize("check", [check for check, needed in CHECKS.items() if needed <= ABILITIES], ids=lambda check: check.__name__)
def test_the_simulated_batch_system_keeps_the_contract(check):
    check(a_cluster)


def test_what_it_can_not_keep_has_to_do_with_processes():
    left_out = check_batch_system(a_cluster, ABILITIES)
    assert left_out == [check.__name__ for check, needed in CHECKS.items() if "processes" in needed]


def test_more_than_cores_and_queue_hold_is_given_back():
    cluster = a_cluster(queue=3)
    assert cluster.window == 11
    cluster.submit([job(id, "sleep", seconds=5.0) for id in range(13)])
    assert [(update.id, update.state) for update in cluster.updates(0)] == [(11, BatchState.RETURNED), (12, BatchState.RETURNED)]
    assert len(cluster.running()) == 8


def test_a_host_dies_with_all_that_runs_on_it_and_comes_back_empty():
    cluster = a_cluster(repair=100.0)
    cluster.submit([job(id, "sleep", seconds=10.0) for id in range(8)])
    cluster._die(1, 0.0)
    lost = cluster.updates(0)
    assert [(update.state, update.reason, update.host) for update in lost] == [(BatchState.ENDED, Reason.LOST, "host00001")] * 2
    cluster.submit([job(id, "sleep", seconds=1000.0) for id in range(10, 20)])
    done = cluster.updates(20.0)
    assert len(done) == 6
    assert {update.host for update in done} == {"host00000", "host00002", "host00003"}
    assert {running.host for running in cluster.running().values()} == {update.host for update in done}
    assert cluster.updates(100.0) == []
    assert sum(running.host == "host00001" for running in cluster.running().values()) == 2


def experiment(tmp_path: Path, **changes: Any) -> Any:
    from experiment import Experiment, Setting  # type: ignore[import-not-found]
    from pretended import Size

    size = Size(hosts=20, queue=50, lifetime=1000.0)
    return Experiment(Setting(**{"jobs": 300, "mean": 5.0, "size": size, "storage": "memory", "restart": False, **changes}), tmp_path)


@pytest.mark.parametrize("workload", ["flat", "waves", "fan-in", "chains", "lattice", "map-reduce"])
def test_every_workload_comes_to_its_result(tmp_path, workload):
    found = experiment(tmp_path, workload=workload).run()
    assert 250 <= found["jobs"] <= 500
    assert found["times"]["commit"] == found["jobs"] + 1  # the script's own, too
    assert found["times"]["made"] == found["jobs"]


def test_a_window_of_four_keeps_few_cores_busy(tmp_path):
    found = experiment(tmp_path, window=8).run()
    assert found["most_out"] == 8
    assert found["simulated_s"] > experiment(tmp_path).run()["simulated_s"] * 2


def test_time_that_the_storage_takes_passes_for_the_leader(tmp_path):
    assert experiment(tmp_path, latency=0.5).run()["simulated_s"] > experiment(tmp_path).run()["simulated_s"]


@pytest.mark.parametrize("wrong", ["jobs", "value"])
def test_a_wrong_end_is_noticed(tmp_path, wrong):
    made = experiment(tmp_path)
    made.workload = made.workload._replace(**{wrong: getattr(made.workload, wrong) + 1})
    with pytest.raises(AssertionError):
        made.run()


def test_every_request_of_a_storage_is_counted():
    from counted import CountedStorage  # type: ignore[import-not-found]

    asked = {name for name, method in vars(Storage).items() if getattr(method, "__isabstractmethod__", False)}
    assert asked <= set(vars(CountedStorage))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCALE / "run.py"), *arguments], capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.slow
def test_a_run_with_dying_hosts_whose_leader_dies_ends_well_and_all_figures_are_told(tmp_path):
    target = tmp_path / "figures.json"
    size = ("--jobs", "2k", "--hosts", "20", "--lifetime", "2000", "--storage", "unsynced")
    done = command(*size, "--directory", str(tmp_path), "--json", str(target))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(target.read_text())
    assert found["lost"] > 0
    assert found["attempts"] > found["jobs"] > 2000
    assert found["restart"]["journal"]["events"] >= found["restart"]["journal"]["done"] > 900
    assert found["restart"]["journal"]["nodes"] == found["restart"]["snapshot"]["nodes"] > 0
    assert 100 < found["written"]["journal"] / found["jobs"] < 2000
    assert found["leader_cpu_s"] > 0
    for told in ("µs a job", "bytes a job", "status", "requests of the leader", "remembered at most", "restart from the journal", "MiB"):
        assert told in done.stdout
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_the_tables_of_the_document_are_printed(tmp_path):
    done = command(
        "--tables", "--jobs", "300", "--hosts", "20", "--mean", "5", "--no-restart", "--storage", "memory", "--rate", "submissions=100"
    )
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if line.startswith("| **all**")]
    assert len(heads[0].split("|")) == 3 + 6
    for told in ("ready, without values", "segments a thousand jobs", "the leader's processor, one core", "submissions=100", "| S3 |"):
        assert told in done.stdout
    document = (SCALE.parents[1] / "docs" / "scale.md").read_text()
    rows = [line.split("|")[1] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row not in document] == []


def test_what_nobody_knows_is_refused():
    result = command("--rate", "speed=3")
    assert result.returncode == 2
    assert "there is no rate 'speed'" in result.stderr
