"""Where Slurm can run a task."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster.slurm_places import Shape, choose, count_gres, fits, minutes, partitions, problem, seconds
from jobsys.requirements import Requirements

# the first four lines are recorded from 22.05.8, the others made by hand
SINFO = """\
main|main*|up|infinite|2|3000|(null)
urgent|urgent|up|infinite|2|3000|(null)
short|short|up|30:00|2|3000|(null)
gpu|gpu|up|2-00:00:00|8|64000|gpu:a100:4
gpu|gpu|up|2-00:00:00|16|64000+|gpu:h100:2(S:0-1),nvme:1
big|big|up|1-12:00:00|64|1000000|(null)
closed|closed|down|infinite|512|9000000|(null)
"""
PLACES = partitions(SINFO, "gpu")


def test_partitions() -> None:
    assert [(place.name, place.default, place.up, place.seconds) for place in PLACES] == [
        ("main", True, True, math.inf),
        ("urgent", False, True, math.inf),
        ("short", False, True, 1800.0),
        ("gpu", False, True, 172800.0),
        ("big", False, True, 129600.0),
        ("closed", False, False, math.inf),
    ]
    assert PLACES[3].shapes == [Shape(8, 64000, 4), Shape(16, 64000, 2)]
    assert partitions("slurm_load_partitions: nonsense\n", "gpu") == []


@pytest.mark.parametrize(
    ("need", "name"),
    [
        (Requirements(), "main"),
        (Requirements(cores=2, walltime=1e6), "main"),
        (Requirements(accelerators=1), "gpu"),
        (Requirements(cores=3, walltime=129600), "big"),
        (Requirements(cores=3, walltime=129601), "gpu"),
        (Requirements(cores=0.5, memory=3001 << 20), "big"),
        (Requirements(cores=16, accelerators=2), "gpu"),
        (Requirements(cores=16, accelerators=3), None),
        (Requirements(cores=100), None),
    ],
)
def test_the_partition_follows_from_what_a_task_needs(need: Requirements, name: str | None) -> None:
    place = choose(PLACES, need)
    assert (place and place.name) == name


def test_without_a_default_it_is_the_one_with_the_shortest_limit() -> None:
    rest = PLACES[1:]
    assert choose(rest, Requirements(walltime=60)).name == "short"  # type: ignore[union-attr]
    assert choose(rest, Requirements(walltime=3600)).name == "big"  # type: ignore[union-attr]


def test_what_nothing_can_run_is_told_with_the_most_there_is() -> None:
    text = problem(PLACES[:4], Requirements(cores=17, memory=1 << 30))
    assert "17 cores" in text
    assert "the most that one has is 16 cores, 67.1 GB memory, 4 accelerators" in text
    assert "900 s walltime" not in problem(PLACES[2:3], Requirements(walltime=900))
    assert "1800 s walltime" in problem(PLACES[2:3], Requirements(walltime=1801))
    assert problem(PLACES, Requirements(cores=100)) == ""  # a partition that is down may come up
    assert problem([], Requirements(cores=1e6)) == ""


@pytest.mark.parametrize(
    ("text", "gres", "count"),
    [
        ("(null)", "gpu", 0),
        ("gpu:4", "gpu", 4),
        ("gpu:a100:4(S:0-1),nvme:1", "gpu", 4),
        ("gpu:a100:4(S:0,3),gpu:h100:2", "gpu", 6),
        ("gpu:a100:4,gpu:h100:2", "gpu:h100", 2),
        ("gpu:4", "gpu:h100", 0),
        ("nvme:1", "gpu", 0),
        ("gpu", "gpu", 0),
    ],
)
def test_devices(text: str, gres: str, count: int) -> None:
    assert count_gres(text, gres) == count


def test_limits_of_time() -> None:
    assert [seconds(text) for text in ("30:00", "1:00:00", "2-00:00:01", "infinite", "n/a")] == [1800, 3600, 172801, math.inf, math.inf]


@given(st.floats(1, 1e7), st.one_of(st.just(math.inf), st.integers(1, 10000).map(lambda count: count * 60.0)))
def test_a_task_has_its_walltime_and_is_not_told_to_end_within_it(walltime: float, most: float) -> None:
    limit, signaled = minutes(walltime, most)
    assert limit * 60 >= walltime
    if signaled:
        assert limit * 60 <= most
        assert limit * 60 - 30 - 60 >= walltime - 1e-6
    elif walltime <= most - 60:
        assert limit * 60 <= most


@given(st.floats(0.1, 600), st.integers(0, 1 << 44), st.integers(0, 8), st.one_of(st.none(), st.floats(1, 1e7)))
def test_the_choice_fits_and_a_problem_is_told_only_where_nothing_does(
    cores: float, memory: int, devices: int, walltime: float | None
) -> None:
    need = Requirements(cores=cores, memory=memory, accelerators=devices, walltime=walltime)
    place = choose(PLACES, need)
    assert place is None or fits(place, need)
    assert (problem(PLACES, need) == "") == any(fits(each, need) for each in PLACES)
