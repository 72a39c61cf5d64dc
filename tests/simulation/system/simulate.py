"""A seed becomes a workflow and a bad day: what came of it, and the smallest bad day that still goes wrong."""

import copy
import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random

from simulation.system.odds import odds_of  # type: ignore[import-not-found]
from simulation.system.run import Run, random_workflow  # type: ignore[import-not-found]
from simulation.workflows import Spec, acyclic  # type: ignore[import-not-found]

SIZES = (2, 3, 4, 6, 8, 12, 16, 20)
ON_FILES = 16  # each so many-th seed
IN_TASKS = 13  # each so many-th, whatever it is on
IN_BUCKETS = 4  # each so many-th that is not on files


@dataclass
class Case:
    """A workflow under disturbances; ``only`` those strikes happen, by number, if given."""

    seed: int
    root: Spec
    only: tuple[int, ...] | None = None

    @classmethod
    def of(cls, seed: int) -> "Case":
        """Make what a seed stands for."""
        return cls(seed, random_workflow(seed, Random(seed).choice(SIZES)))


@dataclass
class Report:
    """What was met."""

    workflows: int = 0
    on_files: int = 0
    in_buckets: int = 0
    in_tasks: int = 0
    jobs: int = 0
    attempts: int = 0
    leaders: int = 0
    turns: int = 0
    operations: int = 0
    states: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Take in what another part of the seeds met."""
        for name in ("workflows", "on_files", "in_buckets", "in_tasks", "jobs", "attempts", "leaders", "turns", "operations", "states"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kinds += other.kinds
        self.strikes += other.strikes
        self.points += other.points
        self.failures += other.failures

    def text(self) -> str:
        """Say it in words."""
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items()))
        strikes = ", ".join(f"{number} {what}" for what, number in self.strikes.most_common())
        return (
            f"{self.workflows} random workflows ({self.on_files} on files, {self.in_buckets} in buckets, "
            f"{self.in_tasks} in tasks of a cluster) of {self.jobs} jobs ({kinds}), "
            f"in {self.attempts} attempts under {self.leaders} leaders: "
            f"{self.operations} operations of storages and calls of the system, {self.turns} turns, "
            f"{self.states} distinct states of the journal\n"
            f"{self.strikes.total()} strikes: {strikes}\n"
            f"killed between operations at {len(self.points)} different points, {self.points.total()} times: "
            f"{', '.join(sorted(self.points))}\n"
            f"{len(self.failures)} violations"
        )


def place(seed: int) -> str:
    """Say where the run of a seed is kept."""
    if seed % ON_FILES == 0:
        return "files"
    return "bucket" if seed % IN_BUCKETS == 1 else "objects"


def in_tasks(seed: int) -> bool:
    """Tell whether the jobs of a seed run in tasks of a cluster."""
    return seed % IN_TASKS == IN_TASKS - 1


def look(case: Case) -> tuple[str, list[Run]]:
    """Simulate a case, undisturbed and disturbed; tell what was wrong, if anything."""
    on = place(case.seed)
    tasks = in_tasks(case.seed)
    calm = Run(copy.deepcopy(case.root), case.seed, {}, None, on, tasks)
    bad = Run(copy.deepcopy(case.root), case.seed, odds_of(case.seed, on == "files", tasks), case.only, on, tasks)
    for run in (calm, bad):
        try:
            run.simulate()
        except AssertionError as error:  # Violation, and what the model could not take in
            return f"{type(error).__name__}: {error}", [calm, bad]
        except Exception as error:
            return f"{type(error).__name__}: {error}", [calm, bad]
    if bad.checker.outcome() != calm.checker.outcome():
        return f"it ended as {bad.checker.outcome()}, and undisturbed as {calm.checker.outcome()}", [calm, bad]
    return "", [calm, bad]


def simulate(seeds: Sequence[int]) -> Report:
    """Simulate what these seeds stand for."""
    report = Report()
    for seed in seeds:
        case = Case.of(seed)
        wrong, runs = look(case)
        if wrong:
            report.failures.append((seed, wrong))
        report.workflows += 1
        report.on_files += place(seed) == "files"
        report.in_buckets += place(seed) == "bucket"
        report.in_tasks += in_tasks(seed)
        for spec in case.root.walk():
            report.jobs += bool(spec.path)
            report.kinds[spec.kind if spec.path else "scripts"] += 1
            report.kinds["that make jobs"] += bool(spec.path and spec.made)
        for run in runs:
            report.attempts += run.checker.runs.total()
            report.leaders += len(run.started)
            report.turns += run.world.turns
            report.operations += run.disk.operations
            report.states += len(run.checker.states)
            report.strikes += Counter(run.world.struck)
            report.points += run.world.points
    return report


def digest(seed: int) -> str:
    """Give the SHA-256 of a seed's history: the same wherever and whenever it is simulated."""
    _, runs = look(Case.of(seed))
    return hashlib.sha256(repr([run.world.history for run in runs]).encode()).hexdigest()


def shrink(case: Case) -> Case:
    """Take strikes and jobs away as long as it still goes wrong."""
    _, runs = look(case)
    small = Case(case.seed, case.root, tuple(range(len(runs[1].world.struck))))
    if not look(small)[0]:
        return case
    while True:
        smaller = _fewer_jobs(_fewer_strikes(small))
        if (smaller.only, sum(1 for _ in smaller.root.walk())) == (small.only, sum(1 for _ in small.root.walk())):
            return smaller
        small = smaller


def _fewer_strikes(case: Case) -> Case:
    strikes, size = list(case.only or ()), max(1, len(case.only or ()) // 2)
    while size:
        start = 0
        while start < len(strikes):
            fewer = strikes[:start] + strikes[start + size :]
            if look(Case(case.seed, case.root, tuple(fewer)))[0]:
                strikes = fewer
            else:
                start += size
        size //= 2
    return Case(case.seed, case.root, tuple(strikes))


def _fewer_jobs(case: Case) -> Case:
    """Leave out one job with all below it after the other."""
    path = next((path for path in [spec.path for spec in case.root.walk()][::-1] if path and _fails_without(case, path)), None)
    if path is None:
        return case
    return _fewer_jobs(Case(case.seed, _without(case.root, path), case.only))


def _fails_without(case: Case, path: str) -> bool:
    smaller = _without(case.root, path)
    return bool(smaller.made) and acyclic(smaller) and bool(look(Case(case.seed, smaller, case.only))[0])


def _without(root: Spec, path: str) -> Spec:
    """Copy a workflow without one job, and without what refers to it."""
    made = copy.deepcopy(root)
    maker = next(spec for spec in made.walk() if any(each.path == path for each in spec.made))
    gone = next(number for number, spec in enumerate(maker.made) if spec.path == path)

    def kept(refs: Collection[int]) -> tuple[int, ...]:
        return tuple(ref - (ref > gone) for ref in refs if ref != gone)

    del maker.made[gone]
    for spec in maker.made:
        if not kept(spec.child_of) and not kept(spec.follow_on_of) and spec.service_of is None:
            spec.child_of = (-1,)
        for name in ("refs", "after", "child_of", "follow_on_of"):
            setattr(spec, name, kept(getattr(spec, name)))
        if spec.service_of is not None:
            spec.service_of = next(iter(kept([spec.service_of])), None)
            spec.kind, spec.child_of = ("job", (-1,)) if spec.service_of is None else (spec.kind, spec.child_of)
        if spec.service_parent is not None:
            spec.service_parent = None if spec.service_of is None else next(iter(kept([spec.service_parent])), None)
    maker.value_refs = kept(maker.value_refs)
    return made
