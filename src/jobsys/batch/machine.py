"""What this machine has for jobs: as much as the kernel and the control group let this process use."""

import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from jobsys import processes

_MEMORY_SHARE: Final = 0.9  # the rest is for the leader, the system and its caches
_GROUPS: Final = Path("/sys/fs/cgroup")


class Machine(msgspec.Struct, frozen=True):
    """What the jobs of one run may use together; accelerators by the names that CUDA_VISIBLE_DEVICES takes."""

    cores: float
    memory: int
    disk: int
    accelerators: tuple[str, ...] = ()


def this_machine(
    *, cores: float | None = None, memory: int | None = None, disk: int | None = None, work_dir: str | os.PathLike[str] | None = None
) -> Machine:
    """Look at this machine; cores, memory and disk say how much of it may be used at most, ``work_dir`` where its disk is looked at."""
    free = shutil.disk_usage(work_dir or tempfile.gettempdir()).free
    return Machine(
        cores=min(_cores(), cores or math.inf),
        memory=min(int(_memory() * _MEMORY_SHARE), memory or sys.maxsize),
        disk=min(free, sys.maxsize if disk is None else disk),
        accelerators=_accelerators(),
    )


def _cores() -> float:
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for text in _limits("cpu.max", "cpu"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            usable = min(usable, max(0.1, int(quota) / int(period)))
    return usable


def _memory() -> int:
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for text in [*_limits("memory.max", "memory"), *_limits("memory.limit_in_bytes", "memory")]:
        if text.isdigit():
            usable = min(usable, int(text))
    return usable


def _limits(name: str, controller: str) -> Iterator[str]:
    """Read a limit of this process's control group and of all above it."""
    for controllers, path in processes.control_groups():
        if controllers and controller not in controllers:
            continue
        top = _GROUPS / controller if controllers else _GROUPS
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if (folder / name).is_file():
                yield (folder / name).read_text().strip()
            if folder == top:
                break


def _accelerators() -> tuple[str, ...]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1", "NoDevFiles"))
    numbers = (re.fullmatch(r"nvidia(\d+)", file.name) for file in Path("/dev").glob("nvidia[0-9]*"))
    return tuple(sorted((match[1] for match in numbers if match), key=int))
