import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.errors import RequirementError
from jobsys.job import Options
from jobsys.requirements import (
    Requirements,
    format_bytes,
    parse_accelerators,
    parse_bytes,
    parse_cores,
    parse_flag,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("100M", 100_000_000),
        (" 2 GiB ", 2 * 2**30),
        ("2gib", 2 * 2**30),
        ("1.1G", 1_100_000_000),  # not one more: 1.1 * 1e9 is no whole number to a computer
        ("0.3K", 300),
        (".5G", 500_000_000),
        ("0.1B", 1),
        ("1Pi", 2**50),
        (1.5, 2),
        (7, 7),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "wrong", ["", "G", "-1", "1e3", "5.G", "1_000", "٣", "1 2", "1X", -1, True, None, math.nan, math.inf, [1], "9" * 400, 10**30]
)
def test_no_sizes(wrong: object) -> None:
    with pytest.raises(RequirementError, match=r"^memory=.* is no size") as caught:
        parse_bytes(wrong, "memory")
    assert len(str(caught.value)) < 200


@given(st.integers(0, 2**60))
def test_a_size_in_bytes_is_read_back(size: int) -> None:
    assert parse_bytes(str(size)) == parse_bytes(size) == parse_bytes(f"{size} B") == size


@given(st.integers(0, 10**6), st.sampled_from("KMGT"), st.booleans(), st.integers(0, 3))
def test_a_size_with_a_unit_is_exact(number: int, unit: str, binary: bool, digits: int) -> None:
    base = (1024 if binary else 1000) ** ("KMGT".index(unit) + 1)
    text = f"{number / 10**digits:.{digits}f}{unit}{'i' if binary else ''}"
    exact = number * base
    assert parse_bytes(text) == -(-exact // 10**digits)


@given(st.floats(0, 1e18))
def test_a_size_for_people_is_close_and_short(size: float) -> None:
    text = format_bytes(size)
    assert len(text) <= 8
    assert "e" not in text
    assert parse_bytes(text) == pytest.approx(size, rel=0.006, abs=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5 m", 300),
        ("1.5h", 5400),
        ("1H", 3600),
        (" 2d ", 172_800),
        ("3600", 3600),
        (0.5, 0.5),
        ("12:00:00", 43_200),
        ("1-12:00:01", 129_601),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "wrong", ["", "x", "0", 0, -1, "10:00", "00:00:00", "1:70:00", "1w", True, None, math.inf, math.nan, 10**400, "٣s"]
)
def test_no_durations(wrong: object) -> None:
    with pytest.raises(RequirementError, match=r"^walltime=.* is no duration"):
        parse_seconds(wrong)


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_a_scheduler_s_way_to_write_a_duration(days: int, hours: int, minutes: int, seconds: int) -> None:
    assert parse_seconds(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize("wrong", ["x", 0, -1, "inf", True, None, "1e-400", 10**400, [1]])
def test_no_cores(wrong: object) -> None:
    with pytest.raises(RequirementError, match=r"^cores="):
        parse_cores(wrong)
    assert parse_cores("0.5") == 0.5


@pytest.mark.parametrize("wrong", ["-1", 1.5, 2.0, True, "٣", "²", None, 10**30])
def test_no_accelerators(wrong: object) -> None:
    with pytest.raises(RequirementError, match=r"^accelerators="):
        parse_accelerators(wrong)
    assert parse_accelerators("2") == 2


def test_words_are_no_flags() -> None:
    assert parse_flag(False, "preemptible") is False
    with pytest.raises(RequirementError, match="preemptible='no'"):
        Options.read({"preemptible": "no"})
    with pytest.raises(RequirementError, match="checkpoint=1"):
        Options.read({"checkpoint": 1})


def test_no_memory_is_refused_and_no_disk_is_not() -> None:
    with pytest.raises(RequirementError, match=r"memory=0"):
        Options.read({"memory": 0})
    assert Options.read({"disk": 0}).requirements.disk == 0
    assert Options.read({"memory": None}).requirements.memory is None


requirements = st.builds(
    Requirements,
    cores=st.floats(0.01, 1e4),
    memory=st.none() | st.integers(1, 2**62),
    disk=st.none() | st.integers(0, 2**62),
    accelerators=st.integers(0, 64),
    walltime=st.none() | st.floats(0.1, 1e9),
    preemptible=st.booleans(),
)


@given(requirements)
def test_requirements_survive_storage_and_their_own_parsers(wanted: Requirements) -> None:
    assert msgspec.json.decode(msgspec.json.encode(wanted), type=Requirements) == wanted
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    assert Options.read(given).requirements == wanted
    assert hash(wanted) == hash(Options.read(given).requirements)


def test_requirements_for_people() -> None:
    wanted = Requirements(cores=2, memory=4 * 10**9, disk=10**6, accelerators=1, walltime=60)
    assert str(wanted) == "2 cores, 4 GB memory, 1 MB disk, 1 accelerator, 60 s walltime"
    assert str(Requirements()) == "1 core"
