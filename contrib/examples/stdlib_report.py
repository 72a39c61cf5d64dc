"""Tables and a plot of what was measured. Plain functions: nothing here knows of jobs."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stdlib_source import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Imports = Mapping[str, set[str]]  # module -> the modules that it imports
COLUMNS = (
    *("module", "lines", "code", "comments", "blank", "tokens", "functions", "classes", "branches"),
    *("longest", "longest_function", "imports", "late_imports", "imported_by", "cycle"),
)
BLUE, GREEN, GREY, RED = "#31688e", "#35b779", "#c8c8c8", "#b5367a"


def resolve(modules: Mapping[str, Figures], *, late: bool = False) -> dict[str, set[str]]:
    """Say which of the modules each module imports: as soon as it is imported itself, or (late) inside functions."""
    found = {}
    for name, figures in modules.items():
        names = figures.late_imports if late else figures.imports
        found[name] = {other for other in names if other in modules and other != name}
    return found


def find_cycles(imports: Imports) -> list[list[str]]:
    """Find the groups of modules that import each other, directly or not: Tarjan's algorithm, without recursion."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    open_, groups = [], []
    for start in imports:
        walk = [] if start in order else [(start, iter(sorted(imports[start])))]
        while walk:
            module, rest = walk[-1]
            if module not in order:
                order[module] = low[module] = len(order)
                open_.append(module)
            following = next(rest, None)
            if following is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[module])
                if low[module] == order[module]:
                    at = open_.index(module)
                    groups.append(sorted(open_[at:]))
                    del open_[at:]
            elif following not in order:
                walk.append((following, iter(sorted(imports[following]))))
            elif following in open_:
                low[module] = min(low[module], order[following])
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group))


def write_csv(path: Path, modules: Mapping[str, Figures], cycles: Sequence[Sequence[str]]) -> None:
    """Write a line for each module."""
    imports, late = resolve(modules), resolve(modules, late=True)
    importers = Counter(name for names in imports.values() for name in names)
    cycle_of = {name: number for number, cycle in enumerate(cycles, 1) for name in cycle}
    with path.open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, one in sorted(modules.items()):
            counted = (one.lines, one.code, one.comments, one.blank, one.tokens.total(), one.functions, one.classes, one.branches)
            linked = (len(imports[name]), len(late[name]), importers[name], cycle_of.get(name, ""))
            table.writerow((name, *counted, one.longest, one.longest_name, *linked))


def summary(modules: Mapping[str, Figures], cycles: Sequence[Sequence[str]]) -> str:
    """Tell the most interesting things as text."""
    every = list(modules.values())
    importers = Counter(name for names in resolve(modules).values() for name in names)
    tokens = sum((one.tokens for one in every), Counter())
    sizes = [(one.name, one.code, one.functions, one.branches) for one in sorted(every, key=lambda one: (-one.code, one.name))[:12]]
    longest = [(one.name, one.longest_name, one.longest) for one in sorted(every, key=lambda one: (-one.longest, one.name))[:8]]
    used = sorted(importers.items(), key=lambda item: (-item[1], item[0]))[:12]
    rings = [(len(cycle), ", ".join(cycle[:5]) + (" …" if len(cycle) > 5 else "")) for cycle in cycles[:8]]
    problems = [(one.name, one.problem if len(one.problem) < 80 else one.problem[:79] + "…") for one in every if one.problem]
    parts = [
        f"{len(every):,} modules, {sum(one.lines for one in every):,} lines: {sum(one.code for one in every):,} of code, "
        f"{sum(one.comments for one in every):,} of comments, {sum(one.blank for one in every):,} blank; "
        f"{sum(one.functions for one in every):,} functions, {sum(one.classes for one in every):,} classes",
        _table("Largest modules", ("module", "code lines", "functions", "branches"), sizes),
        _table("Longest functions", ("module", "function", "lines"), longest),
        _table("Most imported modules", ("module", "imported by"), used),
        _table(f"Modules that import each other ({len(cycles)} groups)", ("modules", "which"), rings),
        _table("Tokens", ("kind", "count"), tokens.most_common(8)),
        _table("Not valid for this version of Python, lines and tokens counted only", ("module", "problem"), problems),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a table: text to the left, numbers to the right; nothing if there is no row."""
    rows = list(rows)
    if not rows:
        return ""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    right = [isinstance(cell, int) for cell in rows[0]]
    lines = [
        "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(row, widths, right, strict=True))
        for row in (head, ["-" * width for width in widths], *texts)
    ]
    return "\n".join([title, "", *(line.rstrip() for line in lines)])


def draw(path: Path, modules: Mapping[str, Figures]) -> None:
    """Plot size, complexity and importance as a PNG."""
    # slow to import, and needed by one job only
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 8.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    figure.suptitle(f"The Python standard library: {len(modules):,} modules", fontsize=16, fontweight="bold")
    places = figure.subplot_mosaic([["size", "imported"], ["size", "branches"]], width_ratios=[1, 1.15])
    for place in places.values():
        place.spines[["top", "right"]].set_visible(False)
        place.set_axisbelow(True)
        place.grid(axis="x", color="#e6e6e6")
    _draw_sizes(places["size"], modules)
    _draw_imported(places["imported"], modules)
    _draw_branches(places["branches"], modules)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_sizes(place: "Axes", modules: Mapping[str, Figures]) -> None:
    packages = defaultdict(list)
    for one in modules.values():
        packages[one.name.partition(".")[0]].append(one)
    top = sorted(packages, key=lambda name: (-sum(one.lines for one in packages[name]), name))[:25]
    left = [0] * len(top)
    for kind, color in (("code", BLUE), ("comments", GREEN), ("blank", GREY)):
        counts = [sum(getattr(one, kind) for one in packages[name]) for name in top]
        place.barh(top, counts, left=left, color=color, label=kind)
        left = [before + count for before, count in zip(left, counts, strict=True)]
    place.margins(y=0.01)
    place.invert_yaxis()
    place.legend(loc="lower right", frameon=False)
    place.set(title=f"The {len(top)} largest packages and modules", xlabel="lines")
    place.xaxis.set_major_formatter("{x:,.0f}")


def _draw_imported(place: "Axes", modules: Mapping[str, Figures]) -> None:
    importers = Counter(name for names in resolve(modules).values() for name in names)
    top = sorted(importers.items(), key=lambda item: (-item[1], item[0]))[:15]
    place.margins(x=0.08)
    bars = place.barh([name for name, _ in top], [count for _, count in top], color=BLUE)
    place.bar_label(bars, padding=3, fontsize=9)
    place.invert_yaxis()
    place.set(title="The most imported modules", xlabel="modules that import it, not counting imports inside functions")


def _draw_branches(place: "Axes", modules: Mapping[str, Figures]) -> None:
    drawn = [one for one in modules.values() if one.code and one.branches]
    place.scatter([one.code for one in drawn], [one.branches for one in drawn], s=14, color=BLUE, alpha=0.45, linewidths=0)
    place.grid(axis="y", color="#e6e6e6")
    place.set(xscale="log", yscale="log", title="Branches grow with size", xlabel="lines of code", ylabel="branches")
    for one in _most_remarkable(drawn):
        place.scatter([one.code], [one.branches], s=18, color=RED)
        place.annotate(one.name, (one.code, one.branches), xytext=(-6, 3), textcoords="offset points", ha="right", fontsize=8, color=RED)


def _most_remarkable(drawn: Sequence[Figures]) -> list[Figures]:
    """Choose the modules with the most branches, and those with the most for their size, whose labels don't overlap."""
    by_number = sorted(drawn, key=lambda one: (-one.branches, one.name))[:30]
    by_share = sorted(drawn, key=lambda one: (-one.branches / (one.code + 20), one.name))[:30]
    chosen: list[Figures] = []
    for one in [*by_number, *by_share]:
        if all(abs(math.log10(one.branches / other.branches)) > 0.13 for other in chosen):
            chosen.append(one)
    return chosen[:9]
