"""A real Grid Engine for tests: qmaster and one execd on this machine, started only if a test asks for it, and taken down again."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from s3.servers import free_ports  # type: ignore[import-not-found]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = "infra/schedulers"
PROGRAMS: Final = {"sge_qmaster": "gridengine-master", "sge_execd": "gridengine-exec", "qsub": "gridengine-client"}
SEARCHED: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SLOTS: Final = 8


def find_scripts() -> Path | None:
    """Find the directory of the scripts by the environment variable, or below a ``shared`` beside the repository or one of its parents."""
    named = os.environ.get("TEST_SCHEDULERS")
    if named:
        return Path(named)
    return next((path for parent in REPOSITORY.parents if (path := parent / "shared" / SCRIPTS).is_dir()), None)


def missing() -> str | None:
    """Say what is missing, with the way out; None if the server can be started."""
    scripts = find_scripts()
    if scripts is None or not (scripts / "sge-up.sh").is_file():
        return f"there is no {SCRIPTS} in a directory shared/ beside the repository: set TEST_SCHEDULERS to its path"
    if os.geteuid() != 0:
        return "its daemons run as root, and this is another user"
    lacking = [package for program, package in PROGRAMS.items() if shutil.which(program, path=SEARCHED) is None]
    return f"it is not installed: apt-get install -y --no-install-recommends {' '.join(lacking)}" if lacking else None


@contextlib.contextmanager
def server(state: Path) -> Iterator[dict[str, str]]:
    """Run Grid Engine; gives the variables by which its commands find it."""
    scripts = find_scripts()
    assert scripts is not None
    environment = {**os.environ, "PATH": SEARCHED, "PORT": str(free_ports(2)), "SLOTS": str(SLOTS)}
    try:
        _run([str(scripts / "sge-up.sh"), str(state)], environment, state.with_suffix(".up"))
        text = (state / "env.sh").read_text()
        path = re.search(r"^export PATH=(.*):\$PATH$", text, re.MULTILINE)
        assert path
        yield {**dict(re.findall(r"\b(SGE_\w+)=(\S+)", text)), "PATH": f"{path[1]}:{os.environ.get('PATH', '')}"}
    finally:
        _hurry(state)
        _run([str(scripts / "sge-down.sh"), str(state)], environment, state.with_suffix(".down"))


def _hurry(state: Path) -> None:
    """End all jobs and then qmaster, which takes 4 to 9 seconds to end by itself; nothing of what it keeps is needed any more."""
    shell = '. "$1"/env.sh; qdel -u "*"; for i in 1 2 3 4 5 6 7 8 9; do [ -z "$(qstat -u "*")" ] && break; sleep 0.5; done'
    subprocess.run(["/bin/sh", "-c", shell, "sh", str(state)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    with contextlib.suppress(OSError, ValueError):
        pid = int((state / "run/qmaster.pid").read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == "sge_qmaster":
            os.kill(pid, signal.SIGKILL)


def _run(argv: list[str], environment: dict[str, str], log: Path) -> None:
    """Run one of the scripts; what it prints goes to a file, since what stays up would hold a pipe open."""
    with log.open("w") as stream:
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, timeout=110)
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}:\n{log.read_text()}"


@pytest.fixture(scope="session")
def grid_engine_server(isolated_session: None) -> Iterator[dict[str, str]]:
    lacking = missing()
    if lacking is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Grid Engine: {lacking}")
    folder = Path(tempfile.mkdtemp(prefix="sge-"))
    with server(folder / "S") as environment:
        yield environment
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def grid_engine(grid_engine_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put into the environment what it takes to get to the server."""
    for name, value in grid_engine_server.items():
        monkeypatch.setenv(name, value)
    return grid_engine_server
