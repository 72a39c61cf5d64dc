"""Stop a run: its leader ends all jobs in order, and leaves. What is done stays done; the run can be resumed.

Examples:
  jobsys kill file:my-store
  jobsys kill file:my-store --wait 300      for jobs that take long to end
"""

import argparse
import os
import signal
import socket
import sys
import time
from typing import Any, Final

import msgspec

from jobsys.cli.left import cancel_left
from jobsys.cli.output import print_json
from jobsys.cli.parser import add_json, add_locator
from jobsys.cli.standing import LeaderStanding, Standing, look
from jobsys.display.words import duration, many
from jobsys.errors import JobStoreError
from jobsys.harmless import colourless
from jobsys.jobstores import JobStore, open_store
from jobsys.leader.lease import process_lives

_LOOK_EVERY: Final = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=60.0, help="how long to wait for the leader to leave (default: 60)"
    )
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Stop it."""
    store = open_store(arguments.locator)
    standing = look(store)
    leader = standing.leader
    if leader is None or leader.left or leader.alive is False:
        left = cancel_left(store)
        _report(standing, arguments.json, stopped=False, left=left)
        return 0
    _ask(store, leader)
    deadline = time.monotonic() + arguments.wait
    while _at_work(store, leader):
        if time.monotonic() > deadline:
            raise JobStoreError(_still_there(store, leader, arguments.wait))
        time.sleep(_LOOK_EVERY)
    _report(look(store), arguments.json, stopped=True)
    return 0


def _ask(store: JobStore, leader: LeaderStanding) -> None:
    """Ask in the store, which reaches a leader on any host; one on this host gets a signal, which is quicker."""
    who = f"jobsys kill by process {os.getpid()} on {socket.gethostname()}"
    store.ask_to_stop(who.encode())
    lease = store.last_lease()
    if lease is not None and lease.epoch == leader.epoch and lease.host == socket.gethostname() and process_lives(lease):
        lease = store.sealed_lease(leader.epoch)
        if lease is None or not process_lives(lease):  # a forged one could name any process of this user
            print("jobsys: the run's key can't vouch for its lease: asked the leader in the job store only", file=sys.stderr)
            return
        try:
            os.kill(lease.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        except PermissionError:
            print(f"jobsys: process {lease.pid} is another user's: asked it in the job store only", file=sys.stderr)


def _at_work(store: JobStore, leader: LeaderStanding) -> bool:
    lease = store.last_lease()
    if lease is None or lease.epoch != leader.epoch or store.last_beat(leader.epoch)["released"]:
        return False
    return lease.host != socket.gethostname() or process_lives(lease)


def _still_there(store: JobStore, leader: LeaderStanding, waited: float) -> str:
    if leader.alive is None:
        return (
            f"the leader (process {leader.pid} on {leader.host}) did not answer for {duration(waited)} and gave no sign of life before: "
            f"it seems to have died; 'jobsys restart {store.locator}' finds out, and resumes the run"
        )
    return (
        f"the leader (process {leader.pid} on {leader.host}) was asked to stop and is still there after {duration(waited)}: "
        f"ask again with a longer --wait, or end it on its host with 'kill -9 {leader.pid}' - the run can be resumed even then"
    )


def _report(standing: Standing, as_json: bool, stopped: bool, left: int = 0) -> None:
    counts = standing.counts
    if as_json:
        answer: dict[str, Any] = {"stopped": stopped, "state": standing.state, "counts": msgspec.to_builtins(counts), "canceled": left}
        print_json(answer)
        return
    leader = standing.leader
    if stopped:
        print(
            f"the run in {standing.locator} has stopped"
            if standing.state != "done"
            else f"the run in {standing.locator} was done before it stopped"
        )
    elif leader is None:
        print(f"there is nothing to stop: no leader has begun the run in {standing.locator}")
    else:
        end = f"has left, the run is {standing.state}" if leader.left else "died without a word"
        print(colourless(f"there is nothing to stop: the leader (process {leader.pid} on {leader.host}) {end}"))
    if left:
        print(f"the tasks were canceled that it had left in the queue, asked for {many(left, 'time')}")
    undone = counts.total - counts.done
    print(
        f"{counts.done:,} of {many(counts.total, 'job')} done, {undone:,} left"
        + (f", {counts.failed:,} of them failed" if counts.failed else "")
    )
    if standing.state != "done":
        print(f"resume it with: jobsys restart {standing.locator}")
