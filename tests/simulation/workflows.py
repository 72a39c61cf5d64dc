"""Random workflows: a static description of every job, what it makes, and how it behaves when it is tried."""

from dataclasses import dataclass, field
from random import Random

SELF = -1
FOREVER = 10**6


@dataclass
class Spec:
    """A job, and the jobs that its commit makes; references are places in the maker's list, or SELF."""

    path: str
    kind: str = "job"  # job, knot, service, checkpoint
    made: list["Spec"] = field(default_factory=list)
    value_refs: tuple[int, ...] = ()
    refs: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    child_of: tuple[int, ...] = ()
    follow_on_of: tuple[int, ...] = ()
    service_of: int | None = None
    service_parent: int | None = None
    fails: int = 0  # so many of its first attempts fail, over all leaders and reruns
    loses: int = 0  # so many attempts before those are lost
    memory: bool = False  # the failures are of memory
    fails_up: int = 0  # a service: so many times it fails while it is up
    early: bool = False  # a service: it ends without being told to
    large: bool = False  # body and value are objects of their own

    def walk(self):
        """Give this job and all below."""
        yield self
        for made in self.made:
            yield from made.walk()

    @property
    def value(self):
        """What it returns, with values for promises."""
        return None if self.kind == "knot" else [self.path, *(self.made[ref].value for ref in self.value_refs)]


def generate(random: Random, size: int, failing: bool = True) -> Spec:
    """Make the script of a random workflow of about ``size`` jobs; ``failing``: some fail for good."""
    root = Spec("")
    left = [size]
    _fill(random, root, left, 0)
    for spec in root.walk():
        if spec.path and spec.kind != "knot":
            _misbehave(random, spec, failing)
    return root


def _misbehave(random: Random, spec: Spec, failing: bool) -> None:
    spec.large = random.random() < 0.3
    if random.random() < 0.3:
        spec.fails = random.randint(1, 4)
    if random.random() < 0.15:
        spec.loses = random.randint(1, 2)
    if failing and random.random() < 0.04:
        spec.fails = FOREVER
    spec.memory = random.random() < 0.2
    if spec.kind == "service":
        spec.early = random.random() < 0.1
        spec.fails_up = random.choice((0, 0, 0, 0, 1, 2))


def _fill(random: Random, maker: Spec, left: list[int], depth: int) -> None:
    for place in range(random.randint(1 if depth == 0 else 0, 5)):
        if left[0] <= 0:
            break
        left[0] -= 1
        maker.made.append(_place(random, maker, place))
        if not acyclic(maker):
            maker.made[-1] = Spec(f"{maker.path}/{place}", child_of=(SELF,))
    made = maker.made
    for spec in made:
        if spec.kind in {"job", "checkpoint"} and random.random() < (1.0 if spec.kind == "checkpoint" else 0.5) / (1 + depth / 3):
            _fill(random, spec, left, depth + 1)
    for _ in range(random.choice((0, 0, 1, 2, 4)) * len(made)):
        _add_reference(random, maker)
    if random.random() < 0.5:
        _shuffle(random, maker)


def _shuffle(random: Random, maker: Spec) -> None:
    """List what a job makes in another order: nothing may depend on it."""
    order = random.sample(range(len(maker.made)), len(maker.made))
    new = {SELF: SELF, **{old: place for place, old in enumerate(order)}}
    for spec in maker.made:
        for name in ("refs", "after", "child_of", "follow_on_of"):
            setattr(spec, name, tuple(new[ref] for ref in getattr(spec, name)))
        spec.service_of = None if spec.service_of is None else new[spec.service_of]
        spec.service_parent = None if spec.service_parent is None else new[spec.service_parent]
    maker.value_refs = tuple(new[ref] for ref in maker.value_refs)
    maker.made = [maker.made[old] for old in order]


def _place(random: Random, maker: Spec, place: int) -> Spec:
    path = f"{maker.path}/{place}"
    above = [SELF, *(number for number, spec in enumerate(maker.made) if spec.kind in {"job", "knot"})]
    kind = random.choices(("job", "knot", "service", "checkpoint"), (6, 1.2, 1.5, 2))[0]
    if kind == "service":
        client = SELF if maker.path and random.random() < 0.5 else random.choice(above)
        if client != SELF or maker.path:  # a script has no services
            others = [number for number, spec in enumerate(maker.made) if spec.service_of == client]
            return Spec(path, kind, service_of=client, service_parent=random.choice(others) if others and random.random() < 0.5 else None)
        kind = "job"
    form = random.random()
    if form < 0.5:
        return Spec(path, kind, child_of=(SELF,))
    chosen = random.sample(above, random.randint(1, min(3, len(above))))
    cut = random.choice((0, 0, len(chosen), random.randint(0, len(chosen))))
    return Spec(path, kind, child_of=tuple(chosen[cut:]), follow_on_of=tuple(chosen[:cut]))


def _add_reference(random: Random, maker: Spec) -> None:
    """Add a promise or an order between what a job makes, unless somebody would wait for himself."""
    made = maker.made
    what = random.choice(("refs", "refs", "after", "value"))
    if what == "value":
        ref = random.randrange(len(made))
        before = maker.value_refs
        maker.value_refs = tuple(dict.fromkeys((*before, ref)))
        if not acyclic(maker):
            maker.value_refs = before
        return
    spec = random.choice(made)
    other = random.choice([SELF, *range(len(made))] if what == "refs" else range(len(made)))
    if spec.kind == "knot" and what == "refs":
        return
    before = getattr(spec, what)
    setattr(spec, what, tuple(dict.fromkeys((*before, other))))
    if not acyclic(maker):
        setattr(spec, what, before)


def acyclic(maker: Spec) -> bool:
    """Tell whether the jobs that a commit makes could all finish; strict where a value needs what is made later."""
    waits: dict[tuple[int, str], set[tuple[int, str]]] = {}

    def wait(who, moment, *others):
        waits.setdefault((who, moment), set()).update(others)

    for number in (SELF, *range(len(maker.made))):
        spec = maker if number == SELF else maker.made[number]
        wait(number, "ran", (number, "start"))
        wait(number, "released", (number, "ran"))
        wait(number, "children", (number, "released"))
        wait(number, "successors", (number, "children"))
        wait(number, "finished", (number, "successors"))
        if number == SELF:
            wait(number, "value", (number, "ran"), *((ref, "value") for ref in spec.value_refs))
        else:
            late = spec.kind == "checkpoint" or spec.made or spec.value_refs
            wait(number, "value", (number, "up" if spec.kind == "service" else "finished" if late else "ran"))
    for number, spec in enumerate(maker.made):
        wait(number, "start", *((ref, "value") for ref in spec.refs), *((other, "finished") for other in spec.after))
        for parent in spec.child_of:
            wait(number, "start", (parent, "released"))
            wait(parent, "children", (number, "finished"))
        for parent in spec.follow_on_of:
            wait(number, "start", (parent, "children"))
            wait(parent, "successors", (number, "finished"))
        if spec.service_of is not None:
            wait(number, "start", (spec.service_of, "ran"))
            wait(number, "up", (number, "start"))
            wait(spec.service_of, "released", (number, "up"))
            wait(number, "ran", (spec.service_of, "successors"), (number, "up"))
            wait(spec.service_of, "finished", (number, "finished"))
        if spec.service_parent is not None:
            wait(number, "start", (spec.service_parent, "up"))
    done: set[tuple[int, str]] = set()
    changed = True
    while changed:
        now = {moment for moment, others in waits.items() if moment not in done and all(o in done or o not in waits for o in others)}
        changed = bool(now)
        done |= now
    return len(done) == len(waits)
