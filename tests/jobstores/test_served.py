import pytest

from jobsys.errors import LocatorError
from jobsys.jobstores import locate
from jobsys.jobstores.served import parse


@pytest.mark.parametrize(
    ("locator", "wanted"),
    [
        ("http://Node7:80", "http://node7:80"),
        ("HTTPS://store.example/", "https://store.example"),
        ("http://[::1]:5", "http://[::1]:5"),
        ("http://10.0.0.1:5/", "http://10.0.0.1:5"),
    ],
)
def test_a_locator_leads_back_to_itself(locator: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", "t")
    assert locate(locator).locator == parse(wanted) == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        "http:",
        "http://",
        "http:/x",
        "http:node",
        "http://h/path",
        "http://h?q",
        "http://h#f",
        "http://h:x",
        "http://h:99999",
        "http://[::1",
    ],
)
def test_no_locators(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSYS_STORE_TOKEN", "t")
    with pytest.raises(LocatorError, match="write http://host:port"):
        locate(wrong)


def test_no_password_in_a_locator() -> None:
    for wrong in ("http://me:secret@h:1", "http://secret@h:1"):
        with pytest.raises(LocatorError, match="JOBSYS_STORE_TOKEN") as caught:
            locate(wrong)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("token", "state"), [(None, "is not set"), ("", "is not set"), ("two words", "holds what can't be a token")])
def test_no_store_without_a_token(token: str | None, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBSYS_STORE_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("JOBSYS_STORE_TOKEN", token)
    with pytest.raises(LocatorError, match=f"http://h:1 needs a token, and the environment variable JOBSYS_STORE_TOKEN {state}"):
        locate("http://h:1")
