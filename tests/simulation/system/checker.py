"""Reads the history while it happens, and says what must not be."""

from collections import Counter
from typing import Any

import msgspec

from jobsys.events import AttemptFailed, Committed, Event, LeaderStarted, ServiceUp
from jobsys.jobstores import JobStore, keys
from jobsys.journal import read
from jobsys.leader.lease import BEAT, SILENCE
from jobsys.leader.listener import Listener
from jobsys.message import Order, decode_report
from jobsys.sealing import signed
from jobsys.storage.memory import MemoryStorage
from simulation.model import Model  # type: ignore[import-not-found]
from simulation.system.files import Files  # type: ignore[import-not-found]
from simulation.system.storage import Disk  # type: ignore[import-not-found]
from simulation.system.world import Process, World  # type: ignore[import-not-found]
from simulation.workflows import Spec  # type: ignore[import-not-found]

encode = msgspec.json.encode


class Checker(Listener):
    """Compares what the journal says, what jobs see and what people are told with a model of what a workflow means."""

    def __init__(self, world: World, disk: Disk | Files, root: Spec) -> None:
        self.world, self.disk, self.root = world, disk, root
        self.told: list[bytes] = []
        self.seen: dict[str, list[Any]] = {}  # by token, what an attempt was given
        self.began_as: dict[str, set[str]] = {}  # by path, the tokens of all attempts
        self.runs: Counter[str] = Counter()
        self.states: set[int] = set()
        disk.created, disk.deleting = self.created, self.deleting
        if hasattr(disk, "power_is_back"):
            disk.power_is_back = self.begin_anew
        self.begin_anew()

    def begin_anew(self) -> None:
        """Know only what is in the journal: what was seen of it, and was not synced, may be gone."""
        self.model = Model(self.root)
        self.journaled: list[bytes] = []
        self.committed: dict[str, str] = {}  # by path, the token of the attempt that counts
        self._allowed: dict[int, set[int]] = {}
        self._decided: set[str] = set()  # tokens of attempts of which the journal says how they ended
        self._leaders: dict[int, Process] = {}  # by epoch
        for key in sorted(self.disk.objects):
            self.created(key)

    # -- what the journal says -------------------------------------------------------------------------------------

    def created(self, key: str) -> None:
        """Take in a new segment of the journal: from now on it is what happened."""
        if not key.startswith("journal/"):
            return
        bare = MemoryStorage()
        bare.put(key, self.disk.objects[key])
        page = read(JobStore("memory:", bare), int(key.rpartition("/")[2]))
        if page.epoch < max(self._allowed, default=0):
            self.world.violate(f"leader {page.epoch} writes although leader {max(self._allowed)} took over")
        for event in page.events:
            self.world.note("journal", page.epoch, type(event).__name__, getattr(event, "job", None))
            self.journaled.append(encode(event))
            self._look_at(event)
            self.model.apply(event)
        self._allowed[page.epoch] = set(self.model.started)
        jobs = sorted((job.id, job.done, job.failed, job.up) for job in self.model.jobs.values())
        self.states.add(hash((tuple(jobs), tuple(sorted(self.model.started)))))

    def _look_at(self, event: Event) -> None:
        match event:
            case Committed():
                self._commits(event)
            case AttemptFailed():
                self._decided.add(event.token)
            case ServiceUp() if event.job not in self.model.jobs:
                self.world.violate(f"job {event.job} is up, and is no part of the run")
            case LeaderStarted():
                self._takes_over(event)

    def _takes_over(self, event: LeaderStarted) -> None:
        """Let a leader be replaced only if it is dead, has left, or gave no sign of life for long."""
        before = max(self._leaders, default=0)
        [taker] = [each for each in self.world.processes if (each.host.name, each.pid) == (event.host, event.pid)]
        last = self._leaders.get(before)
        direct = before == event.epoch - 1  # nobody between them held the lease, watched the last one, and died
        if last is not None and last.alive and direct and b'"released":true' not in self.disk.objects[keys.heartbeat(before)]:
            watched = last.host is not taker.host and self.world.now - taker.began >= SILENCE
            if not watched:
                self.world.violate(f"{taker.name} takes over without having watched {last.name}, which is alive")
            if max(last.troubled_until, last.began) < self.world.now - SILENCE - BEAT - 2.0:
                self.world.violate(f"{taker.name} takes over from {last.name}, which is alive and well")
        self._leaders[event.epoch] = taker

    def deleting(self, key: str) -> None:
        """Let nothing be deleted that may still count."""
        top, _, rest = key.partition("/")
        if top == "commits":
            report, _ = decode_report(signed(self.disk.objects[key]))
            job, token, may = report.job, report.token, False
        elif top in {"files", "values", "graphs"}:
            name, _, token = rest.partition("/")[0].partition("-")
            current = self.world.current  # an attempt may give up what is its own
            job, may = int(name), current is not None and current.name.endswith(f"({token})")
        else:
            return
        if not may and job and token not in self._decided and self.model.accepts(job):
            self.world.violate(f"{key} is deleted, and nothing durable says that its attempt does not count")

    def _commits(self, event: Committed) -> None:
        job, token = event.report.job, event.report.token
        if not self.model.accepts(job):
            self.world.violate(f"job {job} gets an outcome that is not its first, or is no part of the run")
        spec = self.model.jobs[job].spec
        if job:
            if token not in self.began_as.get(spec.path, ()):
                self.world.violate(f"{spec.path} has a commit of an attempt that nobody saw")
            self._check_inputs(spec, self.seen[token])
        self.committed[spec.path] = token
        self._decided.add(token)

    def _check_inputs(self, spec: Spec, heads: list[Any]) -> None:
        for head in heads:
            if head is None:
                continue
            path, token = head
            right = token in self.began_as[path] if self.world_kind(path) == "service" else self.committed.get(path) == token
            if not right:
                self.world.violate(f"{spec.path} has seen {path} of attempt {token}, which lost against {self.committed.get(path)}")

    def world_kind(self, path: str) -> str:
        """Tell what kind of job has this path."""
        return next(spec.kind for spec in self.root.walk() if spec.path == path)

    # -- what leaders do, and jobs see -----------------------------------------------------------------------------

    def submitted(self, epoch: int, order: Order) -> None:
        """Let a leader submit only what the journal, as it knows it, allows."""
        self.world.note("submit", epoch, order.job)
        if order.job not in self._allowed.get(epoch, ()):
            self.world.violate(f"job {order.job} is submitted by leader {epoch}, and nothing durable says that it may run")

    def began(self, path: str, job: int, token: str, heads: list[Any]) -> None:
        """Note an attempt and what it was given."""
        self.world.note("began", path, token)
        self.runs[path] += 1
        known = self.model.jobs.get(job)
        if known is not None and known.spec.path != path:
            self.world.violate(f"job {job} is {known.spec.path}, and the order of it runs {path}")
        if known is not None and [None if head is None else head[0] for head in heads] != self._sources(job):
            self.world.violate(f"{path} is given {heads}, and should be given {self._sources(job)}")
        if token in self.seen:
            self.world.violate(f"two attempts bear the token {token}")
        self.began_as.setdefault(path, set()).add(token)
        self.seen[token] = heads

    def _sources(self, job: int) -> list[Any]:
        model = self.model
        instance = model.jobs[job]
        sources = [model.local(instance, ref).spec for ref in instance.spec.refs]
        return [None if source.kind == "knot" else source.path for source in sources]

    def on_event(self, event: Event, name: str) -> None:
        """Hear what a leader tells a person: from now on it must never be undone."""
        self.told.append(encode(event))

    # -- the end ---------------------------------------------------------------------------------------------------

    def outcome(self) -> tuple[bool, set[str]]:
        """Tell how the run ended; services beside failed jobs may have ended by themselves, or not yet."""
        done = {job.spec.path for job in self.model.jobs.values() if job.done and job.spec.kind != "service"}
        return self.finished(), done

    def finished(self) -> bool:
        """Tell whether everything has happened."""
        script = self.model.jobs[0]
        return bool(self.model.finished(script) and self.model.available(script, script))

    def check_end(self) -> None:
        """Compare what was told with what is kept."""
        missing = set(self.told) - set(self.journaled)
        if missing:
            self.world.violate(f"was told and is not in the journal: {missing}")

    def check_value(self, value: list[Any]) -> None:
        """Compare the run's value with what the workflow means, and with who committed it."""
        self._check_values(self.root, value)

    def _check_values(self, maker: Spec, values: list[Any]) -> None:
        for ref, value in zip(maker.value_refs, values, strict=True):
            self._check_one(maker.made[ref], value)

    def _check_one(self, spec: Spec, value: Any) -> None:
        if spec.kind == "knot":
            if value is not None:
                self.world.violate(f"{spec.path} has the value {value!r}")
            return
        if value["path"] != spec.path:
            self.world.violate(f"the value of {spec.path} is that of {value['path']}")
        self._check_inputs(spec, [(spec.path, value["token"])])
        if value["file"] is not None:
            content = self.disk.objects.get(str(value["file"]), b"").decode()
            if content != f"result of {spec.path} {value['token']}":
                self.world.violate(f"the file of {spec.path} holds {content!r}")
        if spec.kind != "service":
            self._check_values(spec, value["inside"])
