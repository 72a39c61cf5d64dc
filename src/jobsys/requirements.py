"""What a job asks of a machine: parse it, compare it, add it up. Knows no machine."""

import math
import re
from typing import Final

import msgspec

from jobsys.errors import RequirementError

_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_SIZE: Final = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([KMGTP]?)(i?)B?\s*", re.IGNORECASE)
_TIME: Final = re.compile(r"(?:(\d+)-)?(\d+):(\d{2}):(\d{2})")
_TIME_UNIT: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Requirements(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
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


def parse_bytes(value: object, name: str = "size") -> int:
    """Read a size in bytes: an integer, or text such as ``"100M"``, ``"2 GiB"``, ``"1.5G"``.

    Raises:
        RequirementError: the value is no size.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise RequirementError(f"{name}={value!r} is no size: give bytes as a number, or text such as '500M' or '2GiB'")
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise RequirementError(f"{name}={value!r} is no size: write it like '500M', '2G' or '2GiB'")
        number, prefix, binary = match.groups()
        base = _UNITS[prefix.upper()]
        if binary:
            base = 1024 ** round(math.log(base, 1000))
        value = float(number) * base
    if not math.isfinite(value) or value < 0:
        raise RequirementError(f"{name}={value!r} is no size: it must not be negative")
    return math.ceil(value)


def parse_seconds(value: object, name: str = "walltime") -> float:
    """Read a duration in seconds: a number, or text such as ``"90s"``, ``"2h"``, ``"1-12:00:00"``.

    Raises:
        RequirementError: the value is no duration.
    """
    seconds: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _seconds_from_text(value.strip())
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise RequirementError(f"{name}={value!r} is no duration: give seconds, or text such as '90s', '2h' or '12:00:00'")
    return seconds


def _seconds_from_text(text: str) -> float | None:
    if match := _TIME.fullmatch(text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if match := re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smhd]?)", text):
        return float(match[1]) * _TIME_UNIT[match[2]]
    return None


def parse_cores(value: object) -> float:
    """Read a number of cores; a fraction is allowed.

    Raises:
        RequirementError: the value is no positive number.
    """
    try:
        cores = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        cores = math.nan
    if isinstance(value, bool) or not math.isfinite(cores) or cores <= 0:
        raise RequirementError(f"cores={value!r} is no number of cores: give a positive number such as 1, 0.5 or 8")
    return cores


def parse_accelerators(value: object) -> int:
    """Read a number of accelerators.

    Raises:
        RequirementError: the value is no whole number from 0 on.
    """
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequirementError(f"accelerators={value!r}: give a whole number from 0 on")
    return value


def format_bytes(count: float) -> str:
    """Write a size for people: ``1.5 GB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
