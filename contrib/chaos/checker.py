"""Compares two witnesses: the journal of a run, and the record that its jobs wrote outside of the job store."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jobsys.events import AttemptFailed, Committed, LeaderStarted, Reason
from jobsys.jobstores import JobStore
from jobsys.journal import made_by, pages


class Violation(NamedTuple):
    """A promise that was broken: which, and what is known about it."""

    kind: str  # lost, doubled, wrong, process, temporary, lock, object
    text: str


class Commit(NamedTuple):
    """A commit as the journal has it."""

    token: str
    epoch: int  # of the leader that took it in
    jobs: tuple[int, ...]  # that it made
    deleted: tuple[str, ...]


class Start(NamedTuple):
    """The beginning of an attempt, as the job itself recorded it."""

    job: int
    token: str
    seen: tuple[tuple[int, str], ...]  # the attempts whose values it was given


@dataclass
class Account:
    """What a journal says."""

    names: dict[int, str] = field(default_factory=dict)
    services: set[int] = field(default_factory=set)
    checkpoints: set[int] = field(default_factory=set)
    commits: defaultdict[int, list[Commit]] = field(default_factory=lambda: defaultdict(list))
    failures: list[AttemptFailed] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    segments: dict[int, str] = field(default_factory=dict)  # digests of their bytes

    @classmethod
    def read(cls, store: JobStore) -> "Account":
        """Read all of it.

        Raises:
            IntegrityError: a segment is damaged or missing.
        """
        found = cls()
        for page in pages(store):
            found.segments[page.segment] = hashlib.sha256(store.segment(page.segment)).hexdigest()
            for event in page.events:
                if isinstance(event, Committed):
                    found._committed(store, event, page.epoch)
                elif isinstance(event, AttemptFailed):
                    found.failures.append(event)
                elif isinstance(event, LeaderStarted):
                    found.epochs.append(event.epoch)
        return found

    def _committed(self, store: JobStore, event: Committed, epoch: int) -> None:
        report = event.report
        made = range(event.first, event.first + report.made)
        for number, job in zip(made, (job for _, some in made_by(store, report) for job in some), strict=True):
            self.names[number] = job.name
            if job.service_of is not None:
                self.services.add(number)
            if job.checkpoint:
                self.checkpoints.add(number)
        self.commits[report.job].append(Commit(report.token, epoch, tuple(made), report.deleted))

    def live(self) -> set[int]:
        """Tell which jobs there are, without those that were forgotten when a checkpoint began anew."""
        found: set[int] = set()
        rest = [0]
        while rest:
            job = rest.pop()
            found.add(job)
            if self.commits[job]:
                rest += self.commits[job][-1].jobs
        return found

    @property
    def done(self) -> int:
        """How many commits there are."""
        return sum(map(len, self.commits.values()))


def read_record(path: Path) -> list[Start]:
    """Read which attempts began; to be read before the journal, which then knows all that they rest on."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [Start(line["job"], line["token"], tuple(map(tuple, line["seen"]))) for line in lines if line["kind"] == "start"]


def order(token: str) -> tuple[int, int]:
    """Give the epoch and the number of an attempt."""
    return int(token.partition("-")[0], 16), int(token.rpartition(".")[2], 16)


def check_going_on(account: Account, starts: list[Start]) -> list[Violation]:
    """Check what must hold at any moment."""
    return [*_doubled(account), *_ran_again(account, starts), *_unremembered(account, starts)]


def check_failures(account: Account) -> list[Violation]:
    """Check that no attempt failed of itself; to be asked where nothing was done to disk or directories."""
    found = []
    for failure in account.failures:
        name = account.names.get(failure.job, "")
        if failure.reason == Reason.FAILED and name != "trip":
            text = f"attempt {failure.token} of job {failure.job} ({name}) failed, although nothing was done to it: {failure.message[:300]}"
            found.append(Violation("wrong", text))
    return found


def check_kept(before: Account, after: Account) -> list[Violation]:
    """Check that all that was acknowledged once is there still, to the byte."""
    changed = [number for number, digest in before.segments.items() if after.segments.get(number) != digest]
    return [Violation("lost", f"segments {changed} of the journal are no longer what they were before the strike")] if changed else []


def check_finished(account: Account, printed: str, expected: str) -> list[Violation]:
    """Check what must hold when the run is over."""
    missing = sorted(job for job in account.live() if not account.commits[job])
    found = [Violation("lost", f"the run has finished, but job {job} ({account.names.get(job)}) has no commit") for job in missing]
    if printed != expected:
        found.append(Violation("wrong", f"the value is not that of an undisturbed run: {printed[:300]!r}"))
    return found


def _doubled(account: Account) -> list[Violation]:
    """A job has one commit; a checkpoint may have one again, and a service that was started again."""
    found = []
    for job, commits in account.commits.items():
        if len(commits) > 1 and job not in account.services and job not in account.checkpoints:
            found.append(Violation("doubled", f"job {job} ({account.names.get(job)}) has {len(commits)} commits: {commits}"))
        tokens = Counter(commit.token for commit in commits)
        found += [Violation("doubled", f"attempt {token} of job {job} was committed twice") for token, times in tokens.items() if times > 1]
    return found


def _ran_again(account: Account, starts: list[Start]) -> list[Violation]:
    """No attempt is begun by a leader that had the job's commit."""
    found = []
    for start in starts:
        commits = account.commits.get(start.job, [])
        if not commits or start.job in account.checkpoints:
            continue
        commit, (epoch, number) = commits[0], order(start.token)
        of, attempt = order(commit.token)
        adopted = of < commit.epoch
        if epoch > commit.epoch or (epoch == commit.epoch and (adopted or number > attempt)):
            found.append(
                Violation("doubled", f"job {start.job} was committed by attempt {commit.token} and ran again as {start.token} ({commit})")
            )
    return found


def _unremembered(account: Account, starts: list[Start]) -> list[Violation]:
    """What a job was given is the value of an attempt that the journal knows, and of no other."""
    found = []
    for start in starts:
        for job, token in start.seen:
            known = [commit.token for commit in account.commits.get(job, [])]
            if token not in known:
                text = f"attempt {start.token} of job {start.job} was given the value of attempt {token} of job {job}"
                found.append(Violation("wrong", f"{text}, whose commits are {known}"))
        if order(start.token)[0] not in account.epochs:
            found.append(
                Violation("lost", f"attempt {start.token} of job {start.job} was started by a leader that the journal does not know")
            )
    return found
