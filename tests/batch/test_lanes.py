"""The decisions of the local batch system, driven through random histories without a process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from jobsys.batch.amount import Amount
from jobsys.batch.base import BatchJob
from jobsys.batch.local.lanes import Lanes
from jobsys.batch.local.shapes import AHEAD_JOBS, AHEAD_SECONDS
from jobsys.batch.machine import Machine
from jobsys.requirements import Requirements

GB = 10**9
MACHINE = Machine(cores=4, memory=8 * GB, disk=100 * GB, accelerators=("0", "1"))
requirements = st.builds(
    Requirements,
    cores=st.sampled_from([0.1, 0.5, 1, 2, 4]),
    memory=st.sampled_from([None, GB, 4 * GB, 8 * GB]),
    disk=st.sampled_from([None, 60 * GB]),
    accelerators=st.integers(0, 2),
)


class Histories(RuleBasedStateMachine):
    """Submit, run, recall, cancel and kill in any order."""

    ids = Bundle("ids")

    def __init__(self):
        super().__init__()
        self.lanes = Lanes(MACHINE, max_lanes=50)
        self.next_id = 0
        self.at = {}  # job -> number of the lane it is on
        self.open = set()
        self.done = []

    @rule(target=ids, wants=requirements, name=st.sampled_from("ab"), service=st.booleans())
    def submit(self, wants, name, service):
        self.next_id += 1
        self.lanes.add(BatchJob(self.next_id, name, wants, b"", service))
        self.open.add(self.next_id)
        return self.next_id

    @rule()
    def dispatch(self):
        for lane in self.lanes.dispatch(0.0):
            for work in lane.fresh:
                assert work.job.id in self.open
                assert not work.canceled
                assert work.job.id not in self.at, "sent twice"
                self.at[work.job.id] = lane.number
            lane.fresh.clear()

    @precondition(lambda self: self.at)
    @rule(data=st.data(), seconds=st.sampled_from([0.00001, 0.004, 1.0]))
    def finish(self, data, seconds):
        lane = self._lane(data)
        work = self.lanes.ended(lane, seconds)
        self._end(work)

    @precondition(lambda self: self.at)
    @rule(data=st.data())
    def recall(self, data):
        lane = self._lane(data)
        lane.stuck = True
        keep = data.draw(st.integers(1, len(lane.sent)))
        ids = [work.job.id for work in lane.sent][keep:]
        for id in ids:
            del self.at[id]
        for work in self.lanes.given_back(lane, ids):
            self.open.discard(work.job.id)
            self.done.append(work.job.id)

    @precondition(lambda self: self.at)
    @rule(data=st.data(), begun=st.booleans())
    def kill(self, data, begun):
        lane = self._lane(data)
        if begun:
            self._end(self.lanes.ended(lane, None))
        for work in lane.sent:
            del self.at[work.job.id]
        for work in self.lanes.close(lane):
            self.open.discard(work.job.id)
            self.done.append(work.job.id)

    @rule(id=consumes(ids))
    def cancel(self, id):
        work = self.lanes.cancel(id)
        assert (work is not None) == (id in self.open)
        assert self.lanes.cancel(id) is None
        if work is not None and work.lane is None:
            self.open.discard(id)
            self.done.append(id)

    @rule()
    def surplus(self):
        for lane in self.lanes.surplus(100.0, keep=1, seconds=60, most=3):
            assert lane.number not in self.lanes.busy

    def _lane(self, data):
        return self.lanes.busy[data.draw(st.sampled_from(sorted(set(self.at.values()))))]

    def _end(self, work):
        del self.at[work.job.id]
        self.open.remove(work.job.id)
        self.done.append(work.job.id)

    @invariant()
    def nothing_is_promised_twice(self):
        held = Amount(0, 0, 0, 0)
        devices: list[str] = []
        for lane in self.lanes.busy.values():
            assert lane.shape is not None
            held = held.plus(lane.shape.need)
            devices += lane.devices
            assert len(lane.devices) == lane.shape.need.accelerators
            assert len(lane.sent) <= AHEAD_JOBS
            assert len(lane.sent) <= 1 or (lane.expected <= AHEAD_SECONDS + 1e-9 and not lane.shape.alone)
        assert held.fits(self.lanes.capacity)
        assert held.plus(self.lanes.free) == self.lanes.capacity
        assert len(set(devices)) == len(devices)
        assert len(set(self.done)) == len(self.done)
        assert set(self.lanes.works()) == self.open

    def teardown(self):
        for _ in range(10 * self.next_id + 10):
            self.dispatch()
            if not self.open:
                break
            assert self.at, f"jobs {self.open} wait for ever on an idle machine"
            lane = self.lanes.busy[min(self.at.values())]
            self._end(self.lanes.ended(lane, 0.01))
        assert not self.open


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def fill(lanes):
    sent = []
    for lane in lanes.dispatch(0.0):
        sent += [(lane, work.job.id) for work in lane.fresh]
        lane.fresh.clear()
    return sent


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0001, 0.003, 0.5]))
def test_a_big_job_starts_as_soon_as_what_ran_before_it_is_over(seed, seconds):
    """However many small jobs come later, only those run before the big one that were sent before it came."""
    import random

    chance = random.Random(seed)
    lanes = Lanes(Machine(cores=4, memory=8 * GB, disk=0), max_lanes=50)
    small, big = Requirements(cores=1, memory=GB), Requirements(cores=3, memory=GB)
    for id in range(100, 1100):
        lanes.add(BatchJob(id, "small", small, b""))
    running = fill(lanes)
    for _ in range(50):  # by now small jobs are known, and sent ahead
        lane, _id = running[0]
        lanes.ended(lane, seconds)
        running = [(one, work.job.id) for one in lanes.busy.values() for work in one.sent]
        running += fill(lanes)
    before = list(lanes.works())
    lanes.add(BatchJob(1, "big", big, b""))
    late: set[int] = set()
    for step in range(10**6):
        if lanes.works() and 1 not in lanes.works():
            break
        lanes.add(BatchJob(10_000 + step, "small", small, b""))
        late.update(id for lane, id in fill(lanes) if id >= 10_000)
        lane = chance.choice(list(lanes.busy.values()))
        if lane.sent:
            assert lane.sent[0].job.id in before or lane.sent[0].job.id == 1 or lane.sent[0].job.id in late
            lanes.ended(lane, seconds)
    beside = list(late)
    assert 1 not in lanes.works()
    assert len({lane.number for lane in lanes.busy.values()}) <= 4
    assert step < 3000 + len(beside)


def test_first_come_first_served_among_shapes():
    lanes = Lanes(Machine(cores=2, memory=8 * GB, disk=0), max_lanes=50)
    shapes = [Requirements(cores=1, memory=GB + number) for number in range(3)]
    for id in range(300):
        lanes.add(BatchJob(id, "x", shapes[id % 3], b""))
    order = []
    while lanes.works():
        order += [id for _, id in fill(lanes)]
        lanes.ended(min(lanes.busy.values(), key=lambda lane: lane.sent[0].job.id), 1.0)
    assert sorted(order) == list(range(300))
    assert max(abs(place - id) for place, id in enumerate(order)) <= 6


@pytest.mark.parametrize(("seconds", "most"), [(0.000001, 256), (0.001, 21), (0.0099, 3), (0.03, 1), (10, 1)])
def test_the_window_follows_the_run_time(seconds, most):
    lanes = Lanes(Machine(cores=1, memory=8 * GB, disk=0), max_lanes=50)
    for id in range(2000):
        lanes.add(BatchJob(id, "x", Requirements(), b""))
    ((lane, _),) = fill(lanes)
    seen = set()
    for _ in range(300):
        lanes.ended(lane, seconds)
        fill(lanes)
        seen.add(len(lane.sent))
    assert max(seen) <= most
    assert max(seen) >= most - 2


def test_few_jobs_are_shared_among_the_lanes():
    lanes = Lanes(Machine(cores=2, memory=8 * GB, disk=0), max_lanes=50)
    for id in range(2):
        lanes.add(BatchJob(id, "x", Requirements(), b""))
    for lane, _ in fill(lanes):
        lanes.ended(lane, 0.001)
    for id in range(2, 22):
        lanes.add(BatchJob(id, "x", Requirements(), b""))
    fill(lanes)
    assert max(len(lane.sent) for lane in lanes.busy.values()) <= 11


def test_memory_of_a_job_that_names_none_is_its_share():
    lanes = Lanes(Machine(cores=4, memory=8 * GB, disk=0), max_lanes=50)
    lanes.add(BatchJob(1, "x", Requirements(cores=2), b""))
    fill(lanes)
    assert lanes.free.memory == 4 * GB


def test_thousands_of_shapes_do_not_slow_it_down():
    import time

    began = time.process_time()
    lanes = Lanes(Machine(cores=2, memory=8 * GB, disk=0), max_lanes=50)
    for id in range(20_000):
        lanes.add(BatchJob(id, "x", Requirements(cores=1, memory=GB + id), b""))
    count = 0
    while lanes.works():
        fill(lanes)
        for lane in list(lanes.busy.values()):
            lanes.ended(lane, 0.001)
            count += 1
    assert count == 20_000
    assert time.process_time() - began < 10
