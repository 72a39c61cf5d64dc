"""Which job goes to which host, without hosts: by example, and through random histories."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from jobsys.batch.base import BatchJob
from jobsys.batch.machine import Machine
from jobsys.batch.ssh.placing import Placing
from jobsys.requirements import Requirements

GB = 10**9
SMALL = Machine(cores=2, memory=8 * GB, disk=100 * GB)
BIG = Machine(cores=16, memory=64 * GB, disk=100 * GB, accelerators=("0",))
ONE = Requirements(cores=1, memory=GB)


def job(id, requirements=ONE, *, service=False):
    return BatchJob(id, "job", requirements, b"", service)


def placing(**machines):
    made = Placing()
    for index, (name, machine) in enumerate(machines.items()):
        made.add_host(name, machine, index)
    return made


def ids(sent):
    return {name: [job.id for job in jobs] for name, jobs in sent.items()}


def end(place, *ended):
    for id in ended:
        place.ended(place.find(id))


def test_a_job_goes_to_the_least_loaded_host_and_of_equal_ones_to_the_first():
    place = placing(a=SMALL, b=SMALL)
    for id in range(5):
        place.add(job(id))
        place.dispatch(0.0)
    assert ids_at(place) == {"a": [0, 2, 4], "b": [1, 3]}
    end(place, 0, 2)
    place.add(job(5))
    assert ids(place.dispatch(0.0)) == {"a": [5]}


def ids_at(place):
    return {name: list(host.jobs) for name, host in place.hosts.items()}


def test_a_large_host_gets_its_larger_share():
    place = placing(small=SMALL, big=BIG)
    for id in range(18):
        place.add(job(id))
    sent = place.dispatch(0.0)
    assert Counter({name: len(jobs) for name, jobs in sent.items()}) == {"small": 2, "big": 16}


def test_a_host_is_given_as_much_again_as_it_can_run_and_the_rest_waits_in_order():
    place = placing(a=SMALL)
    for id in range(100):
        place.add(job(id))
    assert ids(place.dispatch(0.0)) == {"a": [0, 1, 2, 3, 4, 5]}
    assert place.dispatch(0.0) == {}
    end(place, 0, 1)
    assert ids(place.dispatch(0.1)) == {"a": [6, 7]}


def test_a_host_that_is_full_by_memory_counts_as_full():
    place = placing(a=BIG)
    for id in range(100):
        place.add(job(id, Requirements(cores=1, memory=32 * GB)))
    assert len(place.dispatch(0.0)["a"]) == 5


def test_the_faster_jobs_end_the_more_of_them_are_sent_ahead():
    place = placing(a=SMALL)
    for id in range(10_000):
        place.add(job(id))
    now = 0.0
    for _ in range(30):
        place.dispatch(now)
        now += 0.05
        end(place, *ids_at(place)["a"][:50])
    assert 150 < len(ids_at(place)["a"]) < 300, "a quarter of a second's work"
    while len(ids_at(place)["a"]) > 7:
        now += 10.0
        end(place, *ids_at(place)["a"][:1])
        place.dispatch(now)
    assert place.wanted() == {ONE}, "the rest waits here"


def test_only_a_host_that_can_run_it_gets_a_job_and_others_do_not_wait_for_that():
    place = placing(small=SMALL, big=BIG)
    device = Requirements(cores=16, memory=GB, accelerators=1)
    for id in range(10):
        place.add(job(id, device))
    place.add(job(10))
    sent = ids(place.dispatch(0.0))
    assert sent["small"] == [10]
    assert sent["big"] == [0, 1, 2]


def test_a_job_that_no_host_can_run_waits_and_can_be_dropped():
    place = placing(small=SMALL)
    for id in range(3):
        place.add(job(id, Requirements(cores=4)))
    place.cancel(1)
    assert place.dispatch(0.0) == {}
    assert place.wanted() == {Requirements(cores=4)}
    assert [dropped.id for dropped in place.drop(Requirements(cores=4))] == [0, 2]
    assert place.wanted() == set()
    assert place.find(0) is None
    place.add(job(4, Requirements(cores=4)))
    place.add_host("big", BIG, 1)
    assert ids(place.dispatch(0.0)) == {"big": [4]}


def test_a_service_is_sent_however_full_the_host_is():
    place = placing(a=SMALL)
    for id in range(100):
        place.add(job(id))
    place.dispatch(0.0)
    place.add(job(200, service=True))
    assert ids(place.dispatch(0.0)) == {"a": [200]}


def test_nothing_is_queued_behind_services_that_hold_a_host():
    place = placing(a=SMALL, b=SMALL)
    for id in range(3):
        place.add(job(id, service=True))
    place.dispatch(0.0)
    place.add(job(3, Requirements(cores=2, memory=GB)))  # a has two services, b one
    place.add(job(4))
    place.add(job(5, Requirements(cores=2, memory=GB), service=True))
    assert ids(place.dispatch(0.0)) == {"b": [4]}
    end(place, 1)
    assert ids(place.dispatch(0.0)) == {"b": [5]}
    assert place.find(3).host is None


def test_a_lost_host_gives_its_jobs_back_and_leaves_no_trace():
    place = placing(a=SMALL, b=SMALL)
    for id in range(4):
        place.add(job(id))
    place.dispatch(0.0)
    assert [placed.job.id for placed in place.remove_host("a")] == [0, 2]
    assert place.remove_host("a") == []
    assert place.find(0) is None
    place.add(job(0))
    place.add_host("a", SMALL, 0)
    assert ids(place.dispatch(0.0)) == {"a": [0]}


@pytest.mark.parametrize("dispatched", [True, False])
def test_a_job_is_canceled_once(dispatched):
    place = placing(a=SMALL)
    place.add(job(1))
    if dispatched:
        place.dispatch(0.0)
    canceled = place.cancel(1)
    assert (canceled.host is not None) == dispatched
    assert place.cancel(1) is None
    assert place.cancel(2) is None
    assert place.dispatch(0.0) == {}


def test_what_waits_on_a_full_host_is_asked_back_for_one_that_idles():
    place = placing(a=SMALL)
    place.add(job(0, service=True))
    for id in range(1, 6):
        place.add(job(id))
    place.dispatch(0.0)
    assert place.misplaced({}) == {}
    place.add_host("b", SMALL, 1)
    assert place.misplaced({}) == {"a": [5, 4]}
    assert place.misplaced({}) == {}, "asked for twice"
    place.returned(place.find(4))
    place.returned(place.find(5))
    assert ids(place.dispatch(0.0)) == {"b": [4, 5]}
    assert place.misplaced({}) == {}


def test_what_runs_is_not_asked_back():
    place = placing(a=SMALL)
    for id in range(6):
        place.add(job(id))
    place.dispatch(0.0)
    place.add_host("b", SMALL, 1)
    assert place.misplaced({5}) == {"a": [4, 3]}
    assert place.misplaced({5, 4}) == {"a": [2]}, "one that was asked for had begun"


def test_what_an_idle_host_cannot_run_stays_where_it_is():
    place = placing(big=BIG)
    for id in range(3):
        place.add(job(id, Requirements(cores=16, memory=GB)))
    place.dispatch(0.0)
    place.add_host("small", SMALL, 1)
    assert place.misplaced({}) == {}


def test_jobs_that_come_back_wait_in_the_order_of_their_submission():
    place = placing(a=SMALL)
    for id in range(8):
        place.add(job(id))
    place.dispatch(0.0)
    for id in (4, 3, 5):
        place.returned(place.find(id))
    assert ids(place.dispatch(0.0)) == {"a": [3, 4, 5]}
    assert place.find(6).host is None


requirements = st.builds(
    Requirements,
    cores=st.sampled_from([0.1, 0.5, 1, 2, 4, 16]),
    memory=st.sampled_from([None, GB, 8 * GB, 32 * GB]),
    disk=st.sampled_from([None, 60 * GB]),
    accelerators=st.integers(0, 1),
)


class Histories(RuleBasedStateMachine):
    """Submit, end, cancel, and hosts that come and go, in any order."""

    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.place: Any = Placing()
        self.now = 0.0
        self.next_id = 0
        self.waiting: dict[int, BatchJob] = {}
        self.sent: dict[int, str] = {}

    @rule(target=jobs, wants=requirements, service=st.booleans())
    def submit(self, wants, service):
        self.next_id += 1
        self.waiting[self.next_id] = job(self.next_id, wants, service=service)
        self.place.add(self.waiting[self.next_id])
        return self.next_id

    @rule(machine=st.sampled_from([SMALL, BIG]), name=st.sampled_from("abc"))
    def host_comes(self, machine, name):
        if name not in self.place.hosts:
            self.place.add_host(name, machine, ord(name))

    @precondition(lambda self: self.place.hosts)
    @rule(data=st.data())
    def host_goes(self, data):
        name = data.draw(st.sampled_from(sorted(self.place.hosts)))
        gone = {placed.job.id for placed in self.place.remove_host(name)}
        assert gone == {id for id, at in self.sent.items() if at == name}
        for id in gone:
            del self.sent[id]

    @rule(passed=st.sampled_from([0.0, 0.01, 1.0]))
    def dispatch(self, passed):
        self.now += passed
        for name, jobs in self.place.dispatch(self.now).items():
            host = self.place.hosts[name]
            for sent in jobs:
                assert host.can_ever(sent.requirements)
                assert self.waiting.pop(sent.id) is sent, "sent twice, or never submitted"
                self.sent[sent.id] = name
            for kind in {(sent.requirements, sent.service) for sent in jobs}:
                same = [sent.id for sent in jobs if (sent.requirements, sent.service) == kind]
                assert same == sorted(same), "out of order"
        for id, left in self.waiting.items():
            for host in self.place.hosts.values():
                fits = host.need(left.requirements).fits(host.free)
                assert not fits or (not left.service and not host.has_room()), f"job {id} waits though {host.name} has room"

    @rule(data=st.data())
    def balance(self, data):
        for name, asked in self.place.misplaced({}).items():
            assert all(self.sent[id] == name for id in asked)
            for id in data.draw(st.lists(st.sampled_from(asked), unique=True)):
                placed = self.place.find(id)
                assert not placed.canceled
                assert not placed.job.service
                self.place.returned(placed)
                del self.sent[id]
                self.waiting[id] = placed.job

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def end(self, data):
        id = data.draw(st.sampled_from(sorted(self.sent)))
        self.place.ended(self.place.find(id))
        del self.sent[id]

    @rule(id=consumes(jobs))
    def cancel(self, id):
        placed = self.place.cancel(id)
        if id in self.waiting:
            assert placed.host is None
            del self.waiting[id]
        elif id in self.sent:
            assert placed.host.name == self.sent[id]
        else:
            assert placed is None

    @invariant()
    def the_books_are_right(self):
        for host in self.place.hosts.values():
            assert list(host.jobs) == [id for id in host.jobs if self.sent.get(id) == host.name]
            shares = [host.share(host.need(placed.job.requirements)) for placed in host.jobs.values()]
            assert host.load == pytest.approx(sum(shares))
            assert min(host.free) >= 0
        for id in self.waiting:
            assert self.place.find(id).host is None


TestHistories = Histories.TestCase
