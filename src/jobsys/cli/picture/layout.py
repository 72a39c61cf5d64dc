"""Where boxes stand: in layers from top to bottom, in an order with few crossings, each as straight below its neighbours as can be.

The usual steps of layered drawing, after Sugiyama.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

SWEEPS: Final = 12
GAP: Final = 22.0
LAYER_GAP: Final = 62.0
_BEND_WIDTH: Final = 10.0

Pair = tuple[int, int]


class Layout(NamedTuple):
    """Centres of boxes, the points that each arrow runs through, and the size of it all."""

    centres: dict[int, tuple[float, float]]
    routes: dict[Pair, list[tuple[float, float]]]
    backwards: set[Pair]  # arrows that run upwards, since a circle must be open somewhere
    width: float
    height: float


def arrange(sizes: Mapping[int, tuple[float, float]], arrows: Sequence[Pair], order: Sequence[Pair] = ()) -> Layout:
    """Arrange boxes.

    Args:
        sizes: width and height of each box.
        arrows: pairs of boxes to be connected.
        order: pairs of which the second is to stand below the first.
    """
    backwards = _backwards(sizes, [*arrows, *order])
    down = [pair for pair in dict.fromkeys([*arrows, *order]) if pair not in backwards]
    layer = _layers(sizes, down)
    drawn = [(two, one) if (one, two) in backwards else (one, two) for one, two in dict.fromkeys(arrows)]
    widths = {key: width for key, (width, _) in sizes.items()}
    links, chains = _with_bends(drawn, layer, widths)
    rows = _ordered(layer, links)
    x = _across(rows, links, widths)
    y, height = _down(rows, sizes)
    centres = {key: (x[key], y[layer[key]]) for key in sizes}
    routes: dict[Pair, list[tuple[float, float]]] = {}
    for one, two in arrows:
        chain = chains[two, one][::-1] if (one, two) in backwards else chains[one, two]
        routes[one, two] = [(x[key], y[layer[key]]) for key in chain]
    width = max((x[key] + widths[key] / 2 for key in x), default=0.0)
    return Layout(centres, routes, backwards & set(arrows), width, height)


def _backwards(keys: Iterable[int], pairs: Sequence[Pair]) -> set[Pair]:
    """Find pairs that close a circle."""
    after: defaultdict[int, list[int]] = defaultdict(list)
    for one, two in pairs:
        after[one].append(two)
    found: set[Pair] = set()
    state: dict[int, int] = {}  # 1: on the path, 2: left behind
    for start in keys:
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(after[start]))]
        while stack:
            key, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[key] = 2
                stack.pop()
            elif state.get(following) == 1:
                found.add((key, following))
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(after[following])))
    return found


def _layers(keys: Iterable[int], pairs: Sequence[Pair]) -> dict[int, int]:
    """Put each box as high as those above it allow; then pull what has room down to what comes after it."""
    after: defaultdict[int, list[int]] = defaultdict(list)
    before = dict.fromkeys(keys, 0)
    for one, two in pairs:
        after[one].append(two)
        before[two] += 1
    layer = dict.fromkeys(before, 0)
    ready = [key for key, count in before.items() if not count]
    done: list[int] = []
    while ready:
        key = ready.pop()
        done.append(key)
        for following in after[key]:
            layer[following] = max(layer[following], layer[key] + 1)
            before[following] -= 1
            if not before[following]:
                ready.append(following)
    has_before = {two for _, two in pairs}
    for key in reversed(done):
        if key not in has_before and after[key]:
            layer[key] = min(layer[following] for following in after[key]) - 1
    return layer


def _with_bends(arrows: Iterable[Pair], layer: dict[int, int], widths: dict[int, float]) -> tuple[list[Pair], dict[Pair, list[int]]]:
    """Cut arrows over several layers into links between neighbouring ones, with a bend in each."""
    links: list[Pair] = []
    chains: dict[Pair, list[int]] = {}
    fresh = -1
    for one, two in arrows:
        chain = [one]
        for between in range(layer[one] + 1, layer[two]):
            fresh -= 1
            layer[fresh], widths[fresh] = between, _BEND_WIDTH
            chain.append(fresh)
        chain.append(two)
        chains[one, two] = chain
        links += itertools.pairwise(chain)
    return links, chains


def _neighbours(links: Sequence[Pair]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: defaultdict[int, list[int]] = defaultdict(list)
    below: defaultdict[int, list[int]] = defaultdict(list)
    for one, two in links:
        below[one].append(two)
        above[two].append(one)
    return above, below


def _ordered(layer: Mapping[int, int], links: Sequence[Pair]) -> list[list[int]]:
    """Order each layer by where the neighbours stand, down and up again and again; keep the order with fewest crossings."""
    rows: list[list[int]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for key, number in layer.items():
        rows[number].append(key)
    above, below = _neighbours(links)
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        moving, side = (rows[1:], above) if sweep % 2 == 0 else (rows[-2::-1], below)
        place = {key: number for row in rows for number, key in enumerate(row)}
        for row in moving:
            wanted = {key: _mean([place[other] for other in side.get(key, ())], place[key]) for key in row}
            row.sort(key=wanted.__getitem__)
            place.update({key: number for number, key in enumerate(row)})
        count = _crossings(rows, below)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    return best


def _crossings(rows: Sequence[Sequence[int]], below: Mapping[int, Sequence[int]]) -> int:
    count = 0
    for upper, lower in itertools.pairwise(rows):
        place = {key: number for number, key in enumerate(lower)}
        tree = [0] * (len(lower) + 1)
        seen = 0
        for key in upper:
            ends = sorted(place[other] for other in below.get(key, ()))
            for end in ends:
                count += seen - _up_to(tree, end + 1)
            for end in ends:
                _add(tree, end + 1)
            seen += len(ends)
    return count


def _up_to(tree: Sequence[int], index: int) -> int:
    total = 0
    while index:
        total += tree[index]
        index &= index - 1
    return total


def _add(tree: list[int], index: int) -> None:
    while index < len(tree):
        tree[index] += 1
        index += index & -index


def _across(rows: Sequence[Sequence[int]], links: Sequence[Pair], widths: Mapping[int, float]) -> dict[int, float]:
    """Give each box its place from left to right."""
    above, below = _neighbours(links)
    x: dict[int, float] = {}
    for row in rows:
        x.update(_packed(row, [0.0] * len(row), widths))
    for sweep in range(SWEEPS + 1):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            # at the end what is above and what is below count alike
            sides = (above, below) if sweep >= SWEEPS - 2 else ((above,) if sweep % 2 == 0 else (below,))
            wanted = [_mean([x[other] for side in sides for other in side.get(key, ())], x[key]) for key in row]
            x.update(_packed(row, wanted, widths))
    left = min((x[key] - widths[key] / 2 for key in x), default=0.0)
    return {key: place - left for key, place in x.items()}


def _packed(row: Sequence[int], wanted: Sequence[float], widths: Mapping[int, float]) -> dict[int, float]:
    """Put boxes as near as possible (in the sum of squares) to where they want to be, in order and without overlap."""
    offsets = [0.0]
    for one, two in itertools.pairwise(row):
        offsets.append(offsets[-1] + (widths[one] + widths[two]) / 2 + GAP)
    blocks: list[tuple[float, int]] = []  # mean of a block of boxes that touch, and how many they are
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, more = blocks.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        blocks.append((mean, count))
    starts = [mean for mean, count in blocks for _ in range(count)]
    return {key: start + offset for key, start, offset in zip(row, starts, offsets, strict=True)}


def _down(rows: Sequence[Sequence[int]], sizes: Mapping[int, tuple[float, float]]) -> tuple[list[float], float]:
    y: list[float] = []
    top = 0.0
    for row in rows:
        height = max((sizes[key][1] for key in row if key in sizes), default=0.0)
        y.append(top + height / 2)
        top += height + LAYER_GAP
    return y, max(0.0, top - LAYER_GAP)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
