"""The leader's end of a Dask cluster, as far as it needs none: settings, resources, and what travels by value."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from jobsys.batch.cluster import dask
from jobsys.batch.cluster.dask import DaskScheduler, Shipped, lacking, parse_resources, resources_of
from jobsys.batch.cluster.scheduler import PassingError
from jobsys.errors import BatchSystemError, UsageError
from jobsys.requirements import Requirements


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(UsageError, match="--batch-option scheduler="):
        DaskScheduler()
    with pytest.raises(UsageError, match="do you mean 'scheduler'"):
        DaskScheduler({"sheduler": "tcp://x:1"})
    with pytest.raises(UsageError, match="'cpus=CPU' is not KIND=NAME"):
        DaskScheduler({"scheduler": "tcp://x:1", "resources": "cpus=CPU"})
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://x:1")
    DaskScheduler()


def test_resources() -> None:
    kinds = parse_resources(" cores=CPU, memory=MEM,accelerators=GPU,")
    assert kinds == {"cores": "CPU", "memory": "MEM", "accelerators": "GPU"}
    assert resources_of(Requirements(cores=0.5, memory=1 << 30, accelerators=2), kinds) == {"CPU": 0.5, "MEM": 1 << 30, "GPU": 2}
    assert resources_of(Requirements(cores=3), kinds) == {"CPU": 3}
    assert resources_of(Requirements(cores=3), parse_resources("")) == {}
    for wrong in ("cores", "cores=", "=CPU", "disk=DISK"):
        with pytest.raises(UsageError):
            parse_resources(wrong)


def test_a_cluster_without_workers_may_grow_and_one_with_them_says_what_they_lack() -> None:
    assert lacking({"GPU": 1}, []) == ""
    assert lacking({"GPU": 1, "CPU": 2}, [{}, {"GPU": 2, "CPU": 2}]) == ""
    assert "GPU=1 CPU=2" in lacking({"GPU": 1, "CPU": 2}, [{"GPU": 2}, {"CPU": 2}])


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PassingError, match="no scheduler file"):
        DaskScheduler({"scheduler": str(tmp_path / "none.json")}).find("a")
    with pytest.raises(PassingError, match="does not answer"):
        DaskScheduler({"scheduler": "127.0.0.1:1"}, 0.3).find("a")
    assert DaskScheduler({"scheduler": "127.0.0.1:1"}).look({}) == {}
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BatchSystemError, match=r"jobsys\[dask\]"):
        dask.connect("127.0.0.1:1", 0.3)


def test_what_is_shipped_needs_no_jobsys_at_the_other_end() -> None:
    pickled = pickle.dumps(
        [Shipped("dask_ledger", "key_of"), Shipped("dask_worker", "Hidden", "hunter2"), Shipped("dask_worker", "run_script")]
    )
    code = (
        "import pickle, sys; sys.modules['jobsys'] = None\n"
        "key_of, hidden, run_script = pickle.load(sys.stdin.buffer)\n"
        "print(key_of('a', 3), repr(hidden), hidden.text, run_script('exit 4', {}, '', None, str).status)\n"
        "print(pickle.loads(__import__('cloudpickle').dumps(hidden)).text)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True, timeout=60)
    assert done.stdout == b"jobsys:a:3 <hidden> hunter2 4\nhunter2\n"
