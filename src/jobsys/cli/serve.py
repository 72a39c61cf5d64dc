"""Serve a job store over HTTP, until Ctrl-C, to workers on hosts that do not reach it themselves.

Examples:
  jobsys serve file:my-store --listen 0.0.0.0:8642
  jobsys serve file:my-store --listen 127.0.0.1:0              this host only, any free port
  jobsys serve file:my-store --new                             a run is to begin in it: there is no store yet
  jobsys serve s3://bucket/my-store                            hosts need no credentials: they get URLs that open one object each
  jobsys serve file:my-store --address node7.example.org       the name by which others reach this host
  JOBSYS_STORE_TOKEN="$(cat token)" jobsys serve file:my-store

Who asks must send a token: the one in the environment variable JOBSYS_STORE_TOKEN, or a new one that is printed. Workers find the store by
JOBSYS_STORE_URL and JOBSYS_STORE_TOKEN; the URL is also a locator. Nothing is encrypted: on a network where others listen, put a proxy
with TLS before it.
"""

import argparse
import os
import secrets
import socket
import sys

from jobsys.cli.output import print_json
from jobsys.cli.parser import add_json, add_locator
from jobsys.errors import JobStoreExistsError, UsageError
from jobsys.jobstores import locate, open_store
from jobsys.jobstores.server import serve
from jobsys.storage import wire
from jobsys.storage.server import ANYWHERE, allow_many_connections, make_url


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_locator(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default=ANYWHERE, help="the address to listen at; port 0 is any free one (default: %(default)s)"
    )
    parser.add_argument("--address", metavar="HOST", help="this host's name in the URL (default: the one to listen at, or the host name)")
    parser.add_argument("--s3-sse", metavar="HOW", help="how S3 encrypts what others write: AES256, aws:kms, aws:kms:KEY-ID")
    parser.add_argument("--s3-unfenced", action="store_true", help="the S3 server does not keep create-if-absent, and you know")
    parser.add_argument("--new", action="store_true", help="serve a place that is empty or not there yet, for a run to begin in")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Serve it."""
    store = locate(arguments.locator) if arguments.new else open_store(arguments.locator)
    if store.locator.startswith(("http:", "https:", "memory:")):
        reason = "lives in the memory of one process" if store.locator.startswith("memory:") else "is behind a server already"
        raise UsageError(f"{store.locator} {reason}, so it can't be served; stores in a directory or a bucket can")
    if arguments.new and next(iter(store.storage.list("")), None) is not None:
        raise JobStoreExistsError(f"there is something in {store.locator} already: leave out --new, or choose a new or empty place")
    if arguments.new:
        store.storage.prove()
    given = os.environ.get(wire.TOKEN_VARIABLE, "")
    if given and not wire.is_token(given):
        raise UsageError(f"{wire.TOKEN_VARIABLE} holds what can't be a token: use letters and digits")
    token = given or secrets.token_urlsafe(32)
    allow_many_connections()
    with serve(store, token, arguments.listen) as server:
        host, port = str(server.server_address[0]), server.server_port
        wildcard = host in {"0.0.0.0", "::"}
        url = make_url(arguments.address or (socket.gethostname() if wildcard else host), port)
        _tell(store.locator, url, None if given else token, as_json=arguments.json)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _tell(locator: str, url: str, token: str | None, *, as_json: bool) -> None:
    """Say where it is, and how others get in; a token that was given is not shown."""
    if as_json:
        print_json({"store": locator, "url": url} | ({} if token is None else {"token": token}))
    else:
        print(f"serving {locator} at {url}, until Ctrl-C")
        print("give workers elsewhere this environment:")
        print(f"  {wire.URL_VARIABLE}={url}")
        print(f"  {wire.TOKEN_VARIABLE}={'(the one that is set here)' if token is None else token}")
    sys.stdout.flush()  # who waits for it may be at the other end of a pipe
