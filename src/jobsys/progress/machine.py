"""apply(event) -> effects: the one place where it is decided what an event means for the graph.

Deterministic and without clock or I/O, so that replaying the journal leads to the same state, and every order of events can
be tried. Work per event is proportional to the edges it touches.
"""

import msgspec

from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, Policy, RunCanceled, ServiceUp
from jobsys.message import Value
from jobsys.progress import checkpoints
from jobsys.progress.adding import Made, add_jobs, numbered
from jobsys.progress.flow import Flow
from jobsys.progress.node import Counts, Effect, Node, State, StopService, Submit
from jobsys.progress.services import Services
from jobsys.progress.table import NOTHING, Table


class Snapshot(msgspec.Struct, frozen=True):
    """The whole state, as stored."""

    nodes: list[Node]
    policy: Policy
    next_id: int
    done: int
    epoch: int
    canceled: bool


class Progress:
    """The state of a run. Job 0 is the script itself: its value is the run's result."""

    def __init__(self, table: Table | None = None) -> None:
        """Begin before anything happened, or from the jobs of ``table``."""
        self.policy = Policy()
        self.epoch = 0
        self.next_id = 1
        self.canceled = False
        self._table = table or Table()
        self.nodes = self._table.nodes
        self._services = Services(self._table)
        self._flow = Flow(self._table, self._services)

    # -- asking ----------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every job is done and the result is there."""
        root = self.nodes[0]
        return root.finished and root.available

    @property
    def idle(self) -> bool:
        """Whether nothing runs or could be started, apart from services that wait for their clients."""
        return not self._table.ready and not self._services.stopping

    @property
    def counts(self) -> Counts:
        """Count jobs by state; what a checkpoint made and was forgotten counts as done."""
        table = self._table
        total = self.next_id - 1
        ready = len(table.ready) + len(table.up)
        return Counts(total, table.done, len(table.failed), total - table.done - len(table.failed) - ready, ready)

    @property
    def ready(self) -> frozenset[int]:
        """The jobs that may run now."""
        return frozenset(self._table.ready)

    @property
    def up(self) -> frozenset[int]:
        """The services that are up."""
        return frozenset(self._table.up)

    @property
    def failed(self) -> list[int]:
        """The jobs that failed for good, by number."""
        return sorted(self._table.failed)

    def accepts(self, job: int) -> bool:
        """Tell whether a commit of this job would be its first."""
        node = self.nodes.get(job)
        return node is not None and (node.state is State.READY or node.state is State.UP or node.paused)

    def values_for(self, refs: tuple[int, ...]) -> dict[int, Value]:
        """Say where the values lie that ``refs`` need, and those inside them."""
        found: dict[int, Value] = {}
        queue = list(refs)
        while queue:
            job = queue.pop()
            if job not in found:
                node = self.nodes[job]
                assert node.value is not None, f"job {job} has no value"
                found[job] = Value(node.value, node.value_refs)
                queue.extend(node.value_refs)
        return found

    def snapshot(self) -> Snapshot:
        """Take the whole state."""
        return Snapshot(list(self.nodes.values()), self.policy, self.next_id, self._table.done, self.epoch, self.canceled)

    @classmethod
    def restore(cls, snapshot: Snapshot) -> "Progress":
        """Make the state that was taken."""
        progress = cls(Table(snapshot.nodes, snapshot.done))
        progress.policy, progress.next_id = snapshot.policy, snapshot.next_id
        progress.epoch, progress.canceled = snapshot.epoch, snapshot.canceled
        return progress

    # -- telling ---------------------------------------------------------------------------------------------

    def apply(self, event: Event, made: Made | None = None) -> list[Effect]:
        """Take in what happened; return what is to be done about it. What is not accepted (any more) changes nothing.

        Args:
            event: what happened.
            made: the jobs that a commit makes, if the event itself does not hold them.
        """
        match event:
            case Committed():
                if self.accepts(event.report.job):
                    self._committed(event, self.nodes[event.report.job], ((event.payload, event.report.jobs),) if made is None else made)
            case AttemptFailed():
                if self.accepts(event.job):
                    self._attempt_failed(event, self.nodes[event.job])
            case ServiceUp():
                if event.job in self._table.ready:
                    self._service_up(event, self.nodes[event.job])
            case LeaderStarted():
                self._leader_started(event)
            case RunCanceled():
                self.canceled = True
        self._flow.settle()
        while self._table.at_rest:
            self._run_again()
        effects, self._table.effects = self._table.effects, []
        return effects

    def _committed(self, event: Committed, node: Node, made: Made) -> None:
        report = event.report
        if node.service_of is not None and node.state is not State.UP and not self._came_up_before(node):
            return
        self.next_id = max(self.next_id, event.first + report.made)
        if report.made:
            for new in add_jobs(self._table, node, event.first, made, self.policy):
                self._flow.wait(new, node)
        if report.deleted:
            self._table.delete_files(node, report.deleted)
        if node.service_of is None:
            value = (report.value or NOTHING).within(event.payload)
            self._flow.done(node, value, numbered(report.refs, node.id, event.first))
        else:
            self._flow.body_done(node)

    def _came_up_before(self, service: Node) -> bool:
        """Take in the end of a service that only an earlier leader saw up: its value counts. Without one it must start again."""
        if service.value is None:
            if not service.paused:
                self._table.effects.append(Submit(service.id))
            return False
        self._flow.service_up(service, service.value)
        self._table.effects.append(StopService(service.id))  # to a second attempt of it
        return True

    def _service_up(self, event: ServiceUp, node: Node) -> None:
        self._flow.service_up(node, event.value)
        self._services.stop_if_done(node)

    def _attempt_failed(self, event: AttemptFailed, node: Node) -> None:
        node.failures += event.charged
        node.losses += not event.charged
        if event.requirements is not None:
            node.requirements = event.requirements
        if node.state is State.UP:
            self._services.went_down(node)
        if event.retry:
            self._flow.start(node, event.delay)
            return
        node.reason, node.paused = event.reason, False
        self._table.set_state(node, State.FAILED)
        self._table.failed_below(node)

    def _leader_started(self, event: LeaderStarted) -> None:
        self.policy, self.epoch, self.canceled = event.policy, event.epoch, False
        if event.epoch == 1:
            return
        for job in self.failed:
            node = self.nodes[job]
            node.failures = node.losses = 0
            node.reason = ""
            self._table.set_state(node, State.READY)
        checkpoints.reset(self._table)
        self._services.restart()
        self._table.effects.extend(Submit(job) for job in sorted(self._table.ready))

    def _run_again(self) -> None:
        node = checkpoints.next_to_run(self._table, self.policy)
        if node is not None:
            self._services.forget()
            self._flow.start(node)
            self._flow.settle()
