"""A small TES 1.1 server for tests, of ours and for nothing else: it really runs tasks, as processes of this machine, without containers.

It is strict in what it takes, sends short pages, and fails on purpose where a test wants it to.
"""

import json
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

BASE = "/ga4gh/tes/v1"
SLOTS = 4
FINAL = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"}


class Tes:
    """The server: its tasks, what it was asked, and what it shall do wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.requests: list[str] = []
        self.authorization: str | None = None  # what the header must be
        self.page = 64  # tasks of a page at most
        self.faults: list[tuple[str, int]] = []  # (beginning of "METHOD path", status): each once; status 0: it is done, the answer is lost
        self.url = ""
        self._slots = ThreadPoolExecutor(SLOTS)

    def create(self, task: dict[str, Any]) -> dict[str, str]:
        [executor], [script] = task["executors"], task["inputs"]
        assert executor["command"] == ["/bin/sh", script["path"]]
        assert not set(task) - {"name", "description", "tags", "inputs", "volumes", "resources", "executors"}
        assert isinstance(task["resources"]["cpu_cores"], int)
        id = uuid.uuid4().hex
        with self.lock:
            self.tasks[id] = {**task, "id": id, "state": "QUEUED", "logs": []}
        self._slots.submit(self._run, id)
        return {"id": id}

    def _run(self, id: str) -> None:
        place = self.folder / id
        with self.lock:
            task = self.tasks[id]
            if task["state"] != "QUEUED":
                return
            place.mkdir()
            (place / "task.sh").write_text(task["inputs"][0]["content"], newline="")
            environment = {"PATH": os.environ["PATH"], **task["executors"][0]["env"], "TMPDIR": str(place)}
            process = subprocess.Popen(
                ["/bin/sh", str(place / "task.sh")],
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.processes[id] = process
            task["state"] = "RUNNING"
        printed = process.communicate()[0].decode(errors="replace")
        with self.lock:
            status = process.returncode if process.returncode >= 0 else 128 - process.returncode
            task["logs"] = [{"logs": [{"exit_code": status, "stdout": printed}], "outputs": [], "system_logs": []}]
            task["state"] = "CANCELED" if task["state"] == "CANCELING" else "COMPLETE" if status == 0 else "EXECUTOR_ERROR"

    def cancel(self, id: str) -> dict[str, str]:
        with self.lock:
            task = self.tasks[id]
            if task["state"] == "QUEUED":
                task["state"] = "CANCELED"
            elif task["state"] == "RUNNING":
                task["state"] = "CANCELING"
                self._end(id)
        return {}

    def _end(self, id: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.processes[id].pid, signal.SIGKILL)

    def list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        keys, values = query.get("tag_key", []), query.get("tag_value", [])
        wanted = dict(zip(keys, values + [""] * len(keys), strict=False))
        prefix, begin = query.get("name_prefix", [""])[0], int(query.get("page_token", ["0"])[0])
        size = min(self.page, int(query.get("page_size", ["256"])[0]))
        with self.lock:
            found = [
                task
                for task in reversed(self.tasks.values())
                if task["name"].startswith(prefix) and all(k in task["tags"] and v in ("", task["tags"][k]) for k, v in wanted.items())
            ]
            page = [self.view(task, query.get("view", ["MINIMAL"])[0]) for task in found[begin : begin + size]]
        return {"tasks": page, **({"next_page_token": str(begin + size)} if begin + size < len(found) else {})}

    def view(self, task: dict[str, Any], view: str) -> dict[str, Any]:
        if view == "MINIMAL":
            return {"id": task["id"], "state": task["state"]}
        shown: dict[str, Any] = json.loads(json.dumps(task))
        if view == "BASIC":
            for given in shown["inputs"]:
                del given["content"]
            for log in shown["logs"]:
                log.pop("system_logs", None)
                log["logs"] = [{"exit_code": one["exit_code"]} for one in log["logs"]]
        return shown

    def stop(self) -> None:
        with self.lock:
            for id, task in self.tasks.items():
                task["state"] = "CANCELED" if task["state"] == "QUEUED" else task["state"]
                if id in self.processes and task["state"] not in FINAL:
                    self._end(id)
        self._slots.shutdown()


def handler_of(tes: Tes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece: of two, the second would wait for an acknowledgement

        def do_GET(self) -> None:
            self.handle_one("GET", None)

        def do_POST(self) -> None:
            self.handle_one("POST", json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null"))

        def handle_one(self, method: str, body: Any) -> None:
            parts = urlsplit(self.path)
            what = f"{method} {parts.path.removeprefix(BASE)}"
            tes.requests.append(f"{what}?{parts.query}")
            fault = next((fault for fault in tes.faults if what.startswith(fault[0])), None)
            if fault:
                tes.faults.remove(fault)
            if not parts.path.startswith(BASE):
                return self.answer(404, {"detail": "there is nothing here"})
            if tes.authorization is not None and self.headers.get("Authorization") != tes.authorization:
                return self.answer(401, {"message": "who are you?"})
            if fault and fault[1]:
                return self.answer(fault[1], {"error": "injected", "message": "failed on purpose"})
            status, answer = self.do(method, unquote(parts.path.removeprefix(BASE)), parse_qs(parts.query, keep_blank_values=True), body)
            if fault:
                self.close_connection = True
                return None
            return self.answer(status, answer)

        def do(self, method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
            id = path.removeprefix("/tasks/").removesuffix(":cancel")
            if path == "/tasks":
                return 200, tes.create(body) if method == "POST" else tes.list(query)
            if id not in tes.tasks:
                return 404, {"message": f"no task {id}"}
            return 200, tes.cancel(id) if method == "POST" else tes.view(tes.tasks[id], query["view"][0])

        def answer(self, status: int, answer: Any) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def tes_endpoint(folder: Path) -> Iterator[Tes]:
    """Run a server on a free port."""
    tes = Tes(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(tes)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        tes.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield tes
        finally:
            tes.stop()
            server.shutdown()
            thread.join()


@pytest.fixture
def tes(tmp_path: Path) -> Iterator[Tes]:
    """Give a server of a test's own: one starts in no time."""
    folder = tmp_path / "tes"
    folder.mkdir()
    with tes_endpoint(folder) as made:
        yield made
