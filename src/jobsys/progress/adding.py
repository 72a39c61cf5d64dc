"""A commit's records become nodes with their place in the graph."""

from collections.abc import Iterable, Sequence
from typing import Final

from jobsys.events import Policy
from jobsys.progress.node import Node, grown
from jobsys.progress.table import Table
from jobsys.record import SELF, Blob, JobRecord
from jobsys.requirements import Requirements

_SHARED: Final = 1_000

Made = Iterable[tuple[Blob, Sequence[JobRecord]]]
"""The jobs of a commit, some at a time, each time with the place into which the places of their bodies point."""


def add_jobs(table: Table, maker: Node, first: int, records: Made, policy: Policy) -> list[Node]:
    """Put the jobs that a commit makes below its maker, numbered from ``first`` on; none of them waits for values yet."""
    adder = _Adder(maker.id, first, policy)
    made = [adder.node(number, record, payload) for number, (payload, record) in enumerate(_each(records), first)]
    nodes = table.nodes
    for node in made:
        nodes[node.id] = node
    for node in made:
        _link(nodes, node)
    if maker.checkpoint or maker.anchor is not None or any(node.checkpoint for node in made):
        for node in _from_the_top(made):
            _inherit(nodes, node)
    return made


def _each(records: Made) -> Iterable[tuple[Blob, JobRecord]]:
    return ((payload, record) for payload, some in records for record in some)


def numbered(refs: tuple[int, ...], own: int, first: int) -> tuple[int, ...]:
    """Turn a commit's local references into job numbers."""
    if not refs:
        return ()
    if refs == (SELF,):
        return (own,)
    return tuple([own if ref == SELF else first + ref for ref in refs])


class _Adder:
    """Makes the nodes of one commit; what is the same for many of them is there once."""

    def __init__(self, own: int, first: int, policy: Policy) -> None:
        self._own = own
        self._first = first
        self._policy = policy
        self._below = (own,)
        self._names: dict[str, str] = {}
        self._requirements: dict[Requirements, Requirements] = {}

    def node(self, number: int, record: JobRecord, payload: Blob) -> Node:
        own, first = self._own, self._first
        client, parent = record.service_of, record.service_parent
        return Node(
            id=number,
            name=self._name(record.name),
            body=record.body.within(payload),
            shares_body=record.body.where == 0 and isinstance(payload.where, str),
            requirements=self._completed(record.requirements),
            retries=record.retries,
            refs=numbered(record.refs, own, first),
            after=numbered(record.after, own, first),
            parents=() if client is not None else self._below if record.child_of == (SELF,) else numbered(record.child_of, own, first),
            follows=numbered(record.follow_on_of, own, first),
            service_of=None if client is None else numbered((client,), own, first)[0],
            service_parent=None if parent is None else numbered((parent,), own, first)[0],
            checkpoint=record.checkpoint,
        )

    def _name(self, name: str) -> str:
        names = self._names
        return names.setdefault(name, name) if len(names) < _SHARED else names.get(name, name)

    def _completed(self, asked: Requirements) -> Requirements:
        known = self._requirements.get(asked)
        if known is None:
            known = self._policy.complete(asked)
            if len(self._requirements) < _SHARED:
                self._requirements[asked] = known
        return known


def _link(nodes: dict[int, Node], node: Node) -> None:
    for parent in node.parents:
        above = nodes[parent]
        above.children = grown(above.children, (node.id,))
        above.open_children += 1
    for parent in node.follows:
        above = nodes[parent]
        above.follow_ons = grown(above.follow_ons, (node.id,))
        above.open_follow_ons += 1
    node.waiting = len(node.parents) + len(node.follows)
    if node.service_of is not None:
        client = nodes[node.service_of]
        client.services = grown(client.services, (node.id,))
        client.open_services += 1
        client.services_down += 1
        node.waiting += 1
    if node.service_parent is not None:
        before = nodes[node.service_parent]
        before.held_back = grown(before.held_back, (node.id,))
        node.waiting += 1


def _inherit(nodes: dict[int, Node], node: Node) -> None:
    """Take the nearest checkpoint from the first predecessor; all predecessors lie below the same one."""
    above = nodes[_above(node)]
    node.anchor = above.id if above.checkpoint else above.anchor
    if node.anchor is not None:
        checkpoint = nodes[node.anchor]
        if checkpoint.members is None:
            checkpoint.members = set()
        checkpoint.members.add(node.id)


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
