"""Checkpoints: when all below has come to rest and something failed for good, forget it and run the checkpoint again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobsys.progress.node import Node, State, Submit

if TYPE_CHECKING:
    from jobsys.progress.machine import Progress


class Checkpoints:
    """The part of the state machine that knows what a checkpoint is."""

    def __init__(self, progress: Progress) -> None:
        """Work on the state of ``progress``."""
        self._progress = progress
        self._at_rest: list[Node] = []

    def count(self, node: Node, change: int) -> None:
        """Note that a job below one or more checkpoints became active, or is no longer."""
        anchor = node.anchor
        while anchor is not None:
            above = self._progress.nodes.get(anchor)
            if above is None:
                return
            above.active += change
            if above.active == 0 and above.broken:
                self._at_rest.append(above)
            anchor = above.anchor

    def failed_below(self, node: Node) -> None:
        """Note that a job failed for good."""
        above = self._progress.nodes.get(node.anchor) if node.anchor is not None else None
        if above is not None and not above.broken:
            above.broken = True
            if above.active == 0:
                self._at_rest.append(above)

    def reset(self) -> None:
        """Begin anew: a new leader tries the failed jobs themselves first."""
        for node in self._progress.nodes.values():
            node.broken = False

    def run_one_again(self) -> bool:
        """Deal with one checkpoint below which all is at rest; tell whether there was one."""
        if not self._at_rest:
            return False
        self._run_again(self._at_rest.pop())
        return True

    def _run_again(self, node: Node) -> None:
        if not node.broken or node.active or node.state is not State.DONE or node.id not in self._progress.nodes:
            return
        progress = self._progress
        retries = progress.policy.retries if node.retries is None else node.retries
        if node.failures >= retries:
            self.failed_below(node)
            return
        node.failures += 1
        self._forget_below(node)
        progress._release(node.value_refs)
        node.broken, node.value, node.value_refs, node.available = False, None, (), False
        node.children, node.follow_ons, node.services, node.members = [], [], [], []
        node.open_children = node.open_follow_ons = node.open_services = node.services_down = 0
        node.released = node.successors_done = False
        progress._set_state(node, State.READY)
        progress._effects.append(Submit(node.id))

    def _forget_below(self, node: Node) -> None:
        progress = self._progress
        members = [progress.nodes[job] for job in node.members if job in progress.nodes]
        for member in members:
            self._forget_below(member)
            progress._set_state(member, State.DONE)
            progress.nodes.pop(member.id, None)
        for member in members:
            progress._release_uses(member)
            progress._release(member.value_refs)
