"""Tasks in real sandboxes."""

import os
import shutil

import msgspec
import pytest

from jobsys.sandbox.runtimes import choose
from jobsys.sandbox.spec import Ended, Limits, Order, Site, Task
from jobsys.sandbox.task import attempt


class Bench:
    """Runs tasks in bubblewrap, and keeps what is said of them."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.said = []
        self.logs = {}

    def url(self, name):
        return f"file://{self.data / name}"

    def run(self, *commands, limits=None, executor=None, site=None, **more):
        executors = [{"image": "x", "command": list(command), **(executor or {})} for command in commands]
        task = msgspec.convert({"executors": executors, **more}, Task)
        site = Site(runtime="bubblewrap", allowed=[str(self.data)], **(site or {}))
        place = self.folder / f"task{len(list(self.folder.iterdir()))}"
        place.mkdir()
        self.said = []
        result = attempt(Order("id", 1, task, limits or Limits(), site), choose(site), place, self.said.append, self._keep)
        assert not place.exists()
        return result

    def _keep(self, name, path):
        with open(path, "rb") as stream:
            self.logs[name] = stream.read()

    @property
    def ended(self):
        return [each for each in self.said if isinstance(each, Ended)]


@pytest.fixture
def bench(tmp_path):
    if shutil.which("bwrap") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no program bwrap: apt-get install bubblewrap")
    return Bench(tmp_path)
