"""What was found, as text for a terminal and as tables in Markdown for docs/scale.md."""

import os
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import paper
from watch import LEADER

Found = dict[str, Any]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table; all columns but the first stand to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one(found: Found) -> str:
    """Tell all about one run."""
    requests = {operation: sum(kinds.values()) for operation, kinds in found["requests"].items()}
    jobs = found["jobs"]
    lines = [
        f"{found['workload']}: {found['what']}; {jobs:,} jobs, {found['attempts']:,} attempts, {found['lost']:,} lost with their hosts",
        f"  simulated: {found['simulated_s']:,.0f} s; {found['ends_per_simulated_s']:,.0f} ends a second in full swing; "
        f"cores busy {found['busy']:.0%} of all the time; {found['most_out']:,} attempts out at most",
        f"  it took {found['wall_s']:.1f} s; processor: the leader {found['leader_cpu_s']:.1f} s, "
        f"the simulation {found['simulation_cpu_s']:.1f} s",
        f"  the leader alone: {1e6 / found['jobs_per_s']:.1f} µs a job, {found['jobs_per_s']:,.0f} jobs a second, "
        f"{found['leader_cpu_s'] / found['simulated_s']:.3f} s a simulated second",
        "  µs a job: " + ", ".join(f"{kind} {found['cpu_us'][kind] / jobs:.2f}" for kind in LEADER),
        f"  journal: {found['written']['journal'] / jobs:.0f} bytes a job in {found['requests']['put']['journal']:,} segments",
        f"  status: {_status(found)[0]:,.0f} bytes, {_status(found)[1]:.2f} ms each",
        f"  requests of the leader: {sum(requests.values()) * 1000 / jobs:.1f} a thousand jobs "
        f"({', '.join(f'{count:,} {operation}' for operation, count in sorted(requests.items()))}); "
        f"of workers: {found['worker_reads']:.2f} reads an attempt",
        f"  memory: {found['most_nodes']:,} jobs remembered at most; {found['rss_peak'] / 2**20:,.0f} MiB at most, "
        f"{found['rss_before'] / 2**20:,.0f} before, the simulation's in both",
    ]
    lines += [f"  snapshot of {each['nodes']:,} jobs: {each['bytes']:,} bytes, {each['cpu']:.2f} s" for each in found["snapshots"]]
    lines += [f"  restart from the {name}: {_restart(each)}" for name, each in found.get("restart", {}).items()]
    lines.append("  seconds, jobs done, jobs remembered, MiB:")
    lines += [f"    {at['now']:8,.0f} {at['done']:12,} {at['nodes']:12,} {at['resident'] / 2**20:8,.0f}" for at in found["rss_over_time"]]
    return "\n".join(lines)


def all_of(found: Sequence[Found], kept: dict[str, float], rates: paper.Rates) -> str:
    """Give the tables of the document; ``kept`` is what the leader keeps of a job in memory."""
    parts = [
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {len(os.sched_getaffinity(0))} cores, "
        f"a load of {os.getloadavg()[0]:.1f} at the end.",
        _costs(found),
        _requests(found),
        _memory(kept),
        _restarts(found),
        paper.tell(paper.Costs.of(found, kept), rates),
    ]
    return "\n\n".join(parts)


# -- the tables --------------------------------------------------------------------------------------------------------


def _costs(found: Sequence[Found]) -> str:
    head = ["processor time, µs a job", *(each["workload"] for each in found)]
    words = {
        "order": "give its order",
        "take": "take its report in",
        "make": "take in reports that make jobs",
        "lost": "take in that it was lost",
        "journal": "the journal: encode, hash, sign",
        "act": "do what follows",
        "storage": "calls of the storage, synced",
        "status": "the status",
        "snapshot": "snapshots",
        "collector": "the garbage collector",
        "rest": "the rest of the loop",
    }
    rows = [[words[kind], *(f"{each['cpu_us'][kind] / each['jobs']:.1f}" for each in found)] for kind in LEADER]
    rows.append(["**all**", *(f"**{1e6 / each['jobs_per_s']:.1f}**" for each in found)])
    rows.append(["jobs a second on one core", *(f"{each['jobs_per_s']:,.0f}" for each in found)])
    rows.append(["turns of the loop a thousand jobs", *(f"{each['turns'] * 1000 / each['jobs']:.0f}" for each in found)])
    return markdown(head, rows)


def _requests(found: Sequence[Found]) -> str:
    def of(each: Found, operation: str, *tops: str) -> str:
        kinds = each["requests"].get(operation, {})
        return f"{sum(kinds.get(top, 0) for top in tops or kinds) * 1000 / each['jobs']:.2f}"

    head = ["", *(each["workload"] for each in found)]
    rows = [
        ["journal, bytes a job", *(f"{each['written']['journal'] / each['jobs']:.0f}" for each in found)],
        ["orders and reports, bytes a job", *(f"{(each['ordered'] + each['reported']) / each['jobs']:.0f}" for each in found)],
        ["a status, bytes", *(f"{_status(each)[0]:,.0f}" for each in found)],
        ["a status, ms", *(f"{_status(each)[1]:.2f}" for each in found)],
        ["segments a thousand jobs", *(of(each, "put", "journal") for each in found)],
        ["other writes a thousand jobs", *(of(each, "put", "heartbeat", "status.json", "snapshots") for each in found)],
        ["reads a thousand jobs", *(of(each, "get") for each in found)],
        ["lists a thousand jobs", *(of(each, "list") for each in found)],
        ["reads by workers, an attempt", *(f"{each['worker_reads']:.2f}" for each in found)],
        ["jobs remembered at most", *(f"{each['most_nodes']:,}" for each in found)],
    ]
    return markdown(head, rows)


def _memory(kept: dict[str, float]) -> str:
    words = {
        "ready": "ready, without values",
        "waiting": "waiting for two values",
        "out": "given to the batch system",
        "gone": "finished and forgotten: what tables keep that once were larger",
    }
    return markdown(["a job in the leader's memory", "bytes"], [[words[kind], f"{kept[kind]:,.0f}"] for kind in words])


def _restarts(found: Sequence[Found]) -> str:
    head = ["a restart half-way", "events read", "jobs remembered", "seconds", "µs an event", "MB", "requests"]
    rows = []
    for each in found:
        for name, took in each.get("restart", {}).items():
            events, requests = took["events"], sum(took["requests"].values())
            pace = f"{took['cpu_s'] * 1e6 / events:.1f}" if events else ""
            cells = [f"{took['nodes']:,}", f"{took['cpu_s']:.2f}", pace, f"{took['growth'] / 1e6:.0f}", f"{requests:,}"]
            rows.append([f"{each['workload']}, from the {name}", f"{events:,}" if events else "", *cells])
    return markdown(head, rows)


def _status(found: Found) -> tuple[float, float]:
    """Give the bytes of a status that was written, and the milliseconds that one took."""
    written = found["written"]["status.json"] / found["requests"]["put"]["status.json"]
    return written, found["cpu_us"]["status"] / 1000 / max(1, found["times"]["status"])


def _restart(took: dict[str, Any]) -> str:
    return (
        f"{took['cpu_s']:.2f} s of the processor, {took['wall_s']:.2f} s in all, {took['growth'] / 2**20:.0f} MiB, "
        f"{sum(took['requests'].values()):,} requests, {took['read'] / 1e6:.1f} MB read; "
        f"{took['nodes']:,} jobs remembered, {took['done']:,} done"
    )
