"""Who leads: one process of a server, which all others find in the database; each next one has a greater epoch."""

import os
import socket
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, select, update

from jobsys import processes
from jobsys.server.database import Database
from jobsys.server.tables import LEASES

LEADER: Final = "leader"
SECONDS: Final = 20.0
"""For how long a lease holds that nobody renews."""


class Holder(NamedTuple):
    """A process that leads."""

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> "Holder":
        """Give this process."""
        return cls(socket.gethostname(), os.getpid(), processes.started(os.getpid()))

    def lives(self) -> bool | None:
        """Tell whether it runs; None if it is on another host."""
        if self.host != socket.gethostname():
            return None
        return processes.started(self.pid) == self.started and processes.is_running(self.pid)


class LeaderLostError(Exception):
    """Another process leads now."""


class Lease:
    """The right to lead."""

    def __init__(self, epoch: int, holder: Holder, clock: Callable[[], float]) -> None:
        """Hold a lease that was taken."""
        self.epoch = epoch
        self._holder = holder
        self._clock = clock

    def renew(self, connection: Connection) -> None:
        """Hold it for longer; within a transaction, all of which then counts only if this one leads.

        Raises:
            LeaderLostError: another process has taken it.
        """
        ours = (LEASES.c.name == LEADER, LEASES.c.epoch == self.epoch)
        if connection.execute(update(LEASES).where(*ours).values(until=self._clock() + SECONDS)).rowcount != 1:
            raise LeaderLostError(f"another process leads now, after epoch {self.epoch}")

    def release(self, database: Database) -> None:
        """Give it back, so that nobody needs to wait."""
        with database.writing() as connection:
            connection.execute(update(LEASES).where(LEASES.c.name == LEADER, LEASES.c.epoch == self.epoch).values(until=0.0))


def take(database: Database, clock: Callable[[], float] = time.time) -> Lease | None:
    """Take the lease; None while another process leads."""
    holder = Holder.here()
    text = msgspec.json.encode(holder).decode()
    with database.writing() as connection:
        row = connection.execute(select(LEASES).where(LEASES.c.name == LEADER).with_for_update()).one_or_none()
        if row is None:
            made = database.insert(LEASES).values(name=LEADER, epoch=1, holder=text, until=clock() + SECONDS)
            taken = connection.execute(made.on_conflict_do_nothing().returning(LEASES.c.epoch)).scalar()
            return None if taken is None else Lease(1, holder, clock)
        if row.until > clock() and _holder(row.holder).lives() is not False:
            return None
        values = {"epoch": row.epoch + 1, "holder": text, "until": clock() + SECONDS}
        connection.execute(update(LEASES).where(LEASES.c.name == LEADER).values(values))
        return Lease(row.epoch + 1, holder, clock)


def leader(database: Database, clock: Callable[[], float] = time.time) -> Holder | None:
    """Tell who leads; None if nobody does."""
    with database.reading() as connection:
        row = connection.execute(select(LEASES).where(LEASES.c.name == LEADER)).one_or_none()
    if row is None or row.until <= clock():
        return None
    found = _holder(row.holder)
    return None if found.lives() is False else found


def _holder(text: str) -> Holder:
    return msgspec.json.decode(text, type=Holder)
