"""What jobs, and who can write to the store, have shown on a terminal does nothing but show."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest

from jobsys.display.console import HarmlessConsole
from jobsys.harmless import colourless, for_stream, harmless
from jobsys.status import RunningStatus
from recorded import Recorded, job  # type: ignore[import-not-found]

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\x9b5n\x7f\x08\x00"


def test_text_shows_and_does_nothing():
    assert harmless("a\r\nb\tc ü ✓\n") == "a\r\nb\tc ü ✓\n"
    assert harmless("10%\r20%") == "10%\n20%", "what is written over stays to be seen"
    assert harmless(EVIL) == "␛]0;owned␇␛[2J\x1b[31mred\x1b[0m\ufffd5n␡␈␀"
    assert "\x1b" not in colourless(EVIL)
    assert for_stream(EVIL, io.StringIO()) == EVIL, "a file gets it as it is"


def test_a_console_shows_what_it_is_given_and_moves_by_itself_only():
    stream = io.StringIO()
    console = HarmlessConsole(file=stream, force_terminal=True, highlight=False, markup=False)
    console.print(EVIL, style="green")
    assert "\x1b]0;" not in stream.getvalue()
    assert "\x9b" not in stream.getvalue()
    assert "owned" in stream.getvalue()
    console.show_cursor(False)
    assert "\x1b[?25l" in stream.getvalue()


@pytest.mark.parametrize("command", ["status", "logs", "stats", "graph"])
def test_commands_on_a_terminal(tmp_path, command):
    """The journal, the log and the status hold such text, as a job's name, its output, its traceback and its host."""
    run = Recorded(str(tmp_path / "store"))
    run.lead().script(job(f"name{EVIL}"), job("other"), refs=(1,))
    run.fail(1, log=f"printed {EVIL}\n".encode(), message=f"message {EVIL}", traceback=f"Traceback {EVIL}", host=f"host{EVIL}")
    run.status(running=[RunningStatus(2, f"other{EVIL}", 1, f"host{EVIL}", run.now)]).leave()
    shown = on_a_terminal([sys.executable, "-m", "jobsys", command, str(tmp_path / "store")])
    assert "owned" in shown
    for forbidden in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\x08"):
        assert forbidden not in shown, ascii(shown)


def test_what_a_leader_says_on_a_terminal():
    """Before it has looked at anything else, it names the host of the lease, which anybody may have written."""
    text = f"from jobsys.workflow import _say; import json; _say('the leader on ' + json.loads({json.dumps(EVIL)!r}))"
    shown = on_a_terminal([sys.executable, "-c", text])
    assert "owned" in shown
    for forbidden in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\x08"):
        assert forbidden not in shown, ascii(shown)


def on_a_terminal(command):
    """Run a command whose output is a terminal."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    finally:
        os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # as Linux says that the last process has closed it
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    process.wait()
    return b"".join(pieces).decode()
