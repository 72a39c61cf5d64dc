"""What a job asks of a machine: parse it, compare it, add it up. Knows no machine."""

import math
import re
from typing import Any, Final

import msgspec

from jobsys.errors import RequirementError

_PREFIXES: Final = ("", "K", "M", "G", "T", "P")
_LARGEST: Final = 2**63 - 1
_LONGEST: Final = 40  # characters of a number, or of a value in a message
_SIZE: Final = r"\s*([0-9]*\.?[0-9]+)\s*([KMGTP]?)(i?)B?\s*"
_TIME: Final = r"(?:(\d{1,9})-)?(\d{1,9}):([0-5]\d):([0-5]\d)"
_TIME_UNIT: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Requirements(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """What a job asks for; None means that the batch system's default is good enough.

    Memory and disk are in bytes, walltime in seconds, cores may be a fraction.
    """

    cores: float = 1.0
    memory: int | None = None
    disk: int | None = None
    accelerators: int = 0
    walltime: float | None = None
    preemptible: bool = False

    def __str__(self) -> str:
        """Say it as a person would: ``2 cores, 4 GB memory``."""
        parts = [f"{self.cores:g} core" + ("" if self.cores == 1 else "s")]
        if self.memory is not None:
            parts.append(f"{format_bytes(self.memory)} memory")
        if self.disk is not None:
            parts.append(f"{format_bytes(self.disk)} disk")
        if self.accelerators:
            parts.append(f"{self.accelerators} accelerator" + ("s" if self.accelerators > 1 else ""))
        if self.walltime is not None:
            parts.append(f"{self.walltime:g} s walltime")
        return ", ".join(parts)


def parse_bytes(value: object, name: str = "size", least: int = 0) -> int:
    """Read a size in bytes: an integer, or text such as ``"100M"``, ``"2 GiB"``, ``"1.5G"``; a part of a byte counts as one.

    Raises:
        RequirementError: the value is no size, or less than ``least``.
    """
    size: int | None = None
    if isinstance(value, str):
        size = _bytes_from_text(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, float) and math.isfinite(value):
        size = math.ceil(value)
    if size is None:
        raise RequirementError(f"{name}={_short(value)} is no size: give bytes as a number, or text such as '500M', '2G' or '2GiB'")
    if not least <= size <= _LARGEST:
        raise RequirementError(f"{name}={_short(value)} is no size: it must be from {least} to {_LARGEST} bytes")
    return size


def _bytes_from_text(text: str) -> int | None:
    match = re.fullmatch(_SIZE, text, re.IGNORECASE)
    if match is None or len(text) > _LONGEST:
        return None
    number, prefix, binary = match.groups()
    base: int = (1024 if binary else 1000) ** _PREFIXES.index(prefix.upper())
    whole, _, fraction = number.partition(".")
    parts: int = 10 ** len(fraction)
    return -(-int(whole + fraction) * base // parts)  # exact, and up to the next byte


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def parse_seconds(value: object, name: str = "walltime") -> float:
    """Read a duration in seconds: a number, or text such as ``"90s"``, ``"2h"``, ``"1-12:00:00"``.

    Raises:
        RequirementError: the value is no duration.
    """
    seconds: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = _float(value)
    elif isinstance(value, str):
        seconds = _seconds_from_text(value.strip().lower())
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise RequirementError(f"{name}={_short(value)} is no duration: give seconds, or text such as '90s', '2h' or '12:00:00'")
    return seconds


def _seconds_from_text(text: str) -> float | None:
    if match := re.fullmatch(_TIME, text, re.ASCII):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if match := re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smhd]?)", text, re.ASCII):
        return float(match[1]) * _TIME_UNIT[match[2]]
    return None


def parse_cores(value: object) -> float:
    """Read a number of cores; a fraction is allowed.

    Raises:
        RequirementError: the value is no positive number.
    """
    cores = _float(value)
    if isinstance(value, bool) or not math.isfinite(cores) or cores <= 0:
        raise RequirementError(f"cores={_short(value)} is no number of cores: give a positive number such as 1, 0.5 or 8")
    return cores


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def parse_accelerators(value: object) -> int:
    """Read a number of accelerators.

    Raises:
        RequirementError: the value is no whole number from 0 on.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise RequirementError(f"accelerators={_short(value)}: give a whole number from 0 on")
    return value


def format_bytes(count: float) -> str:
    """Write a size for people: ``1.5 GB``."""
    if count < 999.5:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5:  # above, three digits would be written as 1e+03
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.4g} PB"


def parse_flag(value: object, name: str) -> bool:
    """Read what is either so or not: the words "yes" and "no" are both true to Python.

    Raises:
        RequirementError: the value is neither True nor False.
    """
    if not isinstance(value, bool):
        raise RequirementError(f"{name}={_short(value)}: give True or False")
    return value
