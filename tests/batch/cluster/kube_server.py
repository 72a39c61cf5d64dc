"""A server of HTTP that answers as it is told, in the place of an API server."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, object]] = []
        self.requests: list[tuple[str, str, dict, object]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
        status, what = self.server.answers.pop(0)
        if status == 0:
            self.close_connection = True
            return
        if isinstance(what, list):
            self.tell(status, what)
            return
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        if len(data) > 1000:
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def tell(self, status, pieces):
        """Send pieces as they come; an Event is waited for, and None cuts the connection."""
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            if piece is None:
                self.close_connection = True
                return
            if isinstance(piece, threading.Event):
                piece.wait(10)
                continue
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass
