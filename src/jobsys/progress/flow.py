"""What follows from what: values become available, predecessors release successors, subtrees finish.

Each step is queued, so that a chain of any length needs no recursion. Work is proportional to the edges that are touched.
"""

from collections import deque
from collections.abc import Callable, Sequence

from jobsys.progress.node import Node, Phase, State, Submit, grown
from jobsys.progress.services import Services
from jobsys.progress.table import NOTHING, Table
from jobsys.record import Blob


class Flow:
    """Moves the jobs of a table on."""

    def __init__(self, table: Table, services: Services) -> None:
        """Work on ``table``; ask ``services`` before a job starts."""
        self._table = table
        self._nodes = table.nodes
        self._services = services
        self._todo: deque[tuple[Callable[[Node], None], Node]] = deque()

    def settle(self) -> None:
        """Do all that follows from what happened."""
        todo = self._todo
        while todo:
            step, node = todo.popleft()
            if self._nodes.get(node.id) is node:
                step(node)

    # -- what happens to a job -------------------------------------------------------------------------------

    def wait(self, node: Node, maker: Node) -> None:
        """Let a new job wait for its values and for what it comes after."""
        me = (node.id,)
        for ref in node.refs:
            source = self._nodes[ref]
            source.uses += 1
            if self._lacks(source, me, maker):
                node.waiting += 1
        for other in node.after:
            target = self._nodes.get(other)
            if target is not None and target.phase is not Phase.FINISHED:
                target.waiters = grown(target.waiters, me)
                node.waiting += 1
        node.after = ()
        if node.waiting == 0:
            self._todo.append((self.start, node))

    def start(self, node: Node, delay: float = 0.0) -> None:
        """Have a job run that waits for nothing any more."""
        if node.state in (State.DONE, State.FAILED) or self._services.hold(node):
            return
        node.paused = False
        if node.body.length == 0:
            self.done(node, NOTHING, ())
        else:
            self._table.set_state(node, State.READY)
            self._table.effects.append(Submit(node.id, delay))

    def done(self, node: Node, value: Blob, refs: tuple[int, ...]) -> None:
        """Note that a job has run, and what it returned."""
        self._give_value(node, value, refs)
        self.body_done(node)

    def body_done(self, node: Node) -> None:
        """Note that a job has run. A checkpoint may run again, so it keeps its arguments."""
        node.paused = False
        self._table.set_state(node, State.DONE)
        if not node.checkpoint:
            self._table.let_go(node)
            self._table.discard_body(node)
        self._todo.append((self._start_services if node.services_down else self._release_children, node))

    def service_up(self, service: Node, value: Blob) -> None:
        """Note that a service is up, and what it started with; its client's successors may run once all are."""
        self._give_value(service, value, ())
        self._todo.extend((self._met, node) for node in self._services.came_up(service))
        client = self._services.client(service)
        if client.services_down == 0 and client.phase is Phase.BODY:
            self._todo.append((self._release_children, client))

    # -- values ----------------------------------------------------------------------------------------------

    def _lacks(self, source: Node, who: tuple[int], maker: Node) -> bool:
        """Tell whether a value is missing; if so, ``who`` will be told when it is there.

        A checkpoint may run again and return something else, so only jobs that itself made get its value before it is finished.
        """
        if source.checkpoint and source is not maker:
            if source.phase is Phase.FINISHED:
                return False
            source.waiters = grown(source.waiters, who)
        elif source.available:
            return False
        else:
            source.dependents = grown(source.dependents, who)
        return True

    def _give_value(self, node: Node, value: Blob, refs: tuple[int, ...]) -> None:
        node.value, node.value_refs, node.value_waiting = value, refs, 0
        me = (~node.id,)
        for ref in refs:
            source = self._nodes[ref]
            source.uses += 1
            node.value_waiting += self._lacks(source, me, node)
        if node.value_waiting == 0:
            self._value_available(node)

    def _value_available(self, node: Node) -> None:
        node.available = True
        if node.dependents:
            dependents, node.dependents = node.dependents, ()
            self._tell(dependents)

    def _tell(self, waiting: Sequence[int]) -> None:
        """Tell jobs, and (~n) values, that what they waited for is there."""
        for who in waiting:
            if (node := self._nodes.get(who if who >= 0 else ~who)) is not None:
                self._todo.append((self._met if who >= 0 else self._value_met, node))

    def _value_met(self, node: Node) -> None:
        node.value_waiting -= 1
        if node.value_waiting == 0:
            self._value_available(node)

    # -- phases ----------------------------------------------------------------------------------------------

    def _met(self, node: Node) -> None:
        node.waiting -= 1
        if node.waiting == 0:
            self.start(node)

    def _start_services(self, node: Node) -> None:
        for service in self._table.existing(node.services):
            self._met(service)

    def _release_children(self, node: Node) -> None:
        node.phase = Phase.CHILDREN
        if node.open_children == 0:
            self._release_follow_ons(node)
            return
        children, node.children = node.children, ()
        if self._is_link(node):
            self._bridge(node, children)
        for child in self._table.existing(children):
            self._met(child)  # at once: a million steps in a queue would take as much memory as the jobs

    def _release_follow_ons(self, node: Node) -> None:
        node.phase = Phase.FOLLOW_ONS
        if node.open_follow_ons == 0:
            self._successors_done(node)
            return
        follow_ons, node.follow_ons = node.follow_ons, ()
        for follow_on in self._table.existing(follow_ons):
            self._met(follow_on)

    def _successors_done(self, node: Node) -> None:
        node.phase = Phase.SERVICES
        if node.open_services == 0:
            self._todo.append((self._finish, node))
        else:
            self._services.stop(node)

    def _finish(self, node: Node) -> None:
        node.phase = Phase.FINISHED
        if node.checkpoint:
            self._table.let_go(node)
            self._table.discard_body(node)
            self._table.delete_files(node, node.deleted)
        if node.waiters:
            waiters, node.waiters = node.waiters, ()
            self._tell(waiters)
        for parent in self._table.existing(node.parents):
            parent.open_children -= 1
            if parent.open_children == 0:
                self._release_follow_ons(parent)
        for parent in self._table.existing(node.follows):
            parent.open_follow_ons -= 1
            if parent.open_follow_ons == 0:
                self._successors_done(parent)
        if node.service_of is not None:
            client = self._services.client(node)
            client.open_services -= 1
            if client.open_services == 0 and client.phase is Phase.SERVICES:
                self._todo.append((self._finish, client))
        self._table.remove_if_unused(node)

    # -- long chains -----------------------------------------------------------------------------------------

    def _is_link(self, node: Node) -> bool:
        """Tell whether all that is left to a job is to tell its only predecessor when its children are finished."""
        return (
            node.open_follow_ons + node.open_services + node.uses == 0
            and node.available
            and not node.waiters
            and not node.checkpoint
            and node.service_of is None
            and len(node.parents) + len(node.follows) == 1
        )

    def _bridge(self, node: Node, children: Sequence[int]) -> None:
        """Hang a job's children below its predecessor and forget the job: a chain of jobs must not grow in memory."""
        for child in self._table.existing(children):
            child.parents = tuple([job for job in child.parents if job != node.id]) + node.parents
            child.follows += node.follows
        for above in self._table.existing(node.parents):
            above.open_children += len(children) - 1
        for above in self._table.existing(node.follows):
            above.open_follow_ons += len(children) - 1
        self._table.remove_if_unused(node)
