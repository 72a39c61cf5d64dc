import os
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from jobsys import sending, shipment
from jobsys.digest import sha256
from jobsys.errors import FormatError, IntegrityError, JobsysError, UsageError
from jobsys.job import loading
from jobsys.jobstores import JobStore, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.resource import ResourceException
from jobsys.sending import Sender
from jobsys.shipping.main import Main
from jobsys.shipping.origins import is_standard
from jobsys.shipping.plan import Options, make_plan

Load = Callable[..., types.ModuleType | None]


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


def made(store: JobStore, *, remote: bool = False) -> shipment.Shipment:
    main = Main()
    plan = make_plan(main.start, Options(remote=remote), loaded=False)
    return sending.make(Sender(store), plan, main, remote=remote)


def test_what_is_shipped_is_read_and_registers_nothing_here(store: JobStore, script: Path) -> None:
    before, modules = dict(os.environ), set(sys.modules)
    shipped = made(store)
    shipment.write(store, 3, shipped)
    assert dict(os.environ) == before
    assert set(sys.modules) == modules
    assert shipment.read(store, 3) == shipped
    assert shipped.argv == [str(script), "a b", "\\udcff"]
    assert shipped.interpreter["version"] == list(sys.version_info[:3])
    assert shipped.main == (str(script.parent), "odd-name_of_a_test", False)
    assert shipped.place == (0, "")
    (root,) = shipped.roots
    assert (root.directory, root.name, root.kind, root.size) == (str(script.parent), "project", "directory", 6)
    assert store.shared_file_exists(root.shared)
    assert (shipped.remote, shipped.layers, shipped.environment) == (False, [], {})
    shipment.name_script()
    assert sys.modules["odd-name_of_a_test"] is sys.modules["__main__"], "values that name the script's classes so can be read"


def test_nothing_is_sent_twice(store: JobStore, script: Path) -> None:
    main = Main()
    plan = make_plan(main.start, Options(), loaded=False)
    for expected in (True, False):
        sender = Sender(store)
        sending.make(sender, plan, main, remote=False)
        assert bool(sender.sent) is expected


def test_a_script_that_changes_while_it_is_sent_is_read_anew(store: JobStore, script: Path) -> None:
    main = Main()
    plan = make_plan(main.start, Options(), loaded=False)
    script.write_text("x = 2\n")
    shipped = sending.make(Sender(store), plan, main, remote=False)
    place = store.storage.local_path(store.shared_file_key(shipped.roots[0].shared))
    assert place is not None
    with zipfile.ZipFile(place) as archive:
        assert archive.read(script.name) == b"x = 2\n"


def test_neither_secrets_nor_the_environment_are_in_what_is_kept(store: JobStore, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "s", "--env", "A=hunter2", "--env=B=hunter2", "--en", "C=hunter2"])
    monkeypatch.setenv("TOKEN", "hunter2")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    for remote in (False, True):
        data = shipment.write(store, 1 + remote, made(store, remote=remote))
        assert b"hunter2" not in data
        assert (b"de_DE" in data) is remote
    assert shipment.read(store, 2).argv[1:] == ["s", "--env", "A", "--env=B", "--en", "C"]


def test_names_in_another_encoding_are_no_obstacle(store: JobStore, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.fsdecode(os.fsencode(script.parent.parent) + b"/caf\xe9")
    os.rename(script.parent, folder)
    sys.modules["__main__"].__file__ = f"{folder}/{script.name}"
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    shipped = made(store)
    shipment.write(store, 1, shipped)
    assert shipment.read(store, 1).roots[0].name == "caf\\udce9"
    assert (shipped.place, shipped.path[0]) == ((0, ""), ("root", 0, ""))


def test_a_script_that_is_gone_can_t_be_shipped(store: JobStore, script: Path) -> None:
    script.unlink()
    with pytest.raises(ResourceException):
        Main()


def test_what_another_version_wrote_or_nobody_did(store: JobStore) -> None:
    store.write_code(1, store.key.seal(store.code_key(1), msgspec.json.encode({"format": 1})))
    with pytest.raises(FormatError, match=r"epoch 1 was shipped by another version of jobsys \(format 1\)"):
        shipment.read(store, 1)
    for epoch, data in enumerate((b"{", b"[]", b'{"format": 2}'), 2):
        store.write_code(epoch, data)
        with pytest.raises(IntegrityError, match=f"epoch {epoch} can't be read"):
            shipment.read(store, epoch, sha256(data))
        with pytest.raises(IntegrityError, match="does not bear the seal"):
            shipment.read(store, epoch)


def test_another_python_is_refused(store: JobStore, script: Path) -> None:
    mine = made(store)
    shipment.check_interpreter(mine)
    other = msgspec.structs.replace(mine, interpreter=mine.interpreter | {"version": [3, 2, 0]})
    with pytest.raises(JobsysError, match=r"has CPython 3.*, the leader runs CPython 3\.2\.0.*Start workers with Python 3\.2"):
        shipment.check_interpreter(other)


# ── the code of an earlier start ─────────────────────────────────────────────────────────────────────────────────────


def test_what_was_shipped_before_is_described_as_it_is_found_now(store: JobStore, script: Path) -> None:
    first = made(store)
    script.write_text("x = 'edited'\n")
    moved = sending.again(Sender(store, "http://head:1/s/{}".format), first, remote=False)
    assert moved.roots[0].sha256 == first.roots[0].sha256
    assert moved.roots[0].url == f"http://head:1/s/{first.roots[0].shared}#sha256={first.roots[0].sha256}"
    assert sending.again(Sender(store), moved, remote=False) == first


def test_what_is_not_in_the_store_any_more_is_named(store: JobStore, script: Path) -> None:
    first = made(store)
    with pytest.raises(ResourceException, match=r"not in the job store any more: the environment, which that run did not ship\. Leave"):
        sending.again(Sender(store), first, remote=True)
    store.storage.delete([store.shared_file_key(first.roots[0].shared)])
    with pytest.raises(ResourceException, match=f"not in the job store any more: {script.parent}. Leave out --same-code"):
        sending.again(Sender(store), first, remote=False)


def test_code_of_a_run_on_other_hosts_runs_on_this_one_with_its_environment(store: JobStore, script: Path) -> None:
    away = msgspec.structs.replace(made(store), remote=True)
    assert sending.again(Sender(store), away, remote=False).remote is False


# ── the import path ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_s_import_path_is_the_leader_s(store: JobStore, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standard = [each for each in sys.path if is_standard(each)]
    site = tmp_path / "v" / "site-packages"
    leaders = tmp_path / "leader" / "site-packages"
    decoys = tmp_path / "decoys"
    for folder in (site, leaders, decoys):
        folder.mkdir(parents=True)
    entries: list[tuple[str, int, str]] = [
        ("root", 1, ""), ("site", -1, str(leaders)), ("standard", -1, ""), ("root", 0, "src"),
        ("other", -1, str(decoys)), ("other", -1, "/nowhere"),
    ]  # fmt: skip
    mine = [str(decoys), *standard, str(site)]
    monkeypatch.setattr(sys, "path", mine)
    shipped = msgspec.structs.replace(made(store), path=entries)
    here = shipment.import_path(shipped, ["/c/zero", "/c/one"], mine)
    assert here == ["/c/one", str(leaders), *standard, "/c/zero/src", str(decoys), str(site)]
    remote = msgspec.structs.replace(shipped, remote=True)
    there = shipment.import_path(remote, ["/c/zero", "/c/one"], mine)
    assert there == ["/c/one", str(site), *standard, "/c/zero/src", str(decoys)], "what the worker has of its own comes last"


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def loads(store: JobStore, script: Path) -> Load:
    """Load a script on a worker that has it in a directory."""
    template = made(store)

    def load(folder: Path, text: str, name: str = "loaded_by_a_test") -> types.ModuleType | None:
        (folder / f"{name}.py").write_text(text)
        shipped = msgspec.structs.replace(template, main=("/leader", name, False), place=(0, ""), argv=["script", "--n", "3"])
        return shipment.load_main(store, shipped, [str(folder)])

    return load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "__mp_main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    sys.modules.pop("loaded_by_a_test", None)


def test_a_script_is_loaded_as_main_with_the_leader_s_arguments(folder: Path, loads: Load) -> None:
    before = sys.argv
    module = loads(folder, "import sys\nfrom jobsys.job import loading\nseen = sys.argv, loading.get(), __name__\n")
    assert module is not None
    assert module.seen == (["script", "--n", "3"], True, "loaded_by_a_test")
    assert sys.modules["__main__"] is module
    assert sys.modules["__mp_main__"] is module, "as multiprocessing calls it where it started the leader's process"
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
def test_a_script_that_can_t_be_loaded(folder: Path, loads: Load, text: str, kind: type[Exception], message: str) -> None:
    before, main = sys.argv, sys.modules["__main__"]
    with pytest.raises(kind, match=message):
        loads(folder, text)
    assert (sys.argv, sys.modules["__main__"], loading.get()) == (before, main, False)
