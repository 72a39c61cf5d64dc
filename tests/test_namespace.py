"""What jobs use of a session, saved and loaded; with real sessions in test_session.py."""

import sys
import types
from pathlib import Path

import pytest

from jobsys import namespace, session
from jobsys.errors import JobsysError, PicklingError
from jobsys.jobstores import JobStore, create
from jobsys.jobstores.base import FORMAT, StoreInfo


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Be a session that defines a little."""
    made = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", made)
    exec("table = [1, 2]\nother = 'big'\ndef f(): return g()\ndef g(): return table", vars(made))
    return made


def test_what_was_noted_and_what_that_mentions_arrives(store: JobStore, main: types.ModuleType) -> None:
    with session.noting():
        session.travels_by_name("f")
        digest, names = namespace.save(store, [])
        assert namespace.save(store, []) == (digest, names), "the same content is the same file"
    assert names == ["f", "g", "table"]
    namespace.load(store, digest)
    here = sys.modules["__main__"]
    assert here is not main
    assert (here.f(), here.g() is here.table, hasattr(here, "other")) == ([1, 2], True, False)
    assert session.travels_by_name("table")


def test_names_of_an_earlier_leader(store: JobStore, main: types.ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    _, names = namespace.save(store, ["other", "gone"])
    assert names == ["other"]
    assert "does not define gone, which jobs of the run use" in caplog.text


def test_what_can_t_be_saved_is_named(store: JobStore, main: types.ModuleType) -> None:
    main.table = (int(each) for each in "1")  # type: ignore[attr-defined]
    with pytest.raises(PicklingError, match=r"function 'g' uses the global 'table', a generator"):
        namespace.save(store, ["f"])
    with session.noting():
        session.to_bring({"table": main.table}, "<lambda>")
        with pytest.raises(PicklingError, match=r"the global 'table' that function '<lambda>' uses is a generator"):
            namespace.save(store, [])


def test_a_damaged_namespace_is_refused(store: JobStore, main: types.ModuleType) -> None:
    digest, _ = namespace.save(store, ["table"])
    with store.write_shared_file(f"session/{digest}") as stream:
        stream.write(b"anything")
    with pytest.raises(JobsysError, match="is not what was saved"):
        namespace.load(store, digest)
