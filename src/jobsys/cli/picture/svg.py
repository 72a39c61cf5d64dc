"""A picture as SVG, and as a page of HTML around it; nothing is needed to look at it but a browser."""

import itertools
from collections.abc import Iterator
from html import escape
from typing import Final

from jobsys.cli.picture.layout import Layout, arrange
from jobsys.cli.picture.model import KINDS, STATES, Arrow, Box, Picture
from jobsys.display.words import duration, many

FILLS: Final = {
    "done": ("#dff3e4", "#2f9e5b"),
    "running": ("#d8e9ff", "#2b74d0"),
    "up": ("#d3f1f1", "#178a8a"),
    "ready": ("#fff4d6", "#c79a1b"),
    "waiting": ("#f4f4f5", "#a1a1aa"),
    "failed": ("#ffdfdb", "#d3382c"),
}
"""State -> colour of the box, and of its border."""
LINES: Final = {
    "child": ("#475569", ""),
    "follow-on": ("#9333c9", "7 3"),
    "service": ("#178a8a", "2 3"),
    "value": ("#3b82d6", ""),
    "after": ("#a1a1aa", "7 3 2 3"),
}
"""Kind of arrow -> its colour, and its dashes."""
_MARGIN: Final = 28.0
_HEAD: Final = 92.0
_LETTER: Final = 6.9  # width of a letter of 12 px, about
_SMALL_LETTER: Final = 5.9
_LONGEST_NAME: Final = 34
_STYLE: Final = (
    "text{font:12px 'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif;fill:#18181b}"
    ".small{font-size:10.5px;fill:#52525b}.title{font-size:15px;font-weight:bold}.box:hover rect{stroke-width:2.6}"
)


def to_svg(picture: Picture) -> str:
    """Draw a picture."""
    sizes = {key: _size(box) for key, box in picture.boxes.items()}
    layout = arrange(sizes, [arrow[:2] for arrow in picture.arrows], picture.order)
    legend = list(_legend(picture))
    width = max(layout.width, 560.0, _LETTER * 1.3 * len(picture.title)) + 2 * _MARGIN
    height = layout.height + _HEAD + 2 * _MARGIN
    shift = (width - layout.width) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(picture.title)}</title>",
        f"<style>{_STYLE}</style>",
        "<defs>",
        *(_marker(kind) for kind in KINDS),
        "</defs>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        *legend,
        f'<g transform="translate({shift:.1f} {_HEAD + _MARGIN:.1f})">',
        *(_arrow(arrow, layout, sizes) for arrow in picture.arrows),
        *(_box(box, layout, sizes) for box in picture.boxes.values()),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def to_html(picture: Picture) -> str:
    """Draw a picture on a page that can be scrolled."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(picture.title)}</title>'
        f"<style>body{{margin:0;background:white}}svg{{display:block;margin:auto}}</style></head>\n<body>\n{to_svg(picture)}</body></html>\n"
    )


def name_of(box: Box) -> str:
    """Write a box's first line."""
    name = box.name if len(box.name) <= _LONGEST_NAME else box.name[: _LONGEST_NAME - 1] + "…"
    return f"{name} ×{len(box.jobs):,}" if len(box.jobs) > 1 else name


def about(box: Box) -> str:
    """Write a box's second line."""
    parts = [f"job {box.jobs[0]}"] if len(box.jobs) == 1 else []
    if len(box.states) > 1:
        parts += [f"{box.states[state]:,} {state}" for state in STATES if state in box.states]
    elif len(box.jobs) > 1 or box.state != "done":
        parts.append(box.state)
    if box.seconds:
        parts.append(duration(box.seconds))
    return " · ".join(parts) + (" ↻" if box.recursive else "")


def tip(box: Box) -> str:
    """Write what is shown while the pointer rests on a box."""
    lines = [f"job {box.jobs[0]}: {box.name}" if len(box.jobs) == 1 else f"{box.name}: {many(len(box.jobs), 'job')}"]
    lines += [f"{count:,} {state}" for state, count in box.states.items()]
    if box.seconds:
        lines.append(f"{duration(box.seconds)} in all attempts")
    if box.failed_attempts:
        lines.append(many(box.failed_attempts, "failed attempt"))
    if box.recursive:
        lines.append("some of these jobs made others of them, or took their values")
    return "\n".join(lines)


def _size(box: Box) -> tuple[float, float]:
    if box.knot:
        return 14.0, 14.0
    width = max(_LETTER * len(name_of(box)), _SMALL_LETTER * len(about(box))) + 22
    return max(64.0, width), 46.0 if len(box.states) > 1 else 40.0


def _box(box: Box, layout: Layout, sizes: dict[int, tuple[float, float]]) -> str:
    x, y = layout.centres[box.key]
    fill, border = FILLS[box.state]
    title = f"<title>{escape(tip(box))}</title>"
    if box.knot:
        return f'<g class="box">{title}<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="{border}"/></g>'
    width, height = sizes[box.key]
    left, top = x - width / 2, y - height / 2
    several = len(box.jobs) > 1
    size = f'width="{width:.1f}" height="{height:.1f}" rx="7"'
    shadow = f'<rect x="{left + 4:.1f}" y="{top + 4:.1f}" {size} fill="white" stroke="{border}"/>'
    return "".join((
        f'<g class="box">{title}',
        shadow if several else "",
        f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{fill}" stroke="{border}" stroke-width="1.4"/>',
        f'<text x="{x:.1f}" y="{top + 17:.1f}" text-anchor="middle">{escape(name_of(box))}</text>',
        f'<text x="{x:.1f}" y="{top + 32:.1f}" text-anchor="middle" class="small">{escape(about(box))}</text>',
        *_shares(box, left + 8, top + height - 8, width - 16),
        "</g>",
    ))  # fmt: skip


def _shares(box: Box, left: float, top: float, width: float) -> Iterator[str]:
    """Draw a bar of the states of a box with several."""
    if len(box.states) < 2:
        return
    total = sum(box.states.values())
    for state in ("done", "up", "running", "failed", "ready", "waiting"):
        share = width * box.states.get(state, 0) / total
        if share:
            yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{share:.1f}" height="4" fill="{FILLS[state][1]}"/>'
            left += share


def _arrow(arrow: Arrow, layout: Layout, sizes: dict[int, tuple[float, float]]) -> str:
    ends = arrow.source, arrow.target
    points = list(layout.routes[ends])
    up = ends in layout.backwards
    first, last = sizes[arrow.source][1] / 2, sizes[arrow.target][1] / 2 + 3
    points[0] = (points[0][0], points[0][1] + (-first if up else first))
    points[-1] = (points[-1][0], points[-1][1] + (last if up else -last))
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        path.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    colour, dashes = LINES[arrow.kind]
    thick = 1.2 if arrow.jobs == 1 else min(3.2, 1.4 + 0.35 * len(str(arrow.jobs)))
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="{thick:.1f}"{dashed} marker-end="url(#{arrow.kind})"/>'


def _marker(kind: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" '
        f'orient="auto"><path d="M0 0L8 4L0 8Z" fill="{LINES[kind][0]}"/></marker>'
    )


def _legend(picture: Picture) -> Iterator[str]:
    counts = ", ".join(f"{picture.states[state]:,} {state}" for state in STATES if state in picture.states)
    yield f'<text x="{_MARGIN}" y="30" class="title">{escape(picture.title)}</text>'
    yield f'<text x="{_MARGIN}" y="50" class="small">{many(picture.jobs, "job")}{": " if counts else ""}{counts}</text>'
    x = _MARGIN
    for state in STATES:
        if state in picture.states:
            fill, border = FILLS[state]
            yield f'<rect x="{x:.1f}" y="62" width="16" height="11" rx="3" fill="{fill}" stroke="{border}"/>'
            yield f'<text x="{x + 21:.1f}" y="72" class="small">{state}</text>'
            x += 21 + _SMALL_LETTER * len(state) + 14
    x = _MARGIN
    for kind in KINDS:
        if any(arrow.kind == kind for arrow in picture.arrows):
            colour, dashes = LINES[kind]
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            yield f'<path d="M{x:.1f} 87H{x + 24:.1f}" stroke="{colour}" stroke-width="1.6"{dashed} marker-end="url(#{kind})"/>'
            yield f'<text x="{x + 32:.1f}" y="91" class="small">{kind}</text>'
            x += 32 + _SMALL_LETTER * len(kind) + 14
