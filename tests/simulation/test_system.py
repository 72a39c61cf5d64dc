"""The whole system under simulated time, storage, workers and network: nothing is lost, doubled or shown too early, whatever happens."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from jobsys.batch.cluster import crew
from jobsys.batch.cluster.desk import Desk, Submitted
from jobsys.batch.cluster.mail import Box
from jobsys.events import Committed
from jobsys.jobstores import JobStore, keys
from jobsys.journal import attempts_over, write_snapshot
from jobsys.leader import leader as leader_module
from jobsys.leader import lease as lease_module
from jobsys.leader.attempts import Attempts
from jobsys.leader.leader import Leader
from jobsys.message import decode_order, encode_order
from jobsys.storage import local
from simulation.system.bucket import Server  # type: ignore[import-not-found]
from simulation.system.run import simulated  # type: ignore[import-not-found]
from simulation.system.simulate import IN_BUCKETS, IN_TASKS, ON_FILES, Case, look, shrink, simulate  # type: ignore[import-not-found]
from simulation.system.storage import Disk  # type: ignore[import-not-found]

TESTS = Path(__file__).parent.parent
SEEDS = 960  # more: make simulate SEEDS=100000, and with FIRST=960 others


def command(*arguments, **environment):
    """Run the command behind ``make simulate``."""
    return subprocess.run(
        [sys.executable, "-m", "simulation.system", *map(str, arguments)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def number(pattern, text):
    """Find a number in what was printed."""
    found = re.search(pattern, text)
    assert found, pattern
    return int(found[1])


@pytest.mark.timeout(900)
def test_random_workflows_on_bad_days_end_as_on_good_ones(tell):
    done = command("--seeds", SEEDS)
    tell(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    where = f"{SEEDS // ON_FILES} on files, {SEEDS // IN_BUCKETS} in buckets, {SEEDS // IN_TASKS} in tasks of a cluster"
    assert f"{SEEDS} random workflows ({where})" in done.stdout
    for kind in ("checkpoint", "service", "that make jobs"):
        assert number(rf"(\d+) {kind}", done.stdout) > 100
    assert number(r"at (\d+) different points", done.stdout) > 40


def test_a_seed_is_the_same_in_another_process():
    seeds = (1, 2, 3, 4, 5, 6, 7, 8)
    first, second = (command("--digest", *seeds, PYTHONHASHSEED=hashes).stdout for hashes in ("1", "2"))
    assert first == second
    assert len(set(first.split())) == len(seeds)


# -- what is broken on purpose must be seen --------------------------------------------------------------------------


def act_then_write(self):
    self._act()
    if self._journal.pending:
        self._journal.flush()


def overwrite(self, segment, data):
    self.storage.put(keys.journal(segment), data)
    return True


def without_reading_back(self, key, data):
    return self.storage.put(key, data, if_absent=True)


def everybody_wins(self, key, data, if_absent):
    return Disk.put(self, key, data, False)


def with_a_token_of_an_earlier_leader(order):
    def changed(self, node):
        job = order(self, node)
        told = decode_order(job.order)
        attempt = self.out[job.id]
        token = f"1-again.{job.id:x}"
        self.out[job.id] = attempt._replace(token=token)
        return type(job)(job.id, job.name, job.requirements, encode_order(type(told)(**{**_fields(told), "token": token})), job.service)

    return changed


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def accept_all(self, report, payload):
    self._record(Committed(report, self._journal.place(payload), self.progress.next_id))
    return True


def submit_again(self, ask, before, after):
    if before():
        native = self._persist("submit", lambda: self._scheduler.submit(ask))
        after(native)
        self._clerk.answer(Submitted(ask.name, native))


def one_too_late(store, progress, segment, tag):
    write_snapshot(store, progress, segment + 1, tag)


BROKEN = {
    "effects before the journal": (Leader, "_flush", act_then_write),
    "segments are overwritten": (JobStore, "append", overwrite),
    "an own write is not recognised": (JobStore, "_create_once", without_reading_back),
    "tokens come again": (Attempts, "order", with_a_token_of_an_earlier_leader(Attempts.order)),
    "every commit counts": (Leader, "_commit", accept_all),
    "snapshots claim too much": (leader_module, "write_snapshot", one_too_late),
    "nobody looks whether a leader lives": (lease_module, "_check_dead", lambda *_: None),
    "names are not synced": (local, "sync_directory", lambda path: None),
    "a bucket lets every writer win": (Server, "put", everybody_wins),
    "a task that is started twice runs twice": (Box, "claim", lambda self, claim: None),
    "an answer that was lost is no submission": (Desk, "_submit", submit_again),
    "a task that is overlooked once is dead": (crew, "_MISSES", 1),
    "no attempt was ever given up": (leader_module, "attempts_over", lambda store, last: ({}, attempts_over(store, last)[1])),
}

IN_A_CLUSTER = (IN_TASKS - 1, IN_TASKS)
PLACES = {
    local: (0, ON_FILES),
    Server: (1, IN_BUCKETS),
    **dict.fromkeys((Box, Desk, crew), IN_A_CLUSTER),
}  # the seeds that meet what is broken
RARE = {
    "no attempt was ever given up": 100,
    "an answer that was lost is no submission": 272,
}  # seeds before that show nothing, and take long


@contextmanager
def broken(what):
    target, name, instead = BROKEN[what]
    with simulated(), patch.object(target, name, instead):
        yield


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_on_purpose_is_seen(what):
    first, step = PLACES.get(BROKEN[what][0], (0, 1))
    with broken(what):
        for start in range(RARE.get(what, first), 4000, 10 * step):
            if simulate(range(start, start + 10 * step, step)).failures:
                return
    pytest.fail(f"{what}, and 4000 workflows show nothing of it")


def test_a_failing_seed_becomes_small():
    with broken("segments are overwritten"):
        large = (case for case in map(Case.of, range(4000)) if sum(1 for _ in case.root.walk()) > 8)
        case = next(case for case in large if look(case)[0])
        small = shrink(case)
        assert look(small)[0]
    assert len(small.only) < 10
    assert sum(1 for _ in small.root.walk()) <= 3
