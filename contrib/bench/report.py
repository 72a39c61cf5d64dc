"""What a benchmark found: figures of single runs, ratios of two of them in the same round, targets, tables."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """One figure over another, each pair taken in one round, or one figure in a unit; the middle one counts."""

    name: str
    rounds: tuple[float, ...]
    target: float | None = None
    at_least: bool = True  # else at most
    unit: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.score >= 1

    @property
    def score(self) -> float:
        """How many times better than its target it is; below 1 the target is missed."""
        if self.target is None:
            return math.nan
        over, under = (self.value, self.target) if self.at_least else (self.target, self.value)
        return over / under if under else math.inf if over else 1.0

    def as_dict(self) -> dict[str, Any]:
        score = None if self.target is None or math.isinf(self.score) else self.score
        return {**asdict(self), "rounds": list(self.rounds), "value": self.value, "met": self.met, "score": score}

    def row(self) -> tuple[str, ...]:
        """Give the cells of a table."""
        unit = f" {self.unit}" if self.unit else ""
        wanted = "" if self.target is None else f"{'>=' if self.at_least else '<='} {short(self.target)}{unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        spread = f"{short(min(self.rounds))} … {short(max(self.rounds))}" if len(self.rounds) > 1 else ""
        return (self.name, f"{short(self.value)}{unit}", spread, wanted, verdict)


@dataclass
class Case:
    """One benchmark: what every run of it gave, and what follows."""

    name: str
    note: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def fail(self, problem: str) -> None:
        """Note that something did not work; the rest goes on."""
        self.problems.append(problem)

    def by_round(self, who: str, figure: str) -> dict[int, float]:
        """Collect one figure of one contestant by round."""
        return {run["round"]: run[figure] for run in self.runs if run["who"] == who and figure in run}

    def compare(
        self, name: str, one: tuple[str, str], other: tuple[str, str], target: float | None = None, *, at_least: bool = True
    ) -> None:
        """Add the ratio of two figures, each given as (who, figure), over the rounds that have both."""
        self.divide(name, self.by_round(*one), self.by_round(*other), target, at_least=at_least)

    def divide(
        self, name: str, mine: Mapping[int, float], theirs: Mapping[int, float], target: float | None = None, *, at_least: bool = True
    ) -> None:
        """Add the ratio of what is given by round, over the rounds that are in both."""
        self._add(name, [mine[number] / theirs[number] for number in sorted(mine.keys() & theirs.keys())], target, at_least, "")

    def limit(
        self, name: str, one: tuple[str, str], unit: str, target: float | None = None, *, scale: float = 1, at_least: bool = False
    ) -> None:
        """Add a figure that is no ratio, given as (who, figure), in a unit of which ``scale`` make one of the figure's."""
        self._add(name, [value * scale for value in self.by_round(*one).values()], target, at_least, unit)

    def _add(self, name: str, rounds: Sequence[float], target: float | None, at_least: bool, unit: str) -> None:
        if rounds:
            self.ratios.append(Ratio(f"{self.name}: {name}", tuple(rounds), target, at_least, unit))

    def as_dict(self) -> dict[str, Any]:
        ratios = [ratio.as_dict() for ratio in self.ratios]
        return {"name": self.name, "note": self.note, "problems": self.problems, "ratios": ratios, "runs": self.runs}

    def tell(self) -> str:
        """Show the medians of the runs and the ratios as tables."""
        parts = [f"\n{self.name}{': ' if self.note else ''}{self.note}"]
        parts += [f"  FAILED: {problem}" for problem in self.problems]
        if self.runs:
            parts.append(table(*_medians(self.runs)))
        if self.ratios:
            parts.append(ratio_table(self.ratios))
        return "\n".join(parts)


def joined(*sides: Mapping[int, float], by: Callable[..., float] = max) -> dict[int, float]:
    """Put several contestants' figures together, round by round, where at least one has it."""
    rounds = sorted({number for side in sides for number in side})
    return {number: by([side[number] for side in sides if number in side]) for number in rounds}


def _medians(runs: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    figures = list(dict.fromkeys(key for run in runs for key, value in run.items() if key not in ("who", "round") and _is_number(value)))
    rows = []
    for who in dict.fromkeys(run["who"] for run in runs):
        mine = [run for run in runs if run["who"] == who]
        cells = [[run[figure] for run in mine if figure in run] for figure in figures]
        rows.append([who, str(len(mine)), *(short(statistics.median(cell), 5) if cell else "" for cell in cells)])
    return ["median of", "runs", *figures], rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def short(value: float, digits: int = 3) -> str:
    """Write a number with so many digits, or more where it has more before the point."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


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
