"""How likely it is that something goes wrong, by occasion: several kinds of bad days."""

from random import Random

OPERATIONS = {
    "kill": 0.02,  # before and after each operation of a leader or a worker
    "error": 0.01,
    "lost answer": 0.02,
    "repeated": 0.05,
    "slow": 0.01,
    "late": 0.01,
    "truncated": 0.01,
}
BATCH_SYSTEM = {"twice": 0.1, "strange": 0.05, "unknown id": 0.03, "returned": 0.05, "gone": 0.15, "outlives": 0.7}
TASKS = {
    "scheduler down": 0.05,
    "answer lost": 0.1,
    "scheduler slow": 0.02,
    "started twice": 0.1,
    "preempted": 0.1,
    "node lost": 0.07,
    "canceled outside": 0.05,
    "forgotten": 0.3,
    "overlooked": 0.05,
}
FIEND = {
    "kill leader": 0.15,
    "freeze leader": 0.15,
    "second leader": 0.1,
    "freeze worker": 0.2,
    "host dies": 0.05,
    "clock jumps": 0.1,
    "signal": 0.03,
    "power cut": 0.03,
}


CALLS = 10  # of the system, about, in an operation on files


def odds_of(seed: int, files: bool, tasks: bool) -> dict[str, float]:
    """Say how likely everything is in the world of a seed; on files an operation is many calls, each of which can fail."""
    random = Random(f"odds {seed}")
    found: dict[str, float] = {}
    for kind in (OPERATIONS, BATCH_SYSTEM, FIEND, *((TASKS,) if tasks else ())):
        much = random.choice((0.0, 0.3, 1.0, 1.0, 2.0))
        found.update({what: min(0.9, odds * much * random.choice((0.3, 1.0, 1.0, 2.0))) for what, odds in kind.items()})
    if files:
        found.update({what: found[what] / CALLS for what in OPERATIONS})
        found["power cut"] *= 2
    return found
