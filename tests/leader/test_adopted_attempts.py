"""Which attempts of an earlier leader go on, and what becomes of them where another leader has come."""

import msgspec

from jobsys.batch.base import BatchJob, BatchState, BatchUpdate
from jobsys.events import Committed, Policy
from jobsys.jobstores import Lease
from jobsys.journal import pages, replay, take_over
from jobsys.leader import Leader
from jobsys.message import AGAIN, Said, encode_message, encode_order
from jobsys.record import Blob, JobRecord
from scripted import ScriptedBatch, done, lead  # type: ignore[import-not-found]


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


def client_and_service(store, react):
    """Lead until a service is up beside its client and the client's child is out."""
    service = JobRecord("service", Blob(0, 0, 1), child_of=(), service_of=0)
    child = JobRecord("child", Blob(0, 0, 1), child_of=(0,), refs=(1,))
    leader, batch = lead(store, react, [JobRecord("client", Blob(0, 0, 1)), service, child])
    for _ in range(9):
        leader._submit()
        for update in batch.updates(0):
            leader._take(update)
        leader._flush()
    return leader, {order.name: order for order in batch.orders}


def up(job, order):
    said = Said(order.job, order.attempt, service_value=Blob.of(b"addr"))
    return BatchUpdate(job.id, BatchState.MESSAGE, encode_message(said, b"addr"))


def react(job, order):
    return {"client": [done(job, order)], "service": [up(job, order)], "child": []}[order.name]


def left_of(orders):
    return [BatchJob(id, name, orders[name].requirements, encode_order(orders[name])) for id, name in ((-1, "service"), (-2, "child"))]


def test_a_service_that_goes_on_is_asked_whether_it_is_up(store):
    _, orders = client_and_service(store, react)
    jobs = left_of(orders)
    leader = follow(store, left := Left(jobs))
    assert left.told == [(-1, AGAIN)]
    left.news.append(up(jobs[0], orders["service"]))
    for update in left.updates(0):
        leader._take(update)
    leader._flush()
    assert orders["service"].job in leader.progress.up
    leader._submit()
    assert left.orders == []


def test_what_comes_back_unbegun_while_its_service_is_down_waits_for_that(store):
    _, orders = client_and_service(store, react)
    jobs = left_of(orders)
    leader = follow(store, left := Left(jobs))
    leader._take(BatchUpdate(-2, BatchState.RETURNED))
    leader._submit()
    assert left.orders == []
    leader._take(up(jobs[0], orders["service"]))
    leader._flush()
    leader._submit()
    assert [order.name for order in left.orders] == ["child"]


def test_a_service_whose_value_is_out_is_lost_when_it_comes_back(store):
    leader, _ = client_and_service(store, react)
    id = leader._attempts.id_of(2)
    leader._take(BatchUpdate(id, BatchState.RETURNED))
    leader._flush()
    assert leader.progress.failed == [2]


def test_news_of_others_count_while_services_stop(store):
    leader, orders = client_and_service(store, react)
    batch, child = leader._batch, orders["child"]
    id = leader._attempts.id_of(child.job)
    made = BatchJob(id, "child", child.requirements, encode_order(child))
    service = BatchJob(leader._attempts.id_of(2), "service", child.requirements, b"")
    batch.tell = lambda *_: batch.news.extend([done(made, child), done(service, orders["service"])])
    leader.cancel("a person wished it")
    leader.run()
    committed = [event.report.job for page in pages(store) for event in page.events if isinstance(event, Committed)]
    assert child.job in committed
    assert 2 not in committed
