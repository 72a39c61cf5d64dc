"""The jobs of a random workflow, written as a user writes them: with the graph API, with calls of job functions, dynamic, with services.

A job is described by its ``Spec``; its value tells who made it (path and token of the attempt) and from whose values.
"""

from collections.abc import Sequence
from typing import Any

import jobsys
from jobsys.events import Reason
from jobsys.job import FunctionJob, Job, Service, VirtualJob
from jobsys.promise import promise_job
from simulation.system.runs import the_run  # type: ignore[import-not-found]
from simulation.system.world import Crash  # type: ignore[import-not-found]
from simulation.workflows import SELF, Spec  # type: ignore[import-not-found]

MEMORY = 100  # bytes that a job asks for
FILE = "result of"


def act(path: str, inputs: list[Any]) -> dict[str, Any]:
    """Do what the spec of this path says."""
    run, context = the_run(), jobsys.current()
    spec: Spec = run.specs[path]
    heads = [_head(value) for value in inputs]
    run.checker.began(path, context.job_id, context._token, heads)
    run.world.me().pause(run.world.random.choice((0.0, 0.01, 1.0, 10.0)))
    _read_files(inputs)
    _misbehave(spec)
    made = build(context.job, spec)
    return {
        **_value(spec, heads),
        "file": _write_file(path) if spec.large or len(path) % 3 == 0 else None,
        "inside": [_promise(made[ref]) for ref in spec.value_refs],
    }


act_job = jobsys.job(memory=MEMORY)(act)


class Helper(Service):
    """A service whose value tells which attempt of it is up."""

    def __init__(self, path: str, inputs: list[Any]) -> None:
        super().__init__(memory=MEMORY, name=path)
        self.path, self.inputs = path, inputs

    def start(self, context: Any) -> Any:
        run = the_run()
        spec: Spec = run.specs[self.path]
        heads = [_head(value) for value in self.inputs]
        run.checker.began(self.path, context.job_id, context._token, heads)
        _misbehave(spec)
        return {**_value(spec, heads), "file": None, "inside": []}

    def check(self, context: Any) -> bool:
        run = the_run()
        spec: Spec = run.specs[self.path]
        if spec.fails_up and run.world.random.random() < 0.3:
            spec.fails_up -= 1
            return False
        return True

    def stop(self, context: Any) -> None:
        pass


def script(root: Spec) -> list[Any]:
    """Make the graph of a script, and promise all that it returns."""
    made = build(None, root)
    return [_promise(made[ref]) for ref in root.value_refs]


def build(owner: Job | None, maker: Spec) -> list[Job]:
    """Make the jobs that a job makes, in the order of its spec, then what joins them."""
    inputs: list[list[Any]] = [[] for _ in maker.made]
    jobs = [_make(spec, needs, owner is not None) for spec, needs in zip(maker.made, inputs, strict=True)]
    everybody: dict[int | None, Any] = {SELF: owner, **dict(enumerate(jobs))}
    for spec, job, needs in zip(maker.made, jobs, inputs, strict=True):
        needs += [_promise(everybody[ref]) for ref in spec.refs]
        if spec.after:
            job._place().after = tuple(jobs[other] for other in spec.after)
        if isinstance(job, Service):
            client = everybody[spec.service_of]
            parent = None if spec.service_parent is None else jobs[spec.service_parent]
            _add_service(client, job, parent)
            continue
        for above in spec.child_of:
            if everybody[above] is not None:
                everybody[above].add_child(job)
        for above in spec.follow_on_of:
            everybody[above].add_follow_on(job)
    return jobs


def _add_service(client: Any, service: Service, parent: Any) -> None:
    if parent is not None and parent._place().service_of is None:  # listed before the one that it waits for
        client.add_service(parent)
    if service._place().service_of is None:
        client.add_service(service, parent)
    else:
        service._place().service_parent = parent


def _make(spec: Spec, inputs: list[Any], running: bool) -> Job:
    if spec.kind == "knot":
        return VirtualJob(name=spec.path)
    if spec.kind == "service":
        return Helper(spec.path, inputs)
    options = {"name": spec.path, "checkpoint": spec.kind == "checkpoint"}
    plain = spec.child_of == (SELF,) and not spec.follow_on_of
    if running and plain and len(spec.path) % 2:
        return promise_job(act_job.with_requirements(**options)(spec.path, inputs))
    return FunctionJob(act, (spec.path, inputs), memory=MEMORY, **options)


def _promise(job: Any) -> Any:
    return job.rv()


def _value(spec: Spec, heads: list[Any]) -> dict[str, Any]:
    return {"path": spec.path, "token": jobsys.current()._token, "inputs": heads, "pad": "x" * 3000 if spec.large else ""}


def _head(value: Any) -> tuple[str, str] | None:
    return None if value is None else (value["path"], value["token"])


def _misbehave(spec: Spec) -> None:
    run = the_run()
    run.tried[spec.path] += 1
    number = run.tried[spec.path]
    if number <= spec.loses:
        _die("lost")
    if number <= spec.loses + spec.fails:
        if spec.memory and spec.kind != "service":
            _die(Reason.MEMORY)
        raise ValueError(f"{spec.path} fails for the {number}. time")


def _die(reason: str) -> None:
    process = the_run().world.me()
    process.kill(reason)
    raise Crash(process.name)


def _write_file(path: str) -> Any:
    context = jobsys.current()
    with context.write_stream("out") as (stream, file):
        stream.write(f"{FILE} {path} {context._token}".encode())
    return file


def _read_files(values: Sequence[Any]) -> None:
    for value in values:
        if value is not None and value["file"] is not None:
            with jobsys.current().read_stream(value["file"]) as stream:
                found = stream.read().decode()
            if found != f"{FILE} {value['path']} {value['token']}":
                the_run().world.violate(f"the file of {value['path']} says {found!r}, and its value {value['token']}")
