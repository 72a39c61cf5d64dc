"""Several processes append to the same packs, in every order of their calls that chance finds, and some die on the way.

Each is a thread with a storage of its own, which waits for its turn before every call of the operating system. The seed alone decides
whose turn it is. JOBSYS_EXAMPLES=N tries N seeds.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jobsys import files
from jobsys.errors import JobsysError, NotFoundError
from jobsys.storage import folders, local, openfiles, packs
from jobsys.storage.packed import PackedStorage

SEEDS = int(os.environ.get("JOBSYS_EXAMPLES", "150"))
FOLDER = "d/"
CALLS = {"open", "pwritev", "pwrite", "pread", "stat", "link", "rename", "unlink", "listdir", "fsync", "fdatasync", "ftruncate", "mkdir"}


class Dead(BaseException):
    """The process has been killed."""


class Turns:
    """Lets one thread go on at a time; stands for the module ``os``."""

    path = os.path

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._turn = threading.Condition()
        self._waiting: list[int] = []
        self._now = -1
        self._numbers: dict[int, int] = {}  # by thread
        self._lives: dict[int, int] = {}  # calls until the process dies

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._stepping(real) if name in CALLS else real

    def _stepping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                self.step()
            except Dead:
                if real is os.pwritev:  # it dies in the middle of it
                    descriptor, parts, at = arguments
                    data = b"".join(parts)
                    os.pwrite(descriptor, data[: self.random.randrange(len(data) + 1)], at)
                raise
            return real(*arguments, **named)

        return call

    def step(self) -> None:
        """Let chance choose who goes on, and wait until this thread may."""
        number = self._numbers.get(threading.get_ident())
        if number is None:
            return
        with self._turn:
            self._choose()
            self._turn.wait_for(lambda: self._now == number)
        self._lives[number] -= 1
        if self._lives[number] < 0:
            raise Dead

    def run(self, works: list[Callable[[], None]], lives: list[int]) -> list[BaseException]:
        """Run everything to its end; give what was raised but deaths."""
        errors: list[BaseException] = []
        self._waiting = list(range(len(works)))
        self._lives = dict(enumerate(lives))

        def go(number: int) -> None:
            self._numbers[threading.get_ident()] = number
            try:
                with self._turn:
                    self._turn.wait_for(lambda: self._now == number)
                works[number]()
            except Dead:
                pass
            except BaseException as error:
                errors.append(error)
            with self._turn:
                self._waiting.remove(number)
                self._choose()

        threads = [threading.Thread(target=go, args=(number,)) for number in self._waiting]
        for thread in threads:
            thread.start()
        with self._turn:
            self._choose()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "somebody waits for ever"
        return errors

    def _choose(self) -> None:
        self._now = self.random.choice(self._waiting) if self._waiting else -1
        self._turn.notify_all()


@contextmanager
def in_turns(turns: Turns) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (packs, local, folders, openfiles, files):
            patch.setattr(module, "os", turns)
        yield


class Writer:
    """Creates numbers one after the other, as a leader creates segments; goes on behind what others have created."""

    def __init__(self, root: Path, name: str, count: int, packing: bool) -> None:
        self.storage = PackedStorage(root, durable=name != "b", packed=FOLDER, immutable=lambda key: True)
        if not packing:
            self.storage._packs._is_own_disk = lambda: False  # type: ignore[method-assign]
        self.name = name
        self.count = count
        self.won: dict[str, bytes] = {}
        self.refused: list[str] = []

    def __call__(self) -> None:
        for number in range(self.count):
            key = f"{FOLDER}{number:04d}"
            data = f"{self.name} {number} ".encode() * (1 + 40 * (number % 3))
            if self.storage.put(key, data, if_absent=True):
                self.won[key] = data
            else:
                self.refused.append(key)
                assert self.storage.get(key), "what was refused must be there"


class Reader:
    """Looks at what is there again and again: nothing that it has seen may change or go."""

    def __init__(self, root: Path, rounds: int) -> None:
        self.root = root
        self.storage = PackedStorage(root, packed=FOLDER, immutable=lambda key: True)
        self.rounds = rounds
        self.seen: dict[str, bytes] = {}

    def __call__(self) -> None:
        for number in range(self.rounds):
            with suppress(NotFoundError):
                key = f"{FOLDER}{number:04d}"
                data = PackedStorage(self.root, packed=FOLDER, immutable=lambda key: True).get(key)
                assert self.seen.setdefault(key, data) == data, "something has changed"
            keys = list(self.storage.list(FOLDER))
            assert self.seen.keys() <= set(keys), "something is gone"
            for key in keys:
                data = self.storage.get(key)
                assert self.seen.setdefault(key, data) == data, "something has changed"


def check(root: Path, writers: list[Writer], readers: list[Reader]) -> None:
    """Compare what everybody was told with what is there in the end."""
    fresh = PackedStorage(root, packed=FOLDER)
    there = {key: fresh.get(key) for key in fresh.list(FOLDER)}
    for writer in writers:
        for key, data in writer.won.items():
            assert there.get(key) == data, f"{key} was created and is not what was written"
        assert set(writer.refused) <= there.keys()
    for reader in readers:
        for key, data in reader.seen.items():
            assert there.get(key) == data, f"{key} was seen and is something else now"
    won = [key for writer in writers for key in writer.won]
    assert len(won) == len(set(won)), "two have created the same"
    assert sorted(there) == [f"{FOLDER}{number:04d}" for number in range(len(there))], "there is a gap"


@pytest.mark.parametrize("part", range(5))
def test_whoever_appends_and_dies_nothing_is_lost_or_doubled(part: int, tmp_path: Path) -> None:
    contested = loose = died = 0
    for seed in range(part, SEEDS, 5):
        turns = Turns(seed)
        chance = turns.random
        root = tmp_path / str(seed)
        mixed = chance.random() < 0.3
        writers = [
            Writer(root, name, chance.randrange(2, 7), not mixed or chance.random() < 0.7) for name in "abc"[: chance.choice((2, 2, 3))]
        ]
        readers = [Reader(root, chance.randrange(1, 4)) for _ in range(chance.choice((0, 1)))]
        lives = [chance.randrange(5, 200) if chance.random() < 0.4 else 10**9 for _ in writers] + [10**9 for _ in readers]
        with in_turns(turns):
            errors = turns.run([*writers, *readers], lives)
        assert not errors, f"seed {seed}: {errors[0]!r}"
        try:
            check(root, writers, readers)
        except (AssertionError, JobsysError) as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        contested += all(writer.won for writer in writers)
        loose += (root / FOLDER / packs.LOOSE).exists()
        died += any(len(writer.won) + len(writer.refused) < writer.count for writer in writers)
    assert min(contested, loose, died) > 0, "the seeds must reach all of it"


def test_who_was_asleep_is_refused(tmp_path: Path) -> None:
    """A process stops between its write and its look at the name; another one takes over; only what the other has decided counts."""
    first, second = (PackedStorage(tmp_path, packed=FOLDER) for _ in range(2))
    assert first.put("d/0001", b"first", if_absent=True)
    growing = first._packs._growing
    assert growing is not None
    assert second.put("d/0002", b"second", if_absent=True)
    growing.append("d/0003", b"too late", gone=False, sync=True)  # what it was about to write
    third = PackedStorage(tmp_path, packed=FOLDER)
    assert list(third.list("d/")) == ["d/0001", "d/0002"]
    with pytest.raises(NotFoundError):
        third.get("d/0003")
    assert not first.put("d/0002", b"first again", if_absent=True)
    assert first.get("d/0002") == b"second"
    assert first.put("d/0003", b"in time", if_absent=True)
    assert second.get("d/0003") == third.get("d/0003") == b"in time"
