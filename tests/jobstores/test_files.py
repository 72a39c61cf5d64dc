"""Streams that hash what goes through them."""

import io

from jobsys.jobstores.files import FileId, HashingWriter, checked


def test_the_streams_are_streams():
    below = io.BytesIO()
    writer = HashingWriter(below)
    assert writer.writable()
    assert writer.seekable()
    writer.write(memoryview(b"abcdef"))
    assert writer.tell() == 6
    assert writer.described is not None
    writer.truncate(3)
    assert writer.described is None
    assert below.getvalue() == b"abc"
    with checked(io.BytesIO(b"abc"), FileId("files/1-1/0-a", 3), once=True) as stream:
        assert stream.read() == b"abc"
