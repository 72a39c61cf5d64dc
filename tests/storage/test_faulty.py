import os
from typing import Literal

import pytest

from jobsys.errors import StorageError
from jobsys.storage.faulty import KILLED, Crash, Fault, FaultyStorage
from jobsys.storage.memory import MemoryStorage


def test_an_empty_plan_only_counts() -> None:
    storage = FaultyStorage(MemoryStorage())
    storage.put("a", b"1")
    storage.put("b", b"1")
    storage.get("a")
    assert list(storage.list("")) == ["a", "b"]
    assert storage.calls == {"put": 2, "get": 1, "list": 1}


def test_the_nth_call_fails_before_or_after() -> None:
    storage = FaultyStorage(MemoryStorage(), [Fault("put", 2), Fault("put", 3, "after"), Fault("get", 2, times=2)])
    assert storage.put("a", b"1")
    for key in ("b", "c"):
        with pytest.raises(StorageError, match=f"planned failure .* put {key}"):
            storage.put(key, b"1")
    assert list(storage.inner.list("")) == ["a", "c"]
    assert storage.get("a")
    for _ in range(2):
        with pytest.raises(StorageError):
            storage.get("a")
    assert storage.get("a")


def test_any_counts_over_all_operations() -> None:
    storage = FaultyStorage(MemoryStorage(), [Fault("any", 3)])
    storage.put("a", b"1")
    storage.stat("a")
    with pytest.raises(StorageError):
        storage.get("a")
    storage.get("a")


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_after_a_crash_nothing_happens_any_more(when: Literal["before", "after"], there: bool) -> None:
    storage = FaultyStorage(MemoryStorage(), [Fault("writer", 1, when, "crash")])
    with pytest.raises(Crash), storage.writer("a") as stream:
        stream.write(b"x")
    for call in (lambda: storage.put("b", b""), lambda: storage.delete(["a"]), lambda: next(storage.list("")), storage.destroy):
        with pytest.raises(Crash, match="after the crash"):
            call()
    assert list(storage.inner.list("")) == ["a"] * there


def test_nothing_catches_a_crash() -> None:
    assert not issubclass(Crash, Exception)


def test_exit_ends_the_process_at_once(tmp_path) -> None:
    storage = FaultyStorage(MemoryStorage(), [Fault("put", 1, effect="exit")])
    child = os.fork()
    if not child:
        try:
            storage.put("a", b"")
        finally:
            (tmp_path / "cleaned").touch()
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    assert not (tmp_path / "cleaned").exists()
