"""Each storage call of a run fails, or is its last, before it happens or with its answer lost: resumed, it ends as an undisturbed run."""

import contextlib
import itertools
import os
from collections import Counter
from functools import partial

import pytest

from faults.backends import BACK_ENDS, places  # type: ignore[import-not-found]
from faults.bench import Bench, BreakingOff, check_resumed, forked, told  # type: ignore[import-not-found]
from faults.small import EXPECTED  # type: ignore[import-not-found]
from jobsys.errors import CanceledError
from jobsys.leader.lease import HERE
from jobsys.leader.listener import Listener
from jobsys.storage.faulty import KILLED, Fault
from jobsys.storage.served import ServedStorage

WAYS = list(itertools.product(("error", "crash", "interrupt"), ("before", "after")))
FEWER_CALLS, NO_MATTER = 3, 4  # how a process ends that was not killed


@pytest.fixture
def ready(tmp_path, monkeypatch, request):
    """Places for stores."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nobody cuts the power here

    def in_bucket():
        return request.getfixturevalue("s3_place")(request.getfixturevalue("ceph"))

    with places(tmp_path, monkeypatch, in_bucket) as found:
        yield found


@pytest.fixture
def make(ready, tmp_path, monkeypatch):
    """Make benches on a back end, of which each clears up behind the one before."""
    with contextlib.ExitStack() as stack:

        def bench(back_end):
            stack.close()
            made = Bench(monkeypatch, BACK_ENDS[back_end], ready, tmp_path / "ran")
            stack.callback(made.close)
            return made

        yield bench


def left_undisturbed(make, back_end):
    """Tell how many objects of jobs an undisturbed run leaves."""
    bench = make(back_end)
    assert bench.run() == EXPECTED
    return len(bench.objects())


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "when"), WAYS)
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_every_storage_call(back_end, when, effect, make, tell):
    ends: Counter[str] = Counter()
    least = left_undisturbed(make, back_end)
    way = WAYS.index((effect, when))
    for point in filter(lambda point: BACK_ENDS[back_end].takes(way, point, named=(effect, when)), itertools.count(1)):
        bench = make(back_end)
        end = bench.end_of(Fault("any", point, when, effect))
        if bench.faulty.calls.total() < point:
            break
        ends[end] += 1
        check_resumed(bench, f"{effect} {when} call {point}", least)
    assert ends.total() * BACK_ENDS[back_end].stride > 45
    tell(told(f"{back_end}: {effect} {when} each storage call", ends))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_process_ends_at_every_storage_call(when, make, tell):
    ends: Counter[str] = Counter()
    least = left_undisturbed(make, "file")
    for point in itertools.count(1):
        bench = make("file")

        def lead(bench=bench, point=point):
            end = bench.end_of(Fault("any", point, when, "exit"))
            return FEWER_CALLS if bench.faulty.calls.total() < point else NO_MATTER if end == "no matter" else 1

        status = forked(lead)
        if status == FEWER_CALLS:
            break
        ends[{KILLED: "killed", NO_MATTER: "no matter"}[status]] += 1
        check_resumed(bench, f"exit {when} call {point}", least)
    assert ends.total() > 50
    tell(told(f"file: end of the process {when} each storage call", ends))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_that_is_lost_at_every_call_of_a_server_changes_nothing(when, make, ready, monkeypatch, tell):
    monkeypatch.setattr("jobsys.jobstores.served.ServedStorage", partial(ServedStorage, pauses=(0.001, 0.01, 0.1)))
    ends: Counter[str] = Counter()
    for point in itertools.count(1):
        storages: list[BreakingOff] = []

        def breaking(storage, point=point, storages=storages):
            storages.append(BreakingOff(storage, [Fault("any", point, when)]))
            return storages[0]

        ready.around = breaking
        bench = make("served over HTTP")
        end = bench.end_of()
        if storages[0].calls.total() < point:
            break
        assert end == "no matter", f"the answer to call {point} was lost"
        ends[end] += 1
        commits = bench.commits()
        assert len(commits) == len(set(commits)) > 10
    assert ends.total() > 40
    tell(told(f"served over HTTP: connection lost {when} each storage call of the server", ends))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("what", ["on_event", "on_status", "on_log"])
def test_a_listener_that_raises_costs_nothing_but_this_leader(what, error, make):
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
        bench, listener = make("memory"), Raising(nth)
        with contextlib.suppress(ValueError, CanceledError):
            bench.run(listeners=[listener])
        assert listener.closed
        assert bench.resume() == EXPECTED
        commits = bench.commits()
        assert len(commits) == len(set(commits))
        if listener.left > 0:
            break
