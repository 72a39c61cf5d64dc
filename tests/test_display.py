"""What a run shows on standard error while it goes on: on a terminal, in a log file, and to nobody."""

import fcntl
import io
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import pytest

from jobsys.display import make_display
from jobsys.display.live import LiveDisplay
from jobsys.display.plain import PlainDisplay
from jobsys.display.tally import MOST_NEWS, Tally
from jobsys.display.words import duration, last_line, many, pace
from jobsys.events import AttemptFailed, Committed
from jobsys.leader.listener import Listener
from jobsys.message import Report
from jobsys.progress import Counts
from jobsys.record import Blob
from jobsys.status import RunningStatus, RunStatus

BEGIN = 1_700_000_000.0
ZERO = AttemptFailed(17, 1, "failed", BEGIN, host="node1", message="ZeroDivisionError: division by zero", retry=True, delay=2.0)


def status(seconds: float, done: int, total: int = 100, failed: int = 0, running: tuple[str, ...] = (), **fields: Any) -> RunStatus:
    jobs = [RunningStatus(number, name, 1, "node1", BEGIN) for number, name in enumerate(running)]
    counts = Counts(total, done, failed, total - done - failed - len(jobs), len(jobs))
    fields.setdefault("state", "running")
    return RunStatus(counts=counts, running=jobs, running_count=len(jobs), started=BEGIN, updated=BEGIN + seconds, **fields)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0001, "<1 ms"),
        (0.012, "12 ms"),
        (0.9999, "1.0 s"),
        (3.44, "3.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (4320, "1 h 12 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_other_words():
    assert [many(1, "job"), many(20000, "job")] == ["1 job", "20,000 jobs"]
    assert [pace(1234.4), pace(0.5), pace(0.01)] == ["1,234 jobs/s", "0.5 jobs/s", "36 jobs/h"]
    assert last_line("a\n b \n\n") == "b"


# -- choosing ------------------------------------------------------------------------------------------------


def test_what_is_chosen(monkeypatch):
    assert [type(display) for display in make_display("plain")] == [PlainDisplay]
    assert [type(display) for display in make_display("live")] == [LiveDisplay]
    assert make_display("off") == []
    assert [type(display) for display in make_display("auto")] == [PlainDisplay], "a test has no terminal"
    monkeypatch.setattr(sys, "stderr", None)
    assert make_display("auto") == []


@pytest.mark.parametrize(("term", "chosen"), [("xterm", LiveDisplay), ("dumb", PlainDisplay), ("", PlainDisplay)])
def test_a_dumb_terminal_gets_lines(monkeypatch, term, chosen):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM", raising=False)
    assert [type(display) for display in make_display("auto")] == [chosen]


# -- plain ---------------------------------------------------------------------------------------------------


def lines_of(text: str) -> list[str]:
    """Take the time stamps away."""
    return [line.partition(" jobsys: ")[2] for line in text.splitlines()]


def test_plain_lines_at_the_start_the_end_and_now_and_then(capsys):
    display = PlainDisplay()
    for second in range(61):
        display.on_status(status(second, second, running=("a", "b")))
    display.on_status(status(61, 100, state="done"))
    display.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert lines_of(err) == [
        "running 100 jobs",
        "10 of 100 jobs done (10 %), 2 running, 1 jobs/s, about 1 min 30 s left",
        "23 of 100 jobs done (23 %), 2 running, 1 jobs/s, about 1 min 17 s left",
        "40 of 100 jobs done (40 %), 2 running, 1 jobs/s, about 1 min left",
        "done: 100 of 100 jobs done, in 1 min 1 s (1.64 jobs/s)",
    ]
    assert time.strptime(err[:8], "%H:%M:%S")


def test_plain_says_nothing_where_nothing_changes(capsys):
    display = PlainDisplay()
    for second in range(0, 3600, 10):
        display.on_status(status(second, 5, done_before=5))
    assert lines_of(capsys.readouterr().err) == ["running 100 jobs, 5 of them done before", "5 of 100 jobs done (5 %)"]


def test_plain_tells_failures_and_messages_at_once(capsys):
    display = PlainDisplay()
    display.on_event(ZERO, "square")
    display.on_log(3, "load", logging.INFO, "half way\n")
    display.on_log(3, "load", logging.DEBUG, "not for everybody")
    assert lines_of(capsys.readouterr().err) == [
        "job 17 (square) failed on node1: ZeroDivisionError: division by zero; trying again in 2.0 s",
        "load (job 3): half way",
    ]


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        (AttemptFailed(1, 3, "memory", BEGIN, exit_status=-9), "job 1 (x) failed (memory), signal 9; for good, after 3 attempts"),
        (AttemptFailed(1, 1, "lost", BEGIN, host="h", retry=True), "job 1 (x) failed (lost) on h; trying again"),
        (AttemptFailed(1, 1, "failed", BEGIN, traceback="T\nE: x\n", message="m"), "job 1 (x) failed: E: x; for good"),
    ],
)
def test_how_a_failure_is_told(capsys, failed, told):
    PlainDisplay().on_event(failed, "x")
    assert lines_of(capsys.readouterr().err) == [told]


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (status(5, 97, failed=3, state="failed"), "failed: 97 of 100 jobs done, in 5.0 s (19.4 jobs/s); 3 jobs failed"),
        (status(5, 100, state="done", done_before=60), "done: 100 of 100 jobs done, 60 of them before this start, in 5.0 s (8 jobs/s)"),
        (status(0.5, 1, total=1, state="done"), "done: 1 of 1 job done, in 500 ms"),
        (status(5, 0, state="canceled"), "canceled: 0 of 100 jobs done, in 5.0 s"),
    ],
)
def test_how_the_end_is_told(capsys, last, told):
    display = PlainDisplay()
    display.on_status(last)
    display.close()
    assert lines_of(capsys.readouterr().err)[-1] == told


def test_time_left_is_told_only_once_the_total_is_known():
    tally = Tally()
    for second in range(10):
        tally.on_status(status(second, second, total=100 + second))
    assert tally.left is None
    for second in range(10, 16):
        tally.on_status(status(second, second, total=109))
    assert tally.left == pytest.approx(94)


# -- nothing must hurt the leader ------------------------------------------------------------------------------


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("kind", [PlainDisplay, LiveDisplay])
@pytest.mark.parametrize("broken", ["gone", "closed"])
def test_a_stream_that_is_gone(monkeypatch, kind, broken):
    stream = Gone() if broken == "gone" else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    display = kind()
    if broken == "closed":
        stream.close()
    play(display)


def test_a_stream_that_knows_few_letters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    for display in (PlainDisplay(), LiveDisplay()):
        play(display)
    sys.stderr.flush()
    assert b"??? (job 1): ?" in raw.getvalue()


def play(display: Listener) -> None:
    """Let a display see a whole run."""
    display.on_status(status(0, 0))
    display.on_event(ZERO, "square")
    display.on_log(1, "äöü", 20, "ß")
    display.on_status(status(1, 50, running=("square",)))
    display.on_status(status(2, 100, state="done"))
    display.close()


def test_a_flood_of_failures_is_cut(capsys):
    display = LiveDisplay()
    display.on_status(status(0, 0))
    for _ in range(1000):
        display.on_event(ZERO, "square")
    display.close()
    err = capsys.readouterr().err
    assert err.count("ZeroDivisionError") == MOST_NEWS
    assert f"… and {1000 - MOST_NEWS} more failed attempts and messages" in err


@pytest.mark.parametrize("kind", [PlainDisplay, LiveDisplay])
def test_an_event_costs_next_to_nothing(kind):
    display = kind()
    event = Committed(Report(1, 1, BEGIN, 1.0), Blob(1, 0, 0), 2)
    begin = time.perf_counter()
    for _ in range(100_000):
        display.on_event(event, "square")
    assert time.perf_counter() - begin < 0.5


# -- live ------------------------------------------------------------------------------------------------------

LIVE = """
import sys, time
sys.path.insert(0, {folder!r})
from test_display import *
display = make_display("auto")[0]
names = ("square",) * 5 + ("load", "total", "x", "y", "z")
display.on_status(status(0, 0))
display.on_status(status(1, 10, running=names))
display.on_log(3, "load", 20, "half way")
display.on_event(ZERO, "square")
for second in range(2, 9):
    display.on_status(status(second, 10 * second, failed=second > 4, running=names))
if len(sys.argv) == 1:
    display.on_status(status(9, 100, state="done"))
    display.close()
"""


def on_terminal(width: int, *words: str, **environment: str) -> str:
    """Run LIVE with standard error on a pseudo-terminal; standard output goes elsewhere and must stay empty."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    code = LIVE.format(folder=os.path.dirname(__file__))
    env = (
        {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        | {"TERM": "xterm-256color"}
        | environment
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=slave, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env
    ) as run:
        os.close(slave)
        pieces = []
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # so Linux says that the other end is closed
                break
            if not piece:
                break
            pieces.append(piece)
        assert run.stdout is not None
        assert run.stdout.read() == b""
    os.close(master)
    assert run.returncode == 0, b"".join(pieces).decode()
    return b"".join(pieces).decode()


def plain(text: str) -> str:
    """Take colours and cursor movements away."""
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_live_shows_what_a_person_wants_to_know():
    shown = plain(on_terminal(120, "unfinished"))
    assert "80/100 · 80 % · 10 jobs/s · 8.0 s · about 1.9 s left" in shown
    assert "10 running · 1 failed · 9 waiting: square ×5, load, total, x, …" in shown
    assert "load (job 3): half way\r\n" in shown
    assert "job 17 (square) failed on node1: ZeroDivisionError: division by zero; trying again in 2.0 s\r\n" in shown
    assert shown.index("half way") < shown.index("40/100"), "news stand above the bar"


def test_live_leaves_one_line_and_a_cursor():
    raw = on_terminal(120)
    assert raw.rstrip().endswith("jobsys: done: 100 of 100 jobs done, in 9.0 s (11.1 jobs/s); 1 attempt failed and went well later\x1b[0m")
    assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")
    assert raw.index("\x1b[?25h") < raw.index("half way"), "the cursor is never hidden for long: the leader may be killed"


def test_live_without_colours():
    assert "\x1b[32m" in on_terminal(120)
    assert "\x1b[32m" not in on_terminal(120, NO_COLOR="1")


@pytest.mark.parametrize("width", [30, 60])
def test_live_fits_into_narrow_terminals(width):
    lines = plain(on_terminal(width, "unfinished")).replace("\r", "\n").splitlines()
    assert max(len(line) for line in lines if "running" in line or "/100" in line) <= width


def test_live_shows_warnings_of_jobsys_itself_above_the_bar(capsys, monkeypatch):
    logger = logging.getLogger("jobsys")
    monkeypatch.setattr(logger, "propagate", False)
    display = LiveDisplay()
    display.on_status(status(0, 0))
    logger.warning("the disk is %s full", "99 %")
    display.close()
    assert logger.handlers == []
    assert "warning: the disk is 99 % full" in capsys.readouterr().err
