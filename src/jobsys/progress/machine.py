"""apply(event) -> effects: the one place where it is decided what an event means for the graph.

Deterministic and without clock or I/O, so that replaying the journal leads to the same state, and every order of events can
be tried. Work per event is proportional to the edges it touches.
"""

from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, Policy, RunCanceled, ServiceUp
from jobsys.message import Value
from jobsys.progress.checkpoints import Checkpoints
from jobsys.progress.node import Counts, Discard, Effect, Node, State, StopService, Submit
from jobsys.record import SELF, Blob, JobRecord
from jobsys.requirements import Requirements


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

    def __init__(self) -> None:
        """Begin before anything happened."""
        self.policy = Policy()
        self.epoch = 0
        self.next_id = 1
        self.canceled = False
        self.nodes: dict[int, Node] = {0: Node(0, "script", Blob(0, 0, 0), Requirements(), State.READY, uses=1)}
        self._done = 0
        self._ready: set[int] = set()
        self._failed: set[int] = set()
        self._up: set[int] = set()
        self._effects: list[Effect] = []
        self._todo: deque[tuple[Callable[[Node], None], Node]] = deque()
        self._dropped: list[Node] = []  # nodes that are gone, whose values' references are not yet given up
        self._checkpoints = Checkpoints(self)

    # -- asking ----------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every job is done and the result is there."""
        root = self.nodes[0]
        return root.finished and root.available

    @property
    def idle(self) -> bool:
        """Whether nothing runs or could be started, apart from services that wait for their clients."""
        return not self._ready and not any(self.nodes[self.nodes[job].service_of or 0].successors_done for job in self._up)

    @property
    def counts(self) -> Counts:
        """Count jobs by state."""
        total = self.next_id - 1
        ready = len(self._ready) + len(self._up)
        return Counts(total, self._done, len(self._failed), total - self._done - len(self._failed) - ready, ready)

    @property
    def ready(self) -> frozenset[int]:
        """The jobs that may run now."""
        return frozenset(self._ready)

    @property
    def up(self) -> frozenset[int]:
        """The services that are up."""
        return frozenset(self._up)

    @property
    def failed(self) -> list[int]:
        """The jobs that failed for good, by number."""
        return sorted(self._failed)

    def accepts(self, job: int) -> bool:
        """Tell whether a commit of this job would be its first."""
        node = self.nodes.get(job)
        return node is not None and node.state in (State.READY, State.UP)

    def values_for(self, refs: tuple[int, ...]) -> dict[int, Value]:
        """Say where the values lie that ``refs`` need, and those inside them."""
        found: dict[int, Value] = {}
        queue = list(refs)
        while queue:
            job = queue.pop()
            if job not in found:
                node = self.nodes[job]
                assert node.value is not None, f"job {job} has no value"  # noqa: S101 - the machine's own invariant
                found[job] = Value(node.value, node.value_refs)
                queue.extend(node.value_refs)
        return found

    def snapshot(self) -> Snapshot:
        """Take the whole state."""
        return Snapshot(list(self.nodes.values()), self.policy, self.next_id, self._done, self.epoch, self.canceled)

    @classmethod
    def restore(cls, snapshot: Snapshot) -> "Progress":
        """Make the state that was taken."""
        progress = cls()
        progress.policy, progress.next_id, progress._done = snapshot.policy, snapshot.next_id, snapshot.done
        progress.epoch, progress.canceled = snapshot.epoch, snapshot.canceled
        progress.nodes = {node.id: node for node in snapshot.nodes}
        for node in snapshot.nodes:
            if node.id:
                progress._index(node)
        return progress

    def _index(self, node: Node) -> None:
        sets = {State.READY: self._ready, State.FAILED: self._failed, State.UP: self._up}
        if node.state in sets:
            sets[node.state].add(node.id)

    # -- telling ---------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> list[Effect]:
        """Take in what happened; return what is to be done about it."""
        match event:
            case Committed():
                self._committed(event)
            case AttemptFailed():
                self._attempt_failed(event)
            case ServiceUp():
                self._service_up(event)
            case LeaderStarted():
                self._leader_started(event)
            case RunCanceled():
                self.canceled = True
        self._settle()
        effects, self._effects = self._effects, []
        return effects

    def _settle(self) -> None:
        while True:
            while self._todo:
                step, node = self._todo.popleft()
                if self.nodes.get(node.id) is node:
                    step(node)
            if self._dropped:
                self._release(self._dropped.pop().value_refs)
            elif not self._checkpoints.run_one_again():
                return

    def _committed(self, event: Committed) -> None:
        report = event.report
        node = self.nodes[report.job]
        self.next_id = max(self.next_id, event.first + len(report.jobs))
        self._add_jobs(node, event)
        if node.service_of is None:
            value = report.value or Blob(0, 0, 0)
            self._give_value(node, _placed(value, event.payload), _globals(report.refs, node.id, event.first))
        elif node.state is State.READY:
            self._up_now(node, Blob(0, 0, 0), ())
        self._set_state(node, State.DONE)
        if not node.checkpoint:
            self._release_uses(node)
        if report.deleted:
            self._effects.append(Discard(report.deleted))
        if node.service_of is not None:
            self._todo.append((self._finish, node))
        else:
            self._todo.append((self._body_done, node))

    def _add_jobs(self, maker: Node, event: Committed) -> None:
        first = event.first
        nodes = [self._new_node(maker, number, record, event) for number, record in enumerate(event.report.jobs, first)]
        for node in nodes:
            self.nodes[node.id] = node
        for node in nodes:
            self._link(node)
        for node in _from_the_top(nodes):
            self._inherit(node)
        for node in nodes:
            self._wait_for_values(node)
            if node.waiting == 0:
                self._todo.append((self._start, node))

    def _new_node(self, maker: Node, number: int, record: JobRecord, event: Committed) -> Node:
        first = event.first
        own = maker.id
        one = record.service_of
        parent = record.service_parent
        return Node(
            id=number,
            name=record.name,
            body=_placed(record.body, event.payload),
            requirements=record.requirements,
            retries=record.retries,
            refs=_globals(record.refs, own, first),
            after=_globals(record.after, own, first),
            parents=() if one is not None else _globals(record.child_of, own, first),
            follows=_globals(record.follow_on_of, own, first),
            service_of=None if one is None else _globals((one,), own, first)[0],
            service_parent=None if parent is None else _globals((parent,), own, first)[0],
            checkpoint=record.checkpoint,
        )

    def _link(self, node: Node) -> None:
        for parent in node.parents:
            above = self.nodes[parent]
            above.children.append(node.id)
            above.open_children += 1
        for parent in node.follows:
            above = self.nodes[parent]
            above.follow_ons.append(node.id)
            above.open_follow_ons += 1
        if node.service_of is not None:
            client = self.nodes[node.service_of]
            client.services.append(node.id)
            client.open_services += 1
            client.services_down += 1
            node.waiting += 1 + (node.service_parent is not None)
        node.waiting += len(node.parents) + len(node.follows)

    def _inherit(self, node: Node) -> None:
        """Take the nearest checkpoint and client from the first predecessor."""
        above = self.nodes[_above(node)]
        node.anchor = above.id if above.checkpoint else above.anchor
        node.client = above.id if above.services and node.service_of is None else above.client
        if node.anchor is not None:
            self.nodes[node.anchor].members.append(node.id)

    def _wait_for_values(self, node: Node) -> None:
        for ref in node.refs:
            source = self.nodes[ref]
            source.uses += 1
            if not source.available:
                source.dependents.append(node.id)
                node.waiting += 1
        for other in node.after:
            target = self.nodes.get(other)
            if target is not None and not target.finished:
                target.waiters.append(node.id)
                node.waiting += 1

    def _give_value(self, node: Node, value: Blob, refs: tuple[int, ...]) -> None:
        node.value, node.value_refs, node.value_waiting = value, refs, 0
        for ref in refs:
            source = self.nodes[ref]
            source.uses += 1
            if not source.available:
                source.dependents.append(~node.id)
                node.value_waiting += 1
        if node.value_waiting == 0:
            self._todo.append((self._value_available, node))

    # -- steps; each is queued, so that a chain of any length needs no recursion ---------------------------------

    def _met(self, node: Node) -> None:
        node.waiting -= 1
        if node.waiting == 0:
            self._start(node)

    def _start(self, node: Node) -> None:
        if node.state is not State.WAITING:
            return
        if node.body.length == 0:
            self._set_state(node, State.DONE)
            self._release_uses(node)
            self._give_value(node, Blob(0, 0, 0), ())
            self._todo.append((self._body_done, node))
            return
        self._set_state(node, State.READY)
        self._effects.append(Submit(node.id))

    def _value_available(self, node: Node) -> None:
        node.available = True
        dependents, node.dependents = node.dependents, []
        for dependent in dependents:
            if dependent >= 0:
                if waiting := self.nodes.get(dependent):
                    self._todo.append((self._met, waiting))
            elif (holder := self.nodes.get(~dependent)) is not None:
                holder.value_waiting -= 1
                if holder.value_waiting == 0:
                    self._todo.append((self._value_available, holder))

    def _body_done(self, node: Node) -> None:
        if node.services_down:
            for service in self._nodes(node.services):
                self._todo.append((self._met, service))
        else:
            self._release_children(node)

    def _release_children(self, node: Node) -> None:
        node.released = True
        if node.open_children == 0:
            self._release_follow_ons(node)
        for child in self._nodes(node.children):
            self._todo.append((self._met, child))

    def _release_follow_ons(self, node: Node) -> None:
        if node.open_follow_ons == 0:
            self._successors_done(node)
        for follow_on in self._nodes(node.follow_ons):
            self._todo.append((self._met, follow_on))

    def _successors_done(self, node: Node) -> None:
        node.successors_done = True
        if node.open_services == 0:
            self._todo.append((self._finish, node))
        for service in self._nodes(node.services):
            if service.state is State.UP:
                self._effects.append(StopService(service.id))

    def _finish(self, node: Node) -> None:
        node.finished = True
        if node.checkpoint:
            self._release_uses(node)
        for waiter in self._nodes(node.waiters):
            self._todo.append((self._met, waiter))
        for parent in self._nodes(node.parents):
            parent.open_children -= 1
            if parent.open_children == 0:
                self._release_follow_ons(parent)
        for parent in self._nodes(node.follows):
            parent.open_follow_ons -= 1
            if parent.open_follow_ons == 0:
                self._successors_done(parent)
        if node.service_of is not None and (client := self.nodes.get(node.service_of)):
            client.open_services -= 1
            if client.open_services == 0 and client.successors_done:
                self._todo.append((self._finish, client))
        self._drop_if_unused(node)

    # -- services --------------------------------------------------------------------------------------------

    def _service_up(self, event: ServiceUp) -> None:
        self._up_now(self.nodes[event.job], event.value, _globals(event.refs, event.job, 0))

    def _up_now(self, node: Node, value: Blob, refs: tuple[int, ...]) -> None:
        self._set_state(node, State.UP)
        self._give_value(node, value, refs)
        client = self.nodes[node.service_of or 0]
        for service in self._nodes(client.services):
            if service.service_parent == node.id:
                self._todo.append((self._met, service))
        client.services_down -= 1
        if client.services_down == 0 and not client.released:
            self._todo.append((self._release_children, client))
        elif client.services_down == 0:
            held_back, client.held_back = client.held_back, []
            self._todo.extend((self._met, job) for job in self._nodes(held_back))
        if client.successors_done:
            self._effects.append(StopService(node.id))

    # -- failures --------------------------------------------------------------------------------------------

    def _attempt_failed(self, event: AttemptFailed) -> None:
        node = self.nodes[event.job]
        node.failures += event.charged
        node.losses += not event.charged
        if event.requirements is not None:
            node.requirements = event.requirements
        if event.retry:
            self._set_state(node, State.READY)
            self._effects.append(Submit(node.id, event.delay))
            return
        node.reason = event.reason
        self._set_state(node, State.FAILED)
        self._checkpoints.failed_below(node)

    def _leader_started(self, event: LeaderStarted) -> None:
        self.policy, self.epoch, self.canceled = event.policy, event.epoch, False
        if event.epoch == 1:
            return
        for job in sorted(self._failed):
            node = self.nodes[job]
            node.failures = node.losses = 0
            node.reason = ""
            self._set_state(node, State.READY)
            if node.service_of is not None and node.available:
                self._service_down(node)
        for job in sorted(self._up):
            self._service_down(self.nodes[job])
            self._set_state(self.nodes[job], State.READY)
        self._order_services()
        self._checkpoints.reset()
        self._effects.extend(Submit(job) for job in sorted(self._ready))

    def _service_down(self, service: Node) -> None:
        """Take a service's value back: what has not run yet waits until the service is up again."""
        client = self.nodes[service.service_of or 0]
        service.available = False
        client.services_down += 1
        for node in list(self.nodes.values()):
            if node.state in (State.WAITING, State.READY) and service.id in node.refs:
                service.dependents.append(node.id)
                self._wait_again(node)
        if client.services_down == 1:
            for node in list(self.nodes.values()):
                if node.state is State.READY and self._below(node, client):
                    client.held_back.append(node.id)
                    self._wait_again(node)

    def _order_services(self) -> None:
        """Let a service wait again for the one that must be up before it."""
        for job in sorted(self._ready):
            node = self.nodes[job]
            parent = self.nodes.get(node.service_parent) if node.service_parent is not None else None
            if parent is not None and parent.state is not State.UP:
                self._wait_again(node)

    def _wait_again(self, node: Node) -> None:
        node.waiting += 1
        self._set_state(node, State.WAITING)

    def _below(self, node: Node, client: Node) -> bool:
        above = node.client
        while above is not None and above != client.id:
            above = self.nodes[above].client
        return above is not None and node.service_of is None

    # -- bookkeeping -----------------------------------------------------------------------------------------

    def _set_state(self, node: Node, state: State) -> None:
        before = node.state
        if before is state:
            return
        node.state = state
        if node.id == 0:
            return
        for which, members in ((State.READY, self._ready), (State.FAILED, self._failed), (State.UP, self._up)):
            if before is which:
                members.discard(node.id)
            elif state is which:
                members.add(node.id)
        self._done += (state is State.DONE) - (before is State.DONE)
        if node.anchor is not None and State.READY in (before, state):
            self._checkpoints.count(node, 1 if state is State.READY else -1)

    def _release_uses(self, node: Node) -> None:
        """Say that a job needs the values of its arguments no more."""
        if node.held:
            node.held = False
            self._release(node.refs)

    def _release(self, refs: tuple[int, ...]) -> None:
        for source in self._nodes(refs):
            source.uses -= 1
            self._drop_if_unused(source)

    def _drop_if_unused(self, node: Node) -> None:
        if node.finished and node.available and node.uses == 0 and node.id in self.nodes:
            del self.nodes[node.id]
            keys = tuple(blob.where for blob in (node.body, node.value) if blob is not None and isinstance(blob.where, str))
            if keys:
                self._effects.append(Discard(keys))
            if node.value_refs:
                self._dropped.append(node)

    def _nodes(self, ids: list[int] | tuple[int, ...]) -> Iterator[Node]:
        for job in ids:
            node = self.nodes.get(job)
            if node is not None:
                yield node


def _above(node: Node) -> int:
    return (node.parents or node.follows or (node.service_of or 0,))[0]


def _from_the_top(nodes: list[Node]) -> list[Node]:
    """Order new nodes so that each comes after its first predecessor."""
    new = {node.id: node for node in nodes}
    ordered: dict[int, Node] = {}
    for node in nodes:
        path = []
        climbing: Node | None = node
        while climbing is not None and climbing.id not in ordered:
            path.append(climbing)
            climbing = new.get(_above(climbing))
        for passed in reversed(path):
            ordered[passed.id] = passed
    return list(ordered.values())


def _globals(refs: tuple[int, ...], own: int, first: int) -> tuple[int, ...]:
    """Turn a commit's local references into job numbers."""
    if not refs:
        return ()
    if refs == (SELF,):
        return (own,)
    return tuple([own if ref == SELF else first + ref for ref in refs])


def _placed(blob: Blob, payload: Blob) -> Blob:
    """Turn a place inside a message into a place in the store."""
    if blob.where != 0 or blob.length == 0:
        return blob
    return Blob(payload.where, payload.offset + blob.offset, blob.length)
