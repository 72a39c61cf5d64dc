"""Each storage call of a run fails, or is its last, before it happens or with its answer lost: resumed, it ends as an undisturbed run."""

import contextlib
import threading
from collections import Counter

import pytest

import jobsys
from jobsys.errors import CanceledError, JobsysError, NoSuchJobStoreError
from jobsys.events import Committed
from jobsys.job import Service
from jobsys.jobstores import JobStore
from jobsys.journal import pages, replay
from jobsys.leader.lease import HERE
from jobsys.leader.listener import Listener
from jobsys.storage.faulty import Crash, Fault, FaultyStorage
from jobsys.storage.memory import MemoryStorage

LARGE = 300_000  # bytes: into an object of its own
ran: list[str] = []


@jobsys.job
def write(name):
    ran.append(name)
    return jobsys.current().write_file(__file__, name=name), name * LARGE


@jobsys.job
def measure(pair):
    file, text = pair
    ran.append(f"measure {file.name}")
    with jobsys.current().read_stream(file) as stream:
        return len(stream.read()) > 1000, len(text)


@jobsys.job
def drop(pair):
    ran.append(f"drop {pair[0].name}")
    jobsys.current().delete_file(pair[0])


@jobsys.job
def stumble(value):
    ran.append("stumble")
    if jobsys.current().attempt == 1:
        jobsys.current().write_file(__file__, name="left")
        raise ValueError("the first time")
    return value


class Address(Service):
    def start(self, context):
        return "address " * 50_000

    def stop(self, context):
        pass


@jobsys.job
def client(address):
    ran.append("client")
    return address.split()[0]


@jobsys.job
def fan(names):
    ran.append("fan")
    pairs = [write(name) for name in names]
    measured = [measure(pair) for pair in pairs]
    for pair in pairs:
        drop(pair, after=measured)
    return measured


EXPECTED = [[(True, LARGE), (True, LARGE)], "well", "address"]


def workflow():
    beside = jobsys.FunctionJob(list)
    address = beside.add_service(Address())
    beside.add_child(served := jobsys.FunctionJob(client, (address,)))
    return [fan(["a", "b"]), stumble("well"), served.rv()]


class Interrupting(FaultyStorage):
    """Ctrl-C for the second time in the middle of a call; the process goes on, and cleans up."""

    def _strike(self, faults, when, operation, key):
        if any(fault.when == when for fault in faults) and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


class Bench:
    """One storage, and runs on it that meet faults."""

    def __init__(self, monkeypatch):
        self.storage = MemoryStorage()
        self.faulty = FaultyStorage(self.storage)
        monkeypatch.setattr("jobsys.jobstores.memory.storage", lambda name: self.faulty)
        monkeypatch.setattr("jobsys.leader.leader.TICK", 0.01)

    @property
    def store(self):
        return JobStore("memory:x", self.storage)

    def run(self, *faults, **options):
        interrupted = [fault for fault in faults if fault.effect == "interrupt"]
        self.faulty = Interrupting(self.storage, faults) if interrupted else FaultyStorage(self.storage, faults)
        return jobsys.run(workflow(), "memory:x", batch_system="inline", progress="off", backoff=0.0, retries=2, **options)

    def commits(self):
        return [event for page in pages(self.store) for event in page.events if isinstance(event, Committed)]

    def resume(self):
        try:
            return self.run(restart=True)
        except NoSuchJobStoreError:
            return self.run()


@pytest.mark.parametrize("effect", ["error", "crash", "interrupt"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_every_storage_call(when, effect, monkeypatch, record_property, capsys):
    undisturbed = Bench(monkeypatch)
    assert undisturbed.run() == EXPECTED
    left = len([key for key in undisturbed.storage.list("") if key.startswith(("files/", "values/", "commits/"))])
    points = undisturbed.faulty.calls.total()
    ends: Counter[str] = Counter()
    for point in range(1, points + 1):
        ran.clear()
        bench = Bench(monkeypatch)
        try:
            assert bench.run(Fault("any", point, when, effect)) == EXPECTED
            ends["no matter"] += 1
        except Crash as end:
            ends[type(end).__name__] += 1
        except JobsysError as error:
            ends[type(error).__name__] += 1
        if effect == "crash":
            HERE.held.clear()  # as in a new process
        done = {event.report.job for event in bench.commits()}
        finished = replay(bench.store)[0].finished
        shown = bench.store.read_status()
        assert finished or shown is None or b'"state":"done"' not in shown, f"point {point}: shown as done, and it is not"
        ran.clear()
        assert bench.resume() == EXPECTED, f"point {point}"
        assert not (finished and ran), f"point {point}: {ran} ran again"
        commits = [event.report.job for event in bench.commits()]
        assert len(commits) == len(set(commits)), f"point {point}: two commits of one job"
        assert done <= set(commits)
        assert len(ran) <= 2 + len(set(commits) - done), f"point {point}: {ran}, with {len(done)} done before"
        assert list(bench.store.commits()) == []
        found = [key for key in bench.storage.list("") if key.startswith(("files/", "values/", "commits/"))]
        assert len(found) >= left, f"point {point}: something that is needed was deleted"
    assert points > 50
    with capsys.disabled():
        print(f"\n{points} storage calls failed {when} ({effect}): {dict(ends)}")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("what", ["on_event", "on_status", "on_log"])
def test_a_listener_that_raises_costs_nothing_but_this_leader(what, error, monkeypatch):
    class Raising(Listener):
        def __init__(self, nth):
            self.left = nth
            self.closed = False

        def close(self):
            self.closed = True

    def strike(self, *_):
        self.left -= 1
        if self.left == 0:
            raise error("on purpose")

    setattr(Raising, what, strike)
    for nth in range(1, 100):
        HERE.held.clear()
        bench, listener = Bench(monkeypatch), Raising(nth)
        with contextlib.suppress(ValueError, CanceledError):
            bench.run(listeners=[listener])
        assert listener.closed
        assert bench.resume() == EXPECTED
        commits = [event.report.job for event in bench.commits()]
        assert len(commits) == len(set(commits))
        if listener.left > 0:
            break
