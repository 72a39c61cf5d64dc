"""`jobsys clean` deletes job stores, and nothing else."""

import time

import pytest

from recorded import Recorded, job  # type: ignore[import-not-found]


def test_a_store_is_deleted(jobsys, finished, tmp_path):
    said = jobsys("clean", finished.locator)
    assert said.status == 0
    assert said.out.startswith(f"deleted {finished.locator}: 5 objects, ")
    assert not (tmp_path / "finished").exists()


def test_json(jobsys, finished):
    found = jobsys("clean", finished.locator, "--json").json
    assert (found["deleted"], found["objects"]) == (finished.locator, 5)
    assert found["bytes"] > 500


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_damaged_store_is_deleted_all_the_same(jobsys, finished, tmp_path, words):
    finished.store.release()
    (pack,) = (tmp_path / "finished" / "journal").glob("pack-*.shut")
    pack.write_bytes(b"nonsense" + pack.read_bytes()[8:])
    assert "is damaged" in jobsys("logs", finished.locator).err
    said = jobsys("clean", finished.locator, *words)
    assert said.status == 0
    assert (
        said.json == {"deleted": finished.locator, "objects": None, "bytes": None, "resources": 0, "resource_bytes": 0}
        if words
        else "it was damaged" in said.out
    )
    assert not (tmp_path / "finished").exists()


def test_a_leader_that_lives_is_safe_even_from_force(jobsys, under_way, tmp_path):
    for words in (["clean"], ["clean", "--force"]):
        said = jobsys(*words, under_way.locator)
        assert said.status == 1
        assert f"is alive: stop it first, with 'jobsys kill {under_way.locator}'" in said.err
    assert jobsys("status", under_way.locator).status == 0


def test_a_silent_leader_elsewhere_needs_force(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead(host="elsewhere", pid=1).script(job("a")).status("running")
    run.store.beat(1, 2, time.time() - 300)
    said = jobsys("clean", run.locator)
    assert (said.status, "or use --force if you know that it is dead" in said.err) == (1, True)
    assert jobsys("clean", run.locator, "--force").status == 0


def test_what_is_no_job_store_is_left_alone(jobsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    said = jobsys("clean", "--force", tmp_path)
    assert said.status == 1
    assert said.err.startswith(f"jobsys: error: there is no job store at file:{tmp_path} (that directory holds no jobsys-store.json): ")
    assert (tmp_path / "thesis.txt").exists()
