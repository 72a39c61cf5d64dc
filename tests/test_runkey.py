"""The file of a run's key: whole, for its user only, never another run's, and what is said when it is not there."""

import os
import stat
import threading
from pathlib import Path
from random import Random

import pytest

from faults.system import System  # type: ignore[import-not-found]
from jobsys import runkey
from jobsys.errors import JobStoreExistsError, RunKeyError, StorageError, UsageError
from jobsys.files import KEY_SUFFIX
from jobsys.jobstores import JobStore, create, file, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.sealing import RunKey
from jobsys.storage.faulty import Fault, FaultyStorage
from simulation.disk import Disk  # type: ignore[import-not-found]

INFO = StoreInfo(FORMAT, 0.0, "0")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "jobsys" / "keys"


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_key_is_kept_for_its_user_only(tmp_path, state, umask):
    before = os.umask(umask)
    try:
        store = create(tmp_path / "store", INFO, durable=False)
    finally:
        os.umask(before)
    [path] = state.iterdir()
    assert (mode(state), mode(path)) == (0o700, 0o600)
    assert path.name == store.info().run + KEY_SUFFIX
    assert str(path) == store.info().key_path
    again = open_store(store.locator)
    assert again.key.attempt(1, "1") == store.key.attempt(1, "1")
    secret = path.read_text().split()[-1]
    assert len(secret) == 64
    for found in (tmp_path / "store").rglob("*"):
        assert not found.is_file() or secret.encode() not in found.read_bytes()


@pytest.mark.parametrize("there", [".", "state/jobsys/keys"])
def test_a_power_cut_leaves_the_key_once_it_is_made(tmp_path, there):
    """Its run could not be resumed without."""
    root = tmp_path / "disk"
    root.mkdir()
    path = root / "state" / "jobsys" / "keys" / f"run{KEY_SUFFIX}"
    (root / there).mkdir(parents=True, exist_ok=True)
    disk = Disk({str(folder.relative_to(root)): None for folder in sorted(root.rglob("*"))})
    before = os.umask(0)
    try:
        with System(None, disk, str(root)).installed(runkey):
            runkey.make("0" * 32, str(path))
    finally:
        os.umask(before)
    left = disk.after_power_cut(Random(1), 0, 0)
    assert left[str(path.relative_to(root))].data == path.read_bytes()
    assert there != "." or {mode(folder) for folder in root.rglob("*") if folder.is_dir()} == {0o700}


def test_it_goes_with_its_store(tmp_path, state):
    store = create(tmp_path / "store", INFO, durable=False)
    other = create(tmp_path / "other", INFO, durable=False)
    open_store(store.locator).destroy()
    assert [path.name for path in state.iterdir()] == [other.info().run + KEY_SUFFIX]


def test_a_store_that_names_another_run_does_not_take_its_key_along(tmp_path, state):
    store, other = (create(tmp_path / name, INFO, durable=False) for name in ("store", "other"))
    store.storage.put("jobsys-store.json", other.storage.get("jobsys-store.json").replace(b'"jobsys":"0"', b'"jobsys":"1"'))
    open_store(store.locator).destroy()
    assert len(list(state.iterdir())) == 2
    assert isinstance(open_store(other.locator).key, RunKey)


def test_a_store_that_bears_another_s_description_does_not_take_its_key_along(tmp_path, state):
    store, other = (create(tmp_path / name, INFO, durable=False) for name in ("store", "other"))
    store.storage.put("jobsys-store.json", other.storage.get("jobsys-store.json"))
    open_store(store.locator).destroy()
    assert len(list(state.iterdir())) == 2
    assert isinstance(open_store(other.locator).key, RunKey)


def test_of_many_that_begin_at_once_one_has_a_store_and_each_other_leaves_no_key(tmp_path, state):
    made, refused = [], []
    gate = threading.Barrier(8)

    def begin():
        store = JobStore(f"file:{tmp_path}/store", file.storage(str(tmp_path / "store"), durable=False))
        gate.wait()
        try:
            store.create(INFO)
            made.append(store)
        except JobStoreExistsError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 7)
    assert [path.name for path in state.iterdir()] == [made[0].info().run + KEY_SUFFIX]


def test_another_file(tmp_path, state, monkeypatch):
    store = create(tmp_path / "store", INFO, durable=False, key_file=str(tmp_path / "my.jobsys-key"))
    assert mode(tmp_path / "my.jobsys-key") == 0o600
    assert not state.exists()
    with pytest.raises(RunKeyError, match=f"is not in .* made on this host, as {tmp_path}/my.jobsys-key, .* --key-file"):
        _ = open_store(store.locator).key
    assert isinstance(open_store(store.locator, key_file=str(tmp_path / "my.jobsys-key")).key, RunKey)
    monkeypatch.setenv(runkey.VARIABLE, str(tmp_path / "my.jobsys-key"))
    assert isinstance(open_store(store.locator).key, RunKey)
    with pytest.raises(RunKeyError, match="is there already"):
        create(tmp_path / "other", INFO, durable=False)
    assert not (tmp_path / "other").exists()
    open_store(store.locator).destroy()
    assert not (tmp_path / "my.jobsys-key").exists()


def test_an_error_leaves_no_key_where_there_is_no_store(tmp_path, state):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        create(tmp_path / "file" / "below", INFO)
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_an_answer_that_is_lost_leaves_the_key_if_the_store_is_there(tmp_path, state, when, there):
    storage = FaultyStorage(file.storage(str(tmp_path / "store"), durable=False), [Fault("put", 1, when)])
    with pytest.raises(StorageError):
        JobStore(f"file:{tmp_path}/store", storage).create(INFO)
    assert len(list(state.iterdir())) == there
    if there:
        assert open_store(str(tmp_path / "store")).sealed_info().format == FORMAT


def change_mode(path):
    path.chmod(0o640)


def change_owner_of_folder(path):
    path.parent.chmod(0o777)


def empty(path):
    path.write_text("")


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-2])


def other_run(path):
    path.write_text(f"jobsys run key 1 {'0' * 32} {'0' * 64}\n")


def a_directory(path):
    path.unlink()
    path.mkdir()


def gone(path):
    path.unlink()


WRONG = {
    change_mode: "is not this user's alone, so it may be no secret any more: make it so",
    change_owner_of_folder: "others can write to .*keys, and could exchange the run's key there: chmod go-w",
    empty: "holds no key of a run: name the right file with --key-file",
    cut_off: "holds no key of a run",
    other_run: "holds the key of another run .* name the right file with --key-file",
    a_directory: "can't be read: Is a directory",
    gone: "is gone .* put that file back .*, or name it with --key-file",
}


@pytest.mark.parametrize("harm", WRONG, ids=lambda harm: harm.__name__)
def test_what_is_wrong_with_a_key_is_said(tmp_path, state, harm):
    store = create(tmp_path / "store", INFO, durable=False)
    harm(state / (store.info().run + KEY_SUFFIX))
    with pytest.raises(RunKeyError, match=WRONG[harm]):
        _ = open_store(store.locator).key


def test_where_a_key_of_another_host_is_is_said(tmp_path, state, monkeypatch):
    monkeypatch.setattr("jobsys.jobstores.base.socket.gethostname", lambda: "elsewhere")
    store = create(tmp_path / "store", INFO, durable=False)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    with pytest.raises(RunKeyError, match=f"is not on this host .* made on elsewhere, as {state}/.* copy that file to this host as"):
        _ = open_store(store.locator).key


def test_a_home_that_can_t_be_written(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("no directory")
    with pytest.raises(RunKeyError, match=r"can't be kept in .*: Not a directory; name another file with --key-file"):
        create(tmp_path / "store", INFO)
    assert not (tmp_path / "store").exists()


def test_a_home_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(RunKeyError, match="this user has no home directory; name another file with --key-file"):
        create(tmp_path / "store", INFO)
    assert not (tmp_path / "store").exists()


def test_runs_in_memory_have_no_file(state):
    store = create("memory:", INFO)
    assert store.key is runkey.IN_MEMORY
    assert not Path(state).exists()


def test_a_name_by_which_it_would_be_shipped_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"its name must end in \.jobsys-key, by which it is never shipped"):
        create(tmp_path / "store", INFO, key_file=str(tmp_path / "run.key"))
    assert list(tmp_path.iterdir()) == []
