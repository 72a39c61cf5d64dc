"""What `jobsys stats` says, and the numbers behind it."""

import time

import pytest

from jobsys.cli.summary import busiest, quantile
from jobsys.history import Attempt
from jobsys.requirements import Requirements
from recorded import Recorded, fan, job  # type: ignore[import-not-found]


def attempt(started: float, seconds: float) -> Attempt:
    return Attempt(1, "done", started + seconds, seconds, 1)


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([], 0.5, 0.0), ([1], 0.95, 1), ([1, 2, 3, 4], 0.5, 2), (list(range(1, 101)), 0.95, 95), ([1, 2, 3], 1.0, 3)],
)
def test_quantiles(values, share, found):
    assert quantile(values, share) == found


def test_the_busiest_moment():
    assert busiest([]) == 0
    assert busiest([(attempt(0, 1), 1.0), (attempt(1, 1), 1.0)]) == 1, "what ends makes room for what begins"
    assert busiest([(attempt(0, 2), 1.5), (attempt(1, 2), 2.0), (attempt(2.5, 1), 0.5)]) == 3.5


def test_a_fan(jobsys, tmp_path):
    run = fan(Recorded(str(tmp_path / "s")), 70)
    found = jobsys("stats", run.locator, "--json").json
    square, total = found["functions"]
    assert (square["name"], square["jobs"], square["done"], square["attempts"]) == ("square", 70, 70, 70)
    assert (square["median"], square["max"]) == (0.7, 0.9)
    assert square["seconds"] == pytest.approx(70 * 0.7)
    assert square["cpu_share"] == pytest.approx(0.5)
    assert (square["memory_max"], square["memory_asked"]) == (10**8 + 70, 10**9)
    assert square["wait_mean"] == pytest.approx(3.0)
    assert "used at most 100 MB of the 1 GB asked for: memory='200M' would do" in square["hint"]
    assert (total["seconds"], total["hint"]) == (2.0, "")
    assert found["elapsed"] == pytest.approx(8.9)
    assert found["cores_peak"] == 10
    assert found["efficiency"] == pytest.approx(found["seconds"] / 8.9 / 10)


def test_the_table(jobsys, under_way):
    out = jobsys("stats", under_way.locator).out
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["FUNCTION", "square", "load", "total"]
    assert "5/8       3" in out
    assert "6 of 10 jobs done, 1 failed for good; 9 attempts, 3 of them failed" in out
    assert "3.0 s of it went into attempts that failed" in out
    assert "hosts: node1 (6), node2 (3)" in out
    assert "\x1b" not in out


def test_sorting(jobsys, under_way):
    def names(sort: str) -> list[str]:
        return [function["name"] for function in jobsys("stats", under_way.locator, "--sort", sort, "--json").json["functions"]]

    assert names("name") == ["load", "square", "total"]
    assert names("mean")[0] == "load"
    assert names("failed")[0] == "square"
    assert jobsys("stats", under_way.locator, "--sort", "luck").status == 2


def test_time_between_leaders_is_not_counted(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("a"), job("b", refs=(0,))).commit(1, seconds=5)
    run.leave()
    run.now += 3600
    run.lead().commit(2, seconds=5).status("done").leave()
    found = jobsys("stats", run.locator, "--json").json
    assert (found["elapsed"], found["leaders"]) == (10, 2)
    assert found["functions"][1]["wait_max"] == 0, "nobody waited for a leader that was not there"


def test_cores_that_are_not_used_are_told(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("solve", requirements=Requirements(cores=8))).commit(1, seconds=10, cpu=10.0)
    run.status("done").leave()
    assert "solve: used 1.0 of 8 cores" in jobsys("stats", run.locator).out


def test_nothing_happened_yet(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().flush()
    assert "0 of 0 jobs done" in jobsys("stats", run.locator).out


@pytest.mark.slow
def test_a_hundred_thousand_jobs_take_seconds(jobsys, tmp_path):
    run = fan(Recorded(str(tmp_path / "s")), 100_000)
    begin = time.perf_counter()
    assert jobsys("stats", run.locator).status == 0
    assert time.perf_counter() - begin < 10, "about 2 s on a machine that does nothing else"
