"""contrib/bench/anatomy.py: what it makes of a trace, and of sampled stacks."""

import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "contrib" / "bench"


@pytest.fixture
def anatomy(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)
    yield __import__("anatomy")
    for name in set(sys.modules) - before:
        del sys.modules[name]


FEW = """\
10 execve("python", ["python", "script.py"], 0x7ffd /* 20 vars */) = 0
10 openat(AT_FDCWD, "x", O_RDONLY) = 3
10 vfork( <unfinished ...>
11 execve("python", ["python", "-m", "jobsys.worker"], 0x7ffd /* 20 vars */) = 0
10 <... vfork resumed>) = 11
12 getpid() = 12
11 clone(child_stack=NULL, flags=SIGCHLD) = 12
12 pread64(3, "x", 1, 0 <unfinished ...>
12 <... pread64 resumed>) = 1
12 clone3({flags=CLONE_VM|CLONE_THREAD}) = 13
13 pread64(3, "x", 1, 0) = 1
10 fsync(3) = 0
+++ exited with 0 +++
"""


def test_calls_are_counted_by_kind_of_process(anatomy: Any) -> None:
    few = anatomy.read_trace(FEW.splitlines())
    assert few.by_role() == {
        "leader": {"execve": 1, "openat": 1, "vfork": 1, "fsync": 1},
        "host": {"execve": 1, "clone": 1},
        "worker": {"getpid": 1, "pread64": 2, "clone3": 1},
    }
    many = anatomy.read_trace([*FEW.splitlines(), *["12 pread64(3) = 1"] * 30, *["10 fsync(3) = 0"] * 5])
    found = anatomy.calls_a_job(few, many, 10)
    assert found["worker"]["pread64"] == 3.0
    assert found["leader"]["fsync"] == 0.5
    assert found["leader"]["openat"] == found["host"]["execve"] == 0.0


def test_a_sample_counts_where_its_innermost_known_frame_says(anatomy: Any) -> None:
    stacks = [
        "<module> (script.py:1);run (jobsys/leader/leader.py:90);_flush (jobsys/leader/leader.py:300);flush (jobsys/journal.py:170);"
        "put (jobsys/storage/local.py:57);fsync 7",
        "<module> (script.py:1);run (jobsys/leader/leader.py:90);_flush (jobsys/leader/leader.py:300);flush (jobsys/journal.py:170) 3",
        "<module> (script.py:1);<module> (jobsys/__init__.py:3) 2",
        "not a stack",
    ]
    found = anatomy.shares(stacks)
    assert found == {"journal: sync": 7, "journal: encode, hash, sign": 3, "start, end, imports": 2}


def test_a_program_that_is_not_there_is_named(anatomy: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["anatomy.py", "time", "--py-spy", "no-such-program"])
    assert anatomy.main() == 1
    assert "there is no no-such-program here: install it with: pip install py-spy" in capsys.readouterr().err
