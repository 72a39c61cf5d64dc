"""The console that all views print to."""

import sys
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobsys.display.console import HarmlessConsole

STYLES: Final = {
    "done": "green",
    "running": "cyan",
    "starting": "cyan",
    "up": "cyan",
    "ready": "blue",
    "waiting": "bright_black",
    "failed": "bold red",
    "canceled": "yellow",
    "interrupted": "bold yellow",
}
"""State -> colour."""


def make_console() -> Console:
    """Make the console for standard output: as wide as the terminal; where there is none, as wide as it takes."""
    wide = None if sys.stdout.isatty() else 250
    return HarmlessConsole(width=wide, highlight=False, markup=False, emoji=False, soft_wrap=False)


def state_text(state: str) -> Text:
    """Write a state in its colour."""
    return Text(state, style=STYLES.get(state, ""))


def make_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Make a table without lines; the columns in ``right`` hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left", no_wrap=True, overflow="ellipsis")
    return table
