"""Somebody who can write to a job store and does not hold the run's key: what he can forge, he forges well."""

import hashlib
import pickle
import shutil
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from jobsys.jobstores import JobStore, keys, open_store
from jobsys.record import Blob
from jobsys.storage.packed import PackedStorage

FOOTER = struct.Struct("<Q32s32s")


def storage(directory: Path) -> PackedStorage:
    return PackedStorage(directory, packed=keys.JOURNAL)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self._marker,)


class Attacker:
    """Has the store's directory, and all the time in the world between two leaders."""

    def __init__(self, directory: Path, marker: Path) -> None:
        self.directory, self.marker = directory, marker
        self.copy = directory.with_name(directory.name + "-copy")
        shutil.copytree(directory, self.copy)

    @property
    def store(self) -> JobStore:
        return open_store(str(self.directory))

    def evil(self, length: int | None = None) -> bytes:
        """Make a pickle that runs code; what follows its end is not read, so it fits any length that is not too short."""
        data = pickle.dumps(Evil(self.marker))
        if length is None:
            return data
        assert len(data) <= length, "the object is too small for this attack"
        return data + bytes(length - len(data))

    def put_back(self) -> None:
        """Give the store back as it was."""
        shutil.rmtree(self.directory)
        shutil.copytree(self.copy, self.directory)

    def write(self, key: str, data: bytes) -> None:
        if key.startswith(keys.JOURNAL):
            self._journal(lambda storage: storage.put(key, data))
            return
        path = self.directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def read(self, key: str) -> bytes:
        return storage(self.directory).get(key) if key.startswith(keys.JOURNAL) else (self.directory / key).read_bytes()

    def delete_segments(self, *numbers: int) -> None:
        self._journal(lambda storage: storage.delete([keys.journal(number) for number in numbers]))

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, in order."""
        return list(storage(self.directory).list(prefix))

    def _journal(self, change: Callable[[PackedStorage], object]) -> None:
        """Change the journal, as well as one who reads our code can."""
        with closing(storage(self.directory)) as opened:
            change(opened)

    # ── the journal ──────────────────────────────────────────────────────────────────────────────────────────────────

    def rewrite_segment(self, number: int, payload: bytes | None = None, events: bytes | None = None, tag: bytes | None = None) -> None:
        """Write a segment anew, with a SHA-256 that is right."""
        old_payload, old_events, old_tag = self.segment(number)
        payload, events = old_payload if payload is None else payload, old_events if events is None else events
        body = payload + events
        footer = FOOTER.pack(len(events), hashlib.sha256(body).digest(), old_tag if tag is None else tag)
        self.write(keys.journal(number), body + footer)

    def segment(self, number: int) -> tuple[bytes, bytes, bytes]:
        """Take a segment apart: payloads, events, tag."""
        data = self.read(keys.journal(number))
        end = len(data) - FOOTER.size
        length, _, tag = FOOTER.unpack_from(data, end)
        return data[: end - length], data[end - length : end], tag

    def pages(self) -> dict[int, Any]:
        """Read all events as JSON, by the number of their segment."""
        return {keys.number(key): msgspec.json.decode(self.segment(keys.number(key))[1]) for key in self.keys(keys.JOURNAL)}

    def replace_bytes(self, blob: Blob) -> None:
        """Put the evil pickle where a blob lies, in a segment or an object."""
        if isinstance(blob.where, str):
            data = bytearray(self.read(blob.where))
            data[blob.offset : blob.offset + blob.length] = self.evil(blob.length)
            self.write(blob.where, bytes(data))
            return
        payload = bytearray(self.segment(blob.where)[0])
        payload[blob.offset : blob.offset + blob.length] = self.evil(blob.length)
        self.rewrite_segment(blob.where, payload=bytes(payload))
