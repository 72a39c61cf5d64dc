"""The workflow of a stored run: half of it is done, the rest is for whatever version reads it. Must never change."""

import os

import jobsys
from jobsys.job import Service

LARGE = 300_000  # bytes: an object of its own
EXPECTED = {
    "squares": [0, 1, 4, 9],
    "large": LARGE,
    "lines": 3,
    "left": "left by a worker",
    "client": "served at port 8080",
    "tree": ["leaf 0", "leaf 1", "leaf 2"],
    "chained": "outer of inner",
}
ran: list[str] = []


def door() -> None:
    """Fail as long as the door is closed: so the run was half done when it was stored."""
    if not os.environ.get("STORED_RUN_GOES_ON"):
        raise jobsys.JobFailure("the door is closed")


@jobsys.job
def square(number):
    ran.append(f"square {number}")
    return number * number


@jobsys.job
def large():
    ran.append("large")
    return "x" * LARGE


@jobsys.job
def measure(text, name):
    ran.append(f"measure {name}")
    door()
    return len(text)


@jobsys.job
def write():
    ran.append("write")
    with jobsys.current().write_stream("lines.txt") as (stream, file):
        stream.write(b"one\ntwo\nthree\n")
    return file


@jobsys.job
def count_lines(file):
    ran.append("count_lines")
    door()
    with jobsys.current().read_stream(file) as stream:
        return len(stream.read().splitlines())


@jobsys.job
def leave():
    """Its commit was left by a worker whose leader had gone."""
    ran.append("leave")
    door()
    return "left by a worker"


@jobsys.job
def wait(value):
    ran.append("wait")
    door()
    return value


class Address(Service):
    """Served while its client runs."""

    def start(self, context):
        ran.append("start")
        return "port 8080"

    def stop(self, context):
        pass


@jobsys.job
def client(address):
    ran.append("client")
    door()
    return f"served at {address}"


@jobsys.job
def leaf(number):
    ran.append(f"leaf {number}")
    door()
    return f"leaf {number}"


@jobsys.job(checkpoint=True)
def tree():
    ran.append("tree")
    return [leaf(number) for number in range(3)]


@jobsys.job
def inner():
    ran.append("inner")
    return "inner"


@jobsys.job
def outer(value):
    ran.append("outer")
    door()
    return f"outer of {value}"


@jobsys.job
def chained():
    ran.append("chained")
    return outer(inner())


def workflow():
    beside = jobsys.FunctionJob(list)
    address = beside.add_service(Address())
    beside.add_child(served := jobsys.FunctionJob(client, (address,)))
    return {
        "squares": [square(number) for number in range(4)],
        "large": measure(large(), "large"),
        "lines": count_lines(write()),
        "left": wait(leave()),
        "client": served.rv(),
        "tree": tree(),
        "chained": chained(),
    }
