"""The contract of a storage over every back end of ours."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from bucket import Bucket  # type: ignore[import-not-found]
from jobsys.jobstores import s3
from jobsys.jobstores.serving import StoreServer
from jobsys.storage import local, packs
from jobsys.storage.base import Storage
from jobsys.storage.faulty import FaultyStorage
from jobsys.storage.local import LocalStorage
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.packed import PackedStorage
from jobsys.storage.served import ServedStorage
from jobsys.storage.server import ObjectServer
from jobsys.testing.storage import (
    RULES,
    SHARED_RULES,
    check_if_absent,
    check_large_streams,
    check_racing_processes,
    check_racing_threads,
    check_signed_urls,
    check_storage,
    check_stretches,
)
from within import Alternating, Within  # type: ignore[import-not-found]

TOKEN = "the-token"
KINDS = (
    *("local", "local-durable", "local-kept-open", "local-odd-root"),
    *("packed", "packed-within", "packed-alternating", "packed-loose", "shared", "shared-loose"),
    *("memory", "faulty", "served", "sent-on", "passed-through"),
    *("s3-ceph", "s3-moto"),
)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path, serve: Callable[[Storage], ObjectServer]) -> Callable[[], Storage]:
    def root() -> Path:
        return tmp_path / uuid.uuid4().hex

    def served() -> ServedStorage:
        server = StoreServer(root(), address="127.0.0.1", listen="127.0.0.1:0", durable=False)
        storage = ServedStorage(server.url, server.token)
        request.addfinalizer(server.close)
        request.addfinalizer(storage.close)
        return storage

    def in_a_bucket(*, signs: bool) -> ServedStorage:
        far = Bucket()
        far.signs = signs
        request.addfinalizer(far.close)
        storage = ServedStorage(serve(far).url, TOKEN)
        request.addfinalizer(storage.close)
        return storage

    def alternating(root: Path) -> Storage:
        return Within(Alternating(lambda: PackedStorage(root, durable=False, packed="d/")), "d/")

    def in_bucket(name: str) -> Callable[[], Storage]:
        server = request.getfixturevalue(name)
        place = request.getfixturevalue("s3_place")
        return lambda: s3.storage(place(server))

    def loose(root: Path) -> Storage:
        """Its directory is another machine's, as far as it knows."""
        request.getfixturevalue("monkeypatch").setattr(packs, "is_own_disk", lambda _path: False)
        return Within(Alternating(lambda: PackedStorage(root, durable=False, packed="d/")), "d/")

    def shared(make: Callable[[], Storage]) -> Storage:
        """Other hosts use its directory, as far as it knows."""
        request.getfixturevalue("monkeypatch").setattr(local, "is_own_disk", lambda _path: False)
        return make()

    if request.param.startswith("s3-"):
        return in_bucket(request.param.removeprefix("s3-"))
    kinds: dict[str, Callable[[], Storage]] = {
        "local": lambda: LocalStorage(root(), durable=False),
        "local-durable": lambda: LocalStorage(root(), durable=True),
        # Keeping open is promised for immutable keys only; "a" is replaced by some rules.
        "local-kept-open": lambda: LocalStorage(root(), durable=False, immutable=lambda key: key.startswith(("journal/", "d/", "own/"))),
        "local-odd-root": lambda: LocalStorage(root() / "sp ace 'q\" ünï\n%20#?"),
        "packed": lambda: PackedStorage(root(), packed="journal/"),
        "packed-within": lambda: Within(PackedStorage(root(), durable=False, packed="journal/"), "journal/"),
        "packed-alternating": lambda: alternating(root()),
        "packed-loose": lambda: loose(root()),
        "shared": lambda: shared(lambda: LocalStorage(root(), durable=False)),
        "shared-loose": lambda: shared(lambda: loose(root())),
        "memory": MemoryStorage,
        "faulty": lambda: FaultyStorage(LocalStorage(root(), durable=False)),
        "served": served,
        "sent-on": lambda: in_a_bucket(signs=True),
        "passed-through": lambda: in_a_bucket(signs=False),
    }
    return kinds[request.param]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[Callable[[], Storage]], None], make: Callable[[], Storage], request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["make"]
    if kind == "s3-moto" and rule in (check_racing_threads, check_racing_processes):  # under load, moto itself lets two of them win
        rule = check_if_absent
    in_memory = kind in {"sent-on", "passed-through"} and rule is check_large_streams  # the pretend bucket is one of this process
    if in_memory or (kind == "memory" and rule in SHARED_RULES):
        assert not list(make().list("")), "a storage in memory is shared with no process"
    else:
        rule(make)


def test_all_rules_at_once(tmp_path: Path) -> None:
    check_storage(lambda: LocalStorage(tmp_path / uuid.uuid4().hex, durable=False))
    check_storage(MemoryStorage, in_memory=True)


def test_urls_and_stretches_are_checked_where_there_are_such(request: pytest.FixtureRequest) -> None:
    far = Bucket()
    request.addfinalizer(far.close)
    check_signed_urls(lambda: far)
    check_stretches(lambda: far)
    assert len(far.signatures) == 2
    assert far.statuses() == [200, 206, 206]


def test_a_broken_storage_is_found_out() -> None:
    class Broken(MemoryStorage):
        def put(self, key: str, data: bytes | memoryview, *, if_absent: bool = False) -> bool:
            return super().put(key, data)

    with pytest.raises(AssertionError):
        check_storage(Broken, in_memory=True)
