"""What follows from what: order, values, memory, objects to delete, restarts. The random rest is in tests/simulation."""

import time

import msgspec

from jobsys.events import AttemptFailed, Committed, Policy
from jobsys.message import Report, Value
from jobsys.progress import Progress, State, Submit
from jobsys.progress.machine import Snapshot
from jobsys.record import SELF, Blob
from jobsys.requirements import Requirements
from progress.driving import KNOT, VALUE, Run, job  # type: ignore[import-not-found]


def large(key):
    return Blob(key, 0, 10**6)


def test_children_run_after_their_parent_and_follow_ons_after_all_that_came_of_them():
    run = Run(job("a"), job("b", child_of=(0,)), job("c", follow_on_of=(0,)), job("d", follow_on_of=(SELF,)))
    assert run.ready == [1]
    run.commit(1)
    assert run.ready == [2]
    grandchild = run.commit(2, job("e"))
    assert run.ready == [grandchild]
    run.commit(grandchild)
    assert run.ready == [3]
    run.commit(3)
    assert run.ready == [4]
    run.commit(4)
    assert run.progress.finished


def test_a_job_with_several_predecessors_runs_after_all_of_them():
    run = Run(job(), job(), job(child_of=(0,), follow_on_of=(1,)))
    run.commit(1)
    assert run.ready == [2]
    run.commit(2)
    assert run.ready == [3]
    run.commit(3)
    assert run.progress.finished


def test_a_job_runs_when_its_values_are_there_with_the_values_inside_them():
    run = Run(job("a"), job("b", refs=(0,)))
    inner = run.commit(1, job("inner"), refs=(0,))
    assert run.ready == [inner]
    run.commit(inner, value=Blob(0, 3, 4))
    assert run.ready == [2]
    assert run.progress.values_for((1,)) == {1: Value(Blob(7, 110, 5), (inner,)), inner: Value(Blob(7, 103, 4))}


def test_after_waits_for_the_whole_subtree_and_not_for_a_value():
    run = Run(job("a"), job("b", after=(0,)))
    child = run.commit(1, job("child"))
    assert run.ready == [child]
    run.commit(child)
    assert run.ready == [2]


def test_a_knot_is_done_at_once_and_no_worker_sees_it():
    run = Run(job(body=KNOT), job(child_of=(0,)), job(body=KNOT, follow_on_of=(0,)), job(child_of=(2,)))
    assert run.submitted == [2]
    run.commit(2)
    assert run.submitted == [4]
    assert run.progress.counts.done == 3


def test_a_commit_counts_once():
    run = Run(job(), job())
    run.commit(1, job("child"))
    before = msgspec.json.encode(run.progress.snapshot())
    assert not run.progress.accepts(1)
    run.commit(1, job("another child"))
    assert run.effects == []
    assert msgspec.json.encode(run.progress.snapshot()) == before


def test_what_failed_lets_nothing_below_it_run_and_leaves_the_rest_alone():
    run = Run(job(), job(child_of=(0,)), job(refs=(0,)), job(after=(0,)), job(), job(follow_on_of=(SELF,)))
    run.fail(1)
    run.commit(5)
    assert run.progress.failed == [1]
    assert run.progress.idle
    assert not run.progress.finished
    assert (run.progress.counts.failed, run.progress.counts.waiting, run.progress.counts.done) == (1, 4, 1)


def test_a_retry_is_submitted_after_its_delay_and_keeps_count():
    run = Run(job())
    run.fail(1, retry=True, delay=2.5)
    run.fail(1, retry=True, charged=False)
    node = run.progress.nodes[1]
    assert run.effects == [Submit(1, 0.0)]
    assert (node.failures, node.losses, node.state) == (1, 1, State.READY)


def test_an_attempt_may_be_followed_by_one_that_asks_for_more():
    run = Run(job())
    run.apply(AttemptFailed(1, 1, "memory", 0.0, retry=True, requirements=Requirements(memory=9)))
    assert run.progress.nodes[1].requirements.memory == 9


def test_a_new_leader_tries_again_what_failed_and_submits_all_that_is_ready():
    run = Run(job(), job(), job(child_of=(0,)))
    run.fail(1, retry=True)
    run.fail(1)
    run.cancel()
    assert run.progress.canceled
    run.lead()
    assert run.submitted == [1, 2]
    assert (run.progress.nodes[1].failures, run.progress.nodes[1].reason) == (0, "")
    assert run.progress.failed == []
    assert not run.progress.canceled
    assert run.progress.epoch == 2


def test_the_first_leader_submits_nothing_but_what_the_script_made():
    run = Run(job())
    assert run.submitted == [1]


# -- memory ----------------------------------------------------------------------------------------------------


def test_a_fan_out_leaves_nothing_once_it_was_consumed():
    count = 300
    run = Run(*(job() for _ in range(count)), job(refs=tuple(range(count))), refs=(count,))
    for number in range(1, count + 1):
        run.commit(number)
    assert len(run.progress.nodes) == count + 2
    run.commit(count + 1)
    assert set(run.progress.nodes) == {0, count + 1}
    assert len(msgspec.json.encode(run.progress.snapshot())) < 900


def test_a_fan_out_whose_values_nobody_needs_leaves_nothing_on_the_way():
    run = Run(*(job() for _ in range(100)))
    for number in range(1, 51):
        run.commit(number)
    assert len(run.progress.nodes) == 51


def test_a_chain_of_jobs_that_each_make_the_next_does_not_grow_in_memory():
    run = Run(job("first"), job("last", after=(0,)))
    number = 1
    for _ in range(60):
        number = run.commit(number, job("next"))
        assert run.ready == [number]
        assert len(run.progress.nodes) == 4
    run.commit(number)
    assert run.ready == [2]
    run.commit(2)
    assert run.progress.finished
    assert set(run.progress.nodes) == {0}


def test_a_chain_that_began_with_a_follow_on_is_finished_when_its_last_job_is():
    run = Run(job("first"), job("follow-on", follow_on_of=(0,)), job("last", after=(0,)))
    run.commit(1)
    number = 2
    for _ in range(10):
        number = run.commit(number, job("next"))
        assert run.ready == [number]
        assert len(run.progress.nodes) == 4
    run.commit(number)
    assert run.ready == [3]
    run.commit(3)
    assert run.progress.finished


def test_jobs_that_make_two_others_tell_their_predecessor_when_all_are_finished():
    run = Run(job("tree"), job("last", follow_on_of=(SELF,)))
    front = [1]
    for _ in range(4):
        front = [made for number in front for first in [run.commit(number, job(), job())] for made in (first, first + 1)]
        assert len(run.progress.nodes) <= 2 * len(front) + 3
    for number in front:
        assert 2 not in run.ready
        run.commit(number)
    assert run.ready == [2]


def test_a_value_stays_as_long_as_a_job_or_a_value_that_stays_refers_to_it():
    run = Run(job("a"), job("b", refs=(0,)), job("c", refs=(1,)))
    inner = run.commit(1, job("inner"), refs=(0,))
    run.commit(inner)
    assert {1, inner} <= set(run.progress.nodes)
    run.commit(2)
    assert set(run.progress.nodes) == {0, 2, 3}
    run.commit(3)
    assert set(run.progress.nodes) == {0}


def test_a_long_chain_of_values_inside_values_is_let_go_without_recursion():
    run = Run(job("first"), job("last", refs=(0,)))
    number = 1
    progress = run.progress
    run.progress = None  # no snapshots on the way
    count = 5000
    for step in range(count):
        first = progress.next_id
        progress.apply(Committed(Report(number, 1, 0.0, 0.0, value=VALUE, refs=(0,), jobs=(job(),)), Blob(1, 0, 9), first))
        number = first
        assert len(progress.nodes) == step + 4
    progress.apply(Committed(Report(number, 1, 0.0, 0.0, value=VALUE), Blob(1, 0, 9), progress.next_id))
    assert progress.ready == {2}
    assert len(progress.values_for((1,))) == count + 1
    progress.apply(Committed(Report(2, 1, 0.0, 0.0, value=VALUE), Blob(1, 0, 9), progress.next_id))
    assert set(progress.nodes) == {0}


def test_work_per_commit_does_not_grow_with_the_number_of_jobs():
    def seconds(count):
        run = Run(*(job() for _ in range(count)))
        events = [Committed(Report(number, 1, 0.0, 0.0, value=VALUE), Blob(1, 0, 9), count + 1) for number in range(1, 1001)]
        began = time.perf_counter()
        for event in events:
            run.progress.apply(event)
        return time.perf_counter() - began

    few = min(seconds(1000) for _ in range(3))
    many = min(seconds(20_000) for _ in range(3))
    assert many < 6 * few


# -- objects of their own --------------------------------------------------------------------------------------


def test_objects_are_deleted_when_nobody_can_ask_for_them_any_more():
    run = Run(job(body=large("body a")), job(body=large("body b"), refs=(0,)))
    run.fail(1, retry=True)
    run.commit(1, value=large("value a"))
    assert run.discarded == ["body a"]
    run.fail(2, retry=True)
    assert run.discarded == []
    run.fail(2)
    run.lead()
    assert run.discarded == []
    run.commit(2, value=large("value b"))
    assert sorted(run.discarded) == ["body b", "value a", "value b"]


def test_the_result_and_what_is_inside_it_is_kept():
    run = Run(job(body=large("body")), refs=(0,))
    child = run.commit(1, job(), refs=(0,), value=large("value"))
    run.commit(child, value=large("inner"))
    assert run.progress.finished
    assert run.discarded == []
    assert set(run.progress.values_for((0,))) == {0, 1, child}


def test_files_that_a_job_deleted_are_deleted_with_its_commit():
    run = Run(job())
    run.commit(1, deleted=("file",))
    assert run.discarded == ["file"]


# -- snapshots -------------------------------------------------------------------------------------------------


def test_a_snapshot_of_the_beginning_is_the_beginning():
    snapshot = msgspec.json.decode(msgspec.json.encode(Progress().snapshot()), type=Snapshot)
    progress = Progress.restore(snapshot)
    assert progress.accepts(0)
    assert progress.counts == Progress().counts
    assert progress.policy == Policy()
