"""Many jobs, few boxes: jobs that stand in the same place fold into one box, or all jobs of a function do."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from typing import Final

from jobsys.cli.picture.model import KINDS, Arrow, Box, Picture

ALIKE: Final = 8
"""From how many on jobs of a function that come after the same and before the same share a box."""


def fold(picture: Picture, most: int, by_function: bool = False) -> Picture:
    """Fold a picture, only as far as ``most`` boxes ask for."""
    if by_function:
        return fold_functions(picture)
    folded = fold_alike(picture)
    return folded if len(folded.boxes) <= most else fold_functions(picture)


def fold_alike(picture: Picture) -> Picture:
    """Fold jobs of one name between the same neighbours."""
    before: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    after: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for arrow in picture.arrows:
        before[arrow.target].append((arrow.source, arrow.kind))
        after[arrow.source].append((arrow.target, arrow.kind))
    groups: dict[int, Hashable] = {
        key: (box.name, frozenset(before.get(key, ())), frozenset(after.get(key, ()))) for key, box in picture.boxes.items()
    }
    sizes = Counter(groups.values())
    return _folded(picture, {key: group if sizes[group] >= ALIKE else key for key, group in groups.items()})


def fold_functions(picture: Picture) -> Picture:
    """Fold all jobs of one name."""
    return _folded(picture, {key: box.name for key, box in picture.boxes.items()})


def _folded(picture: Picture, groups: Mapping[int, Hashable]) -> Picture:
    first: dict[Hashable, int] = {}
    for key, group in groups.items():
        first.setdefault(group, key)
    home = {key: first[group] for key, group in groups.items()}
    boxes: dict[int, Box] = {}
    for key, box in picture.boxes.items():
        _join(boxes, home[key], box)
    counted: Counter[tuple[int, int]] = Counter()
    kinds: dict[tuple[int, int], str] = {}
    targets: set[tuple[int, int]] = set()
    for arrow in picture.arrows:
        ends = home[arrow.source], home[arrow.target]
        if ends[0] == ends[1]:
            boxes[ends[0]].recursive = True
            continue
        kinds[ends] = min(kinds.get(ends, arrow.kind), arrow.kind, key=KINDS.index)
        # an arrow counts the jobs at its end: 20,000 values that go to one job are one
        if (ends[0], arrow.target) not in targets:
            targets.add((ends[0], arrow.target))
            counted[ends] += 1
    arrows = [Arrow(*ends, kind, counted[ends]) for ends, kind in kinds.items()]
    order = list({(home[one], home[two]) for one, two in picture.order if home[one] != home[two]})
    return Picture(picture.title, boxes, arrows, sorted(order), picture.jobs, picture.states)


def _join(boxes: dict[int, Box], key: int, box: Box) -> None:
    joined = boxes.get(key)
    if joined is None:
        boxes[key] = Box(key, box.name, list(box.jobs), dict(box.states), box.seconds, box.failed_attempts, box.knot)
        return
    joined.jobs += box.jobs
    for state, count in box.states.items():
        joined.states[state] = joined.states.get(state, 0) + count
    joined.seconds += box.seconds
    joined.failed_attempts += box.failed_attempts
    joined.knot = joined.knot and box.knot
