"""What `jobsys logs` shows of each attempt."""

import pytest

from recorded import Recorded, job, knot  # type: ignore[import-not-found]


def test_a_job_by_number(jobsys, under_way):
    lines = jobsys("logs", under_way.locator, "1").out.splitlines()
    assert lines[0].startswith("==> job 1 (load), attempt 1: done, on node1, ended 2023-11-")
    assert lines[0].endswith("took 3.0 s, used 80 MB")
    assert lines[1:] == ["loading", "loaded 8 numbers"]


def test_every_attempt_with_log_and_traceback(jobsys, under_way):
    out = jobsys("logs", under_way.locator, "7").out
    first, second = out.split("==> job 7 (square), attempt 2: failed, on node2")
    assert "was tried again\nabout to divide\nTraceback" in first
    assert "about to divide again\nTraceback (most recent call last):\n" in second
    assert second.endswith("ZeroDivisionError: division by zero\n")
    assert out.count("division by zero") == 2, "the traceback says it already"


def test_one_attempt(jobsys, under_way):
    assert "attempt 2" not in jobsys("logs", under_way.locator, "7", "--attempt", "1").out
    assert "attempt 1" not in jobsys("logs", under_way.locator, "7", "--attempt", "-1").out
    said = jobsys("logs", under_way.locator, "7", "--attempt", "3")
    assert (said.status, said.err) == (1, "jobsys: error: there is no attempt 3 of job 7 (square): there were 2 attempts\n")
    assert "none has ended yet" in jobsys("logs", under_way.locator, "10", "--attempt", "1").err


def test_options_may_stand_anywhere(jobsys, under_way):
    expected = jobsys("logs", under_way.locator, "7", "--attempt", "1").out
    assert jobsys("logs", under_way.locator, "--attempt", "1", "7").out == expected
    assert jobsys("logs", "--attempt", "1", under_way.locator, "7").out == expected
    assert jobsys("logs", under_way.locator, "7", "--none").status == 2
    assert jobsys("clean", under_way.locator, "--force", "7").status == 2


def test_all_failed_jobs(jobsys, under_way):
    out = jobsys("logs", under_way.locator, "--failed").out
    assert "job 7" in out
    assert "job 8" not in out, "it is being tried again"


def test_a_pattern_takes_several(jobsys, under_way):
    out = jobsys("logs", under_way.locator, "sq*").out
    assert [f"job {number} (square)" in out for number in range(2, 10)] == [True] * 8
    assert "load" not in out


def test_without_a_job_all_that_has_something_to_say(jobsys, under_way):
    out = jobsys("logs", under_way.locator).out
    assert "job 1 (load)" in out
    assert "attempt 1: failed (memory), on node2" in out
    assert "signal 9, was tried again\nthe next attempt asks for 2 GB" in out
    assert "job 2 (square)" not in out


def test_a_running_job_says_where(jobsys, under_way):
    assert "job 9 (square), attempt 1: running on node8 (process 4712) for 2 h" in jobsys("logs", under_way.locator, "9").out


def test_jobs_without_attempts_say_why(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("a"), job("b", refs=(0,)), knot("k", refs=())).status("running")
    out = jobsys("logs", run.locator, "a", "b", "k").out
    assert out.splitlines() == [
        "==> job 1 (a): has not started yet",
        "==> job 2 (b): waits for other jobs",
        "==> job 3 (k): runs no code, so there is no log",
    ]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("sqare", "there is no job 'sqare'; do you mean 'square'?"),
        ("SQUARE", "there is no job 'SQUARE'; do you mean 'square'?"),
        ("11", "there is no job 11: jobs are numbered from 1 to 10"),
        ("zzz*", "there is no job 'zzz*'; there are 'load', 'square', 'total'"),
    ],
)
def test_an_unknown_job(jobsys, under_way, wanted, told):
    said = jobsys("logs", under_way.locator, wanted)
    assert (said.status, said.out, said.err) == (1, "", f"jobsys: error: {told}\n")


def test_json(jobsys, under_way):
    (found,) = jobsys("logs", under_way.locator, "7", "--json").json
    assert [attempt["log"] for attempt in found["attempts"]] == ["about to divide\n", "about to divide again"]
    assert found["state"] == "failed"
    assert found["attempts"][0]["retry"] is True


def test_nothing_to_show(jobsys, finished):
    said = jobsys("logs", finished.locator, "--failed")
    assert (said.status, said.out, said.err) == (0, "", "no job failed\n")


def test_a_long_log_lies_in_an_object_of_its_own(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("talker"))
    text = b"word \xff " * 30_000
    place = run.store.write_log(1, "1.1", text)
    run.fail(1).add(run.failed[1].__class__(1, 1, "lost", run.now, log=place)).status("failed").leave()
    assert "word \ufffd word" in jobsys("logs", run.locator, "1").out
