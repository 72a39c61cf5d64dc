"""A proxy that counts S3 requests by what they ask for, and otherwise hands every byte on as it came."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

_PIECE = 1 << 18
_HEAD = 1 << 16
_BY_QUERY = {
    ("GET", "list-type"): "list",
    ("GET", "uploads"): "list uploads",
    ("GET", "uploadId"): "list parts",
    ("PUT", "partNumber"): "put part",
    ("POST", "uploads"): "begin upload",
    ("POST", "uploadId"): "complete upload",
    ("DELETE", "uploadId"): "abort upload",
    ("POST", "delete"): "delete many",
    ("PUT", "acl"): "put acl",
}


def kind(method: str, target: str, header: bytes) -> str:
    """Name what a request asks for: get, put, list …; what concerns the whole bucket is ``METHOD bucket``."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    for (verb, name), meaning in _BY_QUERY.items():
        if verb == method and name in query:
            return meaning
    if not parts.path.strip("/").partition("/")[2]:
        plain_list = method == "GET" and not query.keys() - {"prefix", "marker", "delimiter", "max-keys", "encoding-type"}
        return "list" if plain_list else f"{method.lower()} bucket"
    return "copy" if method == "PUT" and _field(header, b"x-amz-copy-source") else method.lower()


class Counting:
    """Stands between clients and a server of this machine, from ``with`` to its end, in a thread of this process."""

    def __init__(self, upstream_port: int) -> None:
        self.counts: Counter[str] = Counter()
        self.port = 0
        self._upstream = upstream_port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="counting", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def take(self) -> Counter[str]:
        """Give what was counted since the last time."""
        taken, self.counts = self.counts, Counter()
        return taken

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0, limit=_HEAD))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self._upstream, limit=_HEAD)
        back = asyncio.ensure_future(_hand_on(answers, writer))
        try:
            while header := await _header(reader):
                method, target, _ = header.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                self.counts[kind(method, target, header)] += 1
                server.write(header)
                async for piece in _body(reader, header):
                    server.write(piece)
                    await server.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # one of the two hung up: so does the proxy
        finally:
            back.cancel()
            server.close()
            writer.close()


async def _hand_on(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await answers.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def _header(reader: asyncio.StreamReader) -> bytes:
    """Read up to the end of a request's header; nothing where the client has hung up."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _body(reader: asyncio.StreamReader, header: bytes) -> AsyncIterator[bytes]:
    """Read the body of a request as it comes, in chunks or of a length told before."""
    if _field(header, b"transfer-encoding").lower() == b"chunked":
        while (line := await reader.readline()) and (size := int(line.split(b";")[0], 16)):
            yield line + await reader.readexactly(size + 2)
        yield line
        while (trailer := await reader.readline()) not in (b"\r\n", b""):
            yield trailer
        yield trailer
        return
    left = int(_field(header, b"content-length") or 0)
    while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


def _field(header: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?im)^" + name + rb":[ \t]*(.*?)[ \t]*\r$", header)
    return found.group(1) if found else b""
