"""Words for times and counts, the same wherever a person reads them."""

import time


def duration(seconds: float) -> str:
    """Say a duration with two units at most: ``1 h 12 min``, ``3.4 s``, ``12 ms``."""
    if seconds < 0.9995:
        return "0 s" if seconds <= 0 else f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "<1 ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def pace(rate: float) -> str:
    """Say how many jobs end in which time."""
    return f"{number(rate)} jobs/s" if rate >= 0.1 else f"{number(rate * 3600)} jobs/h"


def number(value: float) -> str:
    """Write a number with three digits, or as many as a whole number has: ``0.387``, ``28.1``, ``2,884``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def moment(seconds: float) -> str:
    """Say a point in time, in this host's time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # what lies in a store may be anything
        return "at no time"


def many(count: int, one: str) -> str:
    """Say how many: ``1 job``, ``20,000 jobs``."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def last_line(text: str) -> str:
    """Take the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
