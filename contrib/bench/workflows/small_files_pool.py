"""What small_files.py does, by hand: a process pool writes files, synced or not, and reads them: ``DIRECTORY N FILES sync|nosync``."""

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

CONTENT = b"0123456789abcdef" * 64


def write(directory, count, sync, _):
    """Write files as a careful program does: beside, synced, then renamed; their directory is synced once."""
    folder = tempfile.mkdtemp(dir=directory)
    names = []
    for number in range(count):
        name = os.path.join(folder, str(number))
        with open(f"{name}.new", "wb") as stream:
            stream.write(CONTENT)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.rename(f"{name}.new", name)
        names.append(name)
    if sync:
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return names


def read(names):
    """Copy each file, as a job that may do with it what it likes, and look at it."""
    right = 0
    for name in names:
        with open(name, "rb") as source, open(f"{name}.copy", "w+b") as copy:
            copy.write(source.read())
            copy.seek(0)
            right += copy.read() == CONTENT
    return right


if __name__ == "__main__":
    directory, jobs, files, synced = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "sync"
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(abs, range(10)))
        start = time.perf_counter()
        written = pool.map(partial(write, directory, files, synced), range(jobs), chunksize=1)
        answer = sum(pool.map(read, written, chunksize=1))
        seconds = time.perf_counter() - start
    print(json.dumps({"answer": answer, "seconds": round(seconds, 6)}))
