"""What a host goes through before it forks a process for each job."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from jobsys import pickling
from jobsys.errors import StorageError
from jobsys.jobstores import JobStore
from jobsys.message import decode_report
from jobsys.storage.memory import MemoryStorage
from jobsys.worker.execute import JobExecutor
from jobsys.worker.rehearsal import rehearse


def test_an_order_goes_the_whole_way_and_leaves_nothing(tmp_path: Path) -> None:
    before = os.getcwd(), dict(os.environ), list(sys.path), sys.stdout, os.listdir(tmp_path)
    report, payload = decode_report(rehearse(JobExecutor, tmp_path / "rehearsal"))
    assert report.failure is None
    assert report.value is not None
    assert pickling.load(payload[report.value.offset :], lambda slot: slot) == 0
    assert (os.getcwd(), dict(os.environ), list(sys.path), sys.stdout, os.listdir(tmp_path)) == before


def test_the_store_of_the_run_is_not_touched(tmp_path: Path) -> None:
    storage = MemoryStorage()
    JobExecutor(JobStore("memory:", storage)).rehearse(tmp_path / "rehearsal")
    assert list(storage.list("")) == []
    assert os.listdir(tmp_path) == []


def test_it_is_gone_through_often_enough_for_python_to_take_note(tmp_path: Path) -> None:
    turns: list[Any] = []

    class Counts:
        def run(self, order: bytes, channel: Any) -> bytes:
            turns.append((order, channel.directory, channel.last))
            return b""

    rehearse(lambda _: Counts(), tmp_path / "rehearsal")
    assert len(turns) > 8
    assert len(set(turns)) == 1


def test_want_of_room_is_said_and_costs_no_worker(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        rehearse(JobExecutor, tmp_path / "file" / "rehearsal")
    JobExecutor(JobStore("memory:", MemoryStorage())).rehearse(tmp_path / "file" / "rehearsal")
