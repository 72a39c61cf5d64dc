import io

import pytest

from jobsys.errors import IntegrityError
from jobsys.parts import SIZE, read_part, write_parts
from jobsys.record import Blob, JobRecord, Part

RECORDS = tuple(JobRecord(f"job {number}", Blob.of(b"body", 0, 4 * number)) for number in range(SIZE + 1))


def test_a_graph_is_read_back_in_parts() -> None:
    stream = io.BytesIO()
    parts = write_parts(stream, "graphs/1-t", [b"body"] * len(RECORDS), RECORDS)
    data = stream.getvalue()
    assert data.startswith(b"bodybody")
    read = [read_part(part, data[part.records.offset :][: part.records.length]) for part in parts]
    assert tuple(record for _, some in read for record in some) == RECORDS
    assert {payload for payload, _ in read} == {Blob("graphs/1-t", 0, 0)}
    assert [len(some) for _, some in read] == [SIZE, 1]


@pytest.mark.parametrize(("data", "problem"), [(b"[]", "0 jobs where it should hold 1"), (b"{", "no records"), (b"", "no records")])
def test_what_is_no_part_is_named(data: bytes, problem: str) -> None:
    with pytest.raises(IntegrityError, match=f"graphs/1-t.*{problem}"):
        read_part(Part(Blob("graphs/1-t", 0, 2), 1), data)
