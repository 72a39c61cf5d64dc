"""What every job store must keep, as plain functions: run `check_job_store` over a storage of your own. Needs no test framework."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobsys.errors import FormatError, IntegrityError, JobStoreExistsError, NoSuchJobStoreError, NotFoundError
from jobsys.jobstores import keys
from jobsys.jobstores.base import FORMAT, JobStore, Lease, StoreInfo
from jobsys.jobstores.files import FileId
from jobsys.record import Blob
from jobsys.storage.base import Storage

Make = Callable[[], Storage]
INFO = StoreInfo(FORMAT, 1.5, "0.1", config={"retries": 2}, command=("python", "a b.py"), directory="/home/me")


def check_job_store(make: Make) -> None:
    """Check every rule; ``make`` gives a new empty storage at each call."""
    for rule in RULES:
        rule(make)


@contextmanager
def new_store(make: Make) -> Iterator[JobStore]:
    """Give a new job store, and destroy it afterwards."""
    store = JobStore("memory:tested", make())  # whose key is kept in memory, too
    store.create(INFO)
    try:
        yield store
    finally:
        store.storage.destroy()


def check_a_store_is_created_once(make: Make) -> None:
    """The second who creates it is told, and what it is can be read."""
    with new_store(make) as store:
        assert store.info() == INFO
        other = StoreInfo(FORMAT, 2.0, "0.1")
        assert _raises(JobStoreExistsError, lambda: store.create(other))
        assert store.info() == INFO


def check_other_formats_are_refused(make: Make) -> None:
    """A format from the future, and what is no information at all, are refused by name."""
    with new_store(make) as store:
        for data, word in (
            (b'{"format": 999, "from": "the future"}', "format 999"),
            (b'{"jobsys": "0.1"}', "format None"),
            (b"[1]", "no readable"),
            (b"\xff{", "no readable"),
            (b"", "no readable"),
            (b'{"format": %d}' % (FORMAT - 1), f"format {FORMAT - 1}"),
            (b'{"format": %d}' % FORMAT, "no readable"),
        ):
            store.storage.put(keys.STORE, data)
            assert word in _raises(FormatError, store.info), data


def check_a_lease_is_taken_once(make: Make) -> None:
    """Of two who want an epoch, one gets it; who repeats its own wish has it still."""
    with new_store(make) as store:
        assert store.last_lease() is None
        first, second = (Lease(1, owner, "host", 7, 1.0, 2.0) for owner in ("first", "second"))
        assert store.take_lease(first)
        assert not store.take_lease(second)
        assert store.take_lease(first), "the answer to the first call may have been lost"
        assert store.last_lease() == first
        for epoch in range(2, 12):
            assert store.take_lease(Lease(epoch, "first", "host", 7, 1.0, 2.0))
        last = store.last_lease()
        assert last is not None
        assert last.epoch == 11
        assert store.last_beat(11) == {"count": 0, "time": 0.0, "released": False}
        store.beat(11, 3, 4.5, released=True)
        assert store.last_beat(11) == {"count": 3, "time": 4.5, "released": True}


def check_a_segment_is_written_once(make: Make) -> None:
    """A segment that another leader wrote is not written over, and all are read in order."""
    with new_store(make) as store:
        for number in range(1, 13):
            assert store.append(number, b"segment %d" % number)
        assert not store.append(5, b"of another leader")
        assert store.append(5, b"segment 5"), "the answer to the first call may have been lost"
        assert list(store.segments()) == list(range(1, 13))
        assert list(store.segments(9)) == [10, 11, 12]
        assert store.segment(5) == b"segment 5"


def check_the_last_snapshots_stay(make: Make) -> None:
    """Older snapshots than the last two are forgotten."""
    with new_store(make) as store:
        for number in (3, 20, 100):
            store.write_snapshot(number, b"%d" % number)
        assert store.snapshots() == [100, 20]
        assert store.snapshot(20) == b"20"


def check_each_attempt_leaves_a_commit_of_its_own(make: Make) -> None:
    """All that were left are found with their keys; to leave one again changes nothing."""
    with new_store(make) as store:
        store.put_commit(7, "1.1", b"first")
        store.put_commit(7, "2.1", b"second")
        store.put_commit(7, "1.1", b"first")
        store.put_commit(1234, "1.2", b"other")
        found = list(store.commits())
        assert [data for _, data in found] == [b"first", b"second", b"other"]
        store.delete([found[0][0]])
        assert [data for _, data in store.commits()] == [b"second", b"other"]


def check_blobs_are_found_where_they_lie(make: Make) -> None:
    """A blob is a part of a segment or an object; an empty one is nowhere."""
    with new_store(make) as store:
        store.append(1, b"0123456789")
        assert store.read(Blob.of(b"3456", 1, 3)) == b"3456"
        assert store.peek(Blob(1, 3, 4)) == b"3456"
        for wrong in (Blob(1, 3, 4), Blob.of(b"3457", 1, 3), Blob.of(b"9more", 1, 9)):
            assert "journal/0000000001" in _raises(IntegrityError, lambda wrong=wrong: store.read(wrong))  # type: ignore[misc]
        assert store.read(Blob(0, 0, 0)) == b""
        value, log = store.write_value(4, "1.2", b"value"), store.write_log(4, "1.2", b"log")
        again = store.write_value(4, "1.2", b"another")
        assert [store.read(blob) for blob in (value, log, again)] == [b"value", b"log", b"another"]


def check_what_an_attempt_left_is_deleted_and_nothing_else(make: Make) -> None:
    """Values and files of one attempt go; those of attempts with similar names stay, and so does the log."""
    with new_store(make) as store:
        for job, token in ((1, "1.1"), (1, "1.10"), (11, "1.1")):
            store.write_value(job, token, b"value")
            with store.write_file(job, token, "name") as (stream, _):
                stream.write(b"file")
        store.write_log(1, "1.1", b"log")
        store.delete_files_of(1, "1.1")
        left = [key for key in store.storage.list("") if key != keys.STORE]
        assert len(left) == 5
        assert not [key for key in left if "/1-1.1/" in key]


def check_files_are_streams(make: Make) -> None:
    """A file is there with its size once it is whole, under a key that no other file has."""
    with new_store(make) as store:
        made = []
        for content in (b"", b"x" * 3_000_000):
            with store.write_file(1, "1.1", "a b", executable=True) as (stream, file):
                stream.write(content)
                assert not list(store.storage.list("files/1-1.1/1")), "not before it is whole"
            assert (file.size, file.name, file.executable) == (len(content), "a b", True)
            with store.read_file(FileId(str(file), 0)) as reading:
                assert reading.read() == content
            made.append(file)
        assert len(set(made)) == 2
        store.delete(made)
        assert _raises(NotFoundError, lambda: store.storage.get(str(made[0])))


def check_shared_files_have_known_names(make: Make) -> None:
    """A shared file is found by its name, whatever that is."""
    with new_store(make) as store:
        for name in ("resources/ab.zip", "a b/ü", "../out", "x" * 400):
            assert not store.shared_file_exists(name)
            with store.write_shared_file(name) as stream:
                stream.write(name.encode())
            assert store.shared_file_exists(name)
            assert store.shared_file_url(name)
        assert not [key for key in store.storage.list("") if not key.startswith(("shared/", keys.STORE))]


def check_small_things_are_replaced(make: Make) -> None:
    """Status, code and requests to stop: the last word counts."""
    with new_store(make) as store:
        assert store.read_status() is None
        assert store.asked_to_stop() is None
        for word in (b"one", b"two"):
            store.write_status(word)
            store.ask_to_stop(word)
            store.write_code(1, word)
        assert (store.read_status(), store.asked_to_stop(), store.read_code(1)) == (b"two", b"two", b"two")
        store.forget_request()
        assert store.asked_to_stop() is None


def check_destroy_leaves_nothing(make: Make) -> None:
    """Everything goes, and the mark of a job store goes last: who is interrupted can begin again."""
    storage = make()
    store = JobStore("memory:tested", storage)
    assert _raises(NoSuchJobStoreError, store.destroy)
    store.create(INFO)
    store.append(1, b"x")
    store.write_value(1, "1.1", b"x")
    seen: list[bool] = []
    delete = storage.delete

    def watched(gone: Iterator[str]) -> None:
        delete(gone)
        seen.append(not seen and store.info() == INFO)  # a storage may delete the mark so, too, when all else is gone

    storage.delete = watched  # type: ignore[assignment]
    try:
        store.destroy()
    finally:
        del storage.delete
    assert seen[:1] == [True], "the mark was still there when all else was gone"
    assert not list(storage.list(""))


def _raises(kind: type[Exception], act: Callable[[], object]) -> str:
    try:
        act()
    except kind as error:
        return str(error) or "(no text)"
    raise AssertionError(f"{kind.__name__} was expected")


RULES = (
    check_a_store_is_created_once,
    check_other_formats_are_refused,
    check_a_lease_is_taken_once,
    check_a_segment_is_written_once,
    check_the_last_snapshots_stay,
    check_each_attempt_leaves_a_commit_of_its_own,
    check_blobs_are_found_where_they_lie,
    check_what_an_attempt_left_is_deleted_and_nothing_else,
    check_files_are_streams,
    check_shared_files_have_known_names,
    check_small_things_are_replaced,
    check_destroy_leaves_nothing,
)
