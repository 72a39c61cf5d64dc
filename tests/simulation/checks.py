"""What must hold after every event, and at the end."""

from random import Random
from typing import Any

import msgspec

from jobsys.events import Committed, Event, ServiceUp
from jobsys.jobstores import JobStore
from jobsys.journal import replay
from jobsys.progress import Progress, StopService, Submit
from jobsys.progress.machine import Snapshot
from jobsys.storage.memory import MemoryStorage
from simulation.model import Model  # type: ignore[import-not-found]
from simulation.workflows import Spec  # type: ignore[import-not-found]
from states import state  # type: ignore[import-not-found]


class Checked:
    """The part of the simulator that compares the real state with the model's."""

    root: Spec
    random: Random
    progress: Progress
    model: Model
    store: JobStore
    storage: MemoryStorage
    specs: dict[str, Spec]
    out: dict[int, Any]
    committed: set[str]
    crashes: int

    def done(self) -> set[str]:
        """Give the paths of the jobs that are done."""
        raise NotImplementedError

    def result(self) -> Any:
        """Read the run's result."""
        raise NotImplementedError

    def _shadow(self) -> Progress:
        return Progress.restore(msgspec.json.decode(msgspec.json.encode(self.progress.snapshot()), type=Snapshot))

    def _compare(self, shadow: Progress, event: Event, effects: list[Any]) -> None:
        assert shadow.apply(event) == effects, "after a snapshot another thing is done"
        assert state(shadow) == state(self.progress)
        if isinstance(event, ServiceUp) or (isinstance(event, Committed) and not self.progress.accepts(event.report.job)):
            assert shadow.apply(event) == [], "an event that comes twice is done twice"
            assert state(shadow) == state(self.progress)

    def _check_effects(self, effects: list[Any]) -> None:
        model = self.model
        submitted = [effect.job for effect in effects if isinstance(effect, Submit)]
        assert len(submitted) == len(set(submitted))
        assert set(submitted) <= model.started
        for effect in effects:
            if isinstance(effect, StopService) and effect.job in model.jobs:
                service = model.jobs[effect.job]
                assert service.up or service.done
                assert service.done or model.successors_finished(model.local(service, service.spec.service_of or 0)), "stopped too early"

    def _check(self) -> None:
        progress, model = self.progress, self.model
        jobs = model.jobs.values()
        assert progress.ready == model.started
        assert progress.up == {job.id for job in jobs if job.up}
        assert progress.failed == sorted(job.id for job in jobs if job.failed)
        script = model.jobs[0]
        assert progress.finished == (model.finished(script) and model.available(script, script))
        done = sum(job.done for job in jobs if job.id) + model.forgotten
        counts = progress.counts
        assert (counts.done, counts.failed, counts.ready) == (done, len(progress.failed), len(progress.ready) + len(progress.up))
        assert counts.total == counts.done + counts.failed + counts.waiting + counts.ready
        assert counts.waiting == sum(not (job.done or job.failed or job.up or job.id in model.started) for job in jobs if job.id)
        remembered = set(progress.nodes)
        assert remembered >= {job.id for job in jobs if not job.done}
        kept = {job.id for job in jobs if model.finished(job)} & remembered
        assert kept <= model.needed() | {0}, "a finished job that nobody needs is remembered"
        assert remembered <= set(model.jobs)

    def _check_at_end(self) -> None:
        progress = self.progress
        assert progress.idle
        assert not self.out or all(job in progress.up for job in self.out)
        assert progress.finished or progress.failed, "nothing runs, nothing failed, and yet it is not finished"
        assert state(replay(self.store)[0]) == state(progress)
        if progress.finished:
            assert self.result() == self.root.value
            assert self.done() == set(self.specs)
            if not self.crashes:
                nodes = progress.nodes.values()
                kept = {blob.where for node in nodes for blob in (node.body, node.value) if blob and isinstance(blob.where, str)}
                left = set(self.storage.list("values/")) & self.committed
                assert left == kept, "objects that nobody needs were not deleted"
