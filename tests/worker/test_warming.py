"""What a host does for nobody before it forks often."""

import os
from pathlib import Path
from typing import Any

import pytest

from jobsys.worker import loop
from jobsys.worker.warming import warm_up


def test_it_goes_the_whole_way_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[bool] = []
    send = loop.Worker._send

    def noted(worker: loop.Worker, *frame: Any) -> None:
        served.append(worker.last)
        send(worker, *frame)

    monkeypatch.setattr(loop.Worker, "_send", noted)
    before = os.listdir("/proc/self/fd")
    warm_up(tmp_path / "rehearsal")
    assert len(served) > 8
    assert all(served)
    assert os.listdir("/proc/self/fd") == before
    assert os.listdir(tmp_path) == []


def test_processes_below_this_one_are_left_alone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(writing)
        os._exit(len(os.read(reading, 1)))  # ends when it is let go
    os.close(reading)
    warm_up(tmp_path / "rehearsal")
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.close(writing)
    assert os.waitpid(child, 0) == (child, 0)


def test_want_of_room_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="directory"):
        warm_up(tmp_path / "file" / "rehearsal")
