"""Draw all ratios of a run as one SVG picture: what lies left of the line misses its target. Needs nothing but Python."""

import math
from collections.abc import Sequence
from html import escape

from report import Case, Ratio

LABELS, AXIS, VALUES, ROW, EDGE = 610, 420, 250, 22, 16  # pixels
WIDTH = EDGE + LABELS + AXIS + VALUES + EDGE
MET, MISSED, PLAIN = "#2b7a4b", "#c8361d", "#5a6b7b"
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
WIDEST = 84  # characters of a label
WIDEST_REACH = 1.5  # powers of ten to either side


class Axis:
    """A logarithmic axis around 1, wide enough for what is on it."""

    def __init__(self, scores: Sequence[float]) -> None:
        """Reach beyond the smallest and the largest, but never so far that what lies near the line can't be told from it."""
        seen = [abs(math.log10(score)) for score in scores if 0 < score < math.inf]
        self.reach = min(WIDEST_REACH, max(1.0, math.ceil(max(seen, default=1.0) * 2) / 2))

    def x(self, score: float) -> float:
        """Tell where a score lies; what is beyond the end lies at the end."""
        place = math.log10(score) if 0 < score < math.inf else -self.reach if score <= 0 else self.reach
        return EDGE + LABELS + AXIS * (max(-self.reach, min(self.reach, place)) + self.reach) / (2 * self.reach)

    def holds(self, score: float) -> bool:
        """Tell whether a score is within reach."""
        return 0 < score < math.inf and abs(math.log10(score)) <= self.reach

    def marks(self) -> list[float]:
        """Give what is written at the axis."""
        marks = [scale * 10.0**power for power in range(-2, 2) for scale in (1, 2, 5)]
        return [mark for mark in marks if abs(math.log10(mark)) <= self.reach + 1e-9]


def drawn(cases: Sequence[Case], title: str) -> str:
    """Draw the ratios that have a target against it, and the others beside 1."""
    ratios = [ratio for case in cases for ratio in case.ratios]
    aimed = [ratio for ratio in ratios if ratio.target is not None]
    others = [ratio for ratio in ratios if ratio.target is None and not ratio.unit]
    missed = sum(ratio.met is False for ratio in aimed)
    parts = [_text(EDGE, 28, f"jobsys beside the others: {title}", size=17, weight="bold")]
    y = 58
    for head, group in (
        (f"against the targets: {missed} of {len(aimed)} missed; how many times better than asked", aimed),
        ("without a target: how many times better than what it is compared with", others),
    ):
        if group:
            shown, y = _panel(head, group, y)
            parts += shown
    failed = [f"{case.name} FAILED: {problem}" for case in cases for problem in case.problems]
    for line in failed:
        parts.append(_text(EDGE, y, line[:160], colour=MISSED))
        y += ROW
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{y + EDGE}' viewBox='0 0 {WIDTH} {y + EDGE}' {FONT}>"
    return "\n".join([head, f"<rect width='{WIDTH}' height='{y + EDGE}' fill='white'/>", *parts, "</svg>", ""])


def _panel(head: str, ratios: Sequence[Ratio], top: int) -> tuple[list[str], int]:
    axis = Axis([score for ratio in ratios for score in _scores(ratio)])
    first, bottom = top + 34, top + 34 + ROW * len(ratios)
    parts = [_text(EDGE, top, head, size=14, weight="bold")]
    for mark in axis.marks():
        x = axis.x(mark)
        colour, width = ("#222", 2) if mark == 1 else ("#ddd", 1)
        parts.append(_line(x, first - 8, x, bottom, colour, width))
        parts.append(_text(x, first - 12, f"{mark:g}", size=10, anchor="middle", colour="#555"))
    for number, ratio in enumerate(ratios):
        parts += _row(axis, ratio, first + ROW * number)
    return parts, bottom + 44


def _row(axis: Axis, ratio: Ratio, y: int) -> list[str]:
    colour = {None: PLAIN, True: MET, False: MISSED}[ratio.met]
    scores = _scores(ratio)
    middle = sorted(scores)[len(scores) // 2] if ratio.target is None else ratio.score
    left, right = sorted((axis.x(1), axis.x(middle)))
    left, right = (left, max(right, left + 2)) if middle >= 1 else (min(left, right - 2), right)
    cells = ratio.row()
    label = ratio.name if len(ratio.name) <= WIDEST else f"{ratio.name[: WIDEST - 1]}…"
    beyond = {True: "▸ ", False: "◂ "}[middle >= 1] if not axis.holds(middle) else ""
    told = f"{beyond}{cells[1]}   {cells[3]}   {cells[4]}".rstrip()
    return [
        _text(EDGE + LABELS - 10, y + 13, label, anchor="end"),
        f"<rect x='{left:.1f}' y='{y + 4}' width='{right - left:.1f}' height='10' fill='{colour}' fill-opacity='0.75'/>",
        _line(axis.x(min(scores)), y + 9, axis.x(max(scores)), y + 9, "#111", 1.5),
        _text(EDGE + LABELS + AXIS + 12, y + 13, told, colour=colour, weight="bold" if ratio.met is False else "normal"),
    ]


def _scores(ratio: Ratio) -> list[float]:
    """Give for each round how many times better it is than the target, or than what it is compared with."""
    return [Ratio(ratio.name, (value,), 1.0 if ratio.target is None else ratio.target, ratio.at_least).score for value in ratio.rounds]


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = "#111", weight: str = "normal") -> str:
    return (
        f"<text x='{x:.1f}' y='{y}' font-size='{size}' text-anchor='{anchor}' fill='{colour}' font-weight='{weight}'>{escape(text)}</text>"
    )


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float) -> str:
    return f"<line x1='{x:.1f}' y1='{y}' x2='{to_x:.1f}' y2='{to_y}' stroke='{colour}' stroke-width='{width}'/>"
