"""What must hold, the simple way: nothing is counted, everything is asked anew of the whole graph after every event.

Written from the documents, not from the code of jobsys.progress.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jobsys.events import AttemptFailed, Committed, LeaderStarted, Policy, ServiceUp
from simulation.workflows import SELF, Spec  # type: ignore[import-not-found]


@dataclass
class Instance:
    """A job that some commit made."""

    id: int
    spec: Spec
    maker: int
    first: int = 0  # number of the first job that it made
    done: bool = False
    failed: bool = False
    up: bool = False
    was_up: bool = False  # ever, so that its value is known
    broken: bool = False  # a checkpoint: something below failed for good
    tries: int = 0


class Model:
    """The state of a run."""

    def __init__(self, root: Spec) -> None:
        self.jobs = {0: Instance(0, root, -1)}
        self.started: set[int] = set()  # may run; stays so until it ends or a new leader comes
        self.ever: set[int] = set()  # may have run some time
        self.policy = Policy()
        self.forgotten = 0
        self._memo: dict[Any, Any] = {}

    def apply(self, event: Any) -> None:
        """Take in an event."""
        match event:
            case Committed():
                self._committed(event)
            case ServiceUp():
                self.jobs[event.job].up = self.jobs[event.job].was_up = True
                self.started.discard(event.job)
            case AttemptFailed():
                job = self.jobs[event.job]
                job.tries += event.charged
                job.up = False
                self.started.discard(job.id)
                if not event.retry:
                    job.failed = True
                    self._failed_below(job)
            case LeaderStarted():
                self.policy = event.policy
                if event.epoch > 1:
                    self._restart()
        self._settle()

    def _committed(self, event: Committed) -> None:
        job = self.jobs[event.report.job]
        if job.spec.kind == "service" and not job.was_up:
            return  # nobody heard what it started with: it has to start again
        job.done, job.up, job.first = True, False, event.first
        self.started.discard(job.id)
        for number, spec in enumerate(job.spec.made, event.first):
            self.jobs[number] = Instance(number, spec, job.id)

    def _restart(self) -> None:
        self.started.clear()
        for job in self.jobs.values():
            if job.failed or job.broken:
                job.tries = 0
            job.failed = job.up = job.broken = False

    def _settle(self) -> None:
        while self._start_some() or self._run_checkpoint_again():
            pass

    def _start_some(self) -> bool:
        self._memo.clear()
        idle = [job for job in self.jobs.values() if job.id and not (job.done or job.failed or job.up or job.id in self.started)]
        ready = [job for job in idle if self.may_run(job)]
        for job in ready:
            if job.spec.kind == "knot":
                job.done = True
            else:
                self.started.add(job.id)
                self.ever.add(job.id)
        self._memo.clear()
        return bool(ready)

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _failed_below(self, job: Instance) -> bool:
        anchor = self._anchor(job)
        changed = anchor is not None and not anchor.broken
        if anchor is not None:
            anchor.broken = True
        return changed

    def _anchor(self, job: Instance) -> Instance | None:
        """Give the nearest checkpoint above; all jobs below one are made by it or by jobs below it."""
        while job.maker >= 0:
            job = self.jobs[job.maker]
            if job.spec.kind == "checkpoint":
                return job
        return None

    def _below(self, checkpoint: Instance) -> set[int]:
        found = {checkpoint.id}
        for number in sorted(self.jobs):  # a maker has a smaller number
            if self.jobs[number].maker in found:
                found.add(number)
        return found - {checkpoint.id}

    def _run_checkpoint_again(self) -> bool:
        for job in sorted((job for job in self.jobs.values() if job.broken), key=lambda job: job.id):
            below = self._below(job)
            if below & self.started:
                continue
            if job.tries >= self.policy.retries:
                if self._failed_below(job):
                    return True
                continue
            job.tries += 1
            job.done = job.broken = False
            for number in below:
                del self.jobs[number]
            self.forgotten += len(below)
            return True
        return False

    # -- questions -------------------------------------------------------------------------------------------

    def local(self, job: Instance, ref: int) -> Instance:
        """Give the job that a reference of ``job`` means."""
        maker = self.jobs[job.maker]
        return maker if ref == SELF else self.jobs[maker.first + ref]

    def inside(self, job: Instance) -> list[Instance]:
        """Give the jobs whose values are inside a job's value."""
        return [self.jobs[job.first + ref] for ref in job.spec.value_refs] if job.done else []

    def _each(self, job: Instance, refs: tuple[int, ...]) -> list[Instance]:
        return [self.local(job, ref) for ref in refs]

    def _made_with(self, job: Instance) -> Iterator[Instance]:
        """Give all jobs that can have an edge to ``job``: those of the same commit, and those that it made."""
        for other in self.jobs.values():
            if other.maker == job.id or (other.maker == job.maker and other.maker >= 0):
                yield other

    def _linked(self, job: Instance, field: str) -> list[Instance]:
        return self._known((field, job.id), lambda: [o for o in self._made_with(job) if job in self._each(o, _refs(o.spec, field))])

    def _known(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]

    def children_finished(self, job: Instance) -> bool:
        return job.done and all(self.finished(child) for child in self._linked(job, "child_of"))

    def successors_finished(self, job: Instance) -> bool:
        return self.children_finished(job) and all(self.finished(other) for other in self._linked(job, "follow_on_of"))

    def finished(self, job: Instance) -> bool:
        """Tell whether a job and all that came of it are done."""
        return self._known(("finished", job.id), lambda: self._finished(job))

    def _finished(self, job: Instance) -> bool:
        return self.successors_finished(job) and all(self.finished(service) for service in self._linked(job, "service_of"))

    def available(self, job: Instance, who: Instance) -> bool:
        """Tell whether ``who`` may have a job's value."""
        if job.spec.kind == "checkpoint" and job.id not in (who.maker, who.id):
            return self.finished(job)
        if job.spec.kind == "service":
            return job.up or job.done
        return job.done and all(self.available(other, job) for other in self.inside(job))

    def services_up(self, job: Instance) -> bool:
        return all(service.up or service.done for service in self._linked(job, "service_of"))

    def around(self, job: Instance) -> set[int]:
        """Give all predecessors, at any distance; of a service, those of its client too."""
        return self._known(("around", job.id), lambda: self._around(job))

    def _around(self, job: Instance) -> set[int]:
        if job.maker < 0:
            return set()
        if job.spec.service_of is not None:
            return self.around(self.local(job, job.spec.service_of))
        found: set[int] = set()
        for above in self._each(job, job.spec.child_of + job.spec.follow_on_of):
            found |= {above.id} | self.around(above)
        return found

    def may_run(self, job: Instance) -> bool:
        """Tell whether a job may run: nothing that it waits for is missing."""
        spec = job.spec
        return (
            all(above.done for above in self._each(job, spec.child_of))
            and all(self.children_finished(above) for above in self._each(job, spec.follow_on_of))
            and all(self.services_up(self.jobs[above]) for above in self.around(job))
            and all(self.available(source, job) for source in self._each(job, spec.refs))
            and all(self.finished(other) for other in self._each(job, spec.after))
            and (spec.service_of is None or self.local(job, spec.service_of).done)
            and (spec.service_parent is None or self._is_up(self.local(job, spec.service_parent)))
        )

    @staticmethod
    def _is_up(service: Instance) -> bool:
        return service.up or service.done

    def accepts(self, number: int) -> bool:
        """Tell whether a commit of an attempt that was out some time would be the job's first."""
        job = self.jobs.get(number)
        return job is not None and not job.done and not job.failed and (number == 0 or number in self.ever)

    def expected(self, number: int) -> list[Any]:
        """Give the values of a job's arguments."""
        job = self.jobs[number]
        return [source.spec.value for source in self._each(job, job.spec.refs)]

    def needed(self) -> set[int]:
        """Give the finished jobs whose values somebody may still ask for."""
        rest = [self.jobs[0], *(job for job in self.jobs.values() if not self.finished(job))]
        found: set[int] = set()
        while rest:
            job = rest.pop()
            refs = [] if job.done and (job.spec.kind != "checkpoint" or self.finished(job)) else self._each(job, job.spec.refs)
            for other in [*refs, *self.inside(job)]:
                if other.id not in found:
                    found.add(other.id)
                    rest.append(other)
        return found


def _refs(spec: Spec, field: str) -> tuple[int, ...]:
    value = getattr(spec, field)
    return value if isinstance(value, tuple) else () if value is None else (value,)
