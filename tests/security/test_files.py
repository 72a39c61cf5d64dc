"""Global files: what a job reads is what was written, also a program that it runs."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest

import jobsys
from jobsys.errors import FailedJobsError, IntegrityError
from jobsys.jobstores import create, open_store
from jobsys.jobstores.base import FORMAT, StoreInfo
from jobsys.jobstores.serving import StoreServer
from jobsys.storage.served import ServedStorage


@jobsys.job
def tool(place):
    """Make a program that others run."""
    path = Path(place) / "tool.sh"
    path.write_text("#!/bin/sh\necho right\n")
    path.chmod(0o755)
    return jobsys.current().write_file(path)


@jobsys.job
def use(file, place, how):
    if not (Path(place) / "door").exists():
        raise jobsys.JobFailure("closed")
    context = jobsys.current()
    if how == "stream":
        with context.read_stream(file) as stream:
            return stream.read()
    if how == "export":
        context.export_file(file, Path(place) / "exported")
        return (Path(place) / "exported").read_bytes()
    return subprocess.check_output([context.read_file(file, mutable=how == "mutable")])


@pytest.mark.parametrize("how", ["copy", "mutable", "stream", "export"])
def test_a_program_that_was_exchanged_is_not_run(tmp_path, how):
    def run(**options):
        graph = use(tool(str(tmp_path)), str(tmp_path), how)
        return jobsys.run(graph, str(tmp_path / "store"), batch_system="inline", progress="off", retries=0, **options)

    with pytest.raises(FailedJobsError):
        run()
    (tmp_path / "door").touch()
    [stored] = [path for path in (tmp_path / "store" / "files").rglob("*") if path.is_file()]
    shutil.copy(stored, tmp_path / "kept")
    stored.unlink()
    stored.write_text(f"#!/bin/sh\ntouch {tmp_path}/evil\n")
    stored.chmod(0o755)
    with pytest.raises(FailedJobsError, match=r"files/.*tool.sh in the job store is not what was written.*put it back"):
        run(restart=True)
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "exported").exists(), "half an export"
    shutil.copy(tmp_path / "kept", stored)
    assert b"right" in run(restart=True)


def test_of_a_served_store_it_is_known_at_the_end(tmp_path, monkeypatch):
    near = create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    with near.write_file(1, "1.1", "a") as (stream, file):
        stream.write(bytes(1_000_000))
    with StoreServer(tmp_path / "store", address="127.0.0.1", listen="127.0.0.1:0", durable=False) as server:
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", server.token)
        far = open_store(server.url)
        with far.read_file(file) as stream:
            assert stream.read() == bytes(1_000_000)
        with far.read_file(file) as stream:
            assert stream.read(10) == bytes(10)
        near.storage.put(str(file), bytes(999_999) + b"x")
        with pytest.raises(IntegrityError, match="put it back"), far.read_file(file) as stream:
            stream.read()
        with pytest.raises(IntegrityError), far.read_file(file) as stream:
            assert stream.read(10) == bytes(10), "the rest is looked at when the block ends"
        with pytest.raises(KeyError), far.read_file(file):
            raise KeyError
        assert isinstance(far.storage, ServedStorage)
        far.storage.close()


def test_who_does_not_write_straight_on_gets_a_digest_all_the_same(tmp_path):
    store = create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    with store.write_file(1, "1.1", "seek") as (stream, file):
        stream.write(b"abc")
        stream.seek(0)
        stream.write(b"x")
        stream.seek(0, io.SEEK_END)
    with store.write_file(1, "1.1", "program") as (stream, other):
        subprocess.run(["printf", "xyz"], stdout=stream, check=True)
    with store.write_file(1, "1.1", "text") as (stream, text), io.TextIOWrapper(stream, "utf-8") as writing:
        writing.write("häß")
    for each, content in ((file, b"xbc"), (other, b"xyz"), (text, "häß".encode())):
        assert each.size == len(content)
        with store.read_file(each) as stream:
            assert stream.read() == content
        changed = bytearray(content)
        changed[-1] ^= 1
        store.storage.put(str(each), bytes(changed))
        with pytest.raises(IntegrityError), store.read_file(each):
            pass


def test_an_id_that_went_through_a_text_is_not_checked(tmp_path):
    """Nothing says what should be there; docs/security.md tells so."""
    store = create(tmp_path / "store", StoreInfo(FORMAT, 0.0, "0"), durable=False)
    with store.write_file(1, "1.1", "a") as (stream, file):
        stream.write(b"abc")
    store.storage.put(str(file), b"other")
    with store.read_file(str(file)) as stream:
        assert stream.read() == b"other"


def test_what_others_can_still_change_is_read_from_a_copy(tmp_path):
    """He has put a file of his own there, with the right bytes, and changes it when it was looked at."""
    store = create(str(tmp_path / "store"), StoreInfo(FORMAT, 0.0, "0"))
    with store.write_file(1, "1.1", "data") as (stream, file):
        stream.write(b"right" * 100_000)
    path = tmp_path / "store" / file
    path.unlink()
    path.write_bytes(b"right" * 100_000)
    path.chmod(0o666)
    with store.read_file(file) as reading, path.open("r+b") as writing:
        writing.write(b"wrong" * 100_000)
        writing.flush()
        assert reading.read() == b"right" * 100_000
