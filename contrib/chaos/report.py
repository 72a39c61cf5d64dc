"""What came of the strikes, as a table."""

import statistics
from dataclasses import dataclass, field

from checker import Violation

COLUMNS = (
    "strike", "struck", "processes killed", "resumed", "jobs lost", "jobs doubled", "wrong results", "processes left",
    "temporary files left", "locks, objects left", "time to resume, s (median, max)",
)  # fmt: skip
KINDS = (("lost",), ("doubled",), ("wrong",), ("process",), ("temporary",), ("lock", "object"))
END = "(looked at when a run had finished)"


@dataclass
class Row:
    """What came of one kind of strike."""

    struck: int = 0
    killed: int = 0
    resumed: int = 0
    seconds: list[float] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    excuse: str = ""  # why it was not possible here

    def cells(self) -> list[str]:
        """Give the figures as text."""
        counts = [sum(each.kind in kinds for each in self.violations) for kinds in KINDS]
        times = f"{statistics.median(self.seconds):.1f}, {max(self.seconds):.1f}" if self.seconds else "–"
        return [*map(str, (self.struck, self.killed, self.resumed, *counts)), times]


@dataclass
class Report:
    """The rows, and the sums."""

    rows: dict[str, Row] = field(default_factory=dict)
    runs: int = 0
    jobs: int = 0
    attempts: int = 0
    ended_by_themselves: int = 0
    kills: int = 0
    notes: list[str] = field(default_factory=list)

    def row(self, name: str) -> Row:
        """Give the row of a strike."""
        return self.rows.setdefault(name, Row())

    @property
    def violations(self) -> list[Violation]:
        """All that was broken."""
        return [each for row in self.rows.values() for each in row.violations]

    def table(self) -> str:
        """Write it as Markdown."""
        total = Row()
        for row in self.rows.values():
            total.struck += row.struck
            total.killed += row.killed
            total.resumed += row.resumed
            total.seconds += row.seconds
            total.violations += row.violations
        lines = [list(COLUMNS), ["---", *["--:"] * (len(COLUMNS) - 1)]]
        lines += [[name, *row.cells()] for name, row in self.rows.items() if row.struck or row.violations or name == END]
        lines += [[name, f"not possible: {row.excuse}", *[""] * (len(COLUMNS) - 2)] for name, row in self.rows.items() if row.excuse]
        lines.append(["**all**", *total.cells()])
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def summary(self) -> str:
        """Say in two lines what was done."""
        struck = sum(row.struck for row in self.rows.values())
        return (
            f"{struck} strikes, {self.kills} of them kills; {self.runs} runs finished, "
            f"with {self.jobs} jobs and {self.attempts} attempts.\n"
            f"{self.ended_by_themselves} leaders ended by themselves, as they should when they can't go on, and were started again.\n"
            f"{len(self.violations)} violations."
        )
