"""Where it was measured: figures of two machines can't be compared, and what a disk can do decides much."""

import fcntl
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

_FICLONE = 0x40049409
SAME = ("cores", "processor", "memory_gb", "system", "python", "file_system")
"""What must be equal for figures to be compared."""


def machine(directory: Path) -> dict[str, Any]:
    """Describe the machine, as far as it matters, and the file system that holds the job stores."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "file_system": _file_system(directory),
        "hard_links": _can(directory, os.link),
        "reflinks": _can(directory, _clone),
        "fsync_ms": round(_sync_time(directory) * 1000, 3),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(directory: Path) -> str:
    """Name the type of the file system that a directory is on: that of the longest mount point above it, the latest where mounted twice."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    place = directory.resolve()
    above = [(mount[1], mount[2]) for mount in mounts if place.is_relative_to(mount[1].replace("\\040", " "))]
    return max(reversed(above), key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def _can(directory: Path, deed: Any) -> bool:
    """Tell whether a file can be linked or cloned in a directory."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        one.write_bytes(b"x" * 4096)
        try:
            deed(one, other)
        except OSError:
            return False
        return True


def _clone(one: Path, other: Path) -> None:
    with one.open("rb") as source, other.open("wb") as target:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())


def _sync_time(directory: Path, size: int = 100_000, times: int = 15) -> float:
    """Take the median time that a file of a journal segment's size needs to reach the disk."""
    taken = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(times):
            file.write(os.urandom(size))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)
