"""Batch systems by name: our own, and those of other distributions."""

import subprocess
import sys

import pytest

from jobsys.errors import UsageError
from jobsys.launch import _maker

SYSTEM = """
import jobsys.launch.inline


def make(launch):
    launch.say(f"made for {launch.config.batch_system}")
    return jobsys.launch.inline.make(launch)
"""
SCRIPT = """
import jobsys


@jobsys.job
def six():
    return 6


if __name__ == "__main__":
    print(jobsys.run(six(), jobsys.argument_parser().parse_args()))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution that declares a batch system."""
    site = tmp_path / "site"
    about = site / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[jobsys.batch_systems]\ntheirs = their_system:make\n")
    (site / "their_system.py").write_text(SYSTEM)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    return tmp_path


def test_another_distribution_adds_a_batch_system(installed):
    script = installed / "six.py"
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), f"file:{installed / 'store'}", "--batch-system", "theirs"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "6"
    assert "made for theirs" in done.stderr


def test_all_that_there_are_are_named(installed):
    with pytest.raises(UsageError, match=r"there is no batch system 'lsd': there are .*'inline'.*'lsf'.*'slurm'.*'theirs'"):
        _maker("lsd")
