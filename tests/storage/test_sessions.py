import os
from pathlib import Path

import pytest

from jobsys.storage.sessions import MOST_IDLE, Sessions


def test_a_session_is_lent_to_one_at_a_time_and_used_again() -> None:
    sessions = Sessions("http://x", {"Authorization": "Bearer t"})
    with sessions.borrow() as one, sessions.borrow() as other:
        assert one is not other
        assert dict(one.headers) == {"Authorization": "Bearer t"}
    with sessions.borrow() as again:
        assert again is one
    sessions.close()
    with sessions.borrow() as new:
        assert new not in (one, other)


def test_no_more_are_kept_than_needed() -> None:
    from contextlib import ExitStack

    sessions = Sessions("http://x", {})
    with ExitStack() as stack:
        for _ in range(MOST_IDLE + 5):
            stack.enter_context(sessions.borrow())
    with ExitStack() as stack:
        first = [stack.enter_context(sessions.borrow()) for _ in range(MOST_IDLE)]
    with ExitStack() as stack:
        assert {id(session) for session in first} == {id(stack.enter_context(sessions.borrow())) for _ in range(MOST_IDLE)}
    sessions.close()


def test_a_forked_process_uses_none_of_its_parent_s() -> None:
    sessions = Sessions("http://x", {})
    with sessions.borrow() as idle:
        pass
    with sessions.borrow() as used, sessions.borrow() as idle:
        child = os.fork()
        if not child:
            status = 1
            try:
                with sessions.borrow() as own:
                    status = 0 if own not in (used, idle) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_environment_is_read_once_and_no_netrc_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine store login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "near")
    with Sessions("http://store:1", {}).borrow() as session:
        assert (session.trust_env, session.proxies["http"]) == (False, "http://proxy:3128")
    with Sessions("http://near:1", {}).borrow() as session:
        assert not session.proxies
