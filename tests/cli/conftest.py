"""Runs written down by hand, and the program run on them."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from jobsys.cli import main
from jobsys.requirements import Requirements
from jobsys.status import RunningStatus
from recorded import Recorded, job  # type: ignore[import-not-found]

TRACEBACK = """\
Traceback (most recent call last):
  File "x.py", line 3, in square
    return 1 / 0
ZeroDivisionError: division by zero
"""


class Said(NamedTuple):
    """What the program answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def jobsys(capsys) -> Callable[..., Said]:
    """Run the program in this process."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:  # of argparse
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return Said(status, out, err)

    return run


@pytest.fixture
def under_way(tmp_path) -> Recorded:
    """A run of ten jobs: six done, one failed for good, one on its second attempt, one on its first; its leader is this process."""
    run = Recorded(str(tmp_path / "store"), command=("/usr/bin/env", str(tmp_path / "script.py"), "store"), directory=str(tmp_path))
    squares = [job("square", refs=(0,), requirements=Requirements(memory=10**9)) for _ in range(8)]
    run.lead().script(job("load"), *squares, job("total", refs=tuple(range(1, 9))), refs=(9,))
    run.commit(1, seconds=3, log=b"loading\nloaded 8 numbers\n", memory=80_000_000)
    begin = run.now
    for number in range(2, 7):
        run.commit(number, at=begin + number, seconds=2 + number / 10, memory=10**8)
    said = {"message": "ZeroDivisionError: division by zero", "traceback": TRACEBACK}
    run.fail(7, log=b"about to divide\n", retry=True, delay=1.0, **said)
    run.fail(7, log=b"about to divide again", **said)
    run.fail(8, "memory", message="the next attempt asks for 2 GB", exit_status=-9, retry=True, requirements=Requirements(memory=2 * 10**9))
    now = time.time()
    return run.status(
        "running",
        [RunningStatus(8, "square", 2, "node7", now - 7200, 4711, 123_000_000), RunningStatus(9, "square", 1, "node8", now - 7200, 4712)],
    )


@pytest.fixture
def finished(tmp_path) -> Recorded:
    """A run that is done, and whose leader has left."""
    run = Recorded(str(tmp_path / "finished"))
    run.lead().script(job("a"), job("b", refs=(0,)), refs=(1,))
    return run.commit(1, log=b"one\n").commit(2).status("done").leave()
