"""Import and export by URL: files, ``http:`` and ``s3:`` by own code, memory of this process, every other scheme by fsspec."""

import importlib
import io
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from jobsys.errors import NotFoundError, StorageError
from jobsys.files import sync_directory
from jobsys.storage.base import storage_error
from jobsys.storage.http import BUFFER, RemoteStream, cause, http_size, put_http, read_http, redact
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.openfiles import NEW, ReadingFile, WritingFile, discard

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*)://|(file|memory):"
_DIGEST = r"#(?:sha256|md5)=[0-9A-Fa-f]+\Z"


def read_url(url: str) -> AbstractContextManager[BinaryIO]:
    """Read a URL, or the path of a file, as a stream."""
    scheme, url = scheme_and_rest(url)
    if scheme == "file":
        return _read_file(_path(url))
    if scheme in ("http", "https"):
        return read_http(url)
    if scheme == "memory":
        storage, key = MemoryStorage.at(url)
        return storage.reader(key)
    if scheme == "s3":
        reading: AbstractContextManager[BinaryIO] = _s3().read(url)
        return reading
    return _read_other(url)


def write_url(url: str) -> AbstractContextManager[BinaryIO]:
    """Write to a URL or path; nothing is there before a clean exit, and missing directories of this machine are made."""
    scheme, url = scheme_and_rest(url)
    if scheme == "file":
        return _write_file(_path(url))
    if scheme in ("http", "https"):
        return _spooled(lambda content, _: put_http(url, content))
    if scheme == "memory":
        storage, key = MemoryStorage.at(url)
        return storage.writer(key)
    if scheme == "s3":
        writing: AbstractContextManager[BinaryIO] = _s3().write(url)
        return writing
    return _spooled(lambda _, spool: _put_other(url, spool))


def url_name(url: str) -> str:
    """Give the last part of a URL's path, decoded: the name that a copy of it would have."""
    scheme, url = scheme_and_rest(url)
    if scheme in ("file", "s3"):  # of which the path is meant as it stands
        path = _path(url) if scheme == "file" else url.partition("://")[2].partition("/")[2]
    else:
        path = unquote(urlsplit(url).path.rpartition("/")[2]).replace("/", "_")
    name = os.path.basename(path)
    if name in ("", ".", ".."):
        raise StorageError(f"{redact(url)} names a directory; only files can be imported and exported")
    return name


def url_size(url: str) -> int | None:
    """Tell how many bytes a URL has; None where its scheme or server can't tell."""
    scheme, url = scheme_and_rest(url)
    if scheme == "file":
        path = _path(url)
        try:
            return os.stat(path).st_size
        except OSError as error:
            raise storage_error(error, "find", path) from error
    if scheme in ("http", "https"):
        return http_size(url)
    if scheme == "memory":
        storage, key = MemoryStorage.at(url)
        return storage.stat(key).size
    if scheme == "s3":
        found: int = _s3().look(url).size
        return found
    with driver(url) as (files, path):
        size = files.size(path)
    return size if isinstance(size, int) else None


def local_file(url: str) -> Path | None:
    """Give the path that a ``file:`` URL or a bare path means; None for every other scheme."""
    scheme, url = scheme_and_rest(url)
    return Path(_path(url)) if scheme == "file" else None


@contextmanager
def read_version(reference: str) -> Iterator[BinaryIO]:
    """Read what a reference means as a stream.

    Raises:
        NotFoundError: it is not there any more.
        StorageError: it is another version by now.
    """
    url, _, tag = reference.rpartition("#")
    with _s3().read(url, tag) as stream:
        yield stream


def refer(url: str) -> tuple[str, int]:
    """Make a reference to the version of what is at a URL, for `read_version`; give its size in bytes, too.

    Raises:
        NotFoundError: there is nothing there.
        StorageError: what is there has no versions that could be told apart.
    """
    scheme, url = scheme_and_rest(url)
    if scheme != "s3":
        raise StorageError(f"{redact(url)} can't be referred to: whether it has changed can be told of s3:// only; import a copy")
    found = _s3().look(url)
    return f"{url}#{found.tag}", found.size


def _s3() -> ModuleType:
    """Load boto3 at its first use: it takes longer to import than all of a worker's own code."""
    try:
        return importlib.import_module("jobsys.storage.s3.objects")
    except ImportError as error:
        raise StorageError(f"s3:// needs boto3, which this host does not have: {error}") from error


def scheme_and_rest(url: str) -> tuple[str, str]:
    """Tell the scheme (``file`` for bare paths, which may hold colons), and the URL without a digest at its end."""
    match = re.match(_SCHEME, url, re.IGNORECASE)
    if not match:
        return "file", url
    return (match[1] or match[2]).lower(), re.sub(_DIGEST, "", url)


def _path(url: str) -> str:
    """Decode ``file:///a%20b``, ``file://localhost/a``, ``file:/a`` and ``file:a``; a bare path is meant as it stands."""
    match = re.match(_SCHEME, url, re.IGNORECASE)
    if not match:
        path = url
    else:
        rest = url[len("file:") :]
        if rest.startswith("//"):
            host, slash, rest = rest[2:].partition("/")
            if host.lower() not in ("", "localhost"):
                raise StorageError(f"{redact(url)} names a file of another machine ({host}); write file:///… with three slashes")
            rest = slash + rest
        path = unquote(rest, errors="surrogateescape")
    if not path or "\0" in path:
        raise StorageError(f"{url!r} names no file")
    return os.path.abspath(path) + ("/" if path.endswith("/") else "")


@contextmanager
def _read_file(path: str) -> Iterator[BinaryIO]:
    _refuse_directory(path)
    try:
        raw = ReadingFile(path)
    except OSError as error:
        raise storage_error(error, "read", path) from error
    with io.BufferedReader(raw, BUFFER) as stream:
        yield stream


@contextmanager
def _write_file(path: str) -> Iterator[BinaryIO]:
    """Write beside and rename; what is there and no regular file (``/dev/stdout``, a pipe) is written to as it is."""
    _refuse_directory(path)
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    special = os.path.exists(target) and not os.path.isfile(target)
    temporary = "" if special else f"{folder}/.jobsys-{secrets.token_hex(8)}"
    try:
        try:
            if not special:
                os.makedirs(folder, exist_ok=True)
            raw = WritingFile(os.open(target, os.O_WRONLY) if special else os.open(temporary, NEW, 0o666), target, sync=not special)
        except OSError as error:
            raise storage_error(error, "write", path) from error
        with raw.buffered() as stream:
            yield stream
        if not special:
            try:
                os.rename(temporary, target)
                sync_directory(folder)
            except OSError as error:
                raise storage_error(error, "write", path) from error
    finally:
        discard(temporary)


def _refuse_directory(path: str) -> None:
    if path.endswith("/") or os.path.isdir(path):
        raise StorageError(f"{path} is a directory; only files can be imported and exported, so pack it first (tar) or name a file in it")


@contextmanager
def _spooled(send: Callable[[BinaryIO, str], None]) -> Iterator[BinaryIO]:
    """Collect what is written in a file of this machine and send it at a clean exit."""
    try:
        spool = tempfile.NamedTemporaryFile(prefix="jobsys-")  # noqa: SIM115 - closed below
    except OSError as error:
        raise storage_error(error, "write", tempfile.gettempdir()) from error
    with spool:
        with WritingFile(os.dup(spool.fileno()), spool.name, sync=False).buffered() as stream:
            yield stream
        send(cast("BinaryIO", spool.file), spool.name)


@contextmanager
def _read_other(url: str) -> Iterator[BinaryIO]:
    with driver(url) as (files, path):
        if files.isdir(path):
            raise IsADirectoryError(path)
        remote = files.open(path, "rb")

    def read(size: int) -> bytes:
        with driver(url):
            data: bytes = remote.read(size)
        return data

    with remote, io.BufferedReader(RemoteStream(url, read), BUFFER) as stream:
        yield stream


def _put_other(url: str, spool: str) -> None:
    with driver(url) as (files, path):
        files.put_file(spool, path)


@contextmanager
def driver(url: str) -> "Iterator[tuple[AbstractFileSystem, str]]":
    """Give what fsspec has for a scheme, and the path in it; say in plain words what fails in the block."""
    shown = redact(url)
    try:
        import fsspec  # noqa: PLC0415 - an optional third party
    except ImportError as error:
        raise StorageError(f"{shown} needs fsspec: pip install 'jobsys[urls]'") from error
    try:
        yield fsspec.core.url_to_fs(url)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is nothing at {shown}") from cause(url, error)
    except IsADirectoryError as error:
        raise StorageError(f"{shown} is a directory; only files can be imported and exported") from cause(url, error)
    except ImportError as error:
        raise StorageError(f"{shown} needs a driver beside jobsys[urls]: {error}") from cause(url, error)
    except ValueError as error:
        if not str(error).startswith("Protocol not known"):
            raise StorageError(f"can't use {shown} ({error if shown == url else 'ValueError'})") from cause(url, error)
        known = "a path, file:, http:, https:, s3:, or what fsspec has a driver for, such as gs:, ftp: and sftp:"
        raise StorageError(f"can't use {shown}: there is no scheme {scheme_and_rest(url)[0]!r}; give {known}") from cause(url, error)
    except Exception as error:  # noqa: BLE001 - each driver has its own errors, and they have no common base
        detail = f": {error}" if shown == url else ""
        raise StorageError(f"can't use {shown} ({type(error).__name__}{detail})") from cause(url, error)
