"""The peers as contestants."""

import json
import sys
from pathlib import Path
from typing import Any

from contest import HERE, Contestant, call, with_bin
from settings import TO_INSTALL, Settings


def peer(settings: Settings, name: str, shape: str, count: int) -> Contestant:
    """Run a graph of shapes.py on a peer."""
    python = settings.peer_python if name in TO_INSTALL else sys.executable

    def run_once(place: Path) -> dict[str, Any]:
        words = [python, str(HERE / "peers.py"), name, str(count), "--shape", shape, "--workers", str(settings.workers)]
        more = {**with_bin(python), "TMPDIR": str(place), "PYTHONPATH": str(HERE / "workflows")}
        printed, wall = call(words, place, more)
        return {**json.loads(printed.splitlines()[-1]), "wall_s": round(wall, 4)}

    return run_once


def rated(contestant: Contestant, calls: int, name: str = "jobs_per_s") -> Contestant:
    """Add a rate to what a contestant gives: so many calls over its seconds."""

    def run_once(place: Path) -> dict[str, Any]:
        figures = contestant(place)
        return {**figures, name: round(calls / figures["seconds"], 1)}

    return run_once
