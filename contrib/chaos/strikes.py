"""The strikes: what is done to a run in the middle. Each tells how many processes it killed."""

import errno
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kin
from campaign import Campaign, Leader

import faults
from jobsys.journal import read

KILL, STOP, CONT = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
LEADER_ENDS = 60.0  # seconds that a leader has to end by itself


class StrikeError(Exception):
    """What should have come of a strike did not."""


@dataclass(frozen=True)
class Strike:
    """A way to disturb a run."""

    name: str
    act: Callable[[Campaign, kin.Family, random.Random], int]
    weight: int = 4
    workers: bool = True  # whether it makes sense only while there are workers
    needs: str = ""  # "disk", "shim", "host" or "ssh"
    fails: bool = False  # whether attempts may fail from it that nobody killed


# -- killed -------------------------------------------------------------------------------------------------


def kill_leader(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _kill(run, [family.leader])


def kill_starting_leader(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Kill it, start another one, and kill that at any moment of its start."""
    killed = _kill(run, [family.leader])
    begun = run.start()
    time.sleep(rng.uniform(0.0, 1.2))
    return killed + _kill(run, [begun.pid])


def kill_worker(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send([rng.choice(family.workers)], KILL)


def kill_workers(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send(family.workers, KILL)


def kill_host(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send(family.hosts, KILL)


def kill_guard(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send(family.guards, KILL)


def kill_guard_then_leader(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    killed = kin.send(family.guards, KILL)
    time.sleep(rng.uniform(0.0, 0.3))
    return killed + _kill(run, [family.leader])


def kill_guard_and_host(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send([*family.guards, *family.hosts], KILL)


def kill_leader_host_guard(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _at_once(run, [family.leader, *family.hosts, *family.guards])


def kill_all(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Kill whatever carries the mark of the run: the leader's session, those of host, guard and workers, and what jobs started."""
    return _at_once(run, [process.pid for process in kin.marked(run.leader.mark)])


def kill_group(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Kill the leader's process group, and each worker's, as a terminal or a batch system does."""
    killed = 0
    for pid in [run.leader.pid, *family.workers]:
        try:
            os.killpg(pid, KILL)
            killed += 1
        except ProcessLookupError:
            continue
    run.leader.wait(LEADER_ENDS)
    return killed


def kill_agent(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send([rng.choice(family.agents)], KILL) if family.agents else 0


def stop_agent(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _pause(family.agents[:1], rng.uniform(0.5, 2.0))


def kill_store_server(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return kin.send(family.servers, KILL)


# -- asked to end -------------------------------------------------------------------------------------------


def terminate(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _ask(run, [signal.SIGTERM])


def interrupt(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _ask(run, [signal.SIGINT])


def interrupt_twice(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _ask(run, [signal.SIGINT, signal.SIGINT], rng.uniform(0.0, 0.3))


def terminate_then_kill(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """What a batch system does at the end of its patience."""
    kin.send([family.leader], signal.SIGTERM)
    time.sleep(rng.uniform(0.0, 0.3))
    return _kill(run, [family.leader]) or 1


# -- stopped, and let go on ---------------------------------------------------------------------------------


def stop_workers(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _pause(family.workers, rng.uniform(0.5, 2.0))


def stop_host(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    return _pause(family.hosts, rng.uniform(0.5, 2.0))


def stop_leader(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Stop it and start a second one beside it, which must be refused."""
    kin.send([family.leader], STOP)
    time.sleep(rng.uniform(0.2, 1.0))
    second = run.start()
    ended = second.wait(LEADER_ENDS)
    run.leaders.remove(second)
    kin.send([family.leader], CONT)
    if not ended or second.status == 0 or "is alive" not in second.said():
        raise StrikeError(f"a second leader beside one that is only stopped was not refused ({second.status}): {second.said()}")
    return 0


def zombie_workers(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Stop all but the leader, kill that, resume, and let the old workers go on beside the new ones."""
    kin.send([*family.guards, *family.hosts, *family.workers], STOP)
    killed = _kill(run, [family.leader])
    after = run.last_segment()
    run.start()
    run.wait_for_commit(after)
    time.sleep(rng.uniform(0.0, 0.5))
    kin.send([*family.workers, *family.hosts, *family.guards], CONT)
    return killed


def zombie_leader(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Stop the leader, let one on "another host" find it silent and take over, then let the first go on: it must give up."""
    first = run.leader
    kin.send([first.pid], STOP)
    after = run.last_segment()
    run.host = [] if run.host else faults.other_host()
    second = run.start()
    if not kin.wait_for(lambda: run.last_segment() > after or second.status is not None, 60):
        raise StrikeError("a leader on another host did not take over from one that was stopped")
    time.sleep(rng.uniform(0.0, 1.0))
    kin.send([first.pid], CONT)
    if not first.wait(LEADER_ENDS):
        raise StrikeError("a leader that was replaced while it was stopped goes on")
    writer = read(run.store, after + 1).epoch
    if first.status == 0 or "took over" not in first.said():
        raise StrikeError(f"a leader that was replaced (by epoch {writer}) did not say so ({first.status}): {first.said()}")
    return 0


# -- the disk -----------------------------------------------------------------------------------------------


def full_disk(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Fill the disk under the store until the leader gives up, or a while; then make room."""
    disk = _disk(run)
    disk.fill()
    try:
        run.leader.wait(rng.uniform(0.5, 4.0))
        return 0
    finally:
        disk.make_room()


def full_disk_and_kill(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    disk = _disk(run)
    disk.fill()
    try:
        time.sleep(rng.uniform(0.0, 0.3))
        return _kill(run, [family.leader])
    finally:
        disk.make_room()


def input_output_errors(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Let some or all calls on files of the store fail for a while, of leader, host and workers alike."""
    run.shim.begin(errno.EIO, rng.choice([5, 50, 1000]))
    run.shim.wait_for_strike(2.0)
    time.sleep(rng.uniform(0.0, 0.5))
    run.shim.end()
    return 0


def slow_disk_and_kill(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Slow every call down, so that a kill falls into the middle of something."""
    run.shim.begin(delay=rng.uniform(0.002, 0.1))
    time.sleep(rng.uniform(0.1, 1.0))
    try:
        return _kill(run, [family.leader])
    finally:
        run.shim.end()


def small_files_only(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Let the leader write no file above some size for a while (EFBIG), as a limit of a batch system does."""
    before = resource.prlimit(family.leader, resource.RLIMIT_FSIZE)
    resource.prlimit(family.leader, resource.RLIMIT_FSIZE, (rng.choice([0, 512, 4096]), before[1]))
    if not run.leader.wait(rng.uniform(0.3, 1.5)):
        try:
            resource.prlimit(family.leader, resource.RLIMIT_FSIZE, before)
        except ProcessLookupError:
            return 0
    return 0


# -- directories --------------------------------------------------------------------------------------------


def remove_work(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Remove the directories of host and workers, as a cleaner of temporary files does."""
    return _remove([*run.temporary.iterdir()])


def remove_cache(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """Remove the shipped code from the host's cache."""
    return _remove([*run.cache.iterdir()])


def remove_cache_and_kill_host(run: Campaign, family: kin.Family, rng: random.Random) -> int:
    """The next host has to fetch the code again."""
    _remove([*run.cache.iterdir()])
    return kin.send(family.hosts, KILL)


STRIKES = (
    Strike("SIGKILL leader", kill_leader, 12, workers=False),
    Strike("SIGKILL leader, and the next as it starts", kill_starting_leader, 6, workers=False),
    Strike("SIGKILL a worker", kill_worker, 6),
    Strike("SIGKILL all workers", kill_workers),
    Strike("SIGKILL worker host", kill_host, 6),
    Strike("SIGKILL guard", kill_guard, 3),
    Strike("SIGKILL guard, then leader", kill_guard_then_leader, 3),
    Strike("SIGKILL guard and host at once", kill_guard_and_host, 3),
    Strike("SIGKILL leader, host and guard at once", kill_leader_host_guard, 5),
    Strike("SIGKILL all processes at once", kill_all, 6, workers=False),
    Strike("SIGKILL process groups", kill_group, 3),
    Strike("SIGTERM leader", terminate, 3, workers=False),
    Strike("SIGINT leader", interrupt, 2, workers=False),
    Strike("SIGINT leader, twice", interrupt_twice, 2, workers=False),
    Strike("SIGTERM, then SIGKILL leader", terminate_then_kill, 3, workers=False),
    Strike("zombie workers (SIGSTOP, new leader, SIGCONT)", zombie_workers, 5),
    Strike("workers stopped for a while", stop_workers, 3),
    Strike("worker host stopped for a while", stop_host, 3),
    Strike("leader stopped, a second one started beside it", stop_leader, 2),
    Strike("zombie leader (SIGSTOP, another host takes over, SIGCONT)", zombie_leader, 1, needs="host"),
    Strike("SIGKILL an agent", kill_agent, 6, needs="ssh"),
    Strike("agent stopped for a while", stop_agent, 3, needs="ssh"),
    Strike("SIGKILL server of the store", kill_store_server, 3, needs="ssh", fails=True),
    Strike("full disk (ENOSPC)", full_disk, 3, needs="disk", fails=True),
    Strike("full disk, and SIGKILL leader", full_disk_and_kill, 3, needs="disk", fails=True),
    Strike("errors of the disk (EIO)", input_output_errors, 4, needs="shim", fails=True),
    Strike("slow disk, and SIGKILL leader", slow_disk_and_kill, 4, needs="shim"),
    Strike("limit on file sizes (EFBIG)", small_files_only, 2),
    Strike("workers' directories removed", remove_work, 3, fails=True),
    Strike("code cache removed", remove_cache, 2, fails=True),
    Strike("code cache removed, and SIGKILL host", remove_cache_and_kill_host, 2, fails=True),
)


# -- small things -------------------------------------------------------------------------------------------


def _kill(run: Campaign, pids: list[int]) -> int:
    killed = kin.send(pids, KILL)
    run.leader.process.wait()
    return killed


def _at_once(run: Campaign, pids: list[int]) -> int:
    """Kill several so that none sees another die."""
    kin.send(pids, STOP)
    return _kill(run, pids)


def _ask(run: Campaign, numbers: list[int], pause: float = 0.0) -> int:
    leader: Leader = run.leader
    for number in numbers:
        kin.send([leader.pid], number)
        time.sleep(pause)
    if not leader.wait(LEADER_ENDS):
        raise StrikeError(f"the leader goes on after {[signal.Signals(number).name for number in numbers]}")
    return 1


def _pause(pids: list[int], seconds: float) -> int:
    kin.send(pids, STOP)
    time.sleep(seconds)
    kin.send(pids, CONT)
    return 0


def _disk(run: Campaign) -> faults.SmallDisk:
    assert run.disk is not None, "this run has no disk of its own"
    return run.disk


def _remove(paths: list[Path]) -> int:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return 0
