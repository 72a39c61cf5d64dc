"""Checkpoints: when all below has come to rest and something failed for good, forget it and run the checkpoint again."""

from jobsys.events import Policy
from jobsys.progress.node import Node, Phase, State
from jobsys.progress.table import Table


def reset(table: Table) -> None:
    """Begin anew with a new leader: it tries the failed jobs themselves first."""
    for node in table.nodes.values():
        if node.broken:
            node.broken = False
            node.failures = 0


def next_to_run(table: Table, policy: Policy) -> Node | None:
    """Find a checkpoint that must run again, forget all that came of it, and charge it a try."""
    while table.at_rest:
        node = min(table.at_rest, key=lambda node: node.id)  # the outermost: it forgets those inside
        table.at_rest.remove(node)
        if node.broken and node.active == 0 and table.nodes.get(node.id) is node:
            if node.failures < (policy.retries if node.retries is None else node.retries):
                node.failures += 1
                _begin_again(table, node)
                return node
            table.failed_below(node)
    return None


def _begin_again(table: Table, node: Node) -> None:
    table.forget_below(node)
    if node.value is not None and isinstance(node.value.where, str):
        table.discard((node.value.where,))
    node.value, node.value_refs, node.available = None, (), False
    node.children = node.follow_ons = node.services = node.dependents = node.deleted = ()
    node.open_children = node.open_follow_ons = node.open_services = node.services_down = 0
    node.phase, node.broken = Phase.BODY, False
    table.set_state(node, State.WAITING)
