"""Ray's packaging of a directory, for shipping.py: ``create STORE SITE TOLD`` and ``localise STORE ROOT TOLD``.

The functions are Ray's own; its store is a table in the memory of a server, whose place a directory takes.
"""

import shutil
import sys
from pathlib import Path

from measured import measure, tell
from ray._private.runtime_env import packaging


def create(store: str, site: str, told: str) -> dict[str, float]:
    """Do what ``upload_package_if_needed`` does."""
    Path(store).mkdir(exist_ok=True)
    sent = 0

    def upload() -> str:
        nonlocal sent
        uri = packaging.get_uri_for_directory(site, include_gitignore=True)
        saved = Path(store, uri.rpartition("/")[2])
        if not saved.exists():
            package = Path(store, "package.zip")
            packaging.create_package(site, package, include_gitignore=True)
            sent = saved.write_bytes(package.read_bytes())
            package.unlink()
        return saved.name

    figures, name = measure(upload)
    Path(told).write_text(name)
    return figures | {"sent": sent}


def localise(store: str, root: str, told: str) -> dict[str, float]:
    """Do what ``download_and_unpack_package`` does: nothing where the directory is there."""
    name = Path(told).read_text()
    target = Path(root, name.removesuffix(".zip"))

    def download() -> None:
        if not target.exists():
            Path(root).mkdir(exist_ok=True)
            package = Path(root, name)
            shutil.copyfile(Path(store, name), package)
            packaging.unzip_package(str(package), str(target), remove_top_level_directory=False, unlink_zip=True)

    return measure(download)[0]


if __name__ == "__main__":
    deed, *arguments = sys.argv[1:]
    tell({"create": create, "localise": localise}[deed](*arguments))
