import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobsys import processes
from jobsys.errors import JobStoreError, JobStoreExistsError, NoSuchJobStoreError, StorageError
from jobsys.jobstores import create, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.jobstores.serving import StoreServer
from jobsys.storage.served import ServedStorage

INFO = StoreInfo(FORMAT, 0.0, "0")
HERE: dict[str, Any] = {"address": "127.0.0.1", "listen": "127.0.0.1:0"}


def test_a_store_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = create(tmp_path / "store", INFO, durable=False)
    with StoreServer(tmp_path / "store", **HERE, durable=False) as server:
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", server.token)
        far = open_store(server.url)
        assert far.info().jobsys == INFO.jobsys
        assert far.append(1, b"segment")
        assert near.segment(1) == b"segment"
        with far.write_shared_file("code/pack age.zip") as stream:
            stream.write(b"code")
        url = far.shared_file_url("code/pack age.zip")
        assert url == f"{server.url}/o/shared/code/pack%2520age.zip"
        assert server.token not in url
        with pytest.raises(JobStoreExistsError):
            create(server.url, INFO)
        far.destroy()
        with pytest.raises(NoSuchJobStoreError):
            near.info()
        assert create(server.url, INFO).locator == server.url
        assert near.info().jobsys == INFO.jobsys
        (tmp_path / "store" / "thesis.txt").write_text("mine")
        with pytest.raises(JobStoreError, match=r"nothing was deleted: move thesis.txt elsewhere"):
            far.destroy()
        assert near.info().jobsys == INFO.jobsys
        assert isinstance(far.storage, ServedStorage)
        far.storage.close()


def test_it_leaves_no_process(tmp_path: Path) -> None:
    server = StoreServer(tmp_path, **HERE)
    assert processes.is_running(server.pid)
    server.close()
    server.close()
    assert not processes.is_running(server.pid)
    with pytest.raises(KeyError), StoreServer(tmp_path, **HERE) as server:
        raise KeyError
    assert not processes.is_running(server.pid)


def test_each_has_a_token_of_its_own_and_the_name_it_is_given(tmp_path: Path) -> None:
    with StoreServer(tmp_path, listen="127.0.0.1:0") as one, StoreServer(tmp_path, address="::1", listen="127.0.0.1:0") as other:
        assert one.token != other.token
        assert len(one.token) > 30
        assert one.url.startswith(f"http://{socket.gethostname()}:")
        assert other.url.startswith("http://[::1]:")


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"did not start: can't listen at 192.0.2.1:1"):
        StoreServer(tmp_path, listen="192.0.2.1:1")


def test_nothing_of_the_current_directory_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "http.py").write_text("raise SystemExit('the wrong http')")
    monkeypatch.chdir(tmp_path)
    with StoreServer(tmp_path / "store", **HERE) as server:
        assert processes.is_running(server.pid)


@pytest.mark.crash
def test_it_ends_with_whoever_started_it_and_not_by_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from jobsys.jobstores.serving import StoreServer\n"
        "server = StoreServer(sys.argv[1], listen='127.0.0.1:0'); print(server.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True) as leader:
        assert leader.stdout is not None
        pid = int(leader.stdout.readline())
        assert os.getpgid(pid) != os.getpgid(leader.pid), "a terminal's Ctrl-C goes to the leader's group"
        leader.send_signal(signal.SIGKILL)
    processes.wait_for_end([pid], 20)
    assert not processes.is_running(pid)
