"""`jobsys restart` starts the recorded command again."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recorded import Recorded, job  # type: ignore[import-not-found]

SCRIPT = "import os, sys; print(os.getcwd(), sys.argv[1:]); sys.exit(7)"


def stopped(tmp_path: Path, *command: str, directory: str = "") -> Recorded:
    run = Recorded(str(tmp_path / "store"), command=command, directory=directory or str(tmp_path))
    return run.lead().script(job("a")).cancel().status("canceled").leave()


FLOW = """
import jobsys

@jobsys.job
def main(): return 1

if __name__ == "__main__":
    print(jobsys.run(main(), jobsys.argument_parser().parse_args()))
"""


def run(directory: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=60)


def start(locator: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobsys", "restart", locator, *words], cwd="/", capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_runs_where_it_ran(tmp_path):
    (tmp_path / "my script.py").write_text(SCRIPT)
    run = stopped(tmp_path, sys.executable, str(tmp_path / "my script.py"), "store", "--n", "3 4")
    done = start(run.locator)
    assert done.stdout == f"{tmp_path} ['store', '--n', '3 4', '--restart']\n"
    assert done.returncode == 7
    assert done.stderr == f"jobsys: in {tmp_path}: {shlex.quote(sys.executable)} '{tmp_path}/my script.py' store --n '3 4' --restart\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--restart", "x"], ["--restart", "x"]),
        (["x", "--", "--restart"], ["x", "--restart", "--", "--restart"]),
        ([], ["--restart"]),
    ],
)
def test_restart_is_there_once(jobsys, tmp_path, given, expected):
    run = stopped(tmp_path, sys.executable, "script.py", *given)
    assert jobsys("restart", run.locator, "--dry-run", "--json").json == {
        "command": [sys.executable, "script.py", *expected],
        "directory": str(tmp_path),
    }


@pytest.mark.parametrize("given", [["--key-file", "old.jobsys-key"], ["--key-file=old.jobsys-key"], []])
def test_a_key_that_was_moved(tmp_path, given):
    script = tmp_path / "flow.py"
    script.write_text(FLOW)
    assert run(tmp_path, [sys.executable, str(script), "store", "--progress", "off", *given]).stdout == "1\n"
    [key] = tmp_path.rglob("*.jobsys-key")
    moved = key.rename(tmp_path / "moved.jobsys-key")
    assert run(tmp_path, [sys.executable, "-m", "jobsys", "restart", "store"]).returncode == 1
    for words in (["--key-file", moved.name], ["--key-file", moved.name, "--dry-run"]):
        done = run(tmp_path, [sys.executable, "-m", "jobsys", "restart", "store", *words])
        assert done.returncode == 0, done.stderr
    assert run(tmp_path, ["sh", "-c", done.stdout]).stdout == "1\n"


def test_a_store_that_was_moved_or_copied(tmp_path):
    """Its command names the old place, where perhaps another one lies."""
    script = tmp_path / "flow.py"
    script.write_text(FLOW)
    assert run(tmp_path, [sys.executable, str(script), "store", "--progress", "off"]).returncode == 0
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    done = run(tmp_path, [sys.executable, "-m", "jobsys", "restart", "copy"])
    assert done.returncode == 1
    assert f"the job store at file:{tmp_path}/copy was made at file:{tmp_path}/store, which the recorded command names" in done.stderr
    assert f"start the script yourself, with file:{tmp_path}/copy and --restart" in done.stderr
    assert run(tmp_path, [sys.executable, str(script), "copy", "--restart"]).stdout == "1\n"
    assert run(tmp_path, [sys.executable, "-m", "jobsys", "restart", "link"]).stdout == "1\n"
    (tmp_path / "store").rename(tmp_path / "moved")
    assert "was made at" in run(tmp_path, [sys.executable, "-m", "jobsys", "restart", "moved"]).stderr


def test_dry_run(jobsys, tmp_path):
    run = stopped(tmp_path, sys.executable, "-m", "mine")
    assert jobsys("restart", run.locator, "--dry-run").out == f"cd {tmp_path} && {shlex.quote(sys.executable)} -m mine --restart\n"


def test_a_script_that_is_gone(jobsys, tmp_path):
    run = stopped(tmp_path, sys.executable, str(tmp_path / "gone.py"))
    said = jobsys("restart", run.locator)
    assert said.status == 1
    assert f"the script that started the run, {tmp_path}/gone.py, is not there any more: start the script where it is now" in said.err


def test_a_directory_or_an_interpreter_that_is_gone(jobsys, tmp_path):
    run = stopped(tmp_path, sys.executable, "x.py", directory=str(tmp_path / "gone"))
    assert f"{tmp_path}/gone, is not there any more" in jobsys("restart", run.locator).err
    run = stopped(tmp_path / "2", "/no/python", "x.py")
    assert "/no/python, is not there any more" in jobsys("restart", run.locator).err


def test_a_run_without_a_script(jobsys, tmp_path):
    said = jobsys("restart", stopped(tmp_path, sys.executable).locator)
    assert (said.status, "call jobsys.run with restart=True" in said.err) == (1, True)


def test_a_run_that_goes_on(jobsys, under_way):
    said = jobsys("restart", under_way.locator)
    assert (said.status, "goes on: its leader is process" in said.err) == (1, True)
