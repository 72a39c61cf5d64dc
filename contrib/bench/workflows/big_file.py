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
def write(size, move):
    context = jobsys.current()
    path = context.temp_dir / "made"
    fill(path, size)
    began = time.monotonic()
    file = context.write_file(path, move=move)
    return file, began, time.monotonic() - began


@jobsys.job
def read(written, link):
    file, began, writing = written
    start = time.monotonic()
    path = jobsys.current().read_file(file, symlink=link)
    end = time.monotonic()
    return {"bytes": path.stat().st_size, "seconds": end - began, "write_s": writing, "read_s": end - start}


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--size", type=int, required=True, help="bytes, a multiple of 1,048,576")
    parser.add_argument("--move", action="store_true", help="give the file to the store as it is, instead of a copy")
    parser.add_argument("--link", action="store_true", help="read the store's own file, instead of a copy")
    arguments = parser.parse_args()
    print(json.dumps(jobsys.run(read(write(arguments.size, arguments.move), arguments.link), arguments)))
