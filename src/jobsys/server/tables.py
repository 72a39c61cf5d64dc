"""The schema of the servers' database. Times are seconds since the epoch; what is only ever read whole is JSON."""

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

METADATA: Final = MetaData(
    naming_convention={"ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)
_SERIAL: Final = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER PRIMARY KEY counts up there


TASKS: Final = Table(
    "tasks",
    METADATA,
    Column("seq", _SERIAL, primary_key=True, autoincrement=True),  # newer tasks have greater ones
    Column("id", String(64), nullable=False, unique=True),
    Column("owner", String(255), nullable=False),
    Column("name", Text, nullable=True),
    Column("state", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),  # that were begun
    Column("document", Text, nullable=False),  # the task as it was asked for, as JSON
    Column("warnings", JSON, nullable=False, default=list),  # about the request; the first system logs
    Index("ix_tasks_state_seq", "state", "seq"),
    Index("ix_tasks_owner_seq", "owner", "seq"),
    sqlite_autoincrement=True,  # no number is given twice, also behind a deletion
)
"""What was submitted."""

TAGS: Final = Table(
    "tags",
    METADATA,
    Column("task", _SERIAL, ForeignKey("tasks.seq", ondelete="CASCADE"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("value", Text, nullable=False),
    Index("ix_tags_key_task", "key", "task"),
)
"""The tags by which tasks are found."""

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    Column("task", _SERIAL, ForeignKey("tasks.seq", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1 on
    Column("started", Float, nullable=True),
    Column("ended", Float, nullable=True),
    Column("metadata", JSON, nullable=False, default=dict),
    Column("outputs", JSON, nullable=False, default=list),
    Column("system_logs", JSON, nullable=False, default=list),
)
"""Each time that a task was run; a TES task log."""

EXECUTIONS: Final = Table(
    "executions",
    METADATA,
    Column("task", _SERIAL, ForeignKey("tasks.seq", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),  # of the executor, from 0 on
    Column("started", Float, nullable=True),
    Column("ended", Float, nullable=True),
    Column("exit_code", Integer, nullable=True),
    Column("stdout", Text, nullable=False, default=""),  # the tail
    Column("stderr", Text, nullable=False, default=""),
)
"""Executors that were started."""

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("task", _SERIAL, ForeignKey("tasks.seq", ondelete="CASCADE"), nullable=False, index=True),
    Column("time", Float, nullable=False),
    Column("before", String(16), nullable=False),
    Column("after", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    sqlite_autoincrement=True,
)
"""Every change of a state."""

REQUESTS: Final = Table(
    "requests",
    METADATA,
    Column("owner", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),  # of what was asked for
    Column("answer", String(64), nullable=False),  # the id that was given
    Column("time", Float, nullable=False),
)
"""What was asked for with an ``Idempotency-Key``."""

LEASES: Final = Table(
    "leases",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("holder", String(255), nullable=False),
    Column("until", Float, nullable=False),
)
"""Who leads; each new leader has a greater epoch."""

SECRETS: Final = Table("secrets", METADATA, Column("name", String(64), primary_key=True), Column("value", String(128), nullable=False))
"""What all processes of a server know and nobody else."""
