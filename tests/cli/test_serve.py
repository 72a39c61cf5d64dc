"""`jobsys serve` gives a store to others, until somebody ends it."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from jobsys.errors import StorageError
from jobsys.jobstores import create, open_store
from jobsys.storage.served import ServedStorage


@contextmanager
def serving(*words: str, **environment: str):
    command = [sys.executable, "-m", "jobsys", "serve", *words, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline() for _ in range(4)]
        finally:
            process.kill()


def test_a_store_is_served_until_ctrl_c(finished, monkeypatch):
    with serving(finished.locator) as (process, lines):
        url, token = (line.strip().partition("=")[2] for line in lines[2:])
        assert lines[0] == f"serving {finished.locator} at {url}, until Ctrl-C\n"
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", token)
        far = open_store(url)
        assert far.info() == finished.store.info()
        assert list(far.segments()) == list(finished.store.segments())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert isinstance(far.storage, ServedStorage)
        far.storage.close()


def test_a_token_that_is_given_is_used_and_not_shown(finished, jobsys, monkeypatch):
    with serving(finished.locator, "--address", "localhost", JOBSYS_STORE_TOKEN="my-token") as (_, lines):
        assert "my-token" not in "".join(lines)
        url = lines[2].strip().partition("=")[2]
        assert url.startswith("http://localhost:")
        with pytest.raises(StorageError, match="does not accept the token"):
            ServedStorage(url, "other", ()).get("status.json")
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", "my-token")
        said = jobsys("status", url)
        assert (said.status, said.err) == (0, "")
        assert said.out.startswith(f"{url}  DONE")


def test_json(finished):
    command = [sys.executable, "-m", "jobsys", "serve", finished.locator, "--json", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        assert ServedStorage(told["url"], told["token"]).stat("jobsys-store.json").size > 10
        process.terminate()


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["{}/none"], 1, "there is no job store at file:"),
        (["{}/finished", "--listen", "here"], 2, "'here' is no address to listen at"),
        (["{}/finished", "--listen", "192.0.2.1:1"], 1, "can't listen at 192.0.2.1:1"),
    ],
)
def test_what_can_not_be_served(jobsys, finished, tmp_path, words, status, reason):
    said = jobsys("serve", *[word.format(tmp_path) for word in words])
    assert (said.status, said.out) == (status, "")
    assert reason in said.err


def test_what_others_can_t_see_is_not_served(jobsys):
    from jobsys.jobstores import create
    from jobsys.jobstores.base import FORMAT, StoreInfo

    store = create("memory:cli-serve", StoreInfo(FORMAT, 0.0, "0"))
    said = jobsys("serve", "memory:cli-serve")
    assert (said.status, "lives in the memory of one process" in said.err) == (2, True)
    store.destroy()


def test_a_token_with_blanks_is_refused(jobsys, finished, monkeypatch):
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", "two words")
    said = jobsys("serve", finished.locator)
    assert (said.status, "can't be a token" in said.err) == (2, True)


def test_a_directory_that_is_new_is_served_for_a_run_to_begin_in(finished, tmp_path, jobsys, monkeypatch):
    with serving(f"file:{tmp_path / 'new'}", "--new", JOBSYS_STORE_TOKEN="my-token") as (_, lines):
        url = lines[2].strip().partition("=")[2]
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", "my-token")
        store = create(url, finished.store.info())
        assert open_store(tmp_path / "new").info() == store.info()
    refused = jobsys("serve", finished.locator, "--new")
    assert refused.status != 0
    assert "leave out --new" in refused.err
