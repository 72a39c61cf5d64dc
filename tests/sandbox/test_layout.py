"""What executors share, and where it lies."""

import msgspec
import pytest

from jobsys.sandbox.layout import Bind, below, binds, normal
from jobsys.sandbox.spec import Task

TMP = Bind("/tmp", True)


def task(**more):
    return msgspec.convert({"executors": [{"image": "x", "command": ["true"], **more.pop("executor", {})}], **more}, Task)


def inputs(*paths, type="FILE"):
    return [{"path": path, "url": "file:///x", "type": type} for path in paths]


@pytest.mark.parametrize(
    ("made", "shared"),
    [
        (task(), [TMP]),
        (task(inputs=inputs("/data/a", "/data/b")), [Bind("/data", True), TMP]),
        (task(inputs=inputs("/data/a", "/data/deep/b")), [Bind("/data", True), TMP]),
        (task(inputs=inputs("/data/deep/b"), volumes=["/data"]), [Bind("/data", True), TMP]),
        (task(inputs=inputs("/etc/app.conf")), [Bind("/etc/app.conf", False), TMP]),
        (task(inputs=inputs("/a")), [Bind("/a", False), TMP]),
        (task(inputs=inputs("/usr/share/data/x")), [TMP, Bind("/usr/share/data", True)]),
        (task(inputs=inputs("/tmp/x")), [TMP]),
        (task(inputs=inputs("/opt/", type="DIRECTORY")), [Bind("/opt", True), TMP]),
        (task(outputs=[{"path": "/out/*.txt", "path_prefix": "/out", "url": "file:///x"}]), [Bind("/out", True), TMP]),
        (task(outputs=[{"path": "/out/a?/b", "path_prefix": "/out/", "url": "file:///x"}]), [Bind("/out", True), TMP]),
        (task(executor={"stdin": "/in/a", "stdout": "/logs/o", "stderr": "/logs/e"}), [Bind("/in", True), Bind("/logs", True), TMP]),
    ],
)
def test_binds(made, shared):
    assert binds(made) == sorted(shared)


def test_siblings_with_a_common_beginning_are_two():
    assert binds(task(volumes=["/data", "/database"])) == [Bind("/data", True), Bind("/database", True), TMP]


def test_paths():
    assert (normal("//a/./b/"), below("/tree", "/a//b")) == ("/a/b", "/tree/a/b")
