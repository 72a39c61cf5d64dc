"""A leader that is killed when half of its jobs are done, and one that goes on from there."""

import statistics
import time
from pathlib import Path

import ours
from contest import ContestError

LOOKS = 3
SLOW_ENOUGH = 50_000  # jobs from which on a run lasts long enough to be looked at before its half


def killed_and_resumed(place: Path, count: int, workers: int, limit: float) -> dict[str, float]:
    """Run a fan-out, look at it while it runs, kill its leader with half of it done, resume it.

    ``ready_s`` goes from the start of the resuming leader's process to the moment at which the first of its jobs begins, as the journal
    tells: a little later than when the first order was submitted.
    """
    words = ours.command("in_jobsys.py", place, "--shape", "fan-out", "--n", count, workers=workers)
    began = time.time()
    follower = ours.Follower(place)
    looks = []
    with ours.leader(place, words) as process:
        if count >= SLOW_ENOUGH:
            ours.wait_until(lambda: follower.done() >= count // 4, process, "a quarter of the jobs was done", limit)
            looks = [ours.ask(place, "status") for _ in range(LOOKS)]
        ours.wait_until(lambda: follower.done() >= count // 2, process, "half of the jobs was done", limit)
        memory, done = ours.peak_mb(process.pid), follower.done()
    killed = time.time()
    with ours.leader(place, [*words, "--restart"]) as process:
        told = ours.finish(process, limit)
    ended = time.time()
    if told["answer"] != count * (count - 1) // 2:
        raise ContestError("the resumed run gave a wrong answer")
    first = min((start for start in ours.journal(place).started if start > killed), default=0.0)
    if not first:
        raise ContestError("nothing was left for the resuming leader to do: --n is too small")
    return {
        "n": count,
        "killed_at": done,
        "ready_s": round(first - killed, 4),
        "seconds": round(ended - killed, 4),
        "both_s": round(ended - began, 4),
        "killed_rss_mb": round(memory, 1),
        "rss_mb": told["rss_mb"],
        **({"status_s": round(statistics.median(looks), 4), "status_slowest_s": round(max(looks), 4)} if looks else {}),
    }
