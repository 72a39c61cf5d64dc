"""VirtualEnvResource, of jobsys or of Toil, for shipping.py: ``SIDE create STORE SITE TOLD`` and ``SIDE localise ROOT TOLD``."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from measured import measure, tell


class Store:
    """The smallest job store for both: files in a directory."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.sent = 0
        os.makedirs(root, exist_ok=True)

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name.replace("/", "_"))

    @contextmanager
    def write_shared_file(self, name: str) -> Iterator[BinaryIO]:
        with open(self._path(name), "wb") as stream:
            yield stream
            self.sent += stream.tell()

    def shared_file_exists(self, name: str) -> bool:
        return os.path.exists(self._path(name))

    def shared_file_url(self, name: str) -> str:
        return f"file://{self._path(name)}"

    def write_shared_file_stream(self, shared_file_name: str, encrypted: bool | None = None) -> Any:
        return self.write_shared_file(shared_file_name)

    def getSharedPublicUrl(self, sharedFileName: str) -> str:  # noqa: N802, N803  Toil's name
        return self.shared_file_url(sharedFileName)

    get_shared_public_url = getSharedPublicUrl


def create(kind: Any, root: str, site: str, told: str) -> dict[str, float]:
    store = Store(root)
    figures, made = measure(lambda: kind.create(store, site))
    Path(told).write_text(json.dumps(made))
    return figures | {"sent": store.sent}


def localise(kind: Any, root: str, told: str) -> dict[str, float]:
    os.environ["TMPDIR"] = root  # where Toil's workers, each for itself, put what they download
    kind.prepareSystem()
    made = kind(*json.loads(Path(told).read_text()))
    figures, _ = measure(made.download)
    return figures


if __name__ == "__main__":
    side, deed, *arguments = sys.argv[1:]
    found = importlib.import_module(f"{side}.resource").VirtualEnvResource
    tell({"create": create, "localise": localise}[deed](found, *arguments))
