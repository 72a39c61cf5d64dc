"""What a benchmark found: figures of single runs, ratios of two of them in the same round, targets, a table, JSON."""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """One figure over another, each pair taken in one round; the middle one counts."""

    name: str
    rounds: tuple[float, ...]
    target: float | None = None
    at_least: bool = True  # else at most

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rounds": list(self.rounds), "value": self.value, "met": self.met}

    def row(self) -> tuple[str, ...]:
        """Give the cells of a table."""
        wanted = "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return (self.name, f"{self.value:.3g}", f"{min(self.rounds):.3g} … {max(self.rounds):.3g}", wanted, verdict)


@dataclass
class Case:
    """One benchmark: what every run of it gave, and what follows."""

    name: str
    command: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    problem: str = ""

    def by_round(self, who: str, figure: str) -> dict[int, float]:
        """Collect one figure of one contestant by round."""
        return {run["round"]: run[figure] for run in self.runs if run["who"] == who}

    def compare(
        self, name: str, one: tuple[str, str], other: tuple[str, str], target: float | None = None, *, at_least: bool = True
    ) -> None:
        """Add the ratio of two figures, each given as (who, figure), over the rounds that have both."""
        mine, theirs = self.by_round(*one), self.by_round(*other)
        rounds = tuple(mine[number] / theirs[number] for number in sorted(mine.keys() & theirs.keys()))
        if rounds:
            self.ratios.append(Ratio(name, rounds, target, at_least))

    def as_dict(self) -> dict[str, Any]:
        ratios = [ratio.as_dict() for ratio in self.ratios]
        return {"name": self.name, "command": self.command, "problem": self.problem, "ratios": ratios, "runs": self.runs}

    def tell(self) -> str:
        """Show the medians of the runs and the ratios as tables."""
        parts = [f"\n{self.name}: {self.command}"]
        if self.problem:
            parts.append(f"  {self.problem}")
        if self.runs:
            parts.append(table(*_medians(self.runs)))
        if self.ratios:
            parts.append(ratio_table(self.ratios))
        return "\n".join(parts)


def _medians(runs: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    figures = list(dict.fromkeys(key for run in runs for key, value in run.items() if key not in ("who", "round") and _is_number(value)))
    rows = []
    for who in dict.fromkeys(run["who"] for run in runs):
        mine = [run for run in runs if run["who"] == who]
        cells = [[run[figure] for run in mine if figure in run] for figure in figures]
        rows.append([who, str(len(mine)), *(f"{statistics.median(cell):.5g}" if cell else "" for cell in cells)])
    return ["median of", "runs", *figures], rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def ratio_table(ratios: Iterable[Ratio]) -> str:
    """Show ratios with their targets."""
    return table(["ratio", "median", "from … to", "target", ""], [list(ratio.row()) for ratio in ratios])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay cells out in columns, all but the first to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = []
    for line in lines:
        cells = [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True))]
        shown.append("  ".join(cells))
    rule = "─" * max(map(len, shown))
    return "\n".join(f"  {line.rstrip()}" for line in [shown[0], rule, *shown[1:]])


def machine(directory: Path) -> dict[str, Any]:
    """Describe where this was measured, as far as it matters: figures of two machines can't be compared."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "fsync_ms": round(_sync_time(directory) * 1000, 3),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


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


def write_json(path: Path, cases: Iterable[Case], about: dict[str, Any]) -> None:
    """Save everything that was measured."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {**about, "load_after": round(os.getloadavg()[0], 2)}
    path.write_text(json.dumps({"when": when, "machine": about, "cases": [case.as_dict() for case in cases]}, indent=1) + "\n")
