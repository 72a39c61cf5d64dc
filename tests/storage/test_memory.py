import gc

import pytest

from jobsys.errors import NotFoundError
from jobsys.storage.memory import MemoryStorage
from jobsys.storage.urls import read_url, write_url


def test_a_name_leads_to_one_storage_until_it_is_destroyed() -> None:
    storage = MemoryStorage.named("x/ y")
    storage.put("a", b"1")
    assert MemoryStorage.named("x/ y") is storage
    assert MemoryStorage.named("other") is not storage
    storage.destroy()
    assert MemoryStorage.named("x/ y") is not storage
    MemoryStorage.named("x/ y").destroy()
    MemoryStorage.named("other").destroy()


def test_urls_lead_back() -> None:
    for storage in (MemoryStorage(), MemoryStorage.named("na/me%")):
        storage.put("a/b", b"data")
        with read_url(storage.url("a/b")) as stream:
            assert stream.read() == b"data"
        with write_url(storage.url("c")) as stream:
            stream.write(b"new")
        assert storage.get("c") == b"new"
        storage.destroy()


def test_the_url_of_a_forgotten_storage_leads_nowhere() -> None:
    storage = MemoryStorage()
    url = storage.url("a")
    del storage
    gc.collect()
    with pytest.raises(NotFoundError, match="gone"), read_url(url):
        pass
