"""Workers anywhere: bare hosts that share nothing and have no credentials run the demo's workflow over a bucket, in trouble, too."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3 import servers  # type: ignore[import-not-found]
from s3.fixtures import bucket  # type: ignore[import-not-found]
from shipping.field import Field, Started, said, until  # type: ignore[import-not-found]
from shipping.hosts import BARE, HEAD, HEAD_ADDRESS, REPOSITORY  # type: ignore[import-not-found]
from shipping.relay import Relay, at_file  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.timeout(300)]

PORT = 9000
EXAMPLES = REPOSITORY / "contrib" / "examples"
MODULES = 120
PATIENCE = "3"
FLOW = """
import stdlib_map, stdlib_source

@jobsys.job(memory="50M")
def gated(source):
    note("began")
    await_file("go")
    return stdlib_map.measure(source)

@jobsys.job(memory="200M")
def main():
    level = [gated(source) for source in stdlib_source.find_sources()[:{modules}]]
    while len(level) > 1:
        level = [stdlib_map.merge(level[i : i + stdlib_map.FAN_IN]) for i in range(0, len(level), stdlib_map.FAN_IN)]
    return texts(stdlib_map.tabulate(level[0]))

@jobsys.job(memory="100M")
def texts(files):
    return {{file.name: jobsys.current().read_file(file).read_text() for file in files}}
"""


@pytest.fixture(scope="module")
def reachable(ceph: "servers.Server", field: Field) -> Iterator[str]:
    """Ceph's endpoint as the pretend hosts reach it: at the head."""
    host, _, port = ceph.endpoint.rpartition("/")[2].partition(":")
    path = field.hosts.persist(HEAD) / "s3.sock"
    relay = Relay(at_file(str(path)), lambda: socket.create_connection((host, int(port))))
    thread = threading.Thread(target=relay.serve)
    thread.start()
    source = Path(__file__).parents[1] / "shipping" / "relay.py"
    (field.hosts.persist(HEAD) / "relay.py").write_text(source.read_text())
    line = f"exec {field.hosts.python} /persist/relay.py {HEAD_ADDRESS}:{PORT} /persist/s3.sock >/persist/peers"
    there = field.hosts.start(HEAD, ["sh", "-c", line])
    peers = field.hosts.persist(HEAD) / "peers"
    until(lambda: peers.exists() and peers.read_text())
    yield f"http://{HEAD_ADDRESS}:{PORT}"
    for pid, program in field.hosts.processes(HEAD).items():
        if "relay.py" in program:
            field.hosts.run(HEAD, ["kill", str(pid)])
    there.communicate(timeout=10)
    relay.close()
    thread.join()
    path.unlink()


class Anywhere:
    """Runs over the bucket, and what they have done so far."""

    def __init__(self, field: Field, ceph: "servers.Server", endpoint: str) -> None:
        self.field = field
        self.place = f"s3://{bucket(ceph)}/{uuid.uuid4().hex[:8]}"
        self.secrets = {"AWS_ACCESS_KEY_ID": ceph.key, "AWS_SECRET_ACCESS_KEY": ceph.secret}
        self.environment = {**self.secrets, "AWS_EC2_METADATA_DISABLED": "true", "JOBSYS_S3_ENDPOINT_URL": endpoint}
        names = ("stdlib_map", "stdlib_report", "stdlib_source")
        self.script = field.script(FLOW.format(modules=MODULES), **{name: (EXAMPLES / f"{name}.py").read_text() for name in names})

    def start(self, store: str) -> Started:
        options = ["--host-patience", PATIENCE, "--retries", "0"]
        return self.field.start(self.script, *options, store=store, **self.environment)

    def await_jobs(self, started: Started, host: str) -> None:
        """Wait until more jobs have begun on a host."""
        before = len(self.field.side(host))

        def otherwise() -> str:
            started.process.kill()
            return f"no job began on {host}:\n{said(started.end())}"

        until(lambda: len(self.field.side(host)) > before, otherwise=otherwise)

    def environments(self, host: str) -> str:
        """Read what the processes on a host have been given."""
        told = self.field.hosts.run(host, ["sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null"])
        return told.stdout


@pytest.fixture
def anywhere(field: Field, ceph: "servers.Server", reachable: str) -> Anywhere:
    return Anywhere(field, ceph, reachable)


def test_bare_hosts_run_it_over_a_bucket_whatever_happens_to_them(anywhere: Anywhere) -> None:
    hosts = anywhere.field.hosts
    anywhere.field.go()
    undisturbed = anywhere.start(anywhere.field.workshop.new_store()).end(100)
    assert undisturbed.returncode == 0, said(undisturbed)

    for host in BARE:
        for name in ("side", "go"):
            (hosts.persist(host) / name).unlink()
    started = anywhere.start(anywhere.place)
    until(lambda: all(map(anywhere.field.side, BARE)))
    seen = anywhere.environments("n3") + anywhere.environments("n4")
    assert "JOBSYS_STORE_TOKEN" in seen
    assert not [secret for secret in (*anywhere.secrets, "X-Amz-Signature") if secret in seen]
    hosts.off("n4")
    hosts.boot("n4")
    anywhere.await_jobs(started, "n4")
    hosts.cut("n3")
    time.sleep(float(PATIENCE) + 6)  # until it is asked for a sign of life, and gives none
    hosts.join("n3")
    anywhere.await_jobs(started, "n3")
    anywhere.field.go()
    done = started.end(100)
    assert done.returncode == 0, said(done)
    assert done.stdout == undisturbed.stdout
    assert "modules.csv" in done.stdout
    assert "n3" in done.stderr, "it was told that hosts were lost"
    assert "n4" in done.stderr
    assert not [secret for secret in (*anywhere.secrets.values(), "X-Amz-Signature") if secret in done.stderr]
    asked = (hosts.persist(HEAD) / "peers").read_text().split()
    assert len(set(asked) - {"listening", HEAD_ADDRESS}) == len(BARE), "hosts have read from the bucket itself"
    anywhere.field.nothing_is_left(*BARE)


def test_hosts_with_credentials_of_their_own_reach_the_bucket_themselves(anywhere: Anywhere) -> None:
    script = anywhere.field.script("import boto3\n" + "\n@jobsys.job(memory='50M')\ndef main():\n    return jobsys.current().job_id\n")
    words = ["--s3-workers", "direct", *(word for name in anywhere.secrets for word in ("--env", name))]
    done = anywhere.field.run(script, *words, store=anywhere.place, **anywhere.environment)
    assert done.returncode == 0, said(done)
    asked = anywhere.field.hosts.run(
        HEAD,
        [f"{anywhere.field.bin}/jobsys", "status", anywhere.place, "--json"],
        "/",
        anywhere.field.environment | anywhere.environment,
    )
    assert json.loads(asked.stdout)["state"] == "done", said(asked)
