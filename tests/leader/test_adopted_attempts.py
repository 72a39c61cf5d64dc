"""Which attempts of an earlier leader go on, and what becomes of them where another leader has come."""

import msgspec

from jobsys.batch.base import BatchJob
from jobsys.events import Policy
from jobsys.jobstores import Lease
from jobsys.journal import replay, take_over
from jobsys.leader import Leader
from jobsys.message import encode_order
from scripted import ScriptedBatch, lead  # type: ignore[import-not-found]


class Left(ScriptedBatch):  # type: ignore[misc]
    """Has jobs of an earlier leader."""

    def __init__(self, left):
        super().__init__(lambda *_: [])
        self.left = left
        self.canceled = []
        self.went = []

    def adopt(self):
        return self.left

    def cancel(self, ids):
        self.canceled += ids

    def shutdown(self, *, leave=False):
        self.went.append("leave" if leave else "shutdown")


def follow(store, batch):
    progress, last = replay(store)
    lease = Lease(2, "owner2", "host", 1, 0.0, 0.0)
    leader = Leader(store, lease, take_over(store, lease, Policy(), progress, last), batch)
    leader.start()
    return leader


def test_of_two_attempts_the_one_that_was_not_given_back_goes_on(store):
    first, batch = lead(store, lambda *_: [])
    first._submit()
    (order,) = batch.orders
    later = msgspec.structs.replace(order, token=order.token.rpartition(".")[0] + ".1f")
    made = [BatchJob(id, each.name, each.requirements, encode_order(each)) for id, each in ((-1, order), (-2, later))]
    left = Left(made)
    leader = follow(store, left)
    assert left.canceled == [-1]
    assert leader._attempts.id_of(order.job) == -2


def test_a_leader_that_was_replaced_leaves_what_the_next_one_has_adopted(store):
    leader, _ = lead(store, lambda *_: [])
    leader._batch = left = Left([])
    store.take_lease(Lease(2, "owner2", "host", 1, 0.0, 0.0))
    leader.close()
    assert (left.went, left.stopped) == (["leave"], False)
