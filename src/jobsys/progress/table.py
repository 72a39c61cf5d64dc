"""The jobs that are remembered, by number and by state, and who still needs them. Knows nothing of what comes next."""

from collections.abc import Iterable, Iterator

from jobsys.progress.node import Discard, Effect, Node, Phase, State, StopService
from jobsys.record import Blob
from jobsys.requirements import Requirements

NOTHING = Blob(0, 0, 0)
"""No bytes: the body of a knot, and the value None."""


class Table:
    """All jobs that anything may still come of."""

    def __init__(self, nodes: Iterable[Node] = (), done: int = 0) -> None:
        """Take over ``nodes``; without any, there is job 0: the script."""
        self.nodes: dict[int, Node] = {node.id: node for node in nodes} or {
            0: Node(0, "script", NOTHING, Requirements(), State.READY, uses=1)
        }
        self.done = done
        self.ready: set[int] = set()
        self.failed: set[int] = set()
        self.up: set[int] = set()
        self.effects: list[Effect] = []
        self.at_rest: list[Node] = []  # checkpoints below which something failed and nothing runs
        self._by_state = {State.READY: self.ready, State.FAILED: self.failed, State.UP: self.up}
        for node in self.nodes.values():
            if node.id and node.state in self._by_state:
                self._by_state[node.state].add(node.id)

    def existing(self, ids: Iterable[int]) -> Iterator[Node]:
        """Give those of some jobs that are remembered."""
        for job in ids:
            node = self.nodes.get(job)
            if node is not None:
                yield node

    def set_state(self, node: Node, state: State) -> None:
        """Move a job from one state to another. The script itself is not counted."""
        before, node.state = node.state, state
        if before is state or node.id == 0:
            return
        if (members := self._by_state.get(before)) is not None:
            members.discard(node.id)
        if (members := self._by_state.get(state)) is not None:
            members.add(node.id)
        self.done += (state is State.DONE) - (before is State.DONE)
        if node.anchor is not None and (before is State.READY or state is State.READY):
            self._count(node, 1 if state is State.READY else -1)

    # -- who needs what --------------------------------------------------------------------------------------

    def let_go(self, node: Node) -> None:
        """Say that a job needs the values of its arguments no more."""
        if node.holding:
            node.holding = False
            refs, node.refs = node.refs, ()
            if refs:
                self.release(refs)

    def release(self, refs: tuple[int, ...]) -> None:
        """Give up one use of each value; forget the jobs that nobody needs any more."""
        rest = [refs]
        while rest:
            for source in self.existing(rest.pop()):
                source.uses -= 1
                if source.uses == 0 and source.phase is Phase.FINISHED:
                    self.remove(source)
                    rest.append(source.value_refs)

    def remove_if_unused(self, node: Node) -> None:
        """Forget a finished job, unless its value is still needed."""
        if node.uses == 0 and node.id in self.nodes:
            self.remove(node)
            if node.value_refs:
                self.release(node.value_refs)

    def remove(self, node: Node) -> None:
        """Forget a job, and the objects that only it could refer to."""
        del self.nodes[node.id]
        if node.anchor is not None and (above := self.nodes.get(node.anchor)) is not None:
            (above.members or set()).discard(node.id)
        self.discard_body(node)
        if node.value is not None and isinstance(node.value.where, str):
            self.discard((node.value.where,))

    def discard_body(self, node: Node) -> None:
        """Forget the body of a job that will not run again, and have it deleted where it is an object of its own."""
        body, node.body = node.body, NOTHING
        if isinstance(body.where, str) and not node.shares_body:
            self.discard((body.where,))

    def discard(self, keys: Iterable[str]) -> None:
        """Have objects deleted."""
        found = tuple(keys)
        if found:
            self.effects.append(Discard(found))

    def delete_files(self, node: Node, keys: Iterable[str]) -> None:
        """Have files deleted for a job; but not as long as a checkpoint around it may run again and need them."""
        if node.checkpoint and node.phase is not Phase.FINISHED:
            node.deleted = [*node.deleted, *keys]
        elif node.anchor is not None:
            above = self.nodes[node.anchor]
            above.deleted = [*above.deleted, *keys]
        else:
            self.discard(keys)

    # -- checkpoints -----------------------------------------------------------------------------------------

    def failed_below(self, node: Node) -> None:
        """Tell the nearest checkpoint above that a job failed for good."""
        above = None if node.anchor is None else self.nodes[node.anchor]
        if above is not None and not above.broken:
            above.broken = True
            if above.active == 0:
                self.at_rest.append(above)

    def forget_below(self, checkpoint: Node) -> None:
        """Forget all jobs below a checkpoint; nobody outside can refer to them. They count as done with."""
        forgotten: list[Node] = []
        rest = [checkpoint]
        while rest:
            members = list(self.existing(sorted(rest.pop().members or ())))
            forgotten += members
            rest += members
        for node in forgotten:
            if node.state is State.UP:
                self.effects.append(StopService(node.id))
            self.set_state(node, State.DONE)
            self.remove(node)
        for node in forgotten:
            self.let_go(node)

    def _count(self, node: Node, change: int) -> None:
        """Tell all checkpoints above that a job became active, or is no longer."""
        above: Node | None = node
        while above is not None and above.anchor is not None:
            above = self.nodes.get(above.anchor)
            if above is not None:
                above.active += change
                if above.active == 0 and above.broken:
                    self.at_rest.append(above)
