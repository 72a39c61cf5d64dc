"""The program by which a task of AWS Batch comes to its script, run as it runs there, against a server that checks what it is sent."""

import datetime
import hashlib
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from jobsys.batch.cluster.aws_fetch import FETCH

SCRIPT = b"echo hello $1 \xff; exit 5\n"
ROLE = {"AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "secret/key", "Token": "token=="}


def loaded(*arguments):
    found: dict = {"__name__": "fetch"}
    before, sys.argv = sys.argv, ["-c", *arguments]
    try:
        exec(FETCH, found)
    finally:
        sys.argv = before
    return found


@pytest.mark.parametrize("key", ["a/b.sh", "with blank/é+~(1).sh"])
@pytest.mark.parametrize("token", ["", "token=="])
def test_the_signature_is_the_one_that_botocore_makes(key, token, monkeypatch):
    now = datetime.datetime(2026, 11, 28, 12, 34, 56, tzinfo=datetime.UTC)
    program = loaded("my-bucket", key, "eu-west-1", "")
    host, path = "s3.eu-west-1.amazonaws.com", "/my-bucket/" + program["urllib"].parse.quote(key, safe="/~")
    mine = program["sign"]({**ROLE, "Token": token}, host, path, now)

    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return now.replace(tzinfo=None)

        @classmethod
        def now(cls, tz=None):
            return now

    for name in ("get_current_datetime", "datetime"):
        if hasattr(sys.modules["botocore.auth"], name):
            monkeypatch.setattr(
                f"botocore.auth.{name}", Clock if name == "datetime" else lambda remove_tzinfo=True: now.replace(tzinfo=None)
            )
    request = AWSRequest("GET", f"https://{host}{path}", headers={"X-Amz-Content-SHA256": hashlib.sha256(b"").hexdigest()})
    S3SigV4Auth(Credentials(ROLE["AccessKeyId"], ROLE["SecretAccessKey"], token or None), "s3", "eu-west-1").add_auth(request)
    assert mine["Authorization"] == request.headers["Authorization"]
    assert mine["x-amz-date"] == request.headers["X-Amz-Date"]


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        data = json.dumps(ROLE).encode() if self.path == "/role" else SCRIPT
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def run(server, digest, **environment):
    here = f"http://127.0.0.1:{server.server_port}"
    program = FETCH.replace('"https://" + host + path', f'"{here}" + path')
    assert program != FETCH
    command = [sys.executable, "-I", "-c", program, "bucket", "p/jobsys-a.sh", "eu-west-1", digest]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)


def test_from_role_to_shell(server):
    role = f"http://127.0.0.1:{server.server_port}/role"
    done = run(
        server,
        hashlib.sha256(SCRIPT).hexdigest(),
        AWS_CONTAINER_CREDENTIALS_FULL_URI=role,
        AWS_CONTAINER_AUTHORIZATION_TOKEN="t",
    )
    assert (done.returncode, done.stdout) == (5, b"hello \xff\n"), done.stderr
    (first, asked), (second, sent) = server.asked
    assert (first, asked["Authorization"]) == ("/role", "t")
    assert second == "/bucket/p/jobsys-a.sh"
    headers = {name.lower(): text for name, text in sent.items()}
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    assert headers["x-amz-security-token"] == "token=="


def test_another_script_is_not_run(server):
    done = run(server, "0" * 64, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://127.0.0.1:{server.server_port}/role")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"not the one" in done.stderr


def test_no_role(server):
    done = run(server, "")
    assert done.returncode == 1
    assert b"job-role" in done.stderr
    assert server.asked == []
