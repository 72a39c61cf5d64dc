"""The small things of a job store, which are replaced: what code an epoch has, how the run is going, whether it is to stop."""

from typing import Any

import msgspec

from jobsys.errors import NotFoundError
from jobsys.jobstores import keys
from jobsys.storage.base import Storage


class Notes:
    """The part of a job store that has its small things."""

    storage: Storage

    def write_code(self, epoch: int, data: bytes) -> None:
        """Say which resources make up the code of an epoch."""
        self.storage.put(keys.code(epoch), data)

    def read_code(self, epoch: int) -> bytes:
        """Read which resources make up the code of an epoch."""
        return self.storage.get(keys.code(epoch))

    def code_key(self, epoch: int) -> str:
        """Give the key under which a storage has what ``write_code`` wrote."""
        return keys.code(epoch)

    def write_status(self, data: bytes) -> None:
        """Show others how the run is going."""
        self.storage.put(keys.STATUS, data)

    def read_status(self) -> bytes | None:
        """Read how the run is going."""
        return self._get_or_none(keys.STATUS)

    def is_finished(self) -> bool:
        """Tell whether a leader has shown that the run is finished: nothing it does not know by then counts any more."""
        status = self.read_status()
        try:
            return status is not None and msgspec.json.decode(status, type=dict[str, Any]).get("state") == "done"
        except msgspec.DecodeError:  # then nobody knows
            return False

    def ask_to_stop(self, data: bytes) -> None:
        """Ask the leader, wherever it is, to stop the run."""
        self.storage.put(keys.KILL, data)

    def asked_to_stop(self) -> bytes | None:
        """Read whether somebody asked the leader to stop."""
        return self._get_or_none(keys.KILL)

    def forget_request(self) -> None:
        """Begin without a request to stop."""
        self.storage.delete([keys.KILL])

    def _get_or_none(self, key: str) -> bytes | None:
        try:
            return self.storage.get(key)
        except NotFoundError:
            return None
