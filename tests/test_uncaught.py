import subprocess
import sys

import pytest

UNCAUGHT = """
import logging, sys
from jobsys.uncaught import tell_uncaught_errors_plainly
from jobsys.errors import *
{before}
tell_uncaught_errors_plainly()
{after}
"""


def script(after: str, before: str = "", *options: str) -> subprocess.CompletedProcess[str]:
    code = UNCAUGHT.format(before=before, after=after)
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False, input="")


@pytest.mark.parametrize(("error", "code"), [("FailedJobsError", 1), ("GraphError", 2), ("CanceledError", 130), ("StorageError", 1)])
def test_an_uncaught_error_is_its_message(error, code):
    done = script(f"raise {error}('what happened\\nand where')")
    place = '  File "<string>", line 7, in <module>\n'
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{place}jobsys: error: what happened\nand where\n")


def test_other_errors_keep_their_traceback():
    done = script("1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_an_error_that_is_caught_is_nobodys_business():
    done = script("try:\n    raise GraphError('x')\nexcept GraphError:\n    print('caught')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")


def test_who_debugs_sees_the_traceback():
    done = script("raise GraphError('x')", "logging.getLogger('jobsys').setLevel('DEBUG')")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_hook_of_the_program_stays():
    done = script("raise GraphError('x')", "sys.excepthook = lambda *_: print('mine')")
    assert (done.returncode, done.stdout) == (1, "mine\n")


def test_an_interactive_session_goes_on():
    done = script("raise GraphError('x')", "", "-i")
    assert "jobsys: error: x" in done.stderr
    assert done.returncode == 0


HELPER = """
def promise_of(function):
    return function() + 1
"""
SCRIPT = """
import jobsys, helper

@jobsys.job
def one():
    return 1

helper.promise_of(one)
"""


def test_the_script_s_own_lines_are_shown_and_none_of_jobsys(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "flow.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "flow.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.strip("~^ ")]
    assert done.returncode == 2
    assert lines[:4] == [
        f'  File "{tmp_path}/flow.py", line 8, in <module>',
        "    helper.promise_of(one)",
        f'  File "{tmp_path}/helper.py", line 3, in promise_of',
        "    return function() + 1",
    ]
    assert lines[4].startswith("jobsys: error: <promise of job 'one'> has no value yet")
    assert len(lines) == 5


INTERRUPT = "import difflib, jobsys.spelling\ndef interrupt(*_, **__): raise KeyboardInterrupt\n{}"


def test_an_interrupt_in_the_middle_of_jobsys_is_one_line():
    done = script(INTERRUPT.format("difflib.get_close_matches = interrupt\njobsys.spelling.do_you_mean('a', 'b')"))
    assert (done.returncode, done.stderr) == (130, "jobsys: error: interrupted (SIGINT) while no run went on\n")


def test_an_interrupt_of_the_script_s_own_code_is_left_to_python():
    done = script(INTERRUPT.format("interrupt()"))
    assert done.returncode == -2
    assert "Traceback" in done.stderr
