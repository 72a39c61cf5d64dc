"""What a worker host says of a dead worker: the reason, the signal or status, the peak of its memory, the end of its log."""

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from jobsys import framing, processes, slots
from jobsys.framing import Death, FrameReader, unpack_death
from jobsys.slots import Slots
from jobsys.worker import host as host_module
from jobsys.worker.host import Host
from jobsys.worker.watch import Excess


def bury(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int, *, kills: int = 0, excess: Excess | None = None) -> Death:
    counts = iter([5, 5 + kills])
    monkeypatch.setattr(processes, "oom_kills", lambda: next(counts, 5 + kills))
    ours, theirs = socket.socketpair()
    shared = Slots.create(2)
    executor: Any = object()
    with ours, theirs:
        host = Host(theirs, shared, folder, executor, host_module.Kin(0, 0))
        directory = folder / "worker-1"
        directory.mkdir()
        (directory / "log").write_bytes(b"of the job before\nlast words\n")
        row = shared[1]
        row[slots.STATE], row[slots.JOB], row[slots.PEAK_JOB], row[slots.PEAK] = slots.RUNNING, 7, 7, 4096
        row[slots.LOG_START] = len(b"of the job before\n")
        host._bury([(host_module._Child(1, directory, excess), status)])
        assert not directory.exists()
        [(kind, slot, _, payload)] = FrameReader().feed(ours.recv(1 << 16))
    shared.close()
    assert (kind, slot) == (framing.DIED, 1)
    return unpack_death(payload)


def test_killed_by_the_kernel_for_want_of_memory(tmp_path, monkeypatch):
    death = bury(tmp_path, monkeypatch, -signal.SIGKILL, kills=1)
    assert (death.reason, death.exit_status, death.memory, death.log) == ("memory", -9, 4096, b"last words\n")
    assert "ran out of memory" in death.message


def test_killed_by_somebody(tmp_path, monkeypatch):
    death = bury(tmp_path, monkeypatch, -signal.SIGKILL)
    assert (death.reason, death.exit_status) == ("killed", -9)
    assert "SIGKILL" in death.message


def test_left_in_the_middle_of_a_job(tmp_path, monkeypatch):
    death = bury(tmp_path, monkeypatch, 3)
    assert (death.reason, death.exit_status) == ("failed", 3)
    assert "status 3" in death.message


def test_killed_by_the_host_itself(tmp_path, monkeypatch):
    death = bury(tmp_path, monkeypatch, -signal.SIGKILL, kills=1, excess=Excess(7, "time limit", "ran too long"))
    assert (death.reason, death.message) == ("time limit", "ran too long")
