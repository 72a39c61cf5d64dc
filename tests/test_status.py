"""What is shown of a run."""

import msgspec
import pytest

from jobsys.events import AttemptFailed
from jobsys.progress import Counts
from jobsys.status import RunStatus, exit_text, explain, failure_status, tail


def test_a_failure_names_job_host_reason_status_and_log():
    failed = AttemptFailed(7, 2, "memory", 0.0, host="node5", exit_status=-9, message="used 3 GB, had 2 GB")
    text = failure_status(failed, "align", 2, b"reading\nsorting\n").text()
    assert text.splitlines()[0] == "job 7 (align) failed: memory (on node5, after 2 attempts, signal 9)"
    assert "used 3 GB, had 2 GB" in text
    assert "| sorting" in text


def test_the_message_is_not_repeated_where_the_traceback_has_it():
    failed = AttemptFailed(7, 1, "failed", 0.0, message="ValueError: no", traceback="Traceback\nValueError: no\n")
    assert failure_status(failed, "f", 1, b"").text().count("ValueError: no") == 1


@pytest.mark.parametrize(("status", "text"), [(-15, "signal 15"), (3, "exit status 3")])
def test_exit_status_in_words(status, text):
    assert exit_text(status) == text


def test_the_tail_keeps_the_end():
    log = b"\n".join(b"line %d" % number for number in range(100))
    kept = tail(log, lines=5)
    assert kept.endswith(b"line 99")
    assert kept.count(b"\n") == 5
    assert len(tail(b"x" * 10_000)) == 4096


def test_several_failures_are_told_one_below_the_other():
    shown = [failure_status(AttemptFailed(job, 1, "failed", 0.0), "f", 1, b"\xff") for job in (1, 2)]
    assert "job 1 (f)" in explain(shown)
    assert "\n\njob 2 (f)" in explain(shown)


def test_a_status_survives_being_stored():
    status = RunStatus("running", Counts(5, 1, 1, 2, 1), failures=[failure_status(AttemptFailed(1, 1, "lost", 0.0), "f", 1, b"")])
    assert msgspec.json.decode(msgspec.json.encode(status), type=RunStatus) == status
