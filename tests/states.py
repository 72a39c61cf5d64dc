"""What a Progress knows, in a form that can be compared: sequences are of one kind, sets are in order."""

import msgspec

from jobsys.progress import Progress

_encode = msgspec.json.Encoder(order="deterministic").encode


def state(progress: Progress) -> bytes:
    """Write down the whole state."""
    return _encode(progress.snapshot())
