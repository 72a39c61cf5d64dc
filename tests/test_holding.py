"""Places are held for the life of a process, its forks, and what it becomes; with what they rest on."""

import os
import subprocess
import sys

import pytest

from jobsys import holding
from jobsys.holding import hold, hold_over_exec, is_held, parts_of, unused


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch):
    held: dict[str, int] = {}
    monkeypatch.setattr(holding, "_held", held)
    yield held
    for descriptor in held.values():
        os.close(descriptor)


@pytest.fixture
def places(tmp_path):
    found = [str(tmp_path / name) for name in ("env", "one", "two")]
    for place in found:
        os.mkdir(place)
    return found


def let_go(held, place):
    os.close(held.pop(place))


def test_held_once_and_until_the_end(places, nothing_held):
    place = places[0]
    assert not is_held(place)
    assert [hold(place), hold(place)] == [True, True]
    assert list(nothing_held) == [place]
    assert is_held(place)
    with unused(place) as free:
        assert not free
    let_go(nothing_held, place)
    assert not is_held(place)
    with unused(place) as free:
        assert free


def test_what_is_not_there_yet_can_be_held(tmp_path):
    assert hold(str(tmp_path / "new")) is False
    assert is_held(str(tmp_path / "new"))


def test_a_hold_is_a_use(places):
    hold(places[0])
    os.utime(f"{places[0]}.used", (1, 1))
    hold(places[0])
    assert os.stat(f"{places[0]}.used").st_mtime > 1


def test_what_a_place_rests_on_is_held_with_it_also_by_a_later_process(places, nothing_held):
    env, *layers = places
    hold(env, layers)
    for place in places:
        let_go(nothing_held, place)
    assert not any(map(is_held, places))
    assert parts_of(env) == layers
    hold(env)
    assert all(map(is_held, places))


@pytest.mark.parametrize("text", ["", "{}", "[", "[]"])
def test_a_damaged_list_of_parts_is_none(places, text):
    with open(f"{places[0]}.parts", "w") as stream:
        stream.write(text)
    assert parts_of(places[0]) == []


def test_who_waited_for_a_lock_file_that_went_takes_the_new_one(places, nothing_held):
    place = places[0]
    hold(place)
    os.unlink(f"{place}.used")
    assert not is_held(place)
    hold(place)
    assert is_held(place)
    assert len(nothing_held) == 1


def test_a_place_that_is_worked_on_is_not_unused(places):
    from jobsys.files import locked

    with locked(f"{places[0]}.lock"), unused(places[0]) as free:
        assert not free


def test_a_fork_holds_on(places, nothing_held):
    reading, writing = os.pipe()
    child = os.fork() if hold(places[0]) else 0
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    let_go(nothing_held, places[0])
    assert is_held(places[0])
    os.close(writing)
    os.waitpid(child, 0)
    assert not is_held(places[0])


@pytest.mark.parametrize("over", [True, False])
def test_what_a_process_becomes_holds_on_if_it_is_told_to(places, over):
    program = "import os, sys; from jobsys.holding import *; hold(sys.argv[1]); " + "hold_over_exec(); " * over
    program += "os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(1, flush=True); sys.stdin.read()'])"
    command = [sys.executable, "-c", program, places[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert is_held(places[0]) is over
        process.communicate()
    assert not is_held(places[0])


def test_only_descriptors_of_holds_are_passed_on(places, nothing_held):
    hold(places[0])
    assert not os.get_inheritable(nothing_held[places[0]])
    hold_over_exec()
    assert os.get_inheritable(nothing_held[places[0]])
