"""Who leads."""

import subprocess
import sys
import time

import pytest

from jobsys.server import leases
from jobsys.server.leases import SECONDS, Holder, LeaderLostError
from server.asking import take  # type: ignore[import-not-found]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_one_leads_at_a_time_until_it_ends(database):
    clock = Clock()
    assert leases.leader(database, clock) is None
    first = take(database, clock)
    assert first.epoch == 1
    assert leases.take(database, clock) is None
    assert leases.leader(database, clock) == Holder.here()
    first.release(database)
    assert leases.leader(database, clock) is None
    assert take(database, clock).epoch == 2


def test_a_lease_runs_out_unless_it_is_renewed(database):
    clock = Clock()
    first = take(database, clock)
    clock.now += SECONDS - 1
    with database.writing() as connection:
        first.renew(connection)
    clock.now += SECONDS - 1
    assert leases.take(database, clock) is None
    clock.now += 2
    second = take(database, clock)
    assert second.epoch == 2
    with pytest.raises(LeaderLostError, match="after epoch 1"), database.writing() as connection:
        first.renew(connection)
    first.release(database)
    assert leases.leader(database, clock) is not None


def test_nobody_waits_for_a_process_of_this_host_that_is_dead(database):
    program = (
        "import sys; from jobsys.server import leases; from jobsys.server.database import Database;"
        "print(leases.take(Database(sys.argv[1])).epoch)"
    )
    done = subprocess.run([sys.executable, "-c", program, database.url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert leases.leader(database) is None
    assert take(database, time.time).epoch == 2


def test_whether_one_on_another_host_lives_is_not_known():
    assert Holder("elsewhere", 1, 0.0).lives() is None
    assert Holder.here().lives()
