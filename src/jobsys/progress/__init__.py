"""The pure state machine of a run: events in, effects out."""

from jobsys.progress.adding import Made
from jobsys.progress.machine import Progress
from jobsys.progress.node import Counts, Discard, Effect, Node, State, StopService, Submit

__all__ = ["Counts", "Discard", "Effect", "Made", "Node", "Progress", "State", "StopService", "Submit"]
