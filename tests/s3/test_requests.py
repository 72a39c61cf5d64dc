"""Few requests: counted at a proxy in front of a real server, and by what boto3 sends."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from s3 import servers  # type: ignore[import-not-found]

JOBS = 1000
SCRIPT = """
import jobsys

@jobsys.job
def double(x):
    return 2 * x

@jobsys.job
def total(values):
    return sum(values)

@jobsys.job
def main(n):
    return total([double(i) for i in range(n)])

if __name__ == "__main__":
    parser = jobsys.argument_parser()
    parser.add_argument("--n", type=int)
    args = parser.parse_args()
    print(jobsys.run(main(args.n), args))
"""


def fan_out(folder: Path, locator: str, *options: str) -> None:
    """Run the script on this machine, and see that it is right."""
    (folder / "fan_out.py").write_text(SCRIPT)
    command = [sys.executable, "fan_out.py", locator, "--n", str(JOBS), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (0, f"{JOBS * (JOBS - 1)}\n"), done.stderr


def test_a_fan_out_takes_few_requests(
    ceph: "servers.Server", faults: "servers.Faults", s3_place: Callable[..., str], tmp_path: Path
) -> None:
    locator = s3_place(ceph, faults.endpoint)
    before = faults.requests()
    fan_out(tmp_path, locator)
    taken = faults.requests() - before
    assert 50 < taken <= JOBS // 2, f"{taken} requests for {JOBS} jobs: the issue bears {3 * JOBS}, and half of one a job is what is usual"


def test_a_second_run_sends_no_code(ceph: "servers.Server", s3_place: Callable[..., str], tmp_path: Path) -> None:
    locator = s3_place(ceph)
    from jobsys.jobstores import open_store
    from jobsys.jobstores.s3 import commons

    for number in (1, 2):
        fan_out(tmp_path, f"{locator}/{number}", "--batch-system", "local")
    shared = commons(f"{locator}/1")
    assert shared is not None
    keys = list(shared.storage.list(""))
    assert sum(key.endswith("/data") for key in keys) == 1
    assert sum("/runs/" in key for key in keys) == 2
    left = [open_store(f"{locator}/{number}").destroy() for number in (1, 2)]
    assert left[0] == (0, 0)
    assert left[1][0] == 1
    assert list(shared.storage.list("")) == []


@pytest.mark.parametrize("secret", [False, True])
def test_workers_find_the_code_in_a_bucket_only(
    ceph: "servers.Server",
    s3_place: Callable[..., str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    secret: bool,
) -> None:
    """Also what is encrypted with a key of the user's own, which a signed URL can't open."""
    locator = s3_place(ceph)
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    key = tmp_path_factory.mktemp("apart") / "my key"  # what lies beside the script would travel
    key.write_bytes(os.urandom(32))
    fan_out(tmp_path, locator, *(["--s3-sse-key-file", str(key)] if secret else []))
    assert [path.name for path in (tmp_path / "cache").rglob("fan_out.py")], "the code was fetched into this host's cache"
