"""Show what has changed from one saved run of the benchmarks to another.

    python contrib/bench/compare.py THEN NOW

Each ratio and each figure, then and now: the middle of the rounds, the change, and whether it is more than noise: *outside* means that
all rounds of one run lie above all rounds of the other. Exit status: 0 whatever changed, 2 if the runs can't be compared.

Examples:
    python contrib/bench/compare.py contrib/bench/runs/full-20261101-120000.json contrib/bench/runs/full-20261201-120000.json
    make bench-compare AGAINST=before.json NOW=after.json
    make bench-compare          measure, and compare with the newest saved run
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import saved
from host import SAME
from report import short, table

NO_FIGURES = ("who", "round", "n", "load", "killed_at", "processes")

OUTSIDE = "outside"


@dataclass(frozen=True)
class Series:
    """What one ratio or figure was in each round."""

    rounds: tuple[float, ...]
    at_least: bool | None = None  # whether more is better; None: who knows
    unit: str = ""

    @property
    def middle(self) -> float:
        return statistics.median(self.rounds)


def ratios(run: dict[str, Any]) -> dict[str, Series]:
    """Collect the ratios of a saved run by name."""
    return {each["name"]: Series(tuple(each["rounds"]), each["at_least"], each["unit"]) for case in run["cases"] for each in case["ratios"]}


def figures(run: dict[str, Any]) -> dict[str, Series]:
    """Collect the figures of a saved run by case, contestant and name."""
    found: dict[str, list[float]] = {}
    for case in run["cases"]:
        for each in case["runs"]:
            for name, value in each.items():
                if name not in NO_FIGURES:
                    found.setdefault(f"{case['name']}: {each['who']}, {name}", []).append(value)
    return {name: Series(tuple(values)) for name, values in found.items()}


def verdict(then: Series, now: Series) -> str:
    """Tell whether a change is more than the rounds differ among themselves."""
    if len(then.rounds) < 2 or len(now.rounds) < 2:
        return "one round: unknown"
    above, below = min(now.rounds) > max(then.rounds), max(now.rounds) < min(then.rounds)
    if not above and not below:
        return "within the spread"
    if now.at_least is None:
        return OUTSIDE
    return f"{OUTSIDE}: {'better' if above == now.at_least else 'WORSE'}"


def change(then: Series, now: Series) -> str:
    """Give the change in percent."""
    return f"{100 * (now.middle / then.middle - 1):+.1f} %" if then.middle else "" if now.middle else "+0.0 %"


def rows(then: dict[str, Series], now: dict[str, Series]) -> Iterator[list[str]]:
    """Lay what is in both side by side, in the order of now, then what is in one only."""
    for name, mine in now.items():
        unit = f" {mine.unit}" if mine.unit else ""
        if name in then:
            old = then[name]
            yield [name, f"{short(old.middle, 4)}{unit}", f"{short(mine.middle, 4)}{unit}", change(old, mine), verdict(old, mine)]
        else:
            yield [name, "", f"{short(mine.middle, 4)}{unit}", "", "only now"]
    for name, old in then.items():
        if name not in now:
            yield [name, f"{short(old.middle, 4)}", "", "", "only then"]


def check(then: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to compare a run with one that measured something else under the same names.

    Raises:
        SavedError: the sizes differ.
    """
    if then["asked"]["sizes"] != asked["sizes"]:
        raise saved.SavedError(
            f"the saved run measured other sizes ({_sizes(then['asked'])}) than this one ({_sizes(asked)}): "
            f"use the same --quick and --n for both"
        )


def _sizes(asked: dict[str, Any]) -> str:
    sizes = asked["sizes"]
    words = [*(["--quick"] if sizes["quick"] else []), *([f"--n {sizes['n']}"] if sizes["n"] else [])]
    return " ".join(words) or "the usual ones"


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name in what the machines of two runs differ."""
    one, other = then["machine"], now["machine"]
    return [f"{key}: {one.get(key)} then, {other.get(key)} now" for key in SAME if one.get(key) != other.get(key)]


def compared(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Tell all that has changed.

    Raises:
        SavedError: the runs measured something else under the same names.
    """
    check(then, now["asked"])
    head = ["", "then", "now", "change", ""]
    told = [f"then: {_about(then)}", f"now:  {_about(now)}"]
    other = differences(then, now)
    if other:
        told += ["ANOTHER MACHINE: what the ratios say is doubtful, and figures are left out", *(f"  {each}" for each in other)]
    parts = {"ratios, and figures that have a unit": list(rows(ratios(then), ratios(now)))}
    if not other:
        parts["all figures"] = list(rows(figures(then), figures(now)))
    for name, lines in parts.items():
        outside = sum(line[-1].startswith(OUTSIDE) for line in lines)
        told += [f"\n{name}: {outside} of {len(lines)} outside the spread of their rounds", table(head, lines)]
    told += [
        f"FAILED {who}: {case['name']}: {problem}"
        for who, run in (("then", then), ("now", now))
        for case in run["cases"]
        for problem in case["problems"]
    ]
    return "\n".join(told)


def _about(run: dict[str, Any]) -> str:
    about = run["machine"]
    return f"{run['when']}, commit {run['commit']}, load {about['load_before']} … {about['load_after']}, fsync {about['fsync_ms']} ms"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("then", metavar="THEN", help="a saved run; 'newest' takes the newest in contrib/bench/runs")
    parser.add_argument("now", type=Path, metavar="NOW", help="a later one")
    options = parser.parse_args(arguments)
    try:
        now = saved.read(options.now)
        print(compared(saved.read(saved.named(options.then, quick=now["asked"]["sizes"]["quick"])), now))
    except saved.SavedError as error:
        print(f"bench-compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
