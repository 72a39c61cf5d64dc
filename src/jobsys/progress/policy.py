"""What is done about a failed attempt: a pure decision, which the journal then keeps."""

from collections.abc import Callable
from typing import Final

import msgspec

from jobsys.events import AttemptFailed, Policy, Reason
from jobsys.progress.node import Node
from jobsys.requirements import Requirements, format_bytes

SMALL_GROWTH: Final = 1.05
"""Below that, more memory is not worth another attempt."""
UNCHARGED: Final = frozenset({Reason.LOST, Reason.PREEMPTED, Reason.CANCELED})


def judge(policy: Policy, node: Node, failed: AttemptFailed, limit: int | None, fits: Callable[[Requirements], bool]) -> AttemptFailed:
    """Decide whether a failed attempt is followed by another, when, and what that one asks for.

    Args:
        policy: the run's policy.
        node: the job, as it stands before the failure counts.
        failed: what happened.
        limit: the memory limit in force, bytes, for reason ``memory``.
        fits: whether some machine has what is asked for.
    """
    if failed.reason in UNCHARGED:
        retry = node.losses < policy.max_losses
        return msgspec.structs.replace(failed, charged=False, retry=retry, delay=_delay(policy, node.losses) if node.losses else 0.0)
    if failed.reason == Reason.MEMORY and (had := limit or node.requirements.memory):
        return _more_memory(policy, node, failed, had, fits)
    retries = policy.retries if node.retries is None else node.retries
    return msgspec.structs.replace(failed, retry=node.failures < retries, delay=_delay(policy, node.failures))


def _delay(policy: Policy, before: int) -> float:
    return min(policy.backoff * policy.backoff_factor ** min(before, 64), policy.max_backoff)


def _more_memory(policy: Policy, node: Node, failed: AttemptFailed, had: int, fits: Callable[[Requirements], bool]) -> AttemptFailed:
    def asking(memory: int) -> Requirements:
        return msgspec.structs.replace(node.requirements, memory=memory)

    wanted = int(had * policy.memory_factor)
    if policy.max_memory is not None:
        wanted = min(wanted, policy.max_memory)
    if wanted > had and not fits(asking(wanted)):
        wanted = _largest(had, wanted, lambda memory: fits(asking(memory)))
    if wanted <= had * SMALL_GROWTH:
        told = f"{failed.message}; no more than {format_bytes(had)} can be asked for (--max-retry-memory, or what there is)"
        return msgspec.structs.replace(failed, message=told.lstrip("; "))
    told = f"{failed.message}; the next attempt asks for {format_bytes(wanted)} instead of {format_bytes(had)}"
    return msgspec.structs.replace(failed, message=told.lstrip("; "), retry=True, requirements=asking(wanted))


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Find the most memory that fits, to a percent, between an amount that does and one that does not."""
    while high - low > low // 100:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
