"""The directories of workers: who gets which, and what is given to nobody again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsys.worker.places import Places, open_log, tail


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "host-1")
    made.open()
    return made


def used(places: Places) -> Path:
    directory = places.take()
    os.close(open_log(directory))
    return directory


def test_a_directory_and_its_log_are_private(places):
    directory = used(places)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "log").stat().st_mode & 0o777 == 0o600


def test_two_workers_have_two_directories(places):
    assert used(places) != used(places)


def test_what_was_left_as_it_was_is_given_to_the_next(places):
    directory = used(places)
    places.give_back(directory)
    assert places.take() == directory
    assert os.listdir(directory) == ["log"]
    assert places.take() != directory


def make_pipe(place: Path) -> None:
    (place / "log").unlink()
    os.mkfifo(place / "log", 0o600)


@pytest.mark.parametrize(
    "leave",
    [
        lambda place: (place / "log").write_text("printed"),
        lambda place: (place / "deferred-1-1").touch(),
        lambda place: (place / "job-1-x").mkdir(),
        lambda place: (place / "log").unlink(),
        lambda place: ((place / "log").unlink(), (place / "log").symlink_to("/dev/null")),
        make_pipe,
        lambda place: os.link(place / "log", place.parent / "another"),
        lambda place: (place / "log").chmod(0o444),
        lambda place: place.chmod(0o500),
    ],
)
def test_what_a_job_has_changed_is_removed(places, leave: Callable[[Path], object]):
    directory = used(places)
    leave(directory)
    places.give_back(directory)
    assert not directory.exists() or os.getuid() != 0
    assert places.take() != directory


def test_what_somebody_has_tidied_away_is_given_to_nobody(places):
    directory = used(places)
    places.give_back(directory)
    (directory / "log").unlink()
    directory.rmdir()
    assert places.take() != directory


def test_no_more_are_kept_than_are_of_use(places):
    many = [used(places) for _ in range(70)]
    for directory in many:
        places.give_back(directory)
    assert sum(directory.exists() for directory in many) == 64


def test_the_tail_of_a_log_begins_where_the_job_began(places):
    directory = used(places)
    (directory / "log").write_bytes(b"before" + b"x" * 100_000)
    assert tail(directory, 6) == b"x" * 65_536
    assert tail(directory, 100_000) == b"x" * 6
    assert tail(directory / "gone", 0) == b""


def test_closing_removes_all(places):
    used(places)
    places.close()
    assert not places.base.exists()
