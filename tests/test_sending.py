"""The leader's side of a shipment: what is sent, what is not, and that all of it is there when it has been described."""

import gc
import os
import re
import sys
import threading
import zipfile
from contextlib import contextmanager
from typing import cast

import pathspec  # noqa: F401 - before tests put the import path away
import pytest

from jobsys import sending
from jobsys.archives import Archives
from jobsys.collecting import uncollected
from jobsys.errors import StorageError
from jobsys.jobstores import JobStore, create
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.resource import DirectoryResource, ResourceException
from jobsys.sending import Sender, make
from jobsys.shipping.closure import Start
from jobsys.shipping.main import Main
from jobsys.shipping.plan import Options, make_plan
from shipping.installing import environment, install, wheel  # type: ignore[import-not-found]


@pytest.fixture
def store(tmp_path):
    return create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr("jobsys.known.SETTLED", -(10**12))
    place = environment(tmp_path / "env")
    for name in ("one", "two"):
        install(tmp_path / "env", wheel(tmp_path, name, files={f"{name}/__init__.py": f"{name} = 1\n" * 100, f"{name}/empty.py": ""}))
    monkeypatch.setattr(sys, "path", [str(place)])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    return place


@pytest.fixture
def planned(tmp_path, site):
    return lambda: make_plan(Start("", "", False), Options((), "always", remote=True, facts=str(tmp_path / "facts")), loaded=False)


def sent(sender, plan):
    return {parcel.label: parcel for parcel in make(sender, plan, Main(), remote=True).layers}


def archive(store, parcel):
    with zipfile.ZipFile(store.storage.local_path(store.shared_file_key(parcel.shared))) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def test_all_is_there_and_whole_when_it_has_been_described(store, planned):
    parcels = sent(Sender(store), planned())
    assert {"one 1.0", "two 1.0"} < set(parcels)
    content = archive(store, parcels["one 1.0"])
    assert content["site/one/__init__.py"] == b"one = 1\n" * 100
    assert content["site/one/empty.py"] == b""


def test_a_second_start_sends_nothing_and_says_the_same(store, planned, monkeypatch):
    first = sent(Sender(store), planned())
    monkeypatch.setattr("jobsys.resource.pack", lambda *_, **__: pytest.fail("it was packed"))
    monkeypatch.setattr("jobsys.tree.open_file", lambda path: pytest.fail(f"{path} was read"))
    sender = Sender(store)
    assert sent(sender, planned()) == first
    assert sender.sent == 0


def test_another_store_gets_what_is_known_whole(store, planned, tmp_path):
    first = sent(Sender(store), planned())
    other = create(tmp_path / "other", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    second = sent(Sender(other), planned())
    assert archive(other, second["two 1.0"]) == archive(store, first["two 1.0"])
    assert {name: each.sha256 for name, each in second.items()} == {name: each.sha256 for name, each in first.items()}


def test_another_store_gets_archives_that_were_sent_before_unless_they_changed(store, planned, tmp_path, monkeypatch):
    archives = Archives(str(tmp_path / "archives"), 10**9)
    first = sent(Sender(store, "http://a/s/{}".format, archives), planned())
    assert len(list(archives.kept())) >= len(first)
    with monkeypatch.context() as patch:
        patch.setattr("jobsys.resource.pack", lambda *_, **__: pytest.fail("it was packed"))
        other = create(tmp_path / "other", StoreInfo(FORMAT, 0.0, "0"), durable=False)
        second = sent(Sender(other, "http://b/s/{}".format, archives), planned())
    assert archive(other, second["two 1.0"]) == archive(store, first["two 1.0"])
    (damaged,) = (each.path for each in archives.kept() if first["two 1.0"].sha256 in each.path)
    with open(damaged, "r+b") as stream:
        stream.write(b"x")
    third = create(tmp_path / "third", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    assert archive(third, sent(Sender(third, "http://c/s/{}".format, archives), planned())["two 1.0"]) == archive(store, first["two 1.0"])


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_what_stays_in_memory_makes_no_other_archive(store, planned, monkeypatch, room):
    monkeypatch.setattr(sending, "ROOM", room)
    assert archive(store, sent(Sender(store), planned())["one 1.0"])["site/one/__init__.py"] == b"one = 1\n" * 100


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_a_layer_that_changes_after_it_was_planned_is_sent_as_it_is(store, planned, site, monkeypatch, room):
    monkeypatch.setattr(sending, "ROOM", room)
    plan = planned()
    (site / "one" / "__init__.py").write_text("one = 2\n" * 100)
    assert archive(store, sent(Sender(store), plan)["one 1.0"])["site/one/__init__.py"] == b"one = 2\n" * 100


def test_a_layer_that_changes_while_it_is_packed_is_read_anew(store, planned, site, monkeypatch):
    monkeypatch.setattr(sending, "ROOM", 0)
    real = DirectoryResource.of_tree
    done: list[int] = []

    def of_tree(store, path, name, read, tries=5):
        def read_and_change():
            tree = read()
            if path == "one 1.0" and not done:
                done.append((site / "one" / "__init__.py").write_text("one = 3\n" * 100))
            return tree

        return real(store, path, name, read_and_change, tries)

    monkeypatch.setattr(DirectoryResource, "of_tree", of_tree)
    parcels = sent(Sender(store), planned())
    assert done
    assert archive(store, parcels["one 1.0"])["site/one/__init__.py"] == b"one = 3\n" * 100
    again = planned()
    assert next(layer.summary.sha256 for layer in again.layers if layer.name == "one 1.0") == parcels["one 1.0"].sha256


def test_a_layer_of_which_nothing_is_left_is_no_layer(store, planned, monkeypatch):
    monkeypatch.setattr("jobsys.shipping.distributions._members", lambda each, *_: iter(()))
    assert not {"one 1.0", "two 1.0"} & set(sent(Sender(store), planned()))


def test_a_layer_that_can_t_be_read_is_named(store, planned, site):
    plan = planned()
    (site / "one-1.0.dist-info" / "RECORD").unlink()
    with pytest.raises(ResourceException, match=r"^one 1\.0 can't be shipped: .*RECORD can't be read"):
        sent(Sender(store), plan)


class Slow:
    """A store whose writes end only when they may."""

    def __init__(self, store, failing=None):
        self.store, self.failing = store, failing
        self.may, self.threads = threading.Event(), []

    def __getattr__(self, name):
        return getattr(self.store, name)

    @contextmanager
    def write_shared_file(self, name):
        with self.store.write_shared_file(name) as stream:
            yield stream
            assert self.may.wait(20)
            self.threads.append(threading.get_ident())
            if self.failing:
                raise StorageError(self.failing)


def test_the_next_is_written_while_one_waits_for_the_disk(store):
    slow = Slow(store)
    sender = Sender(cast("JobStore", slow))
    with sender.overlapping():
        for name in ("a", "b"):
            with sender.write_shared_file(name) as stream:
                stream.write(b"12345")
        assert not store.shared_file_exists("a")
        slow.may.set()
    assert sender.sent == 10
    assert store.shared_file_exists("a")
    assert store.shared_file_exists("b")
    assert threading.get_ident() not in slow.threads


def test_not_more_than_some_wait_at_a_time(store, monkeypatch):
    monkeypatch.setattr(sending, "UNFINISHED", 2)
    sender = Sender(store)
    with sender.overlapping():
        for number in range(20):
            with sender.write_shared_file(str(number)) as stream:
                stream.write(b"x")
            assert len(sender._unfinished) <= 3
    assert all(store.shared_file_exists(str(number)) for number in range(20))


def test_a_write_that_fails_in_the_end_is_an_error_of_the_whole(store):
    slow = Slow(store, "the disk is full")
    slow.may.set()
    sender = Sender(cast("JobStore", slow))
    with pytest.raises(StorageError, match="the disk is full"), sender.overlapping(), sender.write_shared_file("a") as stream:
        stream.write(b"x")
    assert not store.shared_file_exists("a")


def test_after_an_error_what_waited_is_there_and_the_sender_is_as_new(store):
    slow = Slow(store)
    slow.may.set()
    sender = Sender(cast("JobStore", slow))

    def write_and_fail():
        with sender.overlapping():
            with sender.write_shared_file("a") as stream:
                stream.write(b"x")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert store.shared_file_exists("a")
    slow.failing = "the disk is full"
    with pytest.raises(StorageError), sender.overlapping(), sender.write_shared_file("b") as stream:
        stream.write(b"x")
    slow.failing = None
    with sender.overlapping(), sender.write_shared_file("c") as stream:
        stream.write(b"x")
    assert store.shared_file_exists("c")


def test_an_error_while_writing_leaves_nothing(store):
    sender = Sender(store)
    with pytest.raises(ZeroDivisionError), sender.overlapping(), sender.write_shared_file("a"):
        _ = 1 / 0
    assert not store.shared_file_exists("a")
    assert sender.sent == 0
    assert os.listdir(store.storage.local_path("x").removesuffix("x") + ".tmp") == []


def test_outside_of_that_a_write_is_there_at_once(store):
    sender = Sender(store)
    with sender.write_shared_file("a") as stream:
        stream.write(b"x")
    assert store.shared_file_exists("a")


def test_the_garbage_collector_is_as_it_was():
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_much_is_announced_before_it_is_sent_and_only_then(store, planned, monkeypatch):
    said: list[tuple[str, int]] = []
    for much in (10**9, 200, 200):
        monkeypatch.setattr(sending, "MUCH", much)
        sender = Sender(store) if much == 200 else Sender(create(f"memory:{much}", StoreInfo(FORMAT, 0.0, "0"), durable=False))
        make(sender, planned(), Main(), remote=True, say=lambda text, sender=sender: said.append((text, sender.sent)))  # type: ignore[misc]
    [(text, before)] = said
    assert before == 0
    assert re.fullmatch(r"shipping \d+ distributions \(.* k?B\), which the job store does not have yet …", text), text
