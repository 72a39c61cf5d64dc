import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

import jobsys
from jobsys import pickling
from jobsys.errors import FailedJobsError, GraphError
from jobsys.job import FunctionJob, Job, Service


def run(workflow: Any, **options: Any) -> Any:
    return jobsys.run(workflow, f"memory:{uuid.uuid4().hex}", batch_system="inline", progress="off", retries=0, **options)


def one() -> int:
    return 1


class Plain(Job):
    def __init__(self, value: Any, **options: Any) -> None:
        super().__init__(**options)
        self.value = value

    def run(self, context: Any) -> Any:
        return self.value


class WithoutSuper(Job):
    def __init__(self, value: Any) -> None:
        self.value = value

    def run(self, context: Any) -> Any:
        return self.value, self.name, context.name


@dataclass
class Mutable(Job):
    value: Any
    more: list[Any] = field(default_factory=list)

    def run(self, context: Any) -> Any:
        return [self.value, *self.more]


@dataclass(frozen=True)
class Frozen(Job):
    value: Any

    def run(self, context: Any) -> Any:
        self.add_child(Plain(0))
        return self.value


class Stated(Job):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def __getstate__(self) -> Any:
        return {"packed": [self.value]}

    def __setstate__(self, state: Any) -> None:
        self.value = state["packed"][0]

    def run(self, context: Any) -> Any:
        return self.value


class Slotted(Job):
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def run(self, context: Any) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(Plain, 5), (WithoutSuper, (5, "WithoutSuper", "WithoutSuper")), (Mutable, [5]), (Frozen, 5), (Stated, 5), (Slotted, 5)],
)
def test_jobs_as_classes(kind: Any, answer: Any) -> None:
    job = kind(Plain(5).rv())
    assert run(job) == answer, "a promise in an attribute"
    assert run(kind(5)) == answer
    parent = kind(5)
    parent.add_child(kind(6)).add_follow_on(kind(7))
    assert run(parent) == answer


def test_a_job_that_refers_to_itself_and_is_local() -> None:
    class Local(Job):
        def run(self, context: Any) -> Any:
            return context.job is self and self.me is self and type(self).__name__

        me: Any = None

    job = Local()
    job.me = job
    assert run(job) == "Local"


def test_equal_jobs_are_two_jobs() -> None:
    assert run([Mutable(1).rv(), Mutable(1).rv(), Frozen(2).rv(), Frozen(2).rv()]) == [[1], [1], 2, 2]


def test_a_body_holds_no_place_in_the_graph() -> None:
    job = Plain(1, memory="1G", name="n")
    bare, _ = pickling.dump(Plain(1), "it")
    job.add_child(Plain(2))
    job.add_service(Serve())
    data, sources = pickling.dump(job, "it")
    assert (data, sources) == (bare, ())


class Serve(Service):
    def start(self, context: Any) -> Any:
        return 1

    def stop(self, context: Any) -> None:
        pass


def test_what_makes_no_graph_is_refused_at_once() -> None:
    parent, child = Plain(1, name="parent"), Plain(2, name="child")
    parent.add_child(child)
    with pytest.raises(GraphError, match="job 'child' was added to job 'parent' already"):
        parent.add_child(child)
    with pytest.raises(GraphError, match="job 'parent' can't come after itself"):
        parent.add_follow_on(parent)
    with pytest.raises(GraphError, match="add it with add_service"):
        parent.add_child(Serve())
    service, other = Serve(name="db"), Serve(name="web")
    parent.add_service(service)
    with pytest.raises(GraphError, match="service 'db' was added to 'parent' already"):
        child.add_service(service)
    with pytest.raises(GraphError, match="the parent service 'web' is no service of 'parent'"):
        parent.add_service(Serve(), parent=other)
    with pytest.raises(GraphError, match="service 'db' can't have children"):
        service.add_child(child)
    with pytest.raises(GraphError, match="service 'db' can't have follow-ons"):
        service.add_follow_on(child)
    with pytest.raises(GraphError, match="no option 'memroy'"):
        Plain(1, memroy="1G")


def test_options_of_functions_added_to_a_graph() -> None:
    def plain(x: int, name: str = "none") -> Any:
        return x, name

    def greedy(**kwargs: Any) -> Any:
        return kwargs

    root = Plain(1)
    added = root.add_child_fn(plain, 1, name="mine", memory="1G")
    assert isinstance(added, FunctionJob)
    assert added.call[2] == {"name": "mine"}, "the function's own parameter"
    assert (added.name, added._options.requirements.memory) == ("test_options_of_functions_added_to_a_graph.plain", 10**9)
    added = root.add_follow_on_fn(greedy, name="job's", x=1)
    assert (added.name, added.call[2]) == ("job's", {"x": 1})  # type: ignore[attr-defined]


def test_a_job_without_run_says_what_is_missing() -> None:
    class Empty(Job):
        pass

    with pytest.raises(FailedJobsError, match=r"Empty must define run\(self, context\)"):
        run(Empty())


def test_encapsulated_jobs_look_like_one() -> None:
    whole = Plain("inside").encapsulate()
    whole.add_child(Plain(2))
    whole.add_follow_on_fn(one)
    assert run(whole) == "inside"
