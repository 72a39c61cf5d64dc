"""What leader and tasks leave for each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster.mail import Box, Claim, Office, pack_orders, unpack_orders
from jobsys.errors import IntegrityError, NotFoundError
from jobsys.storage.memory import MemoryStorage

SECRETS = {"w": b"one", "x": b"two"}


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def office(storage: MemoryStorage) -> Office:
    return Office(storage, "tasks/", SECRETS.__getitem__)


def box(storage: MemoryStorage, task: int = 0, wave: str = "w") -> Box:
    return Box(storage, "tasks/", wave, task, SECRETS[wave])


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_orders_come_back_whole(parts: list[bytes]):
    assert unpack_orders(b"s", "k", pack_orders(b"s", "k", parts)) == parts


def test_each_task_reads_its_own_orders(storage: MemoryStorage, office: Office):
    office.write_orders("w", [b"first", b"", b"third" * 1000])
    assert [box(storage, task).orders() for task in range(3)] == [b"first", b"", b"third" * 1000]
    with pytest.raises(IntegrityError, match=r"tag|has no orders"):
        box(storage, 3).orders()


def test_orders_of_a_wave_that_was_given_up_are_not_there(storage: MemoryStorage, office: Office):
    office.write_orders("w", [b"first"])
    office.close("w")
    with pytest.raises(NotFoundError):
        box(storage).orders()


CHANGES = (lambda data: data[:-1] + b"x", lambda data: data[:-40], lambda _: b"", lambda data: b"\xff" * len(data))


@pytest.mark.parametrize("change", CHANGES)
def test_changed_orders_are_refused(storage: MemoryStorage, office: Office, change):
    office.write_orders("w", [b"first" * 100])
    key = office.places.orders("w")
    storage.put(key, change(storage.get(key)))
    with pytest.raises(IntegrityError):
        box(storage).orders()


def test_letters_come_once_in_order_and_go_when_they_are_forgotten(storage: MemoryStorage, office: Office):
    one, two = box(storage, 0), box(storage, 12)
    one.write(b"a")
    two.write(b"b")
    one.write(b"c")
    letters = office.letters()
    assert sorted((letter.task, letter.data) for letter in letters) == [(0, b"a"), (0, b"c"), (12, b"b")]
    assert office.letters() == []
    office.forget([letter.key for letter in letters])
    assert list(storage.list("tasks/from/")) == []
    two.write(b"d")
    assert [letter.data for letter in office.letters()] == [b"d"]


def test_a_letter_under_another_name_is_no_letter(storage: MemoryStorage, office: Office, caplog):
    box(storage).write(b"a")
    (key,) = storage.list("tasks/from/")
    storage.put(key.replace("w.0.", "w.1."), storage.get(key))
    storage.put(key.replace("w.0.", "x.0."), storage.get(key))
    storage.put("tasks/from/other", b"")
    assert [letter.data for letter in office.letters()] == [b"a"]
    assert caplog.text.count("is passed over") == 3


def test_a_task_reads_what_it_was_written_in_order(storage: MemoryStorage, office: Office):
    task = box(storage, 3)
    assert task.look() == []
    for serial, text in enumerate((b"one", b"two"), 1):
        office.write("w", 3, serial, text)
    office.write("w", 4, 1, b"another's")
    assert task.look() == [b"one", b"two"]
    assert task.look() == []
    office.write("w", 3, 4, b"four")  # a list need not show three yet
    assert task.look() == []
    office.write("w", 3, 3, b"three")
    assert task.look() == [b"three", b"four"]
    assert task.read == 4


def test_a_task_is_begun_once(storage: MemoryStorage, office: Office):
    first, second = Claim("n1", 1, 1.0), Claim("n2", 2, 2.0)
    assert box(storage).claim(first) is None
    assert box(storage).claim(first) is None  # the answer to the first was lost
    assert box(storage).claim(second) == first
    assert office.claim("w", 0) is False
    assert office.claim("w", 1) is True
    assert box(storage, 1).claim(second) is not None
    assert {number: claim.leader for number, claim in office.begun("w").items()} == {0: False, 1: True}


def test_the_next_leader_finds_what_is_there(storage: MemoryStorage, office: Office, caplog):
    office.write_record("w", b"record")
    office.write_record("w", b"record with an id")
    office.write_orders("w", [b"a", b"b"])
    office.write("w", 1, 1, b"letter")
    storage.put("tasks/wave/x/record", b"forged")
    later = Office(storage, "tasks/", SECRETS.__getitem__)
    assert list(later.waves()) == [("w", b"record with an id")]
    assert later.orders("w") == [b"a", b"b"]
    assert later.told("w") == [1]
    assert later.written("w", 1) == [b"letter"]
    assert "passed over" in caplog.text


def test_a_wave_goes_with_the_letters_of_its_tasks(storage: MemoryStorage, office: Office):
    office.write_record("w", b"record")
    box(storage).write(b"a")
    box(storage, wave="x").write(b"b")
    office.close("w")
    assert [key for key in storage.list("tasks/") if "w" in key.rpartition("/")[2]] == []
    assert len(list(storage.list("tasks/from/"))) == 1


def test_of_many_tasks_it_is_known_who_began_each(storage: MemoryStorage, office: Office):
    for number in range(20):
        if number % 2:
            office.claim("w", number)
        else:
            box(storage, number).claim(Claim("host", number, 0.0))
    storage.put("tasks/wave/w/begun/20", b"nonsense")
    assert {number for number, claim in office.begun("w").items() if not claim.leader} == {*range(0, 20, 2), 20}
