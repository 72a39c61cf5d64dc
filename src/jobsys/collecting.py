"""When the garbage collector should wait: while many objects are made that all stay. Standard library only, as the core needs it."""

import _thread  # what threading wraps: a worker host loads none of that (late.py)
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MOST: Final = 2**31 - 1  # a C integer holds no more

_lock = _thread.allocate_lock()
_without: list[bool] = []  # of each caller in `uncollected`: whether it found the collector at work
_seldom: list[tuple[int, int, int]] = []  # of each caller in `seldom`: the thresholds it found


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: among tens of thousands of tuples that all stay, that costs as much as making them.

    What there is at the end counts as old: the next full collection looks at it, none before. Of several threads the last one ends it.
    """
    with _lock:
        _without.append(_without[0] if _without else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            if _without.pop() and not _without:
                if not gc.get_freeze_count():  # else the program has frozen some, which would thaw
                    gc.freeze()  # both together move all to the oldest generation, and look at none
                    gc.unfreeze()
                gc.enable()


@contextmanager
def seldom() -> Iterator[None]:
    """Look for garbage a hundred times less often meanwhile: what a leader makes is freed without that, and what stays need not be seen.

    Of several threads the first one begins it and the last one ends it.
    """
    with _lock:
        found = _seldom[0] if _seldom else gc.get_threshold()
        _seldom.append(found)
        gc.set_threshold(min(100 * found[0], _MOST), *found[1:])
    try:
        yield
    finally:
        with _lock:
            _seldom.pop()
            if not _seldom:
                gc.set_threshold(*found)
