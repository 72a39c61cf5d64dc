import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.record import SELF, Blob, JobRecord, printable

numbers = st.lists(st.integers(SELF, 5), max_size=3).map(tuple)
records = st.builds(
    JobRecord,
    name=st.text(),
    body=st.builds(Blob, st.integers(0, 2**40) | st.text(), st.integers(0, 2**40), st.integers(0, 2**40)),
    refs=numbers,
    after=numbers,
    child_of=numbers,
    follow_on_of=numbers,
    service_of=st.none() | st.integers(0, 5),
    checkpoint=st.booleans(),
    retries=st.none() | st.integers(0, 9),
)


@given(records)
def test_a_record_survives_storage(record: JobRecord) -> None:
    record = msgspec.structs.replace(record, name=printable(record.name))
    assert msgspec.json.decode(msgspec.json.encode(record), type=JobRecord) == record


@given(st.text(st.characters(codec=None) | st.sampled_from("\ud800\udcff")))
def test_anything_can_be_made_printable_once(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    msgspec.json.encode(shown)


def test_what_is_unicode_stays() -> None:
    assert printable("ü ✓\n") == "ü ✓\n"
    assert printable("\udcff") == "\\udcff"
    with pytest.raises(AttributeError):
        Blob(1, 2, 3).where = 2  # type: ignore[misc]
