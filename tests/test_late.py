"""Loggers that load ``logging`` when there is something to say."""

import logging
import subprocess
import sys

import pytest

from jobsys import late

SILENT = """
import sys
from jobsys import late
late.Logger("jobsys.quiet").debug("nobody asked for %s", "it")
assert "logging" not in sys.modules, "debug"
late.Logger("jobsys.loud").warning("mind %s", "the step")
assert "logging" in sys.modules, "warning"
"""


def test_logging_is_loaded_by_the_first_warning_and_not_before() -> None:
    run = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "mind the step\n")


def test_it_says_what_the_logger_of_that_name_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "jobsys.there")
    logger = late.Logger("jobsys.there")
    logger.debug("a %s", 1)
    logger.warning("b")
    assert caplog.record_tuples == [("jobsys.there", logging.DEBUG, "a 1"), ("jobsys.there", logging.WARNING, "b")]
    assert logger.name == "jobsys.there"


CONFIGURED = """
import sys
from jobsys import late
late.configure(format="here: %(message)s", level="WARNING")
assert "logging" not in sys.modules
late.Logger("jobsys.one").warning("mind %s", "the step")
late.Logger("jobsys.two").warning("once")
"""


def test_how_it_is_said_can_be_settled_before_logging_is_loaded() -> None:
    run = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "here: mind the step\nhere: once\n")
