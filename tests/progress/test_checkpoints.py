"""Checkpoints: run again, with all below forgotten, when something below failed for good and the rest has come to rest."""

from jobsys.events import Policy
from jobsys.message import Value
from jobsys.record import SELF, Blob
from progress.driving import Run, job  # type: ignore[import-not-found]


def checkpoint(*more, retries=1, **fields):
    """Begin a run whose first job is a checkpoint."""
    return Run(job("checkpoint", checkpoint=True), *more, policy=Policy(retries=retries), **fields)


def test_it_runs_again_when_a_job_below_failed_for_good():
    run = checkpoint()
    child = run.commit(1, job("child"), job("waits", follow_on_of=(SELF,)))
    run.fail(child)
    assert run.submitted == [1]
    assert run.progress.failed == []
    assert set(run.progress.nodes) == {0, 1}
    assert not run.progress.accepts(child)
    again = run.commit(1, job("child"))
    assert again == child + 2
    run.commit(again)
    assert run.progress.finished
    assert run.progress.counts.done == run.progress.counts.total == 4


def test_it_waits_until_nothing_runs_below():
    run = checkpoint()
    child = run.commit(1, job(), job())
    grandchild = run.commit(child, job())
    run.fail(child + 1)
    assert run.ready == [grandchild]
    run.commit(grandchild)
    assert run.ready == [1]


def test_it_waits_also_for_what_the_last_running_job_makes():
    run = checkpoint()
    child = run.commit(1, job(), job())
    run.fail(child)
    made = run.commit(child + 1, job())
    assert run.ready == [made]
    run.commit(made)
    assert run.ready == [1]


def test_it_fails_when_its_tries_are_used_up_and_a_new_leader_begins_anew():
    run = checkpoint()
    run.fail(run.commit(1, job()))
    second = run.commit(1, job())
    run.fail(second)
    assert run.progress.failed == [second]
    assert run.progress.idle
    run.lead()
    assert run.ready == [second]
    run.fail(second)
    assert run.ready == [1]


def test_one_around_runs_again_when_the_inner_one_has_used_up_its_tries():
    run = checkpoint()
    inner = run.commit(1, job("inner", checkpoint=True, retries=0), job("sibling"))
    failing = run.commit(inner, job("failing"))
    run.fail(failing)
    assert run.ready == [inner + 1]
    run.commit(inner + 1)
    assert run.ready == [1]
    assert set(run.progress.nodes) == {0, 1}


def test_the_outer_one_runs_again_rather_than_both():
    run = checkpoint()
    inner = run.commit(1, job("inner", checkpoint=True), job("fails"), job("fails too"))
    run.fail(inner + 1)
    run.fail(inner + 2)
    failing = run.commit(inner, job())
    run.fail(failing)
    assert run.ready == [1]
    assert set(run.progress.nodes) == {0, 1}


def test_its_own_failure_is_told_to_the_one_around():
    run = checkpoint()
    inner = run.commit(1, job("inner", checkpoint=True))
    run.fail(inner)
    assert run.ready == [1]


def test_services_that_are_up_below_are_stopped_when_it_runs_again():
    run = checkpoint()
    service = run.commit(1, job(service_of=SELF), job("child"))
    run.up(service)
    run.fail(service + 1)
    assert run.stopped == [service]
    assert run.submitted == [1]
    assert run.progress.up == frozenset()
    again = run.commit(1, job(service_of=SELF), job("child"))
    run.up(again)
    run.commit(again + 1)
    run.commit(again)
    assert run.progress.finished


def test_a_service_that_fails_while_it_is_up_makes_it_run_again():
    run = checkpoint()
    service = run.commit(1, job(service_of=SELF), job("child"))
    run.up(service)
    run.fail(service)
    assert run.ready == [service + 1]
    run.commit(service + 1)
    assert run.ready == [1]
    again = run.commit(1, job("child"))
    assert run.ready == [again]
    assert run.progress._services._down == set()  # nobody is asked about the service that is forgotten


def test_jobs_below_are_known_in_whatever_order_they_are_listed():
    run = checkpoint()
    last = run.commit(1, job("last", child_of=(1,)), job("middle", child_of=(2,)), job("first"))
    run.commit(last + 2)
    run.commit(last + 1)
    run.fail(last)
    assert run.ready == [1]
    assert set(run.progress.nodes) == {0, 1}


def test_others_get_its_value_only_when_it_can_change_no_more():
    run = checkpoint(job("user", refs=(0,)), refs=(0,))
    child = run.commit(1, job("child", refs=(SELF,)), value=Blob(1, 1, 1))
    assert run.ready == [child]
    run.fail(child)
    again = run.commit(1, job("child", refs=(SELF,)), value=Blob(2, 2, 2))
    assert run.ready == [again]
    run.commit(again)
    assert run.ready == [2]
    assert run.progress.values_for((1,)) == {1: Value(Blob(2, 2, 2))}
    run.commit(2)
    assert run.progress.finished


def test_it_keeps_its_arguments_until_it_is_finished():
    run = Run(job("source"), job("checkpoint", checkpoint=True, refs=(0,)), policy=Policy(retries=1))
    run.commit(1, value=Blob("argument", 0, 1))
    child = run.commit(2, job())
    assert 1 in run.progress.nodes
    run.fail(child)
    assert run.discarded == []
    run.commit(2)
    assert run.discarded == ["argument"]


def test_what_is_forgotten_leaves_no_objects_behind():
    run = checkpoint()
    child = run.commit(1, job(body=Blob("body", 0, 1)), job("value"), job("user", refs=(1, 0)), value=Blob("own value", 0, 1))
    run.commit(child + 1, value=Blob("value", 0, 1))
    run.fail(child)
    assert sorted(run.discarded) == ["body", "own value", "value"]


def test_files_are_not_deleted_below_it_while_it_may_run_again():
    run = checkpoint()
    child = run.commit(1, job(), job(), deleted=("deleted by itself",))
    run.commit(child, deleted=("deleted below",))
    assert run.discarded == []
    run.commit(child + 1)
    assert run.discarded == ["deleted by itself", "deleted below"]


def test_files_deleted_in_a_try_that_failed_are_kept_for_the_next():
    run = checkpoint()
    child = run.commit(1, job(), job())
    run.commit(child, deleted=("needed again",))
    run.fail(child + 1)
    run.commit(1)
    assert run.progress.finished
    assert run.discarded == []


def test_files_wait_for_the_outermost():
    run = checkpoint()
    inner = run.commit(1, job(checkpoint=True), job())
    run.commit(inner, deleted=("file",))
    assert run.discarded == []
    run.commit(inner + 1)
    assert run.discarded == ["file"]


def test_finished_jobs_below_are_not_remembered():
    run = checkpoint()
    first = run.commit(1, *(job() for _ in range(50)))
    for number in range(first, first + 49):
        run.commit(number)
    assert run.progress.nodes[1].members == {first + 49}
    assert set(run.progress.nodes) == {0, 1, first + 49}
    run.commit(first + 49)
    assert set(run.progress.nodes) == {0}


def test_below_a_service_that_is_down_it_waits_before_it_runs_again():
    run = Run(job("client"), job(service_of=0), job("checkpoint", child_of=(0,), checkpoint=True), policy=Policy(retries=1))
    run.commit(1)
    run.up(2)
    child = run.commit(3, job())
    run.fail(2)
    run.fail(child)
    assert run.ready == []
    run.lead()
    run.up(2)
    assert run.ready == [3]


def test_its_body_goes_when_it_can_t_run_again_although_its_value_is_kept():
    run = Run(job("checkpoint", body=Blob("values/0-t/0", 0, 9), checkpoint=True), refs=(0,))
    child = run.commit(1, job("child"))
    assert run.discarded == []
    run.commit(child)
    assert run.progress.finished
    assert run.discarded == ["values/0-t/0"]
