"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.server.paging import PageTokenError, make_token, read_token

KEY = b"k" * 32
QUESTION = ["me", "name", None, [["a", "b"]]]


@given(st.integers(0, 2**63 - 1))
def test_a_token_leads_to_where_the_page_ended(last):
    assert read_token(KEY, QUESTION, make_token(KEY, QUESTION, last)) == last


@given(st.data())
def test_a_token_that_was_changed_is_none(data):
    token = make_token(KEY, QUESTION, 42)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_"))
    changed = token[:at] + letter + token[at + 1 :]
    if changed != token and at < len(token) - 1:  # the last letter has bits that mean nothing
        with pytest.raises(PageTokenError):
            read_token(KEY, QUESTION, changed)


@pytest.mark.parametrize("token", ["", "x", "ä", "====", "A" * 10_000])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(PageTokenError, match="begin again"):
        read_token(KEY, QUESTION, token)


def test_a_token_answers_one_question_of_one_server():
    token = make_token(KEY, QUESTION, 1)
    with pytest.raises(PageTokenError):
        read_token(KEY, ["you", *QUESTION[1:]], token)
    with pytest.raises(PageTokenError):
        read_token(b"other", QUESTION, token)
