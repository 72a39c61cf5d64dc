"""Services: up before the client's successors, stopped after them, and taken back when they fail or the leader changes."""

from jobsys.message import Value
from jobsys.progress import State
from jobsys.record import SELF, Blob
from progress.driving import Run, job  # type: ignore[import-not-found]


def client(*more, **fields):
    """Begin a run of one client with a service (2) and a child (3)."""
    return Run(job("client"), job("service", service_of=0), job("child", child_of=(0,)), *more, **fields)


def test_a_service_starts_after_its_client_and_before_its_successors_and_is_stopped_after_them():
    run = client(job("follow-on", follow_on_of=(0,)), job("after", after=(0,)))
    assert run.ready == [1]
    run.commit(1)
    assert run.ready == [2]
    run.up(2)
    assert run.ready == [3]
    run.commit(3)
    assert run.ready == [4]
    assert run.stopped == []
    run.commit(4)
    assert run.stopped == [2]
    assert run.ready == []
    run.commit(2)
    assert run.ready == [5]
    run.commit(5)
    assert run.progress.finished
    assert run.progress.counts.done == 5


def test_a_run_is_not_idle_while_a_service_stops():
    run = client()
    run.commit(1)
    run.up(2)
    assert not run.progress.idle
    run.commit(3)
    assert run.stopped == [2]
    assert not run.progress.idle
    run.fail(2)
    assert run.progress.idle


def test_a_service_beside_failed_successors_leaves_the_run_idle():
    run = client()
    run.commit(1)
    run.up(2)
    run.fail(3)
    assert run.progress.idle
    assert run.progress.up == {2}


def test_a_client_without_successors_starts_and_stops_its_services_all_the_same():
    run = Run(job("client"), job("service", service_of=0))
    run.commit(1)
    run.up(2)
    assert run.stopped == [2]
    run.commit(2)
    assert run.progress.finished


def test_a_service_that_says_twice_that_it_is_up_is_up_once():
    run = Run(job("client"), job(service_of=0), job(service_of=0), job("child", child_of=(0,)))
    run.commit(1)
    run.up(2)
    run.up(2, Blob(9, 9, 9))
    assert run.ready == [3]
    assert run.progress.values_for((2,)) == {2: Value(Blob(0, 10, 5))}


def test_a_service_waits_for_the_one_before_it():
    run = Run(job("client"), job("first", service_of=0), job("second", service_of=0, service_parent=1), job("child", child_of=(0,)))
    run.commit(1)
    assert run.ready == [2]
    run.up(2)
    assert run.ready == [3]
    run.up(3)
    assert run.ready == [4]


def test_nothing_below_a_service_that_failed_before_it_was_up():
    run = client()
    run.commit(1)
    run.fail(2, retry=True)
    assert run.submitted == [2]
    run.fail(2)
    assert run.ready == []
    run.lead()
    assert run.ready == [2]
    run.up(2)
    assert run.ready == [3]


def test_nothing_new_begins_below_a_service_that_failed_while_it_was_up():
    run = client(job("outside"), job("late", child_of=(0,), refs=(3,)), job("grandchild", child_of=(2,)))
    run.commit(1)
    run.up(2)
    run.fail(2)
    assert run.ready == [3, 4]  # these had begun
    run.commit(4)
    run.commit(3)
    assert run.ready == []
    run.lead()
    assert run.submitted == [2]
    run.up(2)
    assert run.ready == [5, 6]


def test_one_service_that_failed_is_not_made_up_for_by_another_that_comes_up():
    run = Run(job("client"), job(service_of=0), job(service_of=0), job("child", child_of=(0,)))
    run.commit(1)
    run.up(2)
    run.fail(2)
    run.up(3)
    assert run.ready == []


def test_after_a_restart_everything_below_waits_until_the_service_is_up_again():
    run = client(job("outside"), job("late", child_of=(0,), after=(3,)), job("values", refs=(1,)))
    run.commit(1)
    run.up(2, Blob(1, 0, 1))
    assert run.ready == [3, 4, 6]
    run.lead()
    assert run.submitted == [2, 4]
    run.commit(4)
    assert run.ready == [2]
    run.up(2, Blob(2, 0, 2))
    assert run.ready == [3, 5, 6]
    assert run.progress.values_for((2,)) == {2: Value(Blob(2, 0, 2))}


def test_after_a_restart_a_commit_of_a_job_that_waits_for_a_service_still_counts():
    run = client()
    run.commit(1)
    run.up(2)
    run.lead()
    assert run.ready == [2]
    assert run.progress.accepts(3)
    run.commit(3)
    run.up(2)
    assert run.ready == []
    assert run.stopped == [2]
    run.commit(2)
    assert run.progress.finished


def test_a_service_added_by_the_client_itself_holds_back_what_was_made_with_the_client():
    run = Run(job("client"), job("child", child_of=(0,)))
    service = run.commit(1, job("service", service_of=SELF))
    assert run.ready == [service]
    run.up(service)
    assert run.ready == [2]
    run.lead()
    assert run.ready == [service]


def test_a_job_below_two_clients_waits_for_the_services_of_both():
    run = Run(job("one"), job("two"), job(service_of=0), job(service_of=1), job("child", child_of=(0, 1)))
    run.commit(1)
    run.commit(2)
    run.up(3)
    run.up(4)
    assert run.ready == [5]
    run.lead()
    run.up(3)
    assert run.ready == [4]
    run.up(4)
    assert run.ready == [5]


def test_a_value_that_holds_a_services_value_waits_for_the_service_after_a_restart():
    run = Run(job("holder"), job("outside"), job("user", refs=(0, 1)))
    service = run.commit(1, job(service_of=SELF), refs=(0,))
    run.up(service)
    assert run.stopped == [service]
    run.commit(2)
    assert 3 in run.ready
    run.lead()
    assert run.ready == [service]
    run.up(service, Blob(5, 5, 5))
    assert run.ready == [3]
    assert run.progress.values_for((1,))[service] == Value(Blob(5, 5, 5))


def test_the_services_of_a_tree_come_up_in_order_again_even_if_one_was_waiting_for_a_value():
    run = Run(job("client"), job("value"), job("first", service_of=0), job("second", service_of=0, service_parent=2, refs=(1,)))
    run.commit(1)
    run.up(3)
    run.lead()
    run.up(3)
    assert run.ready == [2]
    run.lead()
    run.commit(2)
    assert run.ready == [3]
    run.up(3)
    assert run.ready == [4]


def test_a_service_inside_another_clients_subtree_waits_for_the_outer_service():
    run = client()
    run.commit(1)
    run.up(2)
    inner = run.commit(3, job("inner service", service_of=SELF), job("grandchild"))
    run.up(inner)
    assert run.ready == [inner + 1]
    run.lead()
    assert run.ready == [2]
    run.up(2)
    assert run.ready == [inner]
    run.up(inner)
    assert run.ready == [inner + 1]


def test_a_stopped_services_commit_that_the_last_leader_did_not_hear_keeps_its_value():
    run = client(refs=(1,))
    run.commit(1)
    run.up(2, Blob(1, 2, 3))
    run.commit(3)
    run.lead()
    assert run.ready == [2]
    run.commit(2)
    assert run.stopped == [2]  # a second attempt that the new leader may have begun
    assert run.progress.finished
    assert run.progress.values_for((2,)) == {2: Value(Blob(1, 2, 3))}


def test_a_restarted_service_that_nobody_needs_is_stopped_when_it_is_up():
    run = client()
    run.commit(1)
    run.up(2)
    run.commit(3)
    run.lead()
    run.up(2)
    assert run.stopped == [2]
    assert run.progress.nodes[2].state is State.UP


def test_a_service_that_ends_before_anybody_heard_of_it_starts_again():
    run = client()
    run.commit(1)
    run.commit(2)
    assert run.submitted == [2]
    assert run.ready == [2]
    run.up(2)
    assert run.ready == [3]


def test_a_service_that_ended_unheard_waits_for_the_one_around_it_to_start_again():
    run = client()
    run.commit(1)
    run.up(2)
    inner = run.commit(3, job("inner service", service_of=SELF))
    run.lead()
    assert run.ready == [2]
    run.commit(inner)
    assert run.submitted == []
    run.up(2)
    assert run.submitted == [inner]


def test_a_service_that_ends_by_itself_leaves_its_value_and_its_client_goes_on():
    run = client(job("late", child_of=(0,), refs=(1,), after=(2,)))
    run.commit(1)
    run.up(2, Blob(4, 4, 4))
    run.commit(2)
    assert run.ready == [3]
    run.lead()
    assert run.ready == [3]
    run.commit(3)
    assert run.progress.values_for((2,)) == {2: Value(Blob(4, 4, 4))}
    assert not run.progress.finished
    run.commit(4)
    assert run.progress.finished


def test_jobs_that_a_service_made_run_when_it_has_ended():
    run = client()
    run.commit(1)
    run.up(2)
    run.commit(3)
    made = run.commit(2, job("made by a service"))
    assert run.ready == [made]
    run.commit(made)
    assert run.progress.finished


def test_a_service_that_is_tried_again_while_it_was_up_holds_back_what_has_not_begun():
    run = client(job("outside"), job("late", child_of=(0,), after=(3,)))
    run.commit(1)
    run.up(2)
    run.fail(2, retry=True)
    assert run.submitted == [2]
    run.commit(4)
    assert run.ready == [2, 3]
    run.fail(3, retry=True)
    assert run.ready == [2]
    run.up(2)
    assert run.submitted == [5, 3]


def test_a_job_that_failed_while_it_waited_for_a_service_waits_again_with_the_next_leader():
    run = client()
    run.commit(1)
    run.up(2)
    run.lead()
    run.fail(3, retry=True)
    assert run.submitted == []
    run.fail(3)
    assert run.progress.failed == [3]
    assert not run.progress.accepts(3)
    run.lead()
    assert run.submitted == [2]
    run.up(2)
    assert run.submitted == [3]
