"""One job store and runs on it that meet faults; what must hold after any of them."""

from __future__ import annotations

import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobsys
from faults import small  # type: ignore[import-not-found]
from faults.backends import BackEnd, Places  # type: ignore[import-not-found]
from jobsys.errors import JobsysError, NoSuchJobStoreError
from jobsys.events import Committed
from jobsys.jobstores import JobStore, locators
from jobsys.journal import pages, replay
from jobsys.leader.lease import HERE
from jobsys.storage.base import Storage
from jobsys.storage.faulty import Crash, Fault, FaultyStorage
from jobsys.storage.s3.options import Options

locate = locators.locate
OF_JOBS = ("files/", "values/", "graphs/", "commits/")


class Interrupting(FaultyStorage):
    """Ctrl-C for the second time in the middle of a call; the process goes on, and cleans up."""

    def _strike(self, faults: Any, when: str, operation: str, key: str) -> None:
        if any(fault.when == when for fault in faults) and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


class BreakingOff(FaultyStorage):
    """A server's storage at which a connection breaks: the one who asked gets no answer."""

    def _strike(self, faults: Any, when: str, operation: str, key: str) -> None:
        if any(fault.when == when for fault in faults):
            raise ConnectionResetError(f"planned, {when} {operation} {key}")


class Bench:
    """A job store that is not there yet, on a back end; every run opens it anew, as another process would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, back_end: BackEnd, places: Places, ran: Path) -> None:
        self.locator: str = back_end.place(places)
        self.store = locate(self.locator, durable=False)  # as it is, without faults
        self.faulty = FaultyStorage(self.store.storage)
        self.durability = back_end.durability
        self._ran = ran
        monkeypatch.setenv(small.RAN, str(ran))
        monkeypatch.setattr(locators, "locate", self._locate)
        monkeypatch.setattr("jobsys.leader.leader.TICK", 0.01)
        monkeypatch.setattr("jobsys.leader.leader.SNAPSHOT_EVERY", -16)  # two in a run of this size
        self.forget()

    def _locate(self, locator: str, durable: bool = True, key_file: str | None = None, s3: Options | None = None) -> JobStore:
        assert locator == self.locator
        if not self.faulty.calls:  # else somebody looks at the store once more at the end of a run
            getattr(self.faulty.inner, "close", lambda: None)()
            self.faulty.inner = locate(locator, durable, s3=s3).storage
        return JobStore(locator, self.faulty, key_file)

    def around(self, inner: Storage, faults: tuple[Fault, ...]) -> FaultyStorage:
        """Put faults around a storage."""
        interrupted = any(str(fault.effect) == "interrupt" for fault in faults)
        return (Interrupting if interrupted else FaultyStorage)(inner, faults)

    def run(self, *faults: Fault, **options: Any) -> Any:
        """Run the small workflow, or go on with it, inline unless another batch system is asked for."""
        self.faulty = self.around(self.faulty.inner, faults)
        asked = {"batch_system": "inline", "durability": self.durability, "progress": "off", "backoff": 0.0, "retries": 2} | options
        return jobsys.run(small.workflow(), self.locator, **asked)

    def resume(self, **options: Any) -> Any:
        """Go on, as a new process, after whatever was; begin where the store was never made."""
        HERE.held.clear()
        try:
            return self.run(restart=True, **options)
        except NoSuchJobStoreError:
            return self.run(**options)

    def end_of(self, *faults: Fault, **options: Any) -> str:
        """Run with faults; say how it ended. A value that is returned is right."""
        try:
            assert self.run(*faults, **options) == small.EXPECTED
        except Crash as end:
            return type(end).__name__
        except JobsysError as error:
            return type(error).__name__
        return "no matter"

    def ran(self) -> list[str]:
        """What ran, since it was asked to forget."""
        return self._ran.read_text().splitlines()

    def forget(self) -> None:
        self._ran.write_text("")

    def commits(self) -> list[int]:
        return [event.report.job for page in pages(self.store) for event in page.events if isinstance(event, Committed)]

    def objects(self) -> list[str]:
        """What jobs left in the store."""
        return [key for key in self.store.storage.list("") if key.startswith(OF_JOBS)]

    def close(self) -> None:
        """Give back what the store takes."""
        self.store.storage.destroy()
        for one in (self.store.storage, self.faulty.inner):
            getattr(one, "close", lambda: None)()


def check_resumed(bench: Bench, point: str, least: int, **options: Any) -> None:
    """Go on after a fault: the same value, nothing that was committed again, nothing lost of it, nothing left of others.

    Args:
        bench: where a run has ended, in whatever way.
        point: which fault it met.
        least: how many objects of jobs an undisturbed run leaves.
        options: for the run that goes on.
    """
    done = set(bench.commits())
    finished = replay(bench.store, look=True)[0].finished
    shown = bench.store.read_status()
    assert finished or shown is None or b'"state":"done"' not in shown, f"{point}: shown as done, and it is not"
    bench.forget()
    assert bench.resume(**options) == small.EXPECTED, point
    ran = bench.ran()
    assert not (finished and ran), f"{point}: {ran} ran again"
    commits = bench.commits()
    assert len(commits) == len(set(commits)), f"{point}: two commits of one job"
    assert done <= set(commits), f"{point}: a commit is gone"
    assert len(ran) <= 2 + len(set(commits) - done), f"{point}: {ran}, with {len(done)} done before"
    assert list(bench.store.commits()) == [], point
    assert len(bench.objects()) >= least, f"{point}: something that is needed was deleted"


def forked(run: Callable[[], int]) -> int:
    """Run in a process of its own, of which no exception comes back into this test; give its exit status, or 0 - signal."""
    child = os.fork()
    if not child:
        try:
            os._exit(run())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def told(what: str, ends: Counter[str]) -> str:
    """Say how many points were covered and how the runs ended there."""
    return f"{what}: {ends.total()} points {dict(ends)}"
