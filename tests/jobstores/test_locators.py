import os
import shutil
import tempfile
from pathlib import Path

import pytest

from jobsys.errors import FormatError, JobStoreExistsError, JobsysError, LocatorError, NoSuchJobStoreError, StorageError
from jobsys.jobstores import create, keys, locate, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo

INFO = StoreInfo(FORMAT, 0.0, "0")
NAMES = ["plain", "sp ace", "qu'o\"te", "ünï ✓", "new\nline", "per%20cent", "co:lon", "#hash?", "-dash", "...", "back\\slash", "s3"]


@pytest.mark.parametrize("form", ["{}", "file:{}"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names(tmp_path: Path, name: str, form: str) -> None:
    made = create(form.format(tmp_path / name), INFO, durable=False)
    assert (tmp_path / name / "jobsys-store.json").is_file()
    assert open_store(made.locator).locator == made.locator == f"file:{tmp_path / name}", "a locator leads back to itself"
    made.destroy()
    assert list(tmp_path.iterdir()) == []


def test_forms_of_one_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = f"file:{tmp_path}/a b"
    for locator in (
        "a b",
        "./a b",
        "file:a b",
        "file:./a b",
        "~/a b",
        "file:~/a b",
        "FILE:a b",
        f"file://{tmp_path}/a%20b".replace(" ", "%20"),
    ):
        assert locate(locator).locator == wanted, locator
    assert locate(f"file://localhost{tmp_path}/a%20b").locator == wanted


@pytest.mark.parametrize(
    "wrong", ["", "file:", "file://", "s3:bucket/x", "s3://", "s3://b/a//b", "s3://b/../a", "htp:/x", "\0", "file:a\0b", "file://host/x"]
)
def test_no_locators(wrong: str) -> None:
    with pytest.raises(LocatorError) as caught:
        locate(wrong)
    assert len(str(caught.value)) > 20


def test_a_path_object_is_a_locator(tmp_path: Path) -> None:
    assert locate(tmp_path / "store").locator == f"file:{tmp_path}/store"


def test_memory_is_found_by_its_name() -> None:
    assert create("memory:", INFO).storage is not create("memory:", INFO).storage
    made = create("memory:one", INFO)
    assert open_store("memory:one").info() == INFO
    with pytest.raises(NoSuchJobStoreError):
        open_store("memory:two")
    made.destroy()


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoSuchJobStoreError, match=r"no job store at file:.*/gone"):
        open_store(str(tmp_path / "gone"))
    with pytest.raises(NoSuchJobStoreError):
        locate(str(tmp_path)).destroy()
    assert not (tmp_path / "gone").exists()


def test_a_file_in_its_place_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(JobsysError, match="file"):
            create(str(path), INFO)
        with pytest.raises(JobsysError):
            open_store(str(path))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_of_somebody_else_s_stays(tmp_path: Path) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for content in ("thesis.txt", ".hidden", "deep/ünï"):
        (tmp_path / "mine" / content).write_text("keep")
        with pytest.raises(JobStoreExistsError, match="is not empty and no job store"):
            create(str(tmp_path / "mine"), INFO)
        with pytest.raises(NoSuchJobStoreError):
            locate(str(tmp_path / "mine")).destroy()
        assert (tmp_path / "mine" / content).read_text() == "keep"
        (tmp_path / "mine" / content).unlink()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    create(str(tmp_path), INFO, durable=False)
    with pytest.raises(JobStoreExistsError, match="--restart"):
        create(str(tmp_path), INFO)


def test_a_format_from_the_future_is_not_destroyed(tmp_path: Path) -> None:
    store = create(str(tmp_path / "store"), INFO, durable=False)
    store.storage.put("jobsys-store.json", b'{"format": 4}')
    with pytest.raises(FormatError, match=r"format 4; this version of jobsys knows format 3 only: .* begin anew"):
        open_store(store.locator)
    with pytest.raises(FormatError):
        store.destroy()
    assert (tmp_path / "store" / "jobsys-store.json").exists()


def test_a_place_where_one_may_not_write() -> None:
    place, home = tempfile.mkdtemp(dir="/tmp"), tempfile.mkdtemp(dir="/tmp")  # nobody else may look into pytest's own
    os.chmod(home, 0o777)
    os.chmod(place, 0o555)
    child = os.fork()
    if not child:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write anywhere
            os.environ["XDG_STATE_HOME"] = home
            create(f"{place}/store", INFO)
        except StorageError as error:
            status = 0 if "permission denied" in str(error) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    left = os.listdir(place)
    os.rmdir(place)
    keys_left = os.listdir(f"{home}/jobsys/keys")
    shutil.rmtree(home)
    assert os.waitstatus_to_exitcode(status) == 0
    assert left == keys_left == []


def test_a_place_where_nobody_may_write() -> None:
    with pytest.raises(StorageError):
        create("/proc/jobsys-test", INFO)


def test_what_somebody_put_into_a_store_is_not_deleted(tmp_path: Path) -> None:
    store = create(tmp_path / "store", INFO, durable=False)
    store.append(1, b"x")
    (tmp_path / "store" / "results ü.csv").write_text("mine")
    with pytest.raises(JobsysError, match=r"nothing was deleted: move .*/results ü.csv elsewhere"):
        store.destroy()
    assert store.segment(1) == b"x"
    (tmp_path / "store" / "results ü.csv").unlink()
    store.destroy()
    assert not (tmp_path / "store").exists()


def test_every_key_begins_with_a_known_name() -> None:
    made = [
        keys.lease(1),
        keys.heartbeat(1),
        keys.code(1),
        keys.journal(1),
        keys.snapshot(1),
        keys.value(1, "t", 1),
        keys.log(1, "t"),
        keys.graph(1, "t"),
    ]
    made += [keys.commit(1, "t"), keys.file(1, "t", 1, "n"), keys.shared("n"), keys.STORE, keys.STATUS, keys.KILL, keys.PROBE, keys.WAVES]
    made += [keys.pointer(keys.resource("resources/n"), "g")]
    assert {key.partition("/")[0] for key in made} == keys.TOPS
