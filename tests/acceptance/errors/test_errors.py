"""For every common way to go wrong: the message, the exit status, what is left behind, and that the run goes on once it is mended."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

import jobsys
from acceptance.errors.case import DOCUMENT, HEAD, START, Case, Left  # type: ignore[import-not-found]
from acceptance.errors.table import CASES, document  # type: ignore[import-not-found]
from jobsys.cli.standing import look
from jobsys.jobstores import open_store

ROOT = Path(__file__).resolve().parents[3]
OURS = os.path.dirname(jobsys.__file__)
ENOUGH = 40
GRACE = 10.0
LONGEST = 100.0


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class Place:
    """A directory of the user's own, and one for temporary files: what a case leaves can't hide."""

    def __init__(self, directory: Path, case: Case) -> None:
        self.work, self.temporary = directory / "w", directory / "t"
        for each in (self.work, self.temporary):
            each.mkdir()
        (self.work / "flow.py").write_text(HEAD + case.script + case.guard, encoding="utf-8")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "TMPDIR": str(self.temporary)}
        self._environment.pop("JOBSYS_STORE_TOKEN", None)
        self._environment.update(case.environment)

    @property
    def store(self) -> Path:
        return self.work / "store"

    def run(self, command: str) -> Ended:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.work,
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=LONGEST,
            stdin=subprocess.DEVNULL,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def content(self) -> dict[str, str]:
        """Tell every file of the store, or what is in its place, by its digest."""
        found = [self.store] if self.store.is_file() else [path for path in self.store.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def processes(self) -> list[psutil.Process]:
        """List the processes that were started here, by the environment that all of them have."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.temporary) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(tmp_path, request.getfixturevalue("case"))
    yield made
    for process in made.processes():  # of a case that failed
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if os.path.ismount(made.store):
        subprocess.run(["umount", "-l", str(made.store)], check=True)


def in_order(wanted: Sequence[str], text: str) -> str:
    """Find whole lines in this order; return the first that is missing, or nothing."""
    lines = iter(" ".join(line.split()) for line in text.splitlines())
    for line in wanted:
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        if not any(re.fullmatch(pattern, each) for each in lines):
            return line
    return ""


def check_left(place: Place, left: Left, before: dict[str, str]) -> None:
    if left is Left.NOTHING:
        assert not place.store.exists()
    elif left is Left.AS_IT_WAS:
        assert before
        assert place.content() == before
    else:
        standing = look(open_store(str(place.store)))
        assert (standing.state == "done") == (left is Left.FINISHED)
        assert standing.ended


def check_nothing_else_left(place: Place) -> None:
    deadline = time.monotonic() + GRACE
    while left := [*place.processes(), *place.temporary.iterdir()]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


def possible(case: Case, place: Place) -> None:
    """Skip what needs a right that this user does not have; in CI it must have it."""
    if case.needs == "mount" and (os.geteuid() or place.run("mkdir m && mount -t tmpfs tmpfs m && umount m && rmdir m").status):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mounting a small file system needs root")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_way_to_go_wrong(case: Case, place: Place) -> None:
    possible(case, place)
    if case.before:
        place.run(case.before)
        shutil.rmtree(place.work / "__pycache__", ignore_errors=True)
    before = place.content()
    ended = place.run(case.command)
    told = f"{ended.status}\n{ended.out}\n{ended.err}"
    assert ended.status == case.status, told
    said = [line for line in (*case.shows, case.says, *case.also) if line]
    assert not (missing := in_order(said, ended.err)), f"not said: {missing}\n{told}"
    assert said or not ended.err, told
    assert not (missing := in_order(case.prints, ended.out)), f"not printed: {missing}\n{told}"
    assert f'File "{OURS}' not in ended.err, f"a traceback of jobsys' own\n{told}"
    check_left(place, case.left, before)
    check_nothing_else_left(place)
    if case.mended:
        place.run(case.mended)
        again = place.run(f"{START} --restart")
        assert (again.status, again.out.strip()) == (0, case.result), again.err
        check_nothing_else_left(place)


def test_there_are_enough_and_none_twice() -> None:
    assert len(CASES) >= ENOUGH
    assert len({case.did for case in CASES}) == len(CASES)


def test_the_document_is_the_table() -> None:
    assert (ROOT / DOCUMENT).read_text() == document(), f"PYTHONPATH=tests python tests/acceptance/errors/table.py > {DOCUMENT}"
