"""The files of a job store that have a known name, such as shipped code: in its own storage, or in what many runs share."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

from jobsys.errors import NotFoundError
from jobsys.jobstores import keys
from jobsys.storage.base import Storage

if TYPE_CHECKING:
    from jobsys.jobstores.commons import Commons
    from jobsys.jobstores.share import Share


class SharedFiles(ABC):
    """The part of a job store that has its shared files."""

    def __init__(self, storage: Storage, commons: Commons | None) -> None:
        """Use the store's own storage, and for resources a commons if there is one."""
        self.storage = storage
        self._share: Share | None = None
        if commons is not None:
            self._share = importlib.import_module("jobsys.jobstores.share").Share(commons, storage, self._owner)  # most stores have none

    @abstractmethod
    def _owner(self) -> tuple[str, str]:
        """Give the run's id, and where its store lies."""

    def _common(self, name: str) -> Share | None:
        return self._share if name.startswith(keys.RESOURCES) else None

    def leave_commons(self) -> tuple[int, int]:
        """Refer to no resource of the commons any more; return how many went that no other run refers to, and their bytes."""
        return (0, 0) if self._share is None else self._share.leave()

    def write_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a file with a known name, such as shipped code."""
        share = self._common(name)
        return self.storage.writer(keys.shared(name)) if share is None else share.write(name)

    def read_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Read a file with a known name as a stream."""
        storage, key = self.shared_file_place(name)
        return storage.reader(key)

    def shared_file_exists(self, name: str) -> bool:
        """Tell whether there is a file of that name; a resource that other runs have is there from then on."""
        share = self._common(name)
        if share is not None:
            return share.exists(name)
        try:
            self.storage.stat(keys.shared(name))
        except NotFoundError:
            return False
        return True

    def look_for_shared_files(self, names: Iterable[str]) -> None:
        """Find out about many of them at a time, where asking for one after the other would take long."""
        if self._share is not None:
            self._share.look_for(name for name in names if name.startswith(keys.RESOURCES))

    def shared_file_url(self, name: str) -> str:
        """Give a URL from which a worker can fetch it."""
        storage, key = self.shared_file_place(name)
        return storage.url(key)

    def shared_file_path(self, name: str) -> str | None:
        """Give its own path where it is a file of this machine, else None. Never write to it."""
        storage, key = self.shared_file_place(name)
        return storage.local_path(key)

    def shared_file_key(self, name: str) -> str:
        """Give the key under which a storage has it: the store's own, or that of the commons."""
        return self.shared_file_place(name)[1]

    def shared_file_place(self, name: str) -> tuple[Storage, str]:
        """Tell in which storage, under which key, it lies.

        Raises:
            NotFoundError: it is a resource that the run does not have.
        """
        share = self._common(name)
        return (self.storage, keys.shared(name)) if share is None else (share.commons.storage, share.generation(name).data)
