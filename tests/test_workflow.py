"""run(): what workflows mean, in this process, on a store in memory."""

import gc
import itertools
import logging
import time
from typing import Any

import pytest

import jobsys
from jobsys import (
    CanceledError,
    DeadlockError,
    FailedJobsError,
    FunctionJob,
    GraphError,
    Job,
    PromisedRequirement,
    Service,
    StorageError,
    UsageError,
)
from jobsys.events import Committed
from jobsys.jobstores import locate
from jobsys.journal import pages
from jobsys.leader.listener import Listener

_stores = itertools.count()
calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


def run(workflow, **options):
    options.setdefault("job_store", f"memory:test-workflow-{next(_stores)}")
    return jobsys.run(workflow, batch_system="inline", progress="off", backoff=0.0, **options)


def call(what, value=None):
    calls.append(what)
    return value


@jobsys.job
def add(*numbers):
    return sum(numbers)


@jobsys.job
def total(values):
    return sum(values)


@jobsys.job
def broken(reason="broken"):
    calls.append("broken")
    raise ValueError(reason)


@jobsys.job
def flaky(times):
    calls.append("flaky")
    if calls.count("flaky") <= times:
        raise ValueError("not yet")
    return "well"


@jobsys.job
def fibonacci(n):
    return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@jobsys.job
def table():
    return {"rows": [1, 2, {"deep": "found"}]}


@jobsys.job
def collector():
    return gc.get_threshold()


@jobsys.job
def give(value):
    return value


def test_values_flow():
    assert run(total([add(x, x) for x in range(5)])) == 20


def test_jobs_that_make_jobs():
    assert run(fibonacci(8)) == 21


def test_a_part_of_a_value():
    found = table()
    assert run(give(found["rows"][2]["deep"])) == "found"
    assert run(give(table()["rows"][0:2])) == [1, 2]


def test_the_result_may_be_any_structure_of_promises():
    a = add(1, 2)
    assert run({"a": a, "again": [a, (a, table()["rows"])], "plain": 7}) == {
        "a": 3,
        "again": [3, (3, [1, 2, {"deep": "found"}])],
        "plain": 7,
    }


def test_a_value_may_hold_promises_that_hold_promises():
    @jobsys.job
    def outer():
        return [give([add(1, 1), give({"x": add(2, 2)})])]

    assert run(outer()) == [[2, {"x": 4}]]


def test_after_orders_without_data():
    first = FunctionJob(call, ("first",))
    first.add_child_fn(call, "child of first")
    second = FunctionJob(call, ("second",), after=[first])
    run([second.rv(), first.rv()])
    assert calls == ["first", "child of first", "second"]


def test_children_then_follow_ons():
    root = FunctionJob(call, ("root",))
    root.add_follow_on_fn(call, "follow-on")
    child = root.add_child_fn(call, "child")
    child.add_child_fn(call, "grandchild")
    child.add_follow_on_fn(call, "child's follow-on")
    run(root)
    assert calls[0] == "root"
    assert calls[-1] == "follow-on"
    assert calls == ["root", "child", "grandchild", "child's follow-on", "follow-on"]


def test_a_job_with_two_parents_runs_once_after_both():
    root, left, right, both = (FunctionJob(call, (name,)) for name in ("root", "left", "right", "both"))
    root.add_child(left)
    root.add_child(right)
    left.add_child(both)
    right.add_child(both)
    run(root)
    assert sorted(calls[:3]) == ["left", "right", "root"]
    assert calls[3:] == ["both"]


def test_a_child_may_have_its_parents_value():
    root = FunctionJob(call, ("root", 5))
    child = FunctionJob(call, ("child", root.rv()))
    root.add_child(child)
    assert run(child.rv()) == 5


class Parent(Job):
    def __init__(self, depth):
        super().__init__(name=f"parent {depth}")
        self.depth = depth

    def run(self, context):
        calls.append(self.depth)
        if self.depth:
            return self.add_child(Parent(self.depth - 1)).rv()
        return "bottom"


def test_jobs_as_classes_that_add_children_while_they_run():
    assert run(Parent(5)) == "bottom"
    assert calls == [5, 4, 3, 2, 1, 0]


def test_a_chain_of_a_thousand_jobs_needs_no_recursion():
    assert run(Parent(1000)) == "bottom"


def test_encapsulation_makes_a_subtree_look_like_one_job():
    inner = FunctionJob(call, ("inner", "value"))
    inner.add_child_fn(call, "inner's child")
    inner.add_follow_on_fn(call, "inner's follow-on")
    whole = inner.encapsulate()
    whole.add_child_fn(call, "after all")
    whole.add_follow_on_fn(call, "last")
    assert run(whole) == "value"
    assert calls == ["inner", "inner's child", "inner's follow-on", "after all", "last"]


class Bell(Service):
    def __init__(self, name):
        super().__init__(name=name)
        self.word = name

    def start(self, context):
        calls.append(f"{self.word} up")
        return f"address of {self.word}"

    def stop(self, context):
        calls.append(f"{self.word} down")


def test_services_run_beside_their_clients():
    root = FunctionJob(call, ("root",))
    outer = Bell("outer")
    address = root.add_service(outer)
    root.add_service(Bell("inner"), parent=outer)
    child = root.add_child_fn(call, "child", address)
    child.add_child_fn(call, "grandchild")
    assert run(child.rv()) == "address of outer"
    assert calls[:5] == ["root", "outer up", "inner up", "child", "grandchild"]
    assert sorted(calls[5:]) == ["inner down", "outer down"]


class BadBell(Bell):
    def start(self, context):
        super().start(context)
        raise ValueError("no rope")


def test_clients_of_a_service_that_does_not_start_never_run():
    root = FunctionJob(call, ("root",))
    root.add_service(BadBell("bad"))
    root.add_child_fn(call, "child")
    with pytest.raises(FailedJobsError, match="no rope"):
        run(root, retries=0)
    assert "child" not in calls
    assert "bad down" in calls


class Restless(Bell):
    def check(self, context):
        return False


def test_a_service_that_stops_working_fails_the_run():
    root = FunctionJob(call, ("root",))
    root.add_service(Restless("restless"))
    root.add_child_fn(time.sleep, 1.5)
    with pytest.raises(FailedJobsError, match="check returned False"):
        run(root, retries=0)
    assert "restless down" in calls


def test_a_checkpoint_is_run_again_with_all_below():
    @jobsys.job(retries=0)
    def fails_once():
        calls.append("below")
        if calls.count("below") == 1:
            raise ValueError("once")
        return "below"

    @jobsys.job(checkpoint=True)
    def checkpoint():
        calls.append("checkpoint")
        return fails_once()

    assert run(checkpoint(), retries=1) == "below"
    assert calls == ["checkpoint", "below", "checkpoint", "below"]


def test_without_a_checkpoint_only_the_job_itself_is_tried_again():
    @jobsys.job
    def parent():
        calls.append("parent")
        return flaky(1)

    assert run(parent(), retries=1) == "well"
    assert calls == ["parent", "flaky", "flaky"]


def test_requirements_may_be_promised():
    @jobsys.job
    def memory():
        return jobsys.current().requirements.memory

    assert run(memory.with_requirements(memory=give(10**6))()) == 10**6
    assert run(memory.with_requirements(memory=PromisedRequirement(lambda a, b: a * b, give(1000), add(1, 1)))()) == 2000


def test_successors_wait_for_the_job_behind_a_promised_requirement():
    job = FunctionJob(call, ("job", "value"), memory=give(10**6))
    job.add_child_fn(call, "child")
    job.add_follow_on_fn(call, "follow-on")
    assert run(job) == "value"
    assert calls == ["job", "child", "follow-on"]


def test_a_failure_lists_every_job_and_other_branches_run():
    with pytest.raises(FailedJobsError) as caught:
        run([total([broken("one"), add(1)]), give(call("x")), broken("two"), FunctionJob(call, ("other branch",)).rv()], retries=0)
    assert {failure.name for failure in caught.value.failures} == {"broken"}
    assert {failure.message for failure in caught.value.failures} == {"ValueError: one", "ValueError: two"}
    assert "1 that wait for them never ran" in str(caught.value)
    assert "other branch" in calls


def test_retries():
    assert run(flaky(2), retries=2) == "well"
    calls.clear()
    assert run(flaky.with_requirements(retries=3)(3), retries=0) == "well"


def test_restart_runs_only_what_is_missing():
    @jobsys.job
    def once(x):
        calls.append(x)
        return x

    store = f"memory:test-workflow-{next(_stores)}"
    with pytest.raises(FailedJobsError):
        run([once("a"), flaky(2)], job_store=store, retries=0)
    with pytest.raises(FailedJobsError):
        run(None, job_store=store, restart=True, retries=0)
    assert run(None, job_store=store, restart=True, retries=0) == ["a", "well"]
    assert calls.count("a") == 1
    commits = [event.report.job for page in pages(locate(store)) for event in page.events if isinstance(event, Committed)]
    assert len(commits) == len(set(commits))


def test_a_finished_run_gives_its_stored_value():
    store = f"memory:test-workflow-{next(_stores)}"
    assert run(give(FunctionJob(call, ("ran", 3)).rv()), job_store=store) == 3
    assert run(None, job_store=store, restart=True) == 3
    assert calls == ["ran"]


def test_a_job_that_returns_its_own_promise_is_refused():
    @jobsys.job
    def own():
        return jobsys.current().job.rv()

    with pytest.raises(FailedJobsError, match="its own value"):
        run(own(), retries=0)


def test_a_job_that_waits_for_its_parents_whole_subtree_is_refused():
    @jobsys.job
    def child():
        return 1

    @jobsys.job
    def parent():
        return child(after=[jobsys.current().job])

    with pytest.raises(FailedJobsError, match="circle"):
        run(parent(), retries=0)


def test_values_that_wait_for_each_other_are_a_deadlock():
    with pytest.raises(DeadlockError, match=r"nothing runs and nothing can start: .*wait for each other"):
        run(DeadlockedParent())


class DeadlockedParent(Job):
    """Returns the promise of a child that needs this job's own value."""

    def run(self, context):
        child = FunctionJob(call, ("child", self.rv()))
        self.add_child(child)
        return [child.rv()]


@pytest.mark.parametrize(
    ("workflow", "error", "text"),
    [
        (42, GraphError, "no job"),
        (add, GraphError, "is a function: call it"),
    ],
)
def test_what_is_no_workflow(workflow, error, text):
    with pytest.raises(error, match=text):
        run(workflow)


def test_a_store_that_was_full_before_the_first_job_can_be_resumed(monkeypatch):
    """The message says: make room, then run again with --restart."""
    store = f"memory:test-workflow-{next(_stores)}"

    def full(*_):
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("jobsys.workflow.launch", full)  # ships the code
        with pytest.raises(StorageError):
            run(add(1), job_store=store)
    assert run(add(1), job_store=store, restart=True) == 1


def test_what_is_refused_leaves_no_store():
    store = f"memory:test-workflow-{next(_stores)}"
    with pytest.raises(GraphError):
        run(42, job_store=store)
    assert run(add(1), job_store=store) == 1


@pytest.mark.parametrize(("clean", "kept"), [("never", True), ("on-success", False), ("always", False)])
def test_the_store_is_kept_or_deleted_after_success(clean, kept):
    store = f"memory:test-workflow-{next(_stores)}"
    run(add(1), job_store=store, clean=clean)
    assert bool(list(locate(store).storage.list(""))) is kept


@pytest.mark.parametrize(("clean", "kept"), [("never", True), ("on-success", True), ("always", False)])
def test_the_store_is_kept_or_deleted_after_failure(clean, kept):
    store = f"memory:test-workflow-{next(_stores)}"
    with pytest.raises(FailedJobsError):
        run(broken(), job_store=store, clean=clean, retries=0)
    assert bool(list(locate(store).storage.list(""))) is kept


def test_options_that_do_not_exist():
    with pytest.raises(UsageError, match="no option 'retires'"):
        run(add(1), retires=3)
    with pytest.raises(UsageError, match="no batch system 'slrum'"):
        jobsys.run(add(1), f"memory:test-workflow-{next(_stores)}", batch_system="slrum")
    with pytest.raises(UsageError, match="memory: job store can't be seen by other processes"):
        jobsys.run(add(1), f"memory:test-workflow-{next(_stores)}")
    with pytest.raises(UsageError, match="no job store was named"):
        jobsys.run(add(1))


def test_a_run_inside_a_job_is_refused():
    @jobsys.job
    def nested():
        return run(add(1))

    with pytest.raises(FailedJobsError, match="inside a job"):
        run(nested(), retries=0)


def test_jobs_speak_to_the_leader(caplog):
    heard = []

    class Ear(Listener):
        def on_log(self, job, name, level, text):
            heard.append((name, level, text))

    @jobsys.job
    def speak():
        jobsys.current().log("hello", logging.WARNING)

    run(speak(), listeners=[Ear()])
    assert heard == [(heard[0][0], logging.WARNING, "hello")]
    assert "speak" in heard[0][0]


def test_a_cancel_by_a_listener_ends_the_run():
    store = f"memory:test-workflow-{next(_stores)}"

    class Stopper(Listener):
        def on_event(self, event, name):
            locate(store).ask_to_stop(b"enough")

    with pytest.raises(CanceledError, match="enough"):
        run(Parent(2000), job_store=store, listeners=[Stopper()])
    assert run(None, job_store=store, restart=True) == "bottom"


def test_the_garbage_of_jobs_in_this_process_is_looked_for_as_often_as_ever():
    assert run(give(collector())) == gc.get_threshold()


def test_a_working_directory_that_was_deleted_is_told(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="the working directory is not there any more"):
        run(add(1, 2))
