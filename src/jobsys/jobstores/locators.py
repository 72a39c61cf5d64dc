"""Locator -> job store."""

import importlib
import os
import re

from jobsys.errors import JobStoreExistsError, LocatorError, NotFoundError
from jobsys.jobstores import file, keys, memory
from jobsys.jobstores.base import JobStore, StoreInfo
from jobsys.storage.base import Storage
from jobsys.storage.s3.options import Options


def locate(locator: str | os.PathLike[str], durable: bool = True, key_file: str | None = None, s3: Options | None = None) -> JobStore:
    """Turn a locator into a job store that may or may not be there yet.

    Args:
        locator: what names it.
        durable: whether every write is synced.
        key_file: where the run's key lies, if not where keys are kept by themselves.
        s3: how a bucket is used, if not as the environment says.

    Raises:
        LocatorError: the text names no kind of job store that there is.
    """
    locator = os.fspath(locator)
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", locator, re.DOTALL)
    scheme, rest = (match[1].lower(), match[2]) if match else ("file", locator)
    storage: Storage
    if scheme == "file":
        path = file.parse(rest)
        locator, storage = f"file:{path}", file.storage(path, durable)
    elif scheme == "memory":
        storage = memory.storage(rest)
    elif scheme == "s3":
        return _in_bucket(locator, key_file, s3)
    elif scheme in {"http", "https"}:
        served = importlib.import_module("jobsys.jobstores.served")  # loaded on use: HTTP takes its time
        locator = str(served.parse(locator))
        storage = served.storage(locator)
    else:
        raise LocatorError(
            f"{locator!r} names no job store: there is no {scheme!r} store; write file:/path, a plain path, "
            f"s3://bucket/prefix, http://host:port or memory:name"
        )
    return JobStore(locator, storage, key_file)


def _in_bucket(locator: str, key_file: str | None, s3: Options | None) -> JobStore:
    bucket = importlib.import_module("jobsys.jobstores.s3")  # loaded on use: boto3 takes its time
    return JobStore(str(bucket.parse(locator)), bucket.storage(locator, s3), key_file, bucket.commons(locator, s3))


def open_store(locator: str | os.PathLike[str], durable: bool = True, key_file: str | None = None, s3: Options | None = None) -> JobStore:
    """Open a job store that is there.

    Raises:
        NoSuchJobStoreError: there is none.
        FormatError: it is of another format.
    """
    store = locate(locator, durable, key_file, s3)
    store.info()
    return store


def create(
    locator: str | os.PathLike[str], info: StoreInfo, durable: bool = True, key_file: str | None = None, s3: Options | None = None
) -> JobStore:
    """Make a new job store, and the key of its run.

    Raises:
        JobStoreExistsError: there is one, or the directory holds something else.
        RunKeyError: the key can't be kept.
    """
    store = locate(locator, durable, key_file, s3)
    try:
        store.storage.stat(keys.STORE)
    except NotFoundError:
        mark = store.storage.local_path(keys.STORE)
        if any(not key.startswith(keys.PROBE) for key in store.storage.list("")) or (
            mark is not None and file.strangers(os.path.dirname(mark))
        ):
            raise JobStoreExistsError(
                f"{store.locator} is not empty and no job store: nothing was written; choose a new or empty place"
            ) from None
    else:
        raise store.exists()
    store.storage.prove()
    store.create(info)
    return store
