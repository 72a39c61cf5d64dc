"""What every storage must keep, as plain functions: run `check_storage` over a back end of your own. Needs no test framework."""

import contextlib
import io
import os
import tempfile
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable
from itertools import pairwise

from jobsys.storage.base import LONGEST_KEY, Storage
from jobsys.testing.racing import RACERS, absent, in_processes, in_threads, made, opened, refused

Make = Callable[[], Storage]
LARGE = 64 << 20
BAD_KEYS = (
    *(
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a/./b",
        ".tmp",
        ".tmp/a",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a\\b",
        "a:b",
        "~/*",
    ),
    "x" * 256,
    "x/" * (LONGEST_KEY // 2) + "x",
)
GOOD_KEYS = ("a", "-", "~", "...", ".a", "a.", "%2F", "b/.tmp", "c/..d", "d/e/f/g/h/i/j", "A=b~c_d-e.f%", "x" * 255)


def check_storage(make: Make, *, in_memory: bool = False) -> None:
    """Check every rule; ``make`` gives a new empty storage at each call. One that lives in memory is not shared between processes."""
    for rule in RULES:
        if not (in_memory and rule in SHARED_RULES):
            rule(make)


def check_put_and_get(make: Make) -> None:
    """What was put is what is got; a second put replaces it."""
    with made(make) as storage:
        for key in GOOD_KEYS:
            assert storage.put(key, key.encode()), key
        for key in GOOD_KEYS:
            assert storage.get(key) == key.encode(), key
            assert storage.stat(key).size == len(key), key
        assert list(storage.list("")) == sorted(GOOD_KEYS)
        assert storage.put("a", memoryview(b"new and longer")[4:])
        assert storage.get("a") == b"and longer"
        for key in ("a", "journal/1"):
            storage.put(key, memoryview(b"0123456789").cast("H"))
            assert (storage.get(key), storage.stat(key).size) == (b"0123456789", 10), "a view counts items, not bytes"


def check_buffers_are_copied(make: Make) -> None:
    """A buffer that its owner changes afterwards changes no object."""
    with made(make) as storage:
        buffer = bytearray(b"before")
        storage.put("a", memoryview(buffer))
        buffer[:] = b"after!"
        assert storage.get("a") == b"before"
        assert isinstance(storage.get("a"), bytes)


def check_ranges(make: Make) -> None:
    """A range is the same slice of the object; it may reach, or lie, behind the end."""
    with made(make) as storage:
        data = bytes(range(256)) * 40
        storage.put("a/b", data)
        for start in (0, 1, 255, len(data) - 1, len(data), len(data) + 5):
            for length in (None, 0, 1, 300, len(data), 1 << 40):
                wanted = data[start:] if length is None else data[start : start + length]
                assert storage.get("a/b", start, length) == wanted, (start, length)
        for start, length in ((-1, None), (0, -1)):
            refused(storage.get, "a/b", start, length)


def check_empty_objects(make: Make) -> None:
    """An object of no bytes is an object."""
    with made(make) as storage:
        assert storage.put("a", b"")
        assert not storage.put("a", b"x", if_absent=True)
        with storage.writer("b"):
            pass
        for key in ("a", "b"):
            assert storage.get(key) == storage.get(key, 0, 5) == storage.get(key, 7) == b"", key
            assert storage.stat(key).size == 0, key
            with storage.reader(key) as stream:
                assert stream.read() == b"", key


def check_absence(make: Make) -> None:
    """What is not there is a NotFoundError; a folder is not there either."""
    with made(make) as storage:
        for _ in range(2):
            for key in ("none", "none/at/all", "folder"):
                absent(storage.get, key)
                absent(storage.get, key, 0, 0)
                absent(storage.stat, key)
                absent(opened, storage.reader, key)
            storage.put("folder/inner", b"")


def check_bad_keys(make: Make) -> None:
    """What is no key is refused by every method, and nothing is written."""
    with made(make) as storage:
        for key in BAD_KEYS:
            for call in (storage.get, storage.stat, storage.url):
                refused(call, key)
            refused(storage.put, key, b"")
            refused(storage.delete, [key])
            refused(opened, storage.reader, key)
            refused(opened, storage.writer, key)
        for prefix in ("../", "/", "a//", "a b", "..//", "a/../"):
            refused(lambda text: list(storage.list(text)), prefix)
        assert list(storage.list("")) == []


def check_if_absent(make: Make) -> None:
    """Create-once writes where nothing is, and says whether it did."""
    with made(make) as storage:
        assert storage.put("a/b", b"1", if_absent=True)
        assert not storage.put("a/b", b"2", if_absent=True)
        assert storage.get("a/b") == b"1"
        storage.delete(["a/b"])
        assert storage.put("a/b", b"3", if_absent=True)
        assert storage.get("a/b") == b"3"


def check_racing_threads(make: Make) -> None:
    """Of many threads that create the same key exactly one wins, and its bytes stay."""
    with made(make) as storage:
        for turn in range(10):
            won: list[int] = []
            gate = threading.Barrier(RACERS)

            def race(number: int, key: str = f"race/{turn}", won: list[int] = won, gate: threading.Barrier = gate) -> None:
                gate.wait()
                if storage.put(key, b"%d" % number * 1000, if_absent=True):
                    won.append(number)

            in_threads(race)
            assert len(won) == 1, won
            assert storage.get(f"race/{turn}") == b"%d" % won[0] * 1000


def check_racing_processes(make: Make) -> None:
    """Of many processes that create the same keys exactly one wins each, in folders that are new to all of them."""
    with made(make) as storage:
        keys = [f"race/{turn}/key" for turn in range(10)]
        results = in_processes(lambda number: [storage.put(key, b"%d" % number, if_absent=True) for key in keys])
        for index, key in enumerate(keys):
            won = [number for number, wins in enumerate(results) if wins[index]]
            assert len(won) == 1, (key, won)
            assert storage.get(key) == b"%d" % won[0]


def check_whole_or_absent(make: Make) -> None:
    """A reader beside a writer sees the old object or the new one, never a part or a mixture."""
    with made(make) as storage:
        storage.put("a", b"0" * 300_000)
        done = threading.Event()

        def work(number: int) -> None:
            if number:
                while not done.is_set():
                    data = storage.get("a")
                    if len(data) != 300_000 or len(set(data)) != 1:
                        failures.append(len(data))
                return
            for turn in range(60):
                storage.put("a", b"%d" % (turn % 10) * 300_000)
            done.set()

        failures: list[int] = []
        in_threads(work, 4)
        assert not failures, failures


def check_listing(make: Make) -> None:
    """Keys come sorted as text; the prefix is text; ``after`` pages through all of them."""
    with made(make) as storage:
        keys = sorted(
            [
                "a",
                "a-b",
                "a.b/c",
                "a0",
                "aa/1",
                "aa/1-x",
                "aa/2/3",
                "aa/2/4",
                "aa/2-3",
                "aa/20",
                "ab",
                "b/a",
                "b/a.x",
                "b%/a",
                "z/" * 30 + "z",
            ]
        )
        for key in reversed(keys):
            storage.put(key, b"")
        for prefix in ("", "a", "aa", "aa/", "aa/2", "aa/2/", "aa/2/3", "b", "c", "zz/", "aa/2/3/", "a/"):
            wanted = [key for key in keys if key.startswith(prefix)]
            assert list(storage.list(prefix)) == wanted, prefix
            for after in (*keys, "aa/", "aa/2/", "a~", "0", "~", "aa/2/30"):
                assert list(storage.list(prefix, after)) == [key for key in wanted if key > after], (prefix, after)
        paged, last = [], ""
        while (last := next(storage.list("", last), "")) != "":
            paged.append(last)
        assert paged == keys


def check_listing_beside_changes(make: Make) -> None:
    """Keys that stay are listed once each, whatever is put and deleted at the same time."""
    with made(make) as storage:
        stay = [f"k/{number:03}" for number in range(0, 100, 2)]
        for key in stay:
            storage.put(key, b"")
        found = []
        for key in storage.list("k/"):
            found.append(key)
            storage.put(f"k/{len(found):03}", b"")
            storage.delete([f"k/{number:03}" for number in range(1, len(found), 2)])
        assert [key for key in found if key in stay] == stay
        assert all(one < two for one, two in pairwise(found))


def check_deletes(make: Make) -> None:
    """Deleting is done once for all, and again is no error; neighbours stay and the folder can be filled again."""
    with made(make) as storage:
        for key in ("d/e/1", "d/e/2", "d/e2"):
            storage.put(key, b"x")
            storage.get(key)
        storage.delete(["d/e/1", "none", "d/none/1", "d/e"])
        absent(storage.get, "d/e/1")
        storage.delete(iter(["d/e/1", "d/e/2"]))
        storage.delete([])
        assert list(storage.list("")) == ["d/e2"]
        assert storage.put("d/e/1", b"y", if_absent=True)
        assert storage.get("d/e/1") == b"y"


def check_streams(make: Make) -> None:
    """A stream is visible at a clean exit only; an error, a killed writer or one that closed early leaves what was there."""
    with made(make) as storage:
        with storage.writer("s/new", executable=True) as stream:
            stream.write(b"one ")
            stream.flush()
            assert list(storage.list("")) == []
            stream.write(b"two")
        assert storage.get("s/new") == b"one two"
        for close in (False, True):
            with contextlib.suppress(KeyboardInterrupt), storage.writer("s/new") as stream:
                stream.write(b"half")
                if close:
                    stream.close()
                raise KeyboardInterrupt
            assert storage.get("s/new") == b"one two"
        with storage.writer("s/text") as stream, io.TextIOWrapper(stream, "utf-8") as text:
            text.write("ä")
        assert storage.get("s/text") == "ä".encode()
        assert list(storage.list("")) == ["s/new", "s/text"]
        with storage.reader("s/new") as stream:
            assert (stream.read(4), stream.read(), stream.read()) == (b"one ", b"two", b"")


def check_what_survives_later(make: Make) -> None:
    """What may be synced later is visible at once, like everything else."""
    with made(make) as storage:
        later: list[str] = []
        for key in ("l/a", "l/b"):
            with storage.writer(key, later=later) as stream:
                stream.write(key.encode())
            assert storage.get(key) == key.encode()
        assert set(later) <= {"l/a", "l/b"}
        storage.settle(later)
        storage.settle([])
        with contextlib.suppress(KeyboardInterrupt), storage.writer("l/c", later=later):
            raise KeyboardInterrupt
        assert "l/c" not in later


def check_adoption(make: Make) -> None:
    """A file becomes an object when the block ends, or stays where it is."""
    with tempfile.TemporaryDirectory() as folder, made(make) as storage:
        path = f"{folder}/mine"
        for error in (True, False):
            with open(path, "wb") as stream:
                stream.write(b"content")
            with (
                contextlib.suppress(KeyboardInterrupt),
                open(path, "rb") as source,
                storage.adopting("f/a", path, source.fileno()) as adopted,
            ):
                assert list(storage.list("")) == []
                if error:
                    raise KeyboardInterrupt
            assert os.path.exists(path) is (error or not adopted)
            assert list(storage.list("")) == (["f/a"] if adopted and not error else [])
        assert not adopted or storage.get("f/a") == b"content"


def check_reader_keeps_its_object(make: Make) -> None:
    """Who has begun to read an object reads that one to its end, though it is replaced or deleted."""
    with made(make) as storage:
        old = b"old" * 500_000
        storage.put("a", old)
        with storage.reader("a") as stream:
            begin = stream.read(10)
            storage.put("a", b"new" * 500_000)
            storage.delete(["a"])
            assert begin + stream.read() == old


def check_large_streams(make: Make) -> None:
    """A large object passes through both streams in flat memory."""
    piece = bytes(range(256)) * 4096
    with made(make) as storage:
        tracemalloc.start()
        try:
            with storage.writer("large") as stream:
                for _ in range(LARGE // len(piece)):
                    stream.write(piece)
            with storage.reader("large") as stream:
                for _ in range(LARGE // len(piece)):
                    assert stream.read(len(piece)) == piece
                assert stream.read(1) == b""
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < LARGE // 2, f"{peak >> 20} MiB of memory for a stream"


def check_large_objects(make: Make) -> None:
    """A large object is put and got in one piece."""
    piece = bytes(range(256)) * 4096
    with made(make) as storage:
        storage.put("large", memoryview(piece * (LARGE // len(piece))))
        assert storage.stat("large").size == LARGE
        assert storage.get("large", LARGE - 256) == piece[:256]
        assert storage.get("large") == piece * (LARGE // len(piece))


def check_stat(make: Make) -> None:
    """The time of an object is about when it was written."""
    with made(make) as storage:
        storage.put("a", b"123")
        found = storage.stat("a")
        assert found.size == 3
        assert abs(found.modified - time.time()) < 60, "the storage's clock and this machine's differ by more than a minute"


def check_stretches(make: Make) -> None:
    """Where an object can be begun in the middle, what comes is that slice of it, with its size and the name of its version."""
    with made(make) as storage:
        data = bytes(range(256)) * 4096
        storage.put("a", data)
        tags = set()
        for start, length in ((0, None), (0, 10), (1000, 300_000), (len(data) - 5, 10), (len(data), None), (len(data) + 5, 5)):
            stretch = storage.stretch("a", start, length)
            if stretch is None:
                return
            assert b"".join(stretch.pieces) == data[start:][:length], (start, length)
            if start < len(data):
                assert stretch.size == len(data), (start, length)
                tags.add(stretch.tag)
        assert len(tags) == 1
        assert "" not in tags
        absent(storage.stretch, "none")


def check_signed_urls(make: Make) -> None:
    """Where a URL is given, who has nothing but that URL reads the object at it, or a range of it, as often as he likes."""
    with made(make) as storage:
        storage.put("signed/a", bytes(range(256)))
        url = storage.signed("signed/a")
        if url is None:
            return
        for wanted, data in ((None, bytes(range(256))), ("bytes=5-", bytes(range(5, 256))), ("bytes=5-9", bytes(range(5, 10)))):
            assert url.startswith(("http:", "https:"))
            request = urllib.request.Request(url, headers={} if wanted is None else {"Range": wanted})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.read() == data, wanted
                assert answer.headers["ETag"], "the name of the version"
        assert storage.signed("signed/none") is not None, "nothing is asked for"


def check_forked_use(make: Make) -> None:
    """A process forked off a storage in use reads and writes it at the same time as its parent."""
    with made(make) as storage:
        storage.put("journal/a", bytes(range(256)) * 100)
        storage.get("journal/a", 0, 10)

        def use(number: int) -> bool:
            right = all(storage.get("journal/a", start, 1) == bytes([start]) for start in range(256))
            return right and storage.put(f"own/{number}", b"%d" % number)

        assert all(in_processes(use))
        assert [storage.get(key) for key in storage.list("own/")] == sorted(b"%d" % number for number in range(RACERS))


def check_destroy(make: Make) -> None:
    """Nothing is left, destroying again is no error, and one can begin again."""
    with made(make) as storage:
        storage.put("a/b/c", b"")
        storage.destroy()
        storage.destroy()
        assert list(storage.list("")) == []
        assert storage.put("a/b/c", b"1", if_absent=True)


RULES: tuple[Callable[[Make], None], ...] = tuple(
    rule for name, rule in list(globals().items()) if name.startswith("check_") and rule is not check_storage
)
SHARED_RULES = (check_racing_processes, check_forked_use, check_large_streams)
