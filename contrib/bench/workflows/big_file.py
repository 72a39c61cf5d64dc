"""One job writes a large file into the store, the next reads it."""

import json
import os
import time

import jobsys

PIECE = 1 << 20


def fill(path, size):
    """Make a file that no file system can make smaller."""
    with open(path, "wb") as stream:
        for _ in range(0, size, PIECE):
            stream.write(os.urandom(PIECE))
        stream.flush()
        os.fsync(stream.fileno())


@jobsys.job
def write(size):
    context = jobsys.current()
    path = context.temp_dir / "made"
    fill(path, size)
    began = time.monotonic()
    file = context.write_file(path)
    return file, began, time.monotonic() - began


@jobsys.job
def read(written):
    file, began, writing = written
    start = time.monotonic()
    path = jobsys.current().read_file(file)
    end = time.monotonic()
    return {"bytes": path.stat().st_size, "seconds": end - began, "write_s": writing, "read_s": end - start}


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--size", type=int, required=True, help="bytes, a multiple of 1,048,576")
    arguments = parser.parse_args()
    print(json.dumps(jobsys.run(read(write(arguments.size)), arguments)))
