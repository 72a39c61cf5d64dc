"""Time, processor time and memory of one piece of work in this process, printed as JSON; the measured side of shipping.py's contestants."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def measure(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Do it once; give the figures, and what it returned."""
    before, start, used = memory(), time.perf_counter(), time.process_time()
    answer = work()
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    peak = memory()
    return {"seconds": seconds, "processor": processor, "growth": peak - before, "peak": peak}, answer


def memory() -> int:
    """Tell the most memory that this program ever had, in bytes; ``ru_maxrss`` also counts what its parent had before ``exec``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def tell(figures: dict[str, float]) -> None:
    """Print the figures for whoever started this."""
    print(json.dumps(figures))
