"""Runs on a host that mounts NFS: serves storage in the directories that it is told of, line by line; ends when nobody talks to it."""

import sys
import threading

from jobsys.jobstores.file import storage
from jobsys.storage.server import ObjectServer


def main(token: str) -> None:
    """Listen, say where, and serve one directory after the other."""
    server = ObjectServer(storage("/nonexistent"), token)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        server.storage = storage(line.strip())
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
