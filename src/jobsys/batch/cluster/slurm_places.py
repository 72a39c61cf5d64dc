"""Where a cluster under Slurm can run a task: partitions and the shapes of their nodes, as sinfo lists them."""

import math
import re
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from jobsys.batch.cluster.scheduler import mebibytes, whole_cores
from jobsys.requirements import Requirements, format_bytes

LIST: Final = "%R|%P|%a|%l|%c|%m|%G"
"""What sinfo is asked to print: one line for each partition and shape of node."""

EARLY: Final = 30
"""Seconds before the time limit at which a task is told to end."""
_MARGIN: Final = EARLY + 60  # Slurm counts minutes, and may send a signal up to one earlier than it was told


class Shape(NamedTuple):
    """Nodes that are alike."""

    cores: int
    mebibytes: int
    accelerators: int


class Partition(NamedTuple):
    """A partition."""

    name: str
    default: bool
    up: bool
    seconds: float  # that a task may take at most
    shapes: Collection[Shape]


def partitions(text: str, gres: str) -> list[Partition]:
    """Read what sinfo prints; ``gres`` names what counts as an accelerator."""
    found: dict[str, Partition] = {}
    shapes: dict[str, list[Shape]] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 7:
            name, starred, up, limit, cores, memory, devices = fields
            shapes.setdefault(name, []).append(Shape(_number(cores), _number(memory), count_gres(devices, gres)))
            found[name] = Partition(name, starred.endswith("*"), up == "up", seconds(limit), shapes[name])
    return list(found.values())


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def count_gres(text: str, gres: str) -> int:
    """Count devices of a name in what a node has, such as ``gpu:a100:4(S:0-1),nvme:1``; ``gpu:a100`` counts those of a type only."""
    name, _, kind = gres.partition(":")
    plain = re.sub(r"\([^)]*\)", "", text)
    items = [item.split(":") for item in plain.split(",")]
    return sum(int(item[-1]) for item in items if item[0] == name and item[-1].isdecimal() and kind in ("", *item[1:-1]))


def seconds(text: str) -> float:
    """Read a limit of time: ``30:00``, ``1:00:00``, ``2-00:00:00``, ``infinite``."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return math.inf
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def has_room(shape: Shape, need: Requirements) -> bool:
    """Tell whether one such node has what a task needs."""
    memory = mebibytes(need.memory or 0)
    return shape.cores >= whole_cores(need) and shape.mebibytes >= memory and shape.accelerators >= need.accelerators


def fits(partition: Partition, need: Requirements) -> bool:
    """Tell whether a partition can ever run a task."""
    return partition.seconds >= (need.walltime or 0) and any(has_room(shape, need) for shape in partition.shapes)


def choose(places: Iterable[Partition], need: Requirements) -> Partition | None:
    """Choose the partition for a task of which nobody said where it shall run.

    It is the default one where that will do; else the one with the shortest limit of time, of those that have no accelerators
    if none is needed. None: that can't be told.
    """

    def rank(partition: Partition) -> tuple[bool, bool, float, str]:
        wasted = not need.accelerators and any(shape.accelerators for shape in partition.shapes)
        return not partition.default, wasted, partition.seconds, partition.name

    return min((place for place in places if place.up and fits(place, need)), key=rank, default=None)


def problem(places: Collection[Partition], need: Requirements) -> str:
    """Say why no partition can ever run a task; empty if one can, or none is known."""
    if not places or any(fits(place, need) for place in places):
        return ""
    names = ", ".join(sorted(place.name for place in places))
    where = f"no node of Slurm's partition{'s' if len(places) > 1 else ''} {names} can run a job that asks for {need}"
    shapes = [shape for place in places for shape in place.shapes]
    cores, memory, devices = (max(shape[field] for shape in shapes) for field in range(3))
    limit = max(place.seconds for place in places)
    most = [f"{cores} cores", f"{format_bytes(memory << 20)} memory", f"{devices} accelerators"]
    most += [f"{limit:g} s walltime"] if math.isfinite(limit) else []
    return f"{where}: the most that one has is {', '.join(most)}"


def minutes(walltime: float, partition_seconds: float) -> tuple[int, bool]:
    """Give the limit to ask for, and whether it leaves time for a signal before it: a task that keeps its walltime never gets one."""
    wanted = math.ceil((walltime + _MARGIN) / 60)
    if wanted * 60 <= partition_seconds:
        return wanted, True
    return max(math.ceil(walltime / 60), int(partition_seconds // 60)), False
