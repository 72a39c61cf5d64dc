"""The power is cut at every point of a run on files: whatever the disk may hold then, nothing that was acknowledged is missing.

JOBSYS_EVERY_POINT=1 goes on from every state that was found, and not only from a choice of them.
"""

import itertools
from collections import Counter
from random import Random

import pytest

from faults.backends import EVERY_POINT, BackEnd, places  # type: ignore[import-not-found]
from faults.bench import Bench, check_resumed, told  # type: ignore[import-not-found]
from faults.ledger import Ledger, NotedStorage, objects  # type: ignore[import-not-found]
from faults.small import EXPECTED  # type: ignore[import-not-found]
from faults.system import Plan, System  # type: ignore[import-not-found]
from jobsys.jobstores import JobStore
from jobsys.journal import replay
from jobsys.storage.folders import TEMPORARY
from jobsys.storage.memory import MemoryStorage
from simulation.disk import Disk, materialize  # type: ignore[import-not-found]

STORE = "new/folder/store"  # below the root of the disk: the run makes all three
EXTREMES = [(0, 0), (1, 0), (1, 1)]  # nothing unsynced survives; names do, but not bytes; everything does
RESUMED = 10**9 if EVERY_POINT else 300


class Found:
    """Looks at a disk again and again: checks every state that a power cut may leave, and keeps those that differ."""

    def __init__(self, disk, ledger, seed, extremes=EXTREMES, others=12):
        self.disk = disk
        self.ledger = ledger
        self.random = Random(seed)
        self.extremes = extremes
        self.others = others
        self.looks = self.count = 0
        self.broken = []
        self.states = {}

    def __call__(self):
        self.looks += 1
        for names, data in [*self.extremes, *((self.random.random(), self.random.random()) for _ in range(self.others))]:
            self.count += 1
            tree = self.disk.after_power_cut(self.random, names, data)
            try:
                self.ledger.check(tree, STORE)
            except AssertionError as error:  # the run must not take it for a failure of its own
                self.broken.append(f"look {self.looks}, names {names}, data {data}: {error}")
            self.states.setdefault(outline(tree), tree)


def outline(tree):
    """Tell states apart by what a run may read."""
    small_talk = (f"{STORE}/status.json", f"{STORE}/heartbeat/")
    read = {path: leaf and hash(leaf.data) for path, leaf in tree.items() if f"{TEMPORARY}/" not in path}
    return frozenset((path, "" if path.startswith(small_talk) else what) for path, what in read.items())


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make benches on a disk below a new directory; with a ledger, what is promised is noted there."""
    numbers = itertools.count()
    with places(tmp_path, monkeypatch) as ready:

        def bench(ledger=None, tree=None):
            root = tmp_path / f"disk-{next(numbers)}"
            root.mkdir()
            materialize(tree or {}, root)
            durability = "kill" if ledger is None else "power-cut"
            made = Bench(monkeypatch, BackEnd(lambda _: f"file:{root}/{STORE}", durability), ready, tmp_path / "ran")
            if ledger is not None:
                made.around = lambda inner, _: NotedStorage(inner, ledger)
            return made, str(root)

        yield bench


def record(root, disk, ledger, see, go, plan=None, changes=True):
    """Run on a disk that is looked at after each acknowledgement, and after each change of it."""
    system = System(plan, disk, root, see)
    system.see_changes = changes
    ledger.see = system.look
    with system.installed():
        return go()


def check_finished(tree):
    """Read the journal that a disk holds: it is whole, and the run is finished."""
    storage = MemoryStorage()
    for key, data in objects(tree, STORE).items():
        if key.startswith("journal/"):
            storage.put(key, data)
    assert replay(JobStore("memory:", storage), look=True)[0].finished, "the value was handed out, and the run is not finished"


@pytest.mark.slow
def test_a_power_cut_at_every_point(make, tell):
    disk, ledger = Disk(), Ledger()
    found = Found(disk, ledger, seed=1)
    bench, root = make(ledger)
    assert record(root, disk, ledger, found, bench.run) == EXPECTED
    found()
    assert not found.broken
    check_finished(disk.after_power_cut(Random(1), 0, 0))
    least = len(bench.objects())
    bench.close()
    trees = list(found.states.values())
    chosen = Random(1).sample(trees, RESUMED) if len(trees) > RESUMED else trees
    for number, tree in enumerate(chosen):
        bench, _ = make(tree=tree)
        check_resumed(bench, f"state {number}", least)
        bench.close()
    again = 0
    for number, tree in enumerate(chosen[:: len(chosen) // 15]):
        again += check_cut_again(make, tree, number)
    tell(f"power cuts: {found.looks} points, {found.count} states, {len(trees)} distinct; {len(chosen)} resumed")
    tell(f"power cuts of runs resumed after a power cut: {again} states")


def check_cut_again(make, tree, number):
    """Go on from a state, and cut the power again at every point; tell how many states that made."""
    disk, ledger = Disk(tree), Ledger()
    for key, data in objects(tree, STORE).items():
        ledger.begins(key, data)
    found = Found(disk, ledger, number, others=2)
    bench, root = make(ledger, tree)
    assert record(root, disk, ledger, found, bench.resume) == EXPECTED
    assert not found.broken, f"state {number}"
    check_finished(disk.after_power_cut(Random(number), 0, 0))
    bench.close()
    return found.count


@pytest.mark.slow
def test_a_power_cut_after_a_killed_run_was_resumed(make, tell):
    looks = count = 0
    for point in itertools.count(1):
        disk, ledger, plan = Disk(), Ledger(), Plan(point, "crash after")
        found = Found(disk, ledger, point, extremes=[(0, 0)], others=0)
        bench, root = make(ledger)
        record(root, disk, ledger, None, bench.end_of, plan)
        if not plan.struck:
            break
        assert record(root, disk, ledger, found, bench.resume, changes=False) == EXPECTED
        found()
        assert not found.broken, f"killed after call {point}, {plan.struck}"
        for names, data in EXTREMES:
            check_finished(disk.after_power_cut(Random(point), names, data))
        bench.close()
        looks, count = looks + found.looks, count + found.count + len(EXTREMES)
    tell(f"power cuts of resumed runs: {point - 1} kills, {looks} points, {count} states")


@pytest.mark.slow
def test_a_sync_that_fails_acknowledges_nothing(make, tell):
    ends: Counter[str] = Counter()
    for point in itertools.count(1):
        disk, ledger, plan = Disk(), Ledger(), Plan(point, "no sync")
        found = Found(disk, ledger, point, extremes=[(0, 0), (1, 0)], others=0)
        bench, root = make(ledger)
        end = record(root, disk, ledger, found, bench.end_of, plan)
        if not plan.struck:
            break
        ends[end] += 1
        assert not found.broken, f"sync {point} failed"
        if end == "no matter":
            check_finished(disk.after_power_cut(Random(point), 0, 0))
        bench.close()
    assert ends.total() > 40
    tell(told("file: a sync that fails, and then a power cut", ends))
