"""Services: who may not start because a service that was up is no longer. Knows nothing of graphs but who relies on whom."""

from collections.abc import Iterator

from jobsys.progress.node import Node, Phase, State, StopService, grown
from jobsys.progress.table import Table


class Services:
    """Takes services out of use and back in.

    As long as no service is down that once was up (which only a failure or a new leader causes), nothing here costs anything.
    """

    def __init__(self, table: Table) -> None:
        """Work on ``table``."""
        self._table = table
        self._down = {
            node.id for node in table.nodes.values() if node.service_of is not None and node.value is not None and not node.available
        }

    def came_up(self, service: Node) -> list[Node]:
        """Note that a service is up; return the jobs that waited for that alone."""
        self._table.set_state(service, State.UP)
        self._down.discard(service.id)
        self.client(service).services_down -= 1
        held_back, service.held_back = service.held_back, ()
        return list(self._table.existing(held_back))

    def went_down(self, service: Node) -> None:
        """Take back the value of a service that is up no longer."""
        service.available = False
        self._down.add(service.id)
        self.client(service).services_down += 1

    def restart(self) -> None:
        """Begin with a new leader: no service survived the last one, or it says again that it is up."""
        table = self._table
        for job in sorted(table.up):
            self.went_down(table.nodes[job])
            table.set_state(table.nodes[job], State.READY)
        for job in sorted(table.ready) if self._down else ():
            self.hold(table.nodes[job])

    def forget(self) -> None:
        """Forget the services that the table has forgotten."""
        self._down.intersection_update(self._table.nodes)

    def hold(self, node: Node) -> bool:
        """Let a job that could run wait, if a service that it relies on is down; tell whether that is so."""
        if not self._down or not (relied := self._down.intersection(self._relied_on(node))):
            return False
        down = self._table.nodes[min(relied)]
        down.held_back = grown(down.held_back, (node.id,))
        node.waiting += 1
        node.paused = True
        self._table.set_state(node, State.WAITING)
        return True

    def stop(self, client: Node) -> None:
        """Stop what runs beside a client whose successors are done."""
        up = (service for service in self._table.existing(client.services) if service.state is State.UP)
        self._table.effects.extend(StopService(service.id) for service in up)

    def stop_if_done(self, service: Node) -> None:
        """Stop a service that came up again although nobody needs it any more."""
        if self.client(service).phase is Phase.SERVICES:
            self._table.effects.append(StopService(service.id))

    def client(self, service: Node) -> Node:
        """Give the job beside whose successors a service runs."""
        assert service.service_of is not None, f"job {service.id} is no service"
        return self._table.nodes[service.service_of]

    @property
    def stopping(self) -> bool:
        """Whether a service is up that was told to stop."""
        table = self._table
        return any(self.client(table.nodes[job]).phase is Phase.SERVICES for job in table.up)

    def _relied_on(self, node: Node) -> Iterator[int]:
        """Give the services that must be up when a job runs: around it, before it, and in its arguments, at any depth."""
        nodes = self._table.nodes
        if node.service_parent is not None:
            yield node.service_parent
        seen: set[int] = set()
        rest = list(_predecessors(node) if node.service_of is None else _predecessors(self.client(node)))
        while rest:
            above = nodes[rest.pop()]
            if above.id not in seen:
                seen.add(above.id)
                yield from above.services
                rest += _predecessors(above)
        seen, rest = set(), list(node.refs)
        while rest:
            source = nodes[rest.pop()]
            if source.id not in seen:
                seen.add(source.id)
                yield source.id
                rest += source.value_refs


def _predecessors(node: Node) -> tuple[int, ...]:
    return node.parents + node.follows
