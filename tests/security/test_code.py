"""Code comes to workers only as the leader shipped it: whatever is changed on the way is refused, and runs again when it is put back."""

import io
import re
import zipfile

import msgspec
import pytest

from jobsys import shipment
from jobsys.digest import sha256
from jobsys.errors import IntegrityError
from jobsys.jobstores import keys
from jobsys.worker.code import arguments, prepare
from security.attacker import Attacker  # type: ignore[import-not-found]

SOURCE = """
import helper

@jobsys.job
def main():
    if not os.path.exists("DOOR"):
        raise jobsys.JobFailure("closed")
    return helper.answer()
"""


@pytest.fixture
def half_done(workflow, tmp_path, monkeypatch):
    """A run with workers of its own whose only job failed; what they had unpacked is gone."""
    monkeypatch.setenv("JOBSYS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "helper.py").write_text("def answer():\n    return 42\n")
    flow = workflow(SOURCE.replace("DOOR", str(tmp_path / "door")))
    status, _, err = flow.run("--retries", "0")
    assert status == 1, err
    (tmp_path / "door").touch()
    (tmp_path / "cache").rename(tmp_path / "old cache")
    return flow, Attacker(tmp_path / "store", tmp_path / "evil")


def resume(flow, *options):
    return flow.run("--restart", "--same-code", "--retries", "0", *options)


def changed_archive(attacker):
    """Every shipped archive has a line more in each module."""
    for key in attacker.keys("shared/resources/"):
        if key.endswith(".zip"):
            attacker.write(key, _with_evil(attacker, attacker.read(key)))


def _with_evil(attacker, data):
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            line = f"open({str(attacker.marker)!r}, 'w').close()\n".encode()
            new.writestr(info, line + content if info.filename.endswith(".py") else content)
    return stream.getvalue()


def archive_in_another_s_place(attacker):
    """A manifest of his own points to an archive of his own, with its right digest."""
    key = next(key for key in attacker.keys("shared/resources/") if key.endswith(".zip"))
    evil = _with_evil(attacker, attacker.read(key))
    other = f"shared/resources/{'0' * 64}.zip"
    attacker.write(other, evil)
    _rewrite(attacker, key, other)


def _rewrite(attacker, old, new):
    for each in attacker.keys("code/"):
        attacker.write(each, attacker.read(each).replace(old.removeprefix("shared/").encode(), new.removeprefix("shared/").encode()))


def manifest_without_a_seal(attacker):
    for each in attacker.keys("code/"):
        found = msgspec.json.decode(attacker.read(each))
        del found["seal"]
        attacker.write(each, msgspec.json.encode(found | {"argv": ["changed"]}))


def manifest_of_another_epoch(attacker):
    """One that this run sealed, under another name."""
    attacker.write(keys.code(2), attacker.read(keys.code(1)))
    lease = msgspec.json.decode(attacker.read(keys.lease(1)))
    attacker.write(keys.lease(2), msgspec.json.encode(lease | {"epoch": 2}))
    attacker.write(keys.heartbeat(2), attacker.read(keys.heartbeat(1)))


ATTACKS = [changed_archive, archive_in_another_s_place, manifest_without_a_seal, manifest_of_another_epoch]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_changed_code_does_not_run(half_done, attack):
    flow, attacker = half_done
    attack(attacker)
    status, out, err = resume(flow)
    assert (status, out) == (1, ""), err
    assert not attacker.marker.exists(), err
    assert re.search(r"SHA-256|digest|does not bear the seal|not what", err), err
    attacker.put_back()
    status, out, err = resume(flow)
    assert (status, out.strip()) == (0, "42"), err


def test_a_manifest_changed_while_the_run_goes_on_is_refused_by_workers(half_done):
    """The leader told the worker a digest; what it finds has another."""
    _, attacker = half_done
    digest = sha256(attacker.read(keys.code(1)))
    assert shipment.read(attacker.store, 1, digest).main is not None
    changed_archive(attacker)
    manifest_without_a_seal(attacker)
    with pytest.raises(IntegrityError, match="no code was loaded: it does not have the SHA-256"):
        prepare(arguments(str(attacker.directory), 1, digest, 1, durable=True))
    assert not attacker.marker.exists()


def test_what_was_changed_in_the_cache_does_not_run(half_done):
    """What workers unpack is compared with what was shipped at each start."""
    flow, attacker = half_done
    (flow.directory / "old cache").rename(flow.directory / "cache")
    homes = list((flow.directory / "cache").rglob("helper.py"))
    assert homes, "the code was unpacked into the cache"
    for path in homes:
        path.chmod(0o644)
        path.write_text(f"open({str(attacker.marker)!r}, 'w').close()\ndef answer():\n    return 0\n")
    status, out, err = resume(flow)
    assert (status, out.strip()) == (0, "42"), err
    assert not attacker.marker.exists()
