"""What disturbs a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chaos:
    """How likely what disturbs is, at each occasion."""

    crash: float = 0.0
    snapshot: float = 0.0
    duplicate: float = 0.0
    cancel: float = 0.0
    flush: float = 1.0  # how likely it is written after an event, and not later


CALM = Chaos()
