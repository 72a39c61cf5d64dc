"""Which interpreter can run what was shipped, and what the sentence says when one can't."""

import importlib.machinery
import json
import sys

import pytest

from jobsys.arrival.interpreter import facts, mismatch, native_needs

LEADER = {
    "implementation": "CPython",
    "version": [3, 11, 7],
    "soabi": "cpython-311-x86_64-linux-gnu",
    "ext_suffix": ".cpython-311-x86_64-linux-gnu.so",
    "platform": "linux",
    "machine": "x86_64",
    "libc": "glibc",
    "libc_version": [2, 36],
    "executable": "/home/u/.venv/bin/python",
    "prefix": "/home/u/.venv",
    "host": "head",
}
MUSL = {"libc": "musl", "libc_version": [], "soabi": "cpython-311-x86_64-linux-musl"}
PURE = {"native": False, "machine": None, "glibc": None, "musl": False}
NATIVE = {"native": True, "machine": "x86_64", "glibc": [2, 17], "musl": False}


def there(**differing):
    return LEADER | {"host": "n3", "executable": "/usr/bin/python3"} | differing


@pytest.mark.parametrize("needs", [PURE, NATIVE])
@pytest.mark.parametrize(
    "same",
    [
        {},
        {"version": [3, 11, 2]},
        {"libc_version": [2, 17]},
        {"libc_version": [2, 41]},
        {"soabi": "cpython-311-x86_64-linux", "prefix": "/opt/python"},
    ],
)
def test_what_can_run_it(same, needs):
    assert mismatch(LEADER, there(**same), needs) is None


@pytest.mark.parametrize("other", [{"machine": "aarch64"}, MUSL, {"libc_version": [2, 5]}, {"soabi": "cpython-311d-x86_64-linux-gnu"}])
def test_pure_code_runs_wherever_the_interpreter_is_the_same(other):
    assert mismatch(LEADER, there(**other), PURE) is None
    assert mismatch(LEADER, there(**other), NATIVE) is not None


@pytest.mark.parametrize(
    ("other", "needs", "here", "leaders", "way_out"),
    [
        (
            {"version": [3, 12, 1]},
            PURE,
            "CPython 3.12.1 (/usr/bin/python3)",
            "CPython 3.11.7 (/home/u/.venv/bin/python)",
            "Start workers with Py",
        ),
        ({"version": [3, 1, 7]}, NATIVE, "CPython 3.1.7", "CPython 3.11.7", "Start workers with Python 3.11: --worker-python"),
        ({"implementation": "PyPy"}, PURE, "PyPy 3.11.7", "CPython 3.11.7", "Start workers with Python 3.11"),
        ({"soabi": "cpython-311t-x86_64-linux-gnu"}, NATIVE, "cpython-311t", "cpython-311 on the leader", "built as the leader's is"),
        ({"soabi": "cpython-311d-x86_64-linux-gnu"}, NATIVE, "cpython-311d", "cpython-311 on the leader", "built as the leader's is"),
        ({"machine": "aarch64"}, NATIVE, "a aarch64 machine", "x86_64", "Use hosts of that kind"),
        ({"libc_version": [2, 12]}, NATIVE, "glibc 2.12", "glibc 2.17 or newer", "Use newer hosts"),
        ({"libc_version": [2, 9]}, NATIVE, "glibc 2.9", "glibc 2.17 or newer", "Use newer hosts"),
        (MUSL, NATIVE, "has musl (", "built for glibc", "Use hosts with glibc"),
        ({"libc": "", "libc_version": []}, NATIVE, "an unknown C library", "built for glibc", "Use hosts with glibc"),
        ({}, NATIVE | {"glibc": None, "musl": True}, "has glibc 2.36", "built for musl", "Use hosts with musl"),
    ],
)
def test_what_can_not_run_it_is_told_with_both_sides_and_the_way_out(other, needs, here, leaders, way_out):
    told = mismatch(LEADER, there(**other), needs)
    assert told is not None
    assert told.startswith("host n3 ")
    for part in (here, leaders, way_out):
        assert part in told


@pytest.mark.parametrize(
    ("tags", "glibc"),
    [
        (["manylinux1_x86_64"], [2, 5]),
        (["manylinux2010_x86_64"], [2, 12]),
        (["manylinux2014_x86_64", "any"], [2, 17]),
        (["manylinux_2_28_x86_64", "manylinux_2_5_x86_64"], [2, 28]),
        (["manylinux_2_9_x86_64", "manylinux_2_17_x86_64"], [2, 17]),
        (["cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"], [2, 17]),
        (["manylinux_2_28_x86_64.manylinux_2_5_x86_64"], [2, 5]),
        (["manylinux1_x86_64", "cp311-cp311-linux_x86_64"], [2, 36]),
    ],
)
def test_the_least_glibc_that_runs_all_wheels(tags, glibc):
    assert native_needs(tags, LEADER) == {"native": True, "machine": "x86_64", "glibc": glibc, "musl": False}


def test_wheels_without_native_code_need_nothing():
    assert native_needs(["py3-none-any", "any"], LEADER) == PURE
    assert native_needs([], LEADER) == PURE


@pytest.mark.parametrize("tag", ["musllinux_1_2_x86_64", "linux_x86_64"])
def test_wheels_of_a_leader_with_musl_need_musl(tag):
    assert native_needs([tag, "any"], LEADER | MUSL) == {"native": True, "machine": "x86_64", "glibc": None, "musl": True}


def test_the_facts_of_this_interpreter_fit_itself_and_travel():
    mine = json.loads(json.dumps(facts()))
    assert mine["version"] == list(sys.version_info[:3])
    assert mine["ext_suffix"] == importlib.machinery.EXTENSION_SUFFIXES[0]
    assert mine["executable"] == sys.executable
    assert mine["libc"] in {"glibc", "musl"}
    needs = native_needs([f"linux_{mine['machine']}"], mine)
    assert needs["native"]
    assert mismatch(mine, mine, needs) is None
