"""A job store on NFS: what a host does is seen by another one at once, though each believes for long what it has seen itself.

``make test-nfs``, ``make test-all``; kernels of their own are no part of ``make test``.
"""

import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from jobsys.batch.cluster.mail import Box, Claim, Office
from jobsys.errors import NotFoundError
from jobsys.storage.base import Storage
from jobsys.testing import jobstore, storage
from nfs import hosts as nfs  # type: ignore[import-not-found]

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(120, func_only=True)]  # hosts that boot have limits of their own

OTHERWISE = {storage.check_whole_or_absent, storage.check_large_streams, storage.check_large_objects}
"""Of these the server between the test and the host says that an object was replaced, or they are as on one host and take long."""
RULES = [rule for rule in (*storage.RULES, *jobstore.RULES) if rule not in OTHERWISE]
PAIRS = {"two clients": (1, 2), "server and client": (0, 1)}


@pytest.fixture(scope="session")
def hosts() -> Iterator[nfs.Hosts]:
    if lacking := nfs.missing() or nfs.impossible():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)
    with nfs.started() as found:
        yield found


@pytest.fixture
def two(hosts: nfs.Hosts) -> tuple[Storage, Storage]:
    """Give the storage of one directory, which is not there yet, on two hosts."""
    name = secrets.token_hex(8)
    for number in (1, 2):
        hosts[number].use(name)
    return hosts[1].storage, hosts[2].storage


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
def test_the_contracts_hold_when_each_call_is_made_on_another_host(
    hosts: nfs.Hosts, pair: tuple[int, int], rule: Callable[[Callable[[], Storage]], None]
) -> None:
    rule(lambda: nfs.Crossing(hosts[number] for number in pair))


@pytest.mark.parametrize("key", ["jobsys-store.json", "values/1-a/1", "shared/a", "journal/0000000001"])
def test_what_was_asked_for_too_early_is_there_once_another_host_has_made_it(two: tuple[Storage, Storage], key: str) -> None:
    one, other = two
    for ask in (other.get, other.stat, lambda key: list(other.list(key))):
        try:
            assert ask(key) == []
        except NotFoundError:
            continue
    one.put(key, b"here")
    assert other.stat(key).size == 4
    assert other.get(key) == b"here"
    assert list(other.list("")) == [key]


def test_what_another_host_has_deleted_can_be_created_once_again(two: tuple[Storage, Storage]) -> None:
    one, other = two
    for turn in range(3):
        assert other.put("tasks/a/b/1", b"%d" % turn, if_absent=True)
        assert not other.put("tasks/a/b/1", b"x", if_absent=True)
        assert one.get("tasks/a/b/1") == b"%d" % turn
        one.delete(["tasks/a/b/1"])
        with pytest.raises(NotFoundError):
            other.get("tasks/a/b/1")


def test_a_folder_that_another_host_has_deleted_is_made_again(two: tuple[Storage, Storage]) -> None:
    one, other = two
    for turn in range(30):
        for key in ("tasks/x/from/1", "tasks/y/z/from/1"):
            other.put(key, b"%d" % turn, if_absent=turn % 2 == 0)
            assert one.get(key) == b"%d" % turn
            one.delete([key])


def test_a_replaced_object_is_read_anew(two: tuple[Storage, Storage]) -> None:
    one, other = two
    for turn in range(20):
        one.put("status.json", b"x" * turn)
        assert other.stat("status.json").size == turn
        assert other.get("status.json") == b"x" * turn


REPLACE = """
import sys
from jobsys.jobstores.file import storage
there = storage(sys.argv[1])
for turn in range(600):
    there.put("status.json", b"%d" % (turn % 10) * 50_000)
    if turn == 0:
        print("begun", flush=True)
"""
READ = """
import sys, time
from jobsys.jobstores.file import storage
there, end, seen = storage(sys.argv[1]), time.monotonic() + 5, set()
while time.monotonic() < end:
    data = there.get("status.json")
    assert len(data) == 50_000 and len(set(data)) == 1, (len(data), set(data))
    assert there.stat("status.json").size == 50_000
    with there.reader("status.json") as stream:
        assert len(stream.read()) == 50_000
        time.sleep(float(sys.argv[2]))
    seen.add(data[:1])
print(len(seen))
"""


def test_an_object_is_whole_and_there_while_it_is_replaced_whoever_reads(hosts: nfs.Hosts) -> None:
    """A host that replaces what a process of it has open takes the old one away first."""
    name = secrets.token_hex(8)
    writer = hosts[1].run(REPLACE, f"{nfs.MOUNTED}/{name}")
    assert writer.stdout is not None
    writer.stdout.readline()
    readers = [hosts[number].run(READ, f"{hosts[number].base}/{name}", pause) for number, pause in ((1, "0.02"), (2, "0"), (0, "0"))]
    said = [reader.communicate(timeout=60)[0] for reader in readers]
    writer.communicate(timeout=60)
    assert [each.returncode for each in (writer, *readers)] == [0] * 4
    assert all(int(text) for text in said)


DESTROY = """
import os, sys
from jobsys.jobstores.file import storage
there = storage(sys.argv[1])
for key in ("values/1", "journal/0000000001"):
    there.put(key, b"kept open")
    there.get(key)
there.destroy()
print(os.path.lexists(sys.argv[1]))
"""


def test_a_store_of_which_files_are_open_is_destroyed(hosts: nfs.Hosts) -> None:
    assert hosts[1].run(DESTROY, f"{nfs.MOUNTED}/{secrets.token_hex(8)}").communicate(timeout=60)[0] == "False\n"


def test_a_leader_and_a_task_on_another_host_find_what_the_other_wrote(two: tuple[Storage, Storage]) -> None:
    key = b"k" * 32
    office, box = Office(two[0], "tasks/x/", lambda _: key), Box(two[1], "tasks/x/", "w", 0, key)
    assert office.letters() == []
    assert box.look() == []
    with pytest.raises(NotFoundError):
        box.orders()
    office.write_orders("w", [b"orders"])
    assert box.orders() == b"orders"
    assert box.claim(Claim("host2", 1, 0.0)) is None
    assert not office.claim("w", 0)
    assert set(office.begun("w")) == {0}
    for number in range(20):
        office.write("w", 0, number + 1, b"to %d" % number)
        assert box.look() == [b"to %d" % number]
        box.write(b"from %d" % number)
        letters = office.letters()
        assert [letter.data for letter in letters] == [b"from %d" % number]
        office.forget([letter.key for letter in letters])
    office.close("w")
    with pytest.raises(NotFoundError):
        box.orders()


WRITE_ON = """
import sys, time
from jobsys.jobstores.file import storage
there, count, longest = storage(sys.argv[1]), 0, 0.0
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    begun = time.monotonic()
    assert there.put(f"journal/{count:010d}", b"%d" % count, if_absent=True)
    assert there.get(f"journal/{count:010d}") == b"%d" % count
    there.put("status.json", b"%d" % count)
    longest = max(longest, time.monotonic() - begun)
    count += 1
    if count == 1:
        print("begun", flush=True)
print(count, longest)
"""


@pytest.mark.slow
def test_the_server_is_switched_off_and_on_in_the_middle(hosts: nfs.Hosts) -> None:
    """Who writes waits, then goes on; all that was acknowledged is there, and create-once has no second winner."""
    name = secrets.token_hex(8)
    writers = [hosts[number].run(WRITE_ON, f"{nfs.MOUNTED}/{name}/{number}", "20") for number in (1, 2)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    hosts.control("crash", "0")
    hosts.control("boot", "0")
    for number, writer in enumerate(writers, 1):
        said = writer.communicate(timeout=110)[0].split()
        assert writer.returncode == 0
        count, longest = int(said[0]), float(said[1])
        assert longest > 1, "it has met the reboot"
        other = hosts[3 - number]
        other.use(f"{name}/{number}")
        assert list(other.storage.list("journal/")) == [f"journal/{each:010d}" for each in range(count)]
        assert other.storage.get(f"journal/{count - 1:010d}") == b"%d" % (count - 1)
