"""Each call of the operating system that local storage makes fails, or is the process's last: resumed, the run ends as ever."""

import itertools
import os
from collections import Counter

import pytest

from faults.backends import BACK_ENDS, places  # type: ignore[import-not-found]
from faults.bench import Bench, check_resumed, told  # type: ignore[import-not-found]
from faults.small import EXPECTED  # type: ignore[import-not-found]
from faults.system import Plan, System  # type: ignore[import-not-found]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make benches on files."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda descriptor: None)  # nobody cuts the power here
    with places(tmp_path, monkeypatch) as ready:
        yield lambda: Bench(monkeypatch, BACK_ENDS["file"], ready, tmp_path / "ran")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["EIO before", "ENOSPC before", "EIO after", "short", "crash after"])
def test_every_system_call(way, make, tell):
    ends: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    bench = make()
    assert bench.run() == EXPECTED
    least = len(bench.objects())
    for point in itertools.count(1):
        bench, plan = make(), Plan(point, way)
        with System(plan).installed():
            end = bench.end_of()
        if not plan.struck:
            break
        ends[end] += 1
        struck[plan.struck] += 1
        check_resumed(bench, f"{way}, call {point}, {plan.struck}", least)
        bench.close()
    assert ends.total() >= struck["write"] > 10
    tell(f"{told(f'system calls of files: {way}', ends)} {dict(struck)}")
