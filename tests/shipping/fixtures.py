"""The session's workshop and pretend hosts: made once, only if a test asks for them, and taken down with nothing left."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipping.field import Field  # type: ignore[import-not-found]
from shipping.hosts import HEAD, Hosts, missing  # type: ignore[import-not-found]
from shipping.workshop import Workshop  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def state(isolated_session: None) -> Iterator[Path]:
    """Give a directory for the hosts' state; what the leader has lies in it, so that the head sees it under the same path."""
    path = Path(tempfile.mkdtemp(prefix="jh-"))
    (path / "persist" / HEAD).mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def workshop(state: Path) -> Workshop:
    return Workshop(state / "persist" / HEAD)


@pytest.fixture(scope="session")
def hosts(state: Path) -> Iterator[Hosts]:
    lacking = missing()
    if lacking is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no pretend hosts: {lacking}")
    with Hosts(state) as made:
        yield made


@pytest.fixture(scope="session")
def field(hosts: Hosts, workshop: Workshop) -> Field:
    return Field(hosts, workshop)
