"""From what was measured here to what follows elsewhere: which limit is met first. Rates that can't be measured here are given."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Rates:
    """What is assumed of a place; each can be given by ``--rate NAME=VALUE``."""

    hosts: float = 10_000
    cores: float = 32  # a host
    jobs: float = 10_000_000
    mean: float = 60.0  # seconds a job
    cycle: float = 1.0  # seconds between two looks at the batch system
    memory: float = 64e9  # bytes of the leader's host
    network: float = 1.25e9  # bytes a second of the leader's host
    disk: float = 200e6  # bytes a second that a disk takes, synced
    file_ms: float = 1.0  # a synced write on a local disk
    nfs_ms: float = 5.0  # the same over NFS
    s3_ms: float = 30.0  # a PUT
    nfs_calls: float = 50_000  # a second, of one server
    nfs_calls_a_read: float = 4  # look up, open, read, close
    s3_gets: float = 5_500  # a second and prefix, as the vendor says; so are the next three
    s3_puts: float = 3_500
    s3_put_price: float = 5.0  # USD a million PUT or LIST
    s3_get_price: float = 0.4  # USD a million GET
    submissions: float = 200  # a second, of a batch system in which each attempt is a job of its own

    @property
    def slots(self) -> float:
        return self.hosts * self.cores


@dataclass(frozen=True)
class Costs:
    """What a job of the first workload costs, all told."""

    cpu: float  # seconds of the leader's processor
    idle: float  # the same, a second, whatever the jobs do
    journal: float  # bytes
    reads: float  # by workers
    wire: float  # bytes of order and report
    ready: float  # bytes in memory
    out: float  # bytes in memory
    snapshot: float  # bytes a remembered job
    replay: float  # seconds an event

    @classmethod
    def of(cls, found: Sequence[dict[str, Any]], kept: dict[str, float]) -> "Costs":
        flat = found[0]
        jobs = flat["jobs"]
        snapshots = [each for run in found for each in run["snapshots"]]
        replayed = flat.get("restart", {}).get("journal", {"cpu_s": 0.0, "events": 1})
        return cls(
            cpu=flat["leader_cpu_s"] / jobs,
            idle=flat["cpu_us"]["status"] / 1e6 / flat["simulated_s"],
            journal=flat["written"]["journal"] / jobs,
            reads=flat["worker_reads"],
            wire=(flat["ordered"] + flat["reported"]) / jobs,
            ready=kept["ready"],
            out=kept["out"],
            snapshot=sum(each["bytes"] for each in snapshots) / max(1, sum(each["nodes"] for each in snapshots)),
            replay=replayed["cpu_s"] / replayed["events"],
        )


def tell(costs: Costs, rates: Rates) -> str:
    """Give what follows, as tables in Markdown."""
    return "\n\n".join((_limits(costs, rates), _whole(costs, rates), _storages(costs, rates), _assumed(rates)))


def _limits(costs: Costs, rates: Rates) -> str:
    """Say for each limit how many jobs a second it lets through, the lowest first, and how long jobs must take to keep all cores busy."""
    limits = {
        "the leader's processor, one core": 1 / costs.cpu,
        "S3: reads by workers, one prefix": rates.s3_gets / costs.reads,
        "NFS: reads by workers, one server": rates.nfs_calls / rates.nfs_calls_a_read / costs.reads,
        "journal, a local disk": rates.disk / costs.journal,
        "the leader's network: orders and reports": rates.network / costs.wire,
        "a batch system that is given each attempt by itself": rates.submissions,
    }
    wanted = rates.slots / rates.mean
    rows = [
        f"| {name} | {most:,.0f} | {rates.slots / most:,.1f} | {wanted / most:.0%} |"
        for name, most in sorted(limits.items(), key=lambda each: each[1])
    ]
    head = f"| limit | jobs a second | {rates.slots:,.0f} cores are kept busy by jobs of, s | used at {rates.mean:g} s a job |"
    return "\n".join([head, "|---|---:|---:|---:|", *rows])


def _whole(costs: Costs, rates: Rates) -> str:
    """Say what the whole run takes."""
    seconds = rates.jobs * rates.mean / rates.slots
    rows = {
        "seconds, all cores busy": f"{seconds:,.0f}",
        "jobs a second": f"{rates.slots / rates.mean:,.0f}",
        "the leader's processor, seconds": f"{rates.jobs * costs.cpu:,.0f}",
        "journal, GB": f"{rates.jobs * costs.journal / 1e9:.1f}",
        "journal, MB a second": f"{rates.slots / rates.mean * costs.journal / 1e6:.1f}",
        "memory for attempts that are out, GB": f"{rates.slots * costs.out / 1e9:.2f}",
        "memory if all jobs are there at once, GB": f"{rates.jobs * costs.ready / 1e9:.1f}",
        f"jobs that may be there at once in {rates.memory / 1e9:.0f} GB, millions": f"{rates.memory / costs.ready / 1e6:.0f}",
        "a snapshot of them all, GB": f"{rates.jobs * costs.snapshot / 1e9:.1f}",
        "a restart from the journal alone at the end, seconds": f"{rates.jobs * costs.replay:,.0f}",
    }
    head = f"| {rates.jobs:,.0f} jobs of {rates.mean:g} s on {rates.hosts:,.0f} hosts of {rates.cores:g} cores | |"
    return "\n".join([head, "|---|---:|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _storages(costs: Costs, rates: Rates) -> str:
    """Say what the storages make of it: the leader writes a segment a cycle, or one after the other where that takes longer."""
    seconds = rates.jobs * rates.mean / rates.slots
    rows = []
    for name, milliseconds in (("file", rates.file_ms), ("NFS", rates.nfs_ms), ("S3", rates.s3_ms)):
        segments = seconds / max(rates.cycle, milliseconds / 1000)
        puts = segments + 1.2 * seconds  # a status a second, a sign of life in five
        lists, gets, reads = 0.2 * seconds, 0.5 * seconds, rates.jobs * costs.reads
        waiting = (puts + lists + gets) * milliseconds / 1000 / seconds
        price = ((puts + lists) * rates.s3_put_price + (gets + reads) * rates.s3_get_price) / 1e6 if name == "S3" else 0.0
        rows.append(
            f"| {name} | {puts:,.0f} | {lists + gets:,.0f} | {reads / 1e6:.1f} M | {reads / seconds:,.0f} | {waiting:.1%} | "
            f"{2 * rates.cores * milliseconds / 1000:.2f} | "  # two lists for each attempt that was lost
            + (f"{price:.2f} |" if price else "|")
        )
    head = "| store | writes by the leader | its reads and lists | reads by workers | a second | the leader waits | s a dead host | USD |"
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|---:|", *rows])


def _assumed(rates: Rates) -> str:
    given = ", ".join(f"{field.name}={getattr(rates, field.name):g}" for field in fields(rates))
    return f"Assumed: {given}."
