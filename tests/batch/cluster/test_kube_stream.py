"""A watch over HTTP: its lines come as they are sent, and nobody waits for them."""

import json
import queue
import threading
import time
from types import SimpleNamespace

import pytest

from jobsys.batch.cluster.kube_api import Api


def events(*numbers):
    return b"".join(json.dumps({"type": "ADDED", "object": {"n": number}}).encode() + b"\n" for number in numbers)


def until(stream, count, over=False):
    deadline = time.monotonic() + 10
    found: list[int] = []
    while len(found) < count or (over and not stream.over):
        assert time.monotonic() < deadline, found
        found += [event["object"]["n"] for event in stream.take()]
        time.sleep(0.005)
    return found


def test_lines_come_as_they_are_sent(api_server, kubeconfig):
    more = threading.Event()
    whole = events(*range(5))
    api_server.answers.append((200, [whole[:13], whole[13:20], whole[20:], more, events(5)]))
    stream = Api(kubeconfig).watch("pods", "1")
    assert until(stream, 5) == [0, 1, 2, 3, 4]
    assert (stream.take(), stream.over) == ([], False)
    more.set()
    assert until(stream, 1, over=True) == [5]
    assert not stream._thread.is_alive()
    stream.close()


def test_what_is_cut_in_the_middle_of_a_line_ends_before_it(api_server, kubeconfig):
    api_server.answers.append((200, [events(1), events(2)[:3], None]))
    stream = Api(kubeconfig).watch("pods", "1")
    assert until(stream, 1, over=True) == [1]


def test_close_ends_the_thread_that_waits(api_server, kubeconfig):
    forever = threading.Event()
    api_server.answers.append((200, [events(1), forever]))
    stream = Api(kubeconfig).watch("pods", "1")
    assert until(stream, 1) == [1]
    stream.close()
    assert not stream._thread.is_alive()
    assert (stream.take(), stream.over) == ([], True)
    forever.set()


@pytest.mark.parametrize("line", ["<html>", "7", '{"kind": "Status", "status": "Failure"}', '{"type": "ADDED"}'])
def test_what_is_no_event_ends_the_watch(api_server, kubeconfig, caplog, line):
    api_server.answers.append((200, [events(1), line.encode() + b"\n", events(2)]))
    stream = Api(kubeconfig).watch("pods", "1")
    stream._thread.join(10)
    assert ([event["object"]["n"] for event in stream.take()], stream.over) == ([1], True)
    assert line in caplog.text


def test_whoever_looks_is_not_kept_by_what_comes_meanwhile(api_server, kubeconfig, monkeypatch):
    api_server.answers.append((200, [events(1, 2)]))
    stream = Api(kubeconfig).watch("pods", "1")
    stream._thread.join(10)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    lines.put(events(1))

    def one_more():
        assert lines.qsize() < 10
        lines.put(events(2))
        return events(1)

    monkeypatch.setattr(stream, "_lines", SimpleNamespace(qsize=lines.qsize, empty=lines.empty, get=one_more))
    assert len(stream.take()) == 1
