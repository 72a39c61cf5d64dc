import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jobsys import shipment
from jobsys.errors import JobsysError, UsageError
from jobsys.job import loading
from jobsys.jobstores import JobStore, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.resource import ModuleDescriptor, Resource, ResourceException


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be a process that runs a script of an odd name."""
    path = tmp_path / "project" / "odd-name_of_a_test.py"
    path.parent.mkdir()
    path.write_text("x = 1\n")
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    main.__spec__ = None
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [str(path), "a b", "\udcff"])
    before = set(sys.modules)
    yield path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_what_is_shipped_is_read_and_registers_nothing_here(store: JobStore, script: Path) -> None:
    before = dict(os.environ)
    shipped = shipment.ship(store, 3)
    assert dict(os.environ) == before
    assert shipment.read(store, 3) == shipped
    assert shipped.argv == [str(script), "a b", "\\udcff"]
    assert shipped.python == sys.version_info[:2]
    assert shipped.modules == [(str(script.parent), "odd-name_of_a_test", False)]
    assert len(shipped.environment) == 1
    assert all(name.startswith(Resource.resourceEnvNamePrefix) for name in shipped.environment)
    assert sys.modules["odd-name_of_a_test"] is sys.modules["__main__"], "values that name the script's classes so can be read"


def test_a_script_that_is_gone_can_t_be_shipped(store: JobStore, script: Path) -> None:
    script.unlink()
    with pytest.raises(ResourceException):
        shipment.ship(store, 1)


def test_another_python_is_refused() -> None:
    mine = shipment.Shipment(sys.version_info[:2], [], [], {}, [])
    shipment.check_python(mine)
    with pytest.raises(JobsysError, match=r"runs Python 3.* the leader runs 3\.2:.*start workers with Python 3\.2"):
        shipment.check_python(msgspec.structs.replace(mine, python=(3, 2)))


def load(folder: Path, text: str, name: str = "loaded_by_a_test") -> types.ModuleType | None:
    (folder / f"{name}.py").write_text(text)
    return shipment.load_script(ModuleDescriptor(str(folder), name, False), ["script", "--n", "3"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    sys.modules.pop("loaded_by_a_test", None)


def test_a_script_is_loaded_as_main_with_the_leader_s_arguments(folder: Path) -> None:
    before = sys.argv
    module = load(folder, "import sys\nfrom jobsys.job import loading\nseen = sys.argv, loading.get(), __name__\n")
    assert module is not None
    assert module.seen == (["script", "--n", "3"], True, "loaded_by_a_test")
    assert sys.modules["__main__"] is module
    assert sys.argv is before
    assert not loading.get()


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("raise SystemExit(2)", UsageError, r"called sys.exit\(2\) while a worker imported it: put .* under `if __name__"),
        ("import not_there_at_all", ResourceException, "can't import 'loaded_by_a_test' .*No module named 'not_there_at_all'"),
        ("import jobsys\njobsys.run(1, 'x')", UsageError, "called while a worker imported the script"),
        ("1 / 0", ZeroDivisionError, "division"),
        ("def", SyntaxError, "invalid syntax"),
    ],
)
def test_a_script_that_can_t_be_loaded(folder: Path, text: str, kind: type[Exception], message: str) -> None:
    before, main = sys.argv, sys.modules["__main__"]
    with pytest.raises(kind, match=message):
        load(folder, text)
    assert (sys.argv, sys.modules["__main__"], loading.get()) == (before, main, False)
