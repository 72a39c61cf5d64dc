"""A picture as DOT, the language of graphviz."""

from typing import Final

from jobsys.cli.picture.model import Box, Picture
from jobsys.cli.picture.svg import FILLS, LINES, about, name_of

_STYLES: Final = {"child": "solid", "follow-on": "dashed", "service": "dotted", "value": "solid", "after": "dashed"}


def to_dot(picture: Picture) -> str:
    """Write a picture as DOT."""
    lines = [
        "digraph jobs {",
        f'  label={_quoted(picture.title)}; labelloc=t; node [shape=box, style="rounded,filled", fontname="DejaVu Sans", fontsize=11];',
        *(f"  {_node(box)}" for box in picture.boxes.values()),
    ]
    for arrow in picture.arrows:
        style = f'color="{LINES[arrow.kind][0]}", style={_STYLES[arrow.kind]}, tooltip="{arrow.kind}"'
        label = f', label="×{arrow.jobs:,}", fontsize=9' if arrow.jobs > 1 else ""
        lines.append(f"  {arrow.source} -> {arrow.target} [{style}{label}];")
    return "\n".join([*lines, "}"]) + "\n"


def _node(box: Box) -> str:
    fill, border = FILLS[box.state]
    shape = 'shape=point, label=""' if box.knot else f"label={_quoted(name_of(box) + chr(10) + about(box))}"
    return f'{box.key} [{shape}, fillcolor="{fill}", color="{border}"];'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
