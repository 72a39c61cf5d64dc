"""One host as the leader sees it: when it was started and heard, when it is asked for a sign of life, when it is tried again, given up."""

from collections.abc import Callable
from typing import Final

from jobsys import framing
from jobsys.batch.amount import Amount, amount_of
from jobsys.batch.base import RunningJob
from jobsys.batch.ssh.connection import Connection
from jobsys.batch.wire import Hello
from jobsys.requirements import Requirements

_PING_SECONDS: Final = 5.0
_TRIES: Final = 3  # after the first
_TRIES_TO_RETURN: Final = 15  # of a host that was there: a machine takes minutes to start again
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_SOUND_SECONDS: Final = 60.0  # of life, after which earlier failures are forgotten


class RemoteHost:
    """A host's connection, if it has one, and its history."""

    def __init__(self, name: str, index: int, patience: float, start_patience: float) -> None:
        """Start as a host that was not tried yet."""
        self.name = name
        self.index = index
        self.connection: Connection | None = None
        self.hello: Hello | None = None  # the last that it said; it is up only with a connection, too
        self.greeted = False  # on this connection
        self.failures = 0
        self.given_up = False
        self.cause = ""  # of the last failure
        self.running: dict[int, RunningJob] = {}
        self._patience = patience
        self._start_patience = start_patience
        self._ping_seconds = min(_PING_SECONDS, patience / 3)
        self._started = 0.0
        self._unanswered: float | None = None  # when the first ping went out since the host was heard
        self._next_ping = 0.0
        self._retry: float | None = 0.0

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, now: float, connect: Callable[[], Connection]) -> None:
        """Connect; raises what ``connect`` raises."""
        self.greeted = False
        self._started = now
        self._retry = None
        self._unanswered = None
        self.connection = connect()

    def greet(self, hello: Hello, now: float) -> None:
        """Take note that the agent is there."""
        self.hello = hello
        self.greeted = True
        self._started = self._next_ping = now

    def heard(self) -> None:
        """Take note of a sign of life."""
        self._unanswered = None

    def fail(self, cause: str, now: float, *, final: bool) -> None:
        """Take note of a failure, and decide whether and when to try again."""
        if self.greeted and now - self._started >= _SOUND_SECONDS:
            self.failures = 0
        self.connection = None
        self.greeted = False
        self.running.clear()
        self.cause = cause
        self.failures += 1
        self.given_up = final or self.failures > (_TRIES if self.hello is None else _TRIES_TO_RETURN)
        self._retry = None if self.given_up else now + min(_FIRST_PAUSE * 2 ** (self.failures - 1), _LONGEST_PAUSE)

    # ── what is due ──────────────────────────────────────────────────────────────────────────────────────────────────

    def should_start(self, now: float) -> bool:
        """Tell whether it is time to connect, for the first time or again."""
        return self._retry is not None and now >= self._retry

    def ping(self, now: float) -> None:
        """Ask for a sign of life, if it is time to."""
        if self.connection is not None and self.greeted and now >= self._next_ping:
            self._next_ping = now + self._ping_seconds
            if self._unanswered is None:
                self._unanswered = now
            self.connection.send(framing.pack(framing.PING))

    def silence(self, now: float) -> str:
        """Say that the host has been silent for too long, if it has."""
        if self.connection is None:
            return ""
        if not self.greeted:
            late = now - self._started >= self._start_patience
            return f"its agent did not answer within {self._start_patience:g} s" if late else ""
        late = self._unanswered is not None and now - self._unanswered >= self._patience
        return f"nothing was heard from it for {self._patience:g} s" if late else ""

    def next_time(self) -> float | None:
        """Tell when something is due."""
        if self.connection is None:
            return self._retry
        if not self.greeted:
            return self._started + self._start_patience
        if self._unanswered is None:
            return self._next_ping
        return min(self._next_ping, self._unanswered + self._patience)

    # ── what can be asked ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def up(self) -> bool:
        """Tell whether its agent is there."""
        return self.connection is not None and self.greeted

    @property
    def untried(self) -> bool:
        """Tell whether it has neither come up nor failed so far."""
        return self.hello is None and not self.failures

    @property
    def hopeless(self) -> bool:
        """Tell whether nobody should wait for it: it is given up, or was tried in vain for some time."""
        return self.given_up or self.failures > _TRIES

    def can_ever(self, requirements: Requirements) -> bool:
        """Tell whether the host, as it said hello the last time, could run such a job."""
        if self.hello is None or self.given_up:
            return False
        machine = self.hello.machine
        return amount_of(requirements, machine).fits(Amount.of_machine(machine))
