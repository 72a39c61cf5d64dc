"""Run one of the graphs of workflows/shapes.py on something that a user could take instead of jobsys, and say how fast it was.

    python peers.py PEER N [--shape chain] [--workers 2]

Prints one JSON line. The clock runs for the calls and their values only: what is started beforehand, and a few calls that warm it up,
are told apart as ``start_s``. Toil has nothing that could be started beforehand: its figure is that of a whole workflow.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "workflows"))

from kinds import COLD, KINDS, Peer
from measured import memory
from shapes import SHAPES, here_and_now

WARM_UP = 10


def _do(peer: Peer, shape: str, count: int) -> object:
    if shape == "fan-out":
        return sum(peer.fan(count))
    assert peer.call
    assert peer.value
    return peer.value(SHAPES[shape].make(peer.call, count))


def measure(name: str, shape: str, count: int, workers: int) -> dict[str, object]:
    """Make the graph once and time it."""
    begun = time.perf_counter()
    with KINDS[name](workers) as peer:
        if name not in COLD:
            _do(peer, "fan-out", WARM_UP)
            _do(peer, shape, 2)
        start = time.perf_counter()
        answer = _do(peer, shape, count)
        seconds = time.perf_counter() - start
    if answer != SHAPES[shape].make(here_and_now, count):
        raise RuntimeError(f"{name} gave a wrong answer")
    return {"n": count, "seconds": round(seconds, 6), "start_s": round(start - begun, 4), "rss_mb": round(memory() / 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=KINDS, metavar="PEER", help=", ".join(KINDS))
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--shape", choices=SHAPES, default="fan-out")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(measure(options.name, options.shape, options.count, options.workers)), flush=True)


if __name__ == "__main__":
    main()
