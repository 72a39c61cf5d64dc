"""A real PostgreSQL for tests, over the script in ``infra/servers``."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from s3.servers import SCRIPTS, find_scripts, scripted  # type: ignore[import-not-found]

PROGRAM: Final = "/usr/lib/postgresql/15/bin/initdb"


def missing() -> str:
    """Say what is missing for it."""
    if find_scripts() is None:
        return f"there is no {SCRIPTS} in a directory shared/ beside the repository: set TEST_SERVERS to its path"
    return "" if Path(PROGRAM).exists() else "there is no PostgreSQL 15 on this machine: apt-get install postgresql-15"


@contextmanager
def postgres() -> Iterator[str]:
    """Run one; give the URL of a server in which databases can be made."""
    state = Path(tempfile.mkdtemp(prefix="jobsys-postgres-"))
    state.chmod(0o755)
    for parent in state.parents:  # it runs as a user of its own, whom directories of tests don't let in
        if parent.is_relative_to(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o011)
    outer = Path(tempfile.gettempdir()).parent
    if outer.stat().st_uid == os.getuid() and not outer.stat().st_mode & 0o001:
        outer.chmod(outer.stat().st_mode | 0o011)
    try:
        with scripted("postgres", state, ports=1) as port:
            yield f"postgresql+psycopg://test:test@127.0.0.1:{port}"
    finally:
        shutil.rmtree(state, ignore_errors=True)
