"""When the garbage collector should wait: while many objects are made that all stay. Standard library only, as the core needs it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: among tens of thousands of tuples that all stay, that costs as much as making them.

    What there is at the end counts as old: the next full collection looks at it, none before.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # else the program has frozen some, which would thaw
                gc.freeze()  # both together move all to the oldest generation, and look at none
                gc.unfreeze()
            gc.enable()


@contextmanager
def seldom() -> Iterator[None]:
    """Look for garbage a hundred times less often meanwhile: what a leader makes is freed without that, and what stays need not be seen."""
    young, middle, old = gc.get_threshold()
    gc.set_threshold(100 * young, middle, old)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
