"""Shipping when things go wrong: hosts that are not there, die or lie; leaders that are killed; caches that rot."""

import re
import time
from pathlib import Path

import pytest

from shipping.field import CACHE, Field, said, until  # type: ignore[import-not-found]
from shipping.hosts import BARE, HEAD, HEAD_ADDRESS, Hosts  # type: ignore[import-not-found]
from shipping.workshop import Workshop  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.crash]

WHERE = """
@jobsys.job(memory="50M", retries=0)
def where(number):
    note(f"ran {number}")
    time.sleep(0.3)
    return socket.gethostname()

@jobsys.job(memory="50M")
def main():
    return both([where(number) for number in range(8)])

@jobsys.job(memory="50M")
def both(names):
    return sorted(set(names))
"""


@pytest.fixture(scope="session")
def field(hosts: Hosts, workshop: Workshop) -> Field:
    return Field(hosts, workshop)


# ── hosts that can't be used ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_host_that_is_not_there_is_told_once_and_the_others_go_on(field: Field) -> None:
    script = field.script(WHERE)
    done = field.run(script, hosts=("nowhere", "n3"))
    assert done.returncode == 0, said(done)
    assert done.stdout == "['n3']\n"
    assert done.stderr.count("Could not resolve hostname nowhere") == 1, said(done)
    assert sorted(field.side("n3")) == [f"ran {number}" for number in range(8)]
