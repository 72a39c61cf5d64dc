"""Authenticators that need nobody else."""

import base64
import hashlib
import json

import pytest

from jobsys.errors import UsageError
from jobsys.server.auth.base import Access, Caller, NotRecognisedError, owner_filter
from jobsys.server.auth.choose import make
from jobsys.server.auth.simple import hashed, matches


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def file(tmp_path):
    def file(content, mode=0o600):
        path = tmp_path / "users.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(mode)
        return str(path)

    return file


def test_nobody_is_asked():
    assert make("none").recognise("") == make("none").recognise("Bearer x") == Caller("", True)


def test_a_dummy_tells_tokens_apart():
    dummy = make("dummy")
    assert dummy.recognise("Bearer a") == dummy.recognise("bearer  a") != dummy.recognise("Bearer b")
    for wrong in ("", "Bearer", "Bearer ", "Basic a", "a"):
        with pytest.raises(NotRecognisedError, match="bearer token is needed"):
            dummy.recognise(wrong)


def test_names_and_passwords(file):
    users = make("basic", file({"me": {"password": hashed("secret")}, "boss": {"password": hashed("ö:ö"), "admin": True}}))
    assert users.recognise(basic("me", "secret")) == Caller("me", False)
    assert users.recognise(basic("boss", "ö:ö")) == Caller("boss", True)
    assert users.scheme.startswith("Basic")
    for wrong in (basic("me", "Secret"), basic("you", "secret"), basic("", ""), "", "Basic ä", "Basic !!", "Bearer x"):
        with pytest.raises(NotRecognisedError) as refused:
            users.recognise(wrong)
        assert "secret" not in str(refused.value)


def test_tokens(file):
    users = make("tokens", file({"me": {"token": hashlib.sha256(b"t1").hexdigest(), "admin": True}}))
    assert users.recognise("Bearer t1") == Caller("me", True)
    with pytest.raises(NotRecognisedError):
        users.recognise("Bearer t2")


@pytest.mark.parametrize(
    ("kind", "content", "mode", "says"),
    [
        ("basic", "{", 0o600, "can't be read as JSON"),
        ("basic", "[]", 0o600, "must hold an object"),
        ("tokens", '{"a": {}}', 0o600, "must hold an object"),
        ("tokens", "{}", 0o644, "can be read by others"),
    ],
)
def test_files_that_will_not_do(file, kind, content, mode, says):
    with pytest.raises(UsageError, match=says):
        make(kind, file(content, mode))


@pytest.mark.parametrize(("kind", "says"), [("basic", "--auth-file"), ("oidc", "OIDC_ISSUER"), ("x", "there is no --auth 'x'")])
def test_what_is_missing_is_said(kind, says):
    with pytest.raises(UsageError, match=says):
        make(kind, environment={})


def test_passwords_are_kept_as_nothing_that_can_be_read():
    kept = hashed("p")
    assert "p" not in kept.split("$")[2]
    assert kept != hashed("p")
    assert matches("p", kept)
    assert not matches("q", kept)


@pytest.mark.parametrize(
    ("access", "admin", "owner"),
    [
        (Access.ALL, False, None),
        (Access.ALL, True, None),
        (Access.OWNER, False, "me"),
        (Access.OWNER, True, "me"),
        (Access.OWNER_OR_ADMIN, False, "me"),
        (Access.OWNER_OR_ADMIN, True, None),
    ],
)
def test_whose_tasks_one_has_to_do_with(access, admin, owner):
    assert owner_filter(access, Caller("me", admin)) == owner
