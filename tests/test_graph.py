import io
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jobsys
from jobsys.digest import short
from jobsys.errors import FailedJobsError, GraphError
from jobsys.graph import LAUNCHER, SPILL, Encoded, check_acyclic, encode
from jobsys.job import FunctionJob, Job, PromisedRequirement, Service
from jobsys.parts import read_part, write_parts
from jobsys.record import SELF, Blob, JobRecord, Part


def run(workflow: Any, **options: Any) -> Any:
    return jobsys.run(workflow, f"memory:{uuid.uuid4().hex}", batch_system="inline", progress="off", retries=0, **options)


class Elsewhere:
    """Keeps what is large in memory."""

    def __init__(self) -> None:
        self.graphs = io.BytesIO()

    def value(self, data: bytes) -> Blob:
        return Blob("elsewhere", 0, len(data))

    def graph(self, bodies: Iterable[bytes], records: Sequence[JobRecord]) -> tuple[Part, ...]:
        return write_parts(self.graphs, "graph", bodies, records)


def encoded(value: Any, made: Any = (), owner: Job | None = None) -> Encoded:
    return encode(value, made, owner, "it", Elsewhere())


@jobsys.job
def use(*args: Any) -> Any:
    return args


def named(name: str, *args: Any) -> FunctionJob:
    return use.with_requirements(name=name).as_job(*args)


def records(value: Any, made: Any = (), owner: Job | None = None) -> dict[str, JobRecord]:
    return {record.name: record for record in encoded(value, made, owner).jobs}


def test_only_what_is_reached_is_encoded_in_the_order_of_making() -> None:
    a, forgotten, b = named("a"), named("forgotten"), named("b")
    c = named("c", b.rv(), [a.rv(), b.rv()])
    result = encoded({"x": c.rv()})
    assert [record.name for record in result.jobs] == ["a", "b", "c"]
    assert result.jobs[2].refs == (1, 0), "by slot, each once"
    assert result.refs == (2,)
    del forgotten


def test_neighbours_of_every_kind_are_found() -> None:
    class Serve(Service):
        pass

    root, child, follow, service, other, before = named("root"), named("child"), named("follow"), Serve(), named("other"), named("before")
    root.add_child(child)
    child.add_follow_on(follow)
    child.add_service(service)
    follow._place().after = (before,)
    found = records(follow.rv())
    assert set(found) == {"root", "child", "follow", "test_neighbours_of_every_kind_are_found.<locals>.Serve", "before"}
    assert found["child"].child_of == (0,)
    assert found["follow"].child_of == ()
    assert found["follow"].follow_on_of == (1,)
    assert found["root"].child_of == (SELF,)
    assert other.name not in found


def test_a_child_of_the_running_job() -> None:
    owner = named("owner")
    owner.add_child(named("added", owner.rv()))
    result = encoded(5, [named("called")], owner)
    assert [(record.name, record.child_of, record.refs) for record in result.jobs] == [("added", (SELF,), (SELF,)), ("called", (SELF,), ())]


def test_large_bodies_and_values_lie_elsewhere() -> None:
    job = named("large", bytes(SPILL))
    result = encoded([job.rv(), bytes(SPILL)])
    assert result.jobs[0].body.where == "elsewhere"
    assert result.value.where == "elsewhere"
    assert result.payload == []
    small = encoded([named("small", bytes(SPILL // 2)).rv()])
    assert small.jobs[0].body.where == small.value.where == 0
    assert b"".join(small.payload)[small.value.offset :][: small.value.length]


def test_the_jobs_of_a_large_commit_lie_elsewhere_with_their_bodies() -> None:
    count = 3_500
    promises = [named(f"job {number}", number) for number in range(count)]
    kept = Elsewhere()
    result = encode([job.rv() for job in promises], (), None, "it", kept)
    assert result.jobs == ()
    assert [part.count for part in result.parts] == [1000, 1000, 1000, 500]
    assert result.refs == tuple(range(count))
    assert b"".join(result.payload)[result.value.offset :][: result.value.length]
    data = kept.graphs.getvalue()
    found = []
    for part in result.parts:
        assert short(data[part.records.offset :][: part.records.length]) == part.records.digest
        payload, some = read_part(part, data[part.records.offset :][: part.records.length])
        found += [(record, record.body.within(payload)) for record in some]
    assert [record.name for record, _ in found] == [f"job {number}" for number in range(count)]
    body = found[1234][1]
    assert body.where == "graph"
    assert short(data[body.offset :][: body.length]) == body.digest


def circle(*names: str) -> list[Job]:
    """Make jobs of which each takes the next one's value, and the last the first one's."""
    jobs = [named(name) for name in names]
    for job, following in zip(jobs, [*jobs[1:], jobs[0]], strict=True):
        job.call = (job.call[0], (following.rv(),), {})
    return list(jobs)


def test_circles_name_their_jobs() -> None:
    with pytest.raises(GraphError, match="in a circle: "):
        encoded(circle("self")[0].rv())
    with pytest.raises(GraphError) as caught:
        encoded([named("innocent").rv(), circle("a", "b", "c")[0].rv()])
    assert set(str(caught.value).partition("circle: ")[2].split(" -> ")) == {"a", "b", "c"}
    parent, child = named("parent"), named("child")
    parent.add_child(child)
    child.add_child(parent)
    with pytest.raises(GraphError, match=r"(parent -> child -> parent|child -> parent -> child)"):
        encoded(parent.rv())
    first, second = named("first"), named("second")
    first.add_follow_on(second)
    first.call = (first.call[0], (second.rv(),), {})
    with pytest.raises(GraphError, match="in a circle"):
        encoded(first.rv())
    top, below = named("top"), named("below")
    top.add_child(below)
    below._place().after = (top,)
    with pytest.raises(GraphError, match="in a circle"):
        encoded(top.rv())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_graph_is_refused_exactly_if_it_has_a_circle(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    edges = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=8))
    needs: dict[int, set[int]] = {number: set() for number in range(count)}
    for number, other in edges:
        needs[number].add(other)
    blob = Blob(0, 0, 0)
    made = [JobRecord(str(number), blob, refs=tuple(needs[number])) for number in range(count)]
    left = dict(needs)
    while free := [number for number, others in left.items() if not others & left.keys()]:
        for number in free:
            del left[number]
    if left:
        with pytest.raises(GraphError):
            check_acyclic(made, [record.name for record in made])
    else:
        check_acyclic(made, [record.name for record in made])


def test_a_diamond_and_a_long_chain_are_no_circles() -> None:
    top, left, right, bottom = (named(name) for name in "tlrb")
    for parent, child in ((top, left), (top, right), (left, bottom), (right, bottom)):
        parent.add_child(child)
    assert records(bottom.rv())["b"].child_of == (1, 2)
    last: Job = named("0")
    for number in range(1, 20_000):
        last = last.add_child(named(str(number)))
    assert sum(part.count for part in encoded(last.rv()).parts) == 20_000


def test_a_job_that_promises_its_own_value() -> None:
    owner = named("owner")
    with pytest.raises(GraphError, match="'owner' returns the promise of its own value"):
        encoded([owner.rv()], (), owner)


kept: list[Any] = []


def test_a_promise_kept_from_one_job_to_another_is_refused() -> None:
    """It would run a second time there, unnoticed."""

    @jobsys.job
    def keep() -> Any:
        kept.append(use(1))
        return kept[-1]

    @jobsys.job
    def take(_: Any) -> Any:
        return use(kept[-1])

    kept.clear()
    with pytest.raises(FailedJobsError, match=r"job 'use' was made by another job, '.*keep', which has ended"):
        run(take(keep()))


def test_a_script_may_run_the_same_workflow_twice() -> None:
    workflow = use(1)
    assert run(workflow) == (1,)
    assert run(workflow) == (1,)


def test_a_checkpoint_has_no_successors_of_the_script() -> None:
    job = use.with_requirements(checkpoint=True, name="save").as_job()
    job.add_child(named("below"))
    with pytest.raises(GraphError, match="checkpoint 'save' must have no successors yet"):
        encoded(job.rv())


def test_promised_requirements_are_computed_where_their_values_are() -> None:
    @jobsys.job
    def ask() -> Any:
        return jobsys.current().requirements

    class Asking(Job):
        def __init__(self, held: Any, **options: Any) -> None:
            super().__init__(**options)
            self.held = held

        def run(self, context: Any) -> Any:
            return context.requirements.memory, self.held

    size = use.with_requirements(name="size")(1000, "2G")
    asked = ask.with_requirements(cores=size[0], memory=PromisedRequirement(lambda text: text, size[1]), disk="1M")
    first = records(asked())
    assert first["test_promised_requirements_are_computed_where_their_values_are.ask"].requirements == LAUNCHER
    got = run(asked())
    assert (got.cores, got.memory, got.disk) == (1000, 2_000_000_000, 1_000_000)
    assert run(Asking(size[1], memory=size[1])) == (2_000_000_000, "2G")
    parent = Asking(1, memory=size[1], name="parent")
    child = parent.add_child(named("child"))
    assert run([parent.rv(), child.rv()]) == [(2_000_000_000, 1), ()]


def test_a_service_can_t_have_promised_requirements() -> None:
    class Serve(Service):
        pass

    root = named("root")
    root.add_service(Serve(memory=use(1)))
    with pytest.raises(GraphError, match="can't have promised requirements"):
        encoded(root.rv())
