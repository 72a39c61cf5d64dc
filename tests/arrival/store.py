"""A job store's directory behind a small HTTP server that asks for a token and can be out of order."""

import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-token"


class Handler(SimpleHTTPRequestHandler):
    """Serves files to who has the token; ``troubles`` says what goes wrong with the next requests: a status, "cut", or "reset"."""

    server: "Server"

    def do_GET(self):
        server = self.server
        with server.lock:
            server.asked.append(self.path)
            trouble = server.troubles.pop(0) if server.troubles else None
        if isinstance(trouble, int):
            self.send_error(trouble)
        elif trouble == "reset":
            self.close_connection = True
        elif self.path.startswith("/elsewhere/"):
            server.strangers.append(self.headers.get("Authorization"))
            self.path = self.path.removeprefix("/elsewhere")
            super().do_GET()
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send_error(401)
        elif trouble == "redirect":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_port}/elsewhere{self.path}")
            self.end_headers()
        elif trouble == "cut":
            self.cut()
        else:
            super().do_GET()

    def cut(self):
        with open(self.translate_path(self.path), "rb") as stream:
            data = stream.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory):
        super().__init__(("127.0.0.1", 0), lambda *arguments: Handler(*arguments, directory=str(directory)))
        self.lock = threading.Lock()
        self.asked: list[str] = []
        self.troubles: list[Any] = []
        self.strangers: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(directory):
    """Serve a directory as long as the block lasts."""
    server = Server(directory)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
