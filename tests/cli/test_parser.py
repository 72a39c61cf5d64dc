"""The program as a whole: help, completion, exit statuses, and how quickly it starts."""

import re
import shutil
import subprocess
import sys

import pytest

from jobsys.cli.parser import COMMANDS
from jobsys.errors import StorageError


def run(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=60, **options)


def test_version(jobsys):
    from importlib.metadata import version

    assert jobsys("--version").out == f"jobsys {version('jobsys')}\n"


def test_help_names_all_commands(jobsys):
    said = jobsys("--help")
    assert said.status == 0
    for name, (_, help) in COMMANDS.items():
        assert f"    {name}" in said.out
        assert help in " ".join(said.out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(jobsys, name):
    said = jobsys(name, "--help")
    assert said.status == 0
    assert f"usage: jobsys {name}" in said.out
    assert re.search(rf"Examples:\n  jobsys {name}\b", said.out)


@pytest.mark.parametrize("words", [[], ["none"], ["status"], ["status", "s3:bucket"], ["status", "s", "--none"]])
def test_wrong_usage(jobsys, words):
    said = jobsys(*words)
    assert said.status == 2
    assert "error: " in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(jobsys, shell, tmp_path):
    said = jobsys("completion", shell)
    assert said.status == 0
    assert "fail-if-unfinished" in said.out
    if shutil.which(shell):
        (tmp_path / "script").write_text(said.out)
        checked = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, b"")


def test_an_error_is_one_line(jobsys, under_way, monkeypatch):
    def fail(_) -> None:
        raise StorageError("can't read x: permission denied")

    monkeypatch.setattr("jobsys.cli.status.look", fail)
    said = jobsys("status", under_way.locator)
    assert (said.status, said.err) == (1, "jobsys: error: can't read x: permission denied\n")


def test_a_reader_that_leaves_is_told_by_the_exit_status_only(under_way):
    command = [sys.executable, "-m", "jobsys", "logs", under_way.locator]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c(jobsys, under_way, monkeypatch):
    def interrupt(_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    said = jobsys("status", under_way.locator, "--watch")
    assert (said.status, said.err) == (130, "")


@pytest.mark.parametrize("words", ["status X --json", "logs X", "stats X --json", "graph X", "status --help"])
def test_what_is_not_needed_is_not_loaded(under_way, words):
    code = "import sys; from jobsys.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    loaded = run("-c", code, *[under_way.locator if word == "X" else word for word in words.split()]).stderr.split()
    assert "jobsys.cli" in loaded
    assert not {"rich", "shtab"} & set(loaded)


def test_no_colour_on_request(under_way):
    code = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    words = ["-c", code, sys.executable, "-m", "jobsys", "status", under_way.locator]
    import os

    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
    coloured = run(*words, env=plain, stdin=subprocess.DEVNULL)
    assert "\x1b[36mRUNNING" in coloured.stdout
    assert "\x1b[36m" not in run(*words, env=plain | {"NO_COLOR": "1"}, stdin=subprocess.DEVNULL).stdout


def test_completion_as_json(jobsys):
    said = jobsys("completion", "bash", "--json").json
    assert said["shell"] == "bash"
    assert said["script"].strip() == jobsys("completion", "bash").out.strip()
