"""What would travel with a script, for people."""

from typing import Any, Final

from rich.console import Console

from jobsys.cli.views.console import make_console, make_table
from jobsys.display.words import many
from jobsys.requirements import format_bytes

_SHOWN: Final = 20
_LEFT_OUT: Final = 10


def show(plan: dict[str, Any]) -> None:
    """Print it."""
    console = make_console()
    console.print(f"own code, to all workers: {many(plan['files'], 'file')}, {format_bytes(plan['bytes'])}", style="bold")
    table = make_table("SIZE", "ENTRIES", "FROM", "WHAT", "DIGEST", right=("SIZE", "ENTRIES"))
    for root in plan["roots"]:
        table.add_row(format_bytes(root["bytes"]), f"{root['entries']:,}", root["directory"], root["what"], root["sha256"][:12])
    console.print(table)
    _show_files(console, plan)
    _show_left_out(console, plan["left_out"])
    for each in plan["not_found"]:
        console.print(f"not found here: {each['module']} ({each['why']})", markup=False)
    console.print()
    what = "the script's environment" if plan["whole_environment"] else "jobsys and what it needs"
    count, size = many(len(plan["distributions"]), "distribution"), format_bytes(plan["distributions_bytes"])
    console.print(f"{what}, to workers on other hosts: {count}, {size}", style="bold")
    table = make_table("SIZE", "FILES", "DISTRIBUTION", right=("SIZE", "FILES"))
    for each in plan["distributions"][:_SHOWN]:
        table.add_row(format_bytes(each["bytes"]), f"{each['files']:,}", each["name"])
    console.print(table)
    _show_more(console, len(plan["distributions"]) - _SHOWN)


def _show_files(console: Console, plan: dict[str, Any]) -> None:
    console.print(f"\nthe largest of {many(plan['files'], 'file')}", style="bold")
    table = make_table("SIZE", "FILE", "WHY", right=("SIZE",))
    for each in plan["largest"]:
        table.add_row(format_bytes(each["bytes"]), each["path"], each["why"])
    console.print(table)
    _show_more(console, plan["files"] - len(plan["largest"]))


def _show_left_out(console: Console, left_out: list[dict[str, str]]) -> None:
    if not left_out:
        return
    console.print("\nleft out", style="bold")
    table = make_table("PATH", "WHY")
    for each in left_out[:_LEFT_OUT]:
        table.add_row(each["path"], each["why"])
    console.print(table)
    _show_more(console, len(left_out) - _LEFT_OUT)


def _show_more(console: Console, count: int) -> None:
    if count > 0:
        console.print(f"… and {count:,} more (--json lists everything but files)", style="dim")
