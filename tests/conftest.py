"""What every test gets: a home and a temporary directory of its own, and a check that no process outlives the session."""

import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from cluster.condor_server import condor  # type: ignore[import-not-found]  # noqa: F401
from cluster.dask_server import dask_cluster  # type: ignore[import-not-found]  # noqa: F401
from cluster.grid_engine_server import grid_engine, grid_engine_server  # type: ignore[import-not-found]  # noqa: F401
from cluster.kubernetes_server import kubernetes_cluster  # type: ignore[import-not-found]  # noqa: F401
from cluster.slurm_server import slurm, slurm_accounts  # type: ignore[import-not-found]  # noqa: F401
from cluster.tes_server import tes  # type: ignore[import-not-found]  # noqa: F401
from dealing import Dealer  # type: ignore[import-not-found]
from s3.fixtures import (  # type: ignore[import-not-found]  # noqa: F401
    ceph,
    fault_port,
    faults,
    moto,
    rclone,
    s3_place,
    s3_state,
    swift,
    tls,
)
from shipping.fixtures import field, hosts, state, workshop  # type: ignore[import-not-found]  # noqa: F401

# the same examples at every run; JOBSYS_EXAMPLES=N looks for new ones
settings.register_profile("reproducible", derandomize=True)
settings.load_profile("default" if os.environ.get("JOBSYS_EXAMPLES") else "reproducible")

MARK = "JOBSYS_TEST_SESSION"
GRACE = 5.0
OWN_TO_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Dealer:
    """Deal the tests out to processes side by side, where they are asked for, in the units of ``dealing.py``."""
    return Dealer(config, log)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give what keeps a text for the end of the session: how much was covered is worth reading even where all is well."""
    return lambda text: record_property("told", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests tell, whichever process they ran in."""
    reports = [report for found in terminalreporter.stats.values() for report in found if getattr(report, "when", "") == "call"]
    texts = [str(text).strip() for report in reports for name, text in report.user_properties if name == "told"]
    if texts:
        terminalreporter.section("told by tests")
        terminalreporter.write_line("\n".join(texts))


def left_processes(mark: str) -> list[psutil.Process]:
    """List the processes that this session started and that still run: its children, and all that carry its mark."""
    me = psutil.Process()
    found = {child.pid: child for child in me.children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.pid != me.pid and process.environ().get(MARK) == mark:
                found[process.pid] = process
        except psutil.Error:
            continue
    return [process for process in found.values() if _counts(process)]


def _counts(process: psutil.Process) -> bool:
    try:
        line = " ".join(process.cmdline())
        return process.status() != psutil.STATUS_ZOMBIE and not any(name in line for name in OWN_TO_PYTHON)
    except psutil.NoSuchProcess:
        return False


def _tell(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return f"{process.pid}: gone while being looked at"


@pytest.fixture(scope="session", autouse=True)
def isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the session its own HOME and TMPDIR; fail at its end if a process of it is left."""
    tmp_path_factory.getbasetemp()  # made now, so that tmp_path stays where pytest keeps it and can be looked at afterwards
    mark = uuid.uuid4().hex
    # A short path: sockets below it must fit into 107 bytes.
    base = Path(tempfile.mkdtemp(prefix="jt-", dir=os.environ.get("TMPDIR", "/tmp")))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("JOBSYS_", "JTRES_", "AWS_", "XDG_"))]:
            patch.delenv(name)
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # thousands of interpreters start: each would compile all that it imports
        for name, folder in (("HOME", "h"), ("TMPDIR", "t")):
            (base / folder).mkdir()
            patch.setenv(name, str(base / folder))
        patch.setenv(MARK, mark)
        patch.setattr(tempfile, "tempdir", None)
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as shells do for what runs in the background; children would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    deadline = time.monotonic() + GRACE
    while (left := left_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = [_tell(process) for process in left]
    for process in left:
        process.kill()
    shutil.rmtree(base, ignore_errors=True)
    if lines:
        pytest.fail("processes of the test session were left running:\n" + "\n".join(lines), pytrace=False)
