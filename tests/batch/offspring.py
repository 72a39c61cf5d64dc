"""Which processes a test has started and not ended. Servers that other tests share may be children of this process, too."""

import psutil

_before: set[psutil.Process] = set()


def _living() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


def begin() -> None:
    """Count from now on."""
    _before.clear()
    _before.update(_living())


def left() -> list[psutil.Process]:
    """List those that have come since, and live."""
    return sorted(_living() - _before, key=lambda process: process.pid)
