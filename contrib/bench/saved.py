"""Runs of the benchmarks as JSON files, one a run."""

import json
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contest import HERE
from report import Case

RUNS = HERE / "runs"
FORMAT = "jobsys-bench 1"
NEWEST = "newest"


class SavedError(Exception):
    """A saved run can't be used; says why, and what to do."""


def new_path(*, quick: bool) -> Path:
    """Name the file of a run that begins now."""
    return RUNS / f"{_kind(quick)}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"


def newest(*, quick: bool) -> Path:
    """Find the newest saved run.

    Raises:
        SavedError: there is none.
    """
    found = sorted(RUNS.glob(f"{_kind(quick)}-*.json"))
    if not found:
        raise SavedError(f"no {_kind(quick)} run is saved in {RUNS}: measure one first with make bench, or name a file with AGAINST=FILE")
    return found[-1]


def named(name: str, *, quick: bool) -> Path:
    """Find the file that a person means: one named so, or the newest.

    Raises:
        SavedError: there is none.
    """
    return newest(quick=quick) if name == NEWEST else Path(name)


def _kind(quick: bool) -> str:
    return "quick" if quick else "full"


def write(path: Path, cases: Iterable[Case], about: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Save everything that was measured, whole or not at all; give it as it would be read again."""
    told = {
        "format": FORMAT,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "asked": asked,
        "machine": {**about, "load_after": round(os.getloadavg()[0], 2)},
        "cases": [case.as_dict() for case in cases],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(told, indent=1) + "\n")
    beside.replace(path)
    found: dict[str, Any] = json.loads(json.dumps(told))
    return found


def read(path: Path) -> dict[str, Any]:
    """Read a saved run.

    Raises:
        SavedError: it is not there, can't be read, or is something else.
    """
    try:
        told = json.loads(path.read_text())
    except FileNotFoundError:
        raise SavedError(f"{path} is not there: make bench saves each run in {RUNS}, and AGAINST=FILE names one") from None
    except (OSError, ValueError) as error:
        raise SavedError(f"{path} can't be read as JSON ({error}): name a file that make bench wrote, with AGAINST=FILE") from error
    found = told.get("format") if isinstance(told, dict) else None
    if found != FORMAT:
        raise SavedError(f"{path} has the format {found!r}, not {FORMAT!r}: measure that state again with these benchmarks, and save it")
    return dict(told)


def _commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
