"""A commit's records become nodes with their place in the graph."""

from jobsys.events import Committed, Policy
from jobsys.progress.node import Node
from jobsys.progress.table import Table
from jobsys.record import SELF, JobRecord


def add_jobs(table: Table, maker: Node, event: Committed, policy: Policy) -> list[Node]:
    """Put the jobs that a commit makes below its maker; none of them waits for values yet."""
    made = [_node(maker.id, number, record, event, policy) for number, record in enumerate(event.report.jobs, event.first)]
    nodes = table.nodes
    for node in made:
        nodes[node.id] = node
    for node in made:
        _link(nodes, node)
    for node in _from_the_top(made):
        _inherit(nodes, node)
    return made


def numbered(refs: tuple[int, ...], own: int, first: int) -> tuple[int, ...]:
    """Turn a commit's local references into job numbers."""
    if not refs:
        return ()
    if refs == (SELF,):
        return (own,)
    return tuple([own if ref == SELF else first + ref for ref in refs])


def _node(own: int, number: int, record: JobRecord, event: Committed, policy: Policy) -> Node:
    first = event.first
    client, parent = record.service_of, record.service_parent
    return Node(
        id=number,
        name=record.name,
        body=record.body.within(event.payload),
        requirements=policy.complete(record.requirements),
        retries=record.retries,
        refs=numbered(record.refs, own, first),
        after=numbered(record.after, own, first),
        parents=() if client is not None else numbered(record.child_of, own, first),
        follows=numbered(record.follow_on_of, own, first),
        service_of=None if client is None else numbered((client,), own, first)[0],
        service_parent=None if parent is None else numbered((parent,), own, first)[0],
        checkpoint=record.checkpoint,
    )


def _link(nodes: dict[int, Node], node: Node) -> None:
    for parent in node.parents:
        above = nodes[parent]
        above.children.append(node.id)
        above.open_children += 1
    for parent in node.follows:
        above = nodes[parent]
        above.follow_ons.append(node.id)
        above.open_follow_ons += 1
    node.waiting = len(node.parents) + len(node.follows)
    if node.service_of is not None:
        client = nodes[node.service_of]
        client.services.append(node.id)
        client.open_services += 1
        client.services_down += 1
        node.waiting += 1
    if node.service_parent is not None:
        nodes[node.service_parent].held_back.append(node.id)
        node.waiting += 1


def _inherit(nodes: dict[int, Node], node: Node) -> None:
    """Take the nearest checkpoint from the first predecessor; all predecessors lie below the same one."""
    above = nodes[_above(node)]
    node.anchor = above.id if above.checkpoint else above.anchor
    if node.anchor is not None:
        nodes[node.anchor].members.add(node.id)


def _above(node: Node) -> int:
    return (node.parents or node.follows or (node.service_of or 0,))[0]


def _from_the_top(made: list[Node]) -> list[Node]:
    """Order new nodes so that each comes after its first predecessor."""
    new = {node.id: node for node in made}
    ordered: dict[int, Node] = {}
    for node in made:
        path = []
        climbing: Node | None = node
        while climbing is not None and climbing.id not in ordered:
            path.append(climbing)
            climbing = new.get(_above(climbing))
        for passed in reversed(path):
            ordered[passed.id] = passed
    return list(ordered.values())
