"""Show this host's cache of shipped code: what is in it, how large, when it was last used, and whether it is in use now.

Examples:
  jobsys cache --json
  jobsys cache --clear                     remove what no process uses

JOBSYS_CACHE names its directory, JOBSYS_CACHE_LIMIT how large it may grow (such as 20G; 10 GB otherwise).
"""

import argparse
import os
import re
import time
from collections.abc import Iterator
from typing import Any

from jobsys.archives import Archives
from jobsys.cache import Cache, Place
from jobsys.cli.output import print_json
from jobsys.cli.parser import add_json
from jobsys.display.words import duration
from jobsys.holding import is_held
from jobsys.requirements import format_bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--clear", action="store_true", help="remove all that no process uses")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show it, or empty it."""
    cache = Cache.of_host()
    archives = Archives.of(cache)
    removed = [each.size for each in cache.evict(limit=0)] + [each.size for each in archives.make_room(0)] if arguments.clear else []
    sent = [each.size for each in archives.kept()]
    entries = [_described(cache, place) for place in reversed(cache.places())]
    size = sum(entry["bytes"] for entry in entries)
    if arguments.json:
        gone = {"removed": len(removed), "removed_bytes": sum(removed)} if arguments.clear else {}
        print_json({"directory": cache.root, "bytes": size, "limit": cache.limit, "entries": entries, "archives_bytes": sum(sent)} | gone)
        return 0
    if arguments.clear:
        print(f"removed {_entries(len(removed))}, {format_bytes(sum(removed))}")
    print(f"{cache.root}: {_entries(len(entries))}, {format_bytes(size)} of {format_bytes(cache.limit)}")
    for line in _lines(entries):
        print(line)
    if sent:
        print(f"archives for other job stores: {_entries(len(sent))}, {format_bytes(sum(sent))}")
    return 0


def _described(cache: Cache, place: Place) -> dict[str, Any]:
    if os.path.isdir(place.path):
        names = [name for name in sorted(os.listdir(place.path)) if not name.startswith(".jobsys-")]
    else:
        names = ["jobsys itself"]
    entry = os.path.relpath(place.path, cache.root)
    return {"entry": entry, "name": " ".join(names[:3]), "bytes": place.size, "used": place.used, "in_use": is_held(place.path)}


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _lines(entries: list[dict[str, Any]]) -> Iterator[str]:
    if not entries:
        return
    rows = [("SIZE", "LAST USE", "IN USE", "ENTRY")]
    for entry in entries:
        ago = f"{duration(max(0.0, time.time() - entry['used']))} ago"
        rows.append((format_bytes(entry["bytes"]), ago, "yes" if entry["in_use"] else "no", f"{_short(entry['entry'])} ({entry['name']})"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[3]])


def _short(entry: str) -> str:
    """Leave out the middle of a digest."""
    return re.sub(r"[0-9A-Za-z]{32,}", lambda digest: f"{digest[0][:12]}…", entry)
