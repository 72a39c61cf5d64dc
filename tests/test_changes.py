"""What a person is told that changed between two starts."""

from functools import partial
from pathlib import Path

import pytest

from jobsys.arrival import interpreter
from jobsys.changes import SHOWN, changes
from jobsys.jobstores import create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.resource import DirectoryResource, FileResource
from jobsys.scan import read_tree
from jobsys.sending import Sender
from jobsys.shipment import Parcel, Shipment
from jobsys.shipping.loose import LOOSE


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    locator = tmp_path / "store" if request.param == "file" else f"memory:changes-{request.node.name}"
    return create(locator, StoreInfo(FORMAT, 0.0, "0"), durable=False)


def parcel(store, label, resource, kind="directory", directory=""):
    shared = f"resources/{resource.sha256}" + (".zip" if kind == "directory" else "")
    return Parcel(label=label, name=resource.name, kind=kind, directory=directory, shared=shared, url=resource.url,
                  md5=resource.contentHash, sha256=resource.sha256, size=1)  # fmt: skip


@pytest.fixture
def ship(store, tmp_path):
    """Ship directories, of the files that are given, and layers: labels, and what is in them."""

    def shipped(roots, layers=None):
        made = []
        for name, files in roots.items():
            root = tmp_path / "roots" / name
            if root.is_dir():
                for old in sorted(root.rglob("*"), reverse=True):
                    old.unlink() if old.is_file() else old.rmdir()
            for path, content in files.items():
                target = root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(content.removeprefix("x:"))
                target.chmod(0o755 if content.startswith("x:") else 0o644)
            root.mkdir(parents=True, exist_ok=True)
            resource, _ = DirectoryResource.of_tree(Sender(store), str(root), root.name, partial(read_tree, str(root)))
            made.append(parcel(store, str(root), resource, directory=str(root)))
        parts = [
            Parcel(label=label, name=label, shared=f"resources/{digest}.zip", url="", md5="", sha256=digest, size=1)
            for label, digest in (layers or {}).items()
        ]
        return Shipment(
            interpreter=interpreter.facts(), needs={}, options=[], environment={}, directory="", argv=[], roots=made, layers=parts,
            system_site=False, remote=bool(layers), path=[], main=None, place=None,
        )  # fmt: skip

    return shipped


def test_edited_added_and_deleted_files_are_named(store, ship):
    old = ship({"app": {"main.py": "1", "lib/a.py": "1", "gone.py": "1", "same.py": "1"}})
    new = ship({"app": {"main.py": "2", "lib/a.py": "1", "lib/b.py": "1", "same.py": "1"}})
    assert changes(store, old, new) == ["changed: main.py", "added: lib/b.py", "gone: gone.py"]
    assert changes(store, old, old) == []
    assert changes(store, new, old) == ["changed: main.py", "added: gone.py", "gone: lib/b.py"]


def test_a_file_that_may_be_executed_now_has_changed(store, ship):
    assert changes(store, ship({"app": {"tool": "1"}}), ship({"app": {"tool": "x:1"}})) == ["changed: tool"]


def test_of_many_files_some_are_named(store, ship):
    old = ship({"app": {f"{number:02}.py": "1" for number in range(SHOWN + 3)}})
    new = ship({"app": {f"{number:02}.py": "2" for number in range(SHOWN + 3)}})
    (line,) = changes(store, old, new)
    assert line == "changed: " + ", ".join(f"{number:02}.py" for number in range(SHOWN)) + " and 3 more"


def test_the_same_code_in_another_checkout_is_the_same_code(store, ship):
    assert changes(store, ship({"one/app": {"a.py": "1"}}), ship({"two/app": {"a.py": "1"}})) == []
    moved = changes(store, ship({"one/app": {"a.py": "1", "b.py": "1"}}), ship({"two/other": {"a.py": "1", "b.py": "1"}}))
    assert moved == [], "whatever it is called"


def test_files_of_several_roots_are_told_apart(store, ship):
    old = ship({"app": {"a.py": "1"}, "lib": {"a.py": "1"}})
    new = ship({"app": {"a.py": "1"}, "lib": {"a.py": "2"}})
    assert changes(store, old, new) == ["changed: lib/a.py"]


def test_also_where_two_roots_have_one_name(store, ship, tmp_path):
    old = ship({"one/src": {"a.py": "1"}, "two/src": {"a.py": "0"}})
    new = ship({"one/src": {"a.py": "2"}, "two/src": {"a.py": "3"}})
    roots = f"{tmp_path}/roots"
    assert changes(store, old, new)[0].removeprefix("changed: ").split(", ") == [f"{roots}/one/src/a.py", f"{roots}/two/src/a.py"]


def test_an_archive_is_a_file(store, ship, tmp_path):
    shipments = []
    for content in ("1", "2"):
        Path(tmp_path, "app.pyz").write_text(content)
        resource = FileResource.create(Sender(store), str(tmp_path / "app.pyz"))
        one = parcel(store, "app.pyz", resource, "file", str(tmp_path / "app.pyz"))
        shipments.append(ship({}))
        shipments[-1].roots.append(one)
    assert changes(store, *shipments) == ["changed: app.pyz"]


def test_distributions(store, ship):
    old = ship({}, {"jobsys 1": "j1", "a 1.0": "a1", "b 1.0": "b1", "c 1.0": "c1", LOOSE: "l1"})
    new = ship({}, {"jobsys 1": "j2", "a 1.0": "a1", "b 2.0": "b2", "d 1.0": "d1", LOOSE: "l2"})
    assert changes(store, old, new) == [
        f"environment: b 1.0 is now 2.0, c is gone, d is new, {LOOSE} changed, jobsys has other files",
    ]
    assert changes(store, ship({}), new) == [], "of a run on this host nothing is known"
    many = ship({}, {f"p{number:02} 1": "x" for number in range(SHOWN + 1)})
    fresh = ship({}, {f"p{number:02} 2": "y" for number in range(SHOWN + 1)})
    assert changes(store, many, fresh)[0].endswith("p09 1 is now 2 and 1 more")
