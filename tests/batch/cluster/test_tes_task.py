"""The documents of TES: what is written is as the specification has it, and what servers say is understood.

The answers are written by hand, after the specification and the sources of Funnel, TESK and Poiesis: none of these runs here.
"""

import json
import logging
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster import tes_task
from jobsys.batch.cluster.scheduler import Ask, Seen, TaskState
from jobsys.batch.cluster.tes import TesScheduler
from jobsys.batch.cluster.tes_task import STATES, end_of, number_of, parameters_of, resources_of, state_of, task_of
from jobsys.errors import UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements

OPTIONS = TesScheduler({"url": "https://tes", "image": "img"}).options
ALL_STATES = {
    *("UNKNOWN", "QUEUED", "INITIALIZING", "RUNNING", "PAUSED", "CANCELING"),
    *("COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"),
}


def test_a_task() -> None:
    ask = Ask("jobsys-a", 4, Requirements(cores=1.5, memory=2 * 10**9, disk=5 * 10**8), "echo 'é'\n", title='a "title"')
    assert task_of(ask, 3, OPTIONS, "JOBSYS_TASK") == {
        "name": "jobsys-a-3",
        "description": 'a "title"',
        "tags": {"jobsys-ask": "jobsys-a", "jobsys-task": "3"},
        "inputs": [{"name": "script", "type": "FILE", "path": "/jobsys/task.sh", "content": "echo 'é'\n"}],
        "volumes": ["/jobsys/scratch"],
        "resources": {"cpu_cores": 2, "preemptible": False, "ram_gb": 2.0, "disk_gb": 0.5},
        "executors": [
            {"image": "img", "command": ["/bin/sh", "/jobsys/task.sh"], "env": {"JOBSYS_TASK": "3", "TMPDIR": "/jobsys/scratch"}},
        ],
    }


def test_resources() -> None:
    assert resources_of(Requirements(), OPTIONS) == {"cpu_cores": 1, "preemptible": False}
    options = {**OPTIONS, "zones": "a, b", "backend": "vm='big one' x==", "accelerators": "gpus"}
    assert resources_of(Requirements(accelerators=2, preemptible=True), options) == {
        "cpu_cores": 1,
        "preemptible": True,
        "zones": ["a", "b"],
        "backend_parameters": {"vm": "big one", "x": "=", "gpus": "2"},
        "backend_parameters_strict": True,
    }


@given(st.integers(0, 2**53), st.floats(0.01, 4096))
def test_no_less_than_what_was_asked_for(memory: int, cores: float) -> None:
    found = json.loads(json.dumps(resources_of(Requirements(cores=cores, memory=memory), OPTIONS)))
    assert found["cpu_cores"] >= cores
    assert math.isclose(found["ram_gb"] * 10**9, memory, rel_tol=1e-12)


@given(st.text(), st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 10**6))
def test_a_task_goes_through_json(title: str, script: str, number: int) -> None:
    task = json.loads(json.dumps(task_of(Ask("a", 1, Requirements(), script, title=title), number, OPTIONS, "N")))
    assert task["inputs"][0]["content"] == script
    assert number_of(task, "a") == number
    assert number_of(task, "b") is None


@pytest.mark.parametrize("tags", [None, {}, {"jobsys-ask": "a"}, {"jobsys-ask": "a", "jobsys-task": "x"}, {"jobsys-task": "1"}])
def test_tags_of_others(tags: Any) -> None:
    assert number_of({"tags": tags}, "a") is None


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBSYS_TES_ENDPOINT", raising=False)
    with pytest.raises(UsageError, match="which TES endpoint"):
        TesScheduler()
    for url in ("tes", "ftp://tes", "https://", "https://user:hunter2@tes", "https://tes?a=b"):
        with pytest.raises(UsageError, match="a TES endpoint is") as caught:
            TesScheduler({"url": url})
        assert "hunter2" not in str(caught.value)
    for backend in ("x", "=x", "'a"):
        with pytest.raises(UsageError, match="--batch-option backend"):
            TesScheduler({"url": "https://tes", "backend": backend})
    monkeypatch.setenv("JOBSYS_TES_ENDPOINT", "https://tes")
    assert "TES has no accelerators" in TesScheduler().check(Requirements(accelerators=1))
    assert TesScheduler({"accelerators": "gpus"}).check(Requirements(accelerators=1)) == ""
    assert parameters_of("") == {}


def test_a_way_without_encryption_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for url in ("https://tes", "http://localhost:8000", "http://127.0.0.1"):
        TesScheduler({"url": url})
    assert not caplog.records
    TesScheduler({"url": "http://tes/ga4gh/tes/v1/"})
    assert "what http://tes/ga4gh/tes/v1 is sent" in caplog.text


def test_each_state_of_the_specification_is_known_but_unknown(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ALL_STATES ^ {*STATES} == {"UNKNOWN"}
    monkeypatch.setattr(tes_task, "_told", set())
    with caplog.at_level(logging.WARNING):
        assert [state_of("WEIRD"), state_of("WEIRD"), state_of("UNKNOWN")] == [(TaskState.QUEUED, None)] * 3
    assert [record.args for record in caplog.records] == [("WEIRD",), ("UNKNOWN",)]


def log(status: int | None = None, system: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"logs": [{"logs": [] if status is None else [{"exit_code": status, **more}], "outputs": [], "system_logs": system or []}]}


@pytest.mark.parametrize(
    ("state", "task", "seen"),
    [
        ("EXECUTOR_ERROR", log(3, stderr="oops\n"), Seen(TaskState.ENDED, Reason.FAILED, 3, "oops")),
        ("EXECUTOR_ERROR", log(1, stdout="out of memory, says the program"), (Reason.FAILED, 1)),
        ("EXECUTOR_ERROR", log(137, ["container was OOMKilled"]), (Reason.MEMORY, 137)),
        ("EXECUTOR_ERROR", log(), (Reason.FAILED, None)),
        ("EXECUTOR_ERROR", {}, (Reason.FAILED, None)),
        ("SYSTEM_ERROR", {"logs": []}, (Reason.LOST, None)),
        ("SYSTEM_ERROR", log(None, ["level='error' msg='image pull timed out'"]), (Reason.LOST, None)),
        ("SYSTEM_ERROR", log(0, ["worker lost", "upload failed"]), Seen(TaskState.ENDED, Reason.LOST, None, "worker lost\nupload failed")),
        ("SYSTEM_ERROR", {"logs": [{"metadata": {"failure_reason": "Preempted"}}]}, (Reason.PREEMPTED, None)),
        ("SYSTEM_ERROR", log(None, ["walltime of 3600 s exceeded"]), (Reason.TIME_LIMIT, None)),
        ("PREEMPTED", log(None, ["out of memory"]), (Reason.PREEMPTED, None)),
        ("EXECUTOR_ERROR", {"logs": [*log(1)["logs"], *log(4)["logs"]]}, (Reason.FAILED, 4)),
    ],
)
def test_ends(state: str, task: Any, seen: Any) -> None:
    found = end_of(state, task)
    assert seen in (found, (found.reason, found.exit_status))
