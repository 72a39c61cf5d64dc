"""How a run shows itself on a terminal while it goes on."""

from jobsys.leader.listener import Listener


def make_display(mode: str) -> list[Listener]:
    """Choose what is shown: ``live``, ``plain``, ``off``, or ``auto`` by whether standard error is a terminal."""
    del mode
    return []
