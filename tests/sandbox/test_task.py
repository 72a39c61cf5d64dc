"""Attempts at tasks, in bubblewrap over the host's own files."""

import os
import time

import psutil
import pytest

from jobsys.sandbox.spec import Limits, Noted, Printed, Running, Staging, Started

QUOTES = ["it's", 'say "x"', "$HOME", "`id`", "a\\b", "  two  ", "*", ";", "&&", "|", "$(true)", "ä\n", "-n", "", "\\n", "%s", "#"]


def sh(script):
    return ["sh", "-c", script]


def test_what_is_said_and_in_which_order(bench):
    result = bench.run(sh("echo out; echo err >&2"), sh("pwd"))
    assert (result.state, result.reason) == ("COMPLETE", "")
    assert result.metadata["runtime"] == "bubblewrap"
    kinds = [type(each).__name__ for each in bench.said if not isinstance(each, Noted)]
    assert kinds == ["Staging", "Running", "Started", "Ended", "Started", "Ended"]
    assert [(each.stdout, each.stderr, each.exit_code) for each in bench.ended] == [("out\n", "err\n", 0), ("/\n", "", 0)]
    assert (bench.logs["0.stdout"], bench.logs["0.stderr"]) == (b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (sh("exit 3"), 3),
        (sh("kill -9 $$"), 137),
        (sh("kill -15 $$"), 143),
        (["/no/such/program"], 127),
        (["no-such-program", "x"], 127),
        (["/etc/passwd", "x"], 126),
        (["/usr", "x"], 126),
        (["exit 7"], 7),
    ],
)
def test_exit_codes_are_exact(bench, command, code):
    result = bench.run(command, ["true"])
    assert result.state == "EXECUTOR_ERROR"
    assert [each.exit_code for each in bench.ended] == [code]
    assert f"exit code {code}" in result.reason


def test_an_error_may_be_ignored(bench):
    result = bench.run(sh("exit 3"), ["true"], executor={"ignore_error": True})
    assert (result.state, [each.exit_code for each in bench.ended]) == ("COMPLETE", [3, 0])


def test_words_arrive_as_they_are(bench):
    bench.run(["printf", "%s|", *QUOTES])
    assert bench.ended[0].stdout == "".join(f"{word}|" for word in QUOTES)


def test_environment_and_working_directory(bench):
    result = bench.run(sh('echo "$A"; pwd; env | wc -l'), executor={"env": {"A": "x  'y'"}, "workdir": "/job/deep"}, volumes=["/job"])
    assert result.state == "COMPLETE", result.reason
    assert bench.ended[0].stdout.startswith("x  'y'\n/job/deep\n")
    assert int(bench.ended[0].stdout.split()[-1]) < 8


def test_files_go_in_and_out(bench):
    (bench.data / "in.txt").write_text("hello")
    (bench.data / "tree" / "deep").mkdir(parents=True)
    (bench.data / "tree" / "deep" / "x").write_text("x")
    result = bench.run(
        sh("cat /data/in.txt /conf/c /tree/deep/x > /out/all; mkdir -p /out/d/e; echo 1 > /out/d/one; echo 22 > /out/d/e/two"),
        ["cat"],
        executor={"stdin": "/data/in.txt", "stdout": "/out/copy"},
        inputs=[
            {"path": "/data/in.txt", "url": bench.url("in.txt")},
            {"path": "/conf/c", "content": "ä", "url": "gopher://ignored"},
            {"path": "/tree", "url": bench.url("tree"), "type": "DIRECTORY"},
        ],
        outputs=[
            {"path": "/out/all", "url": bench.url("all")},
            {"path": "/out/d", "url": bench.url("d/"), "type": "DIRECTORY"},
            {"path": "/out/c*", "path_prefix": "/out/", "url": bench.url("many")},
        ],
    )
    assert result.state == "COMPLETE", result.reason
    assert (bench.data / "all").read_text() == "helloäx"
    assert (bench.data / "many" / "copy").read_text() == "hello"
    assert [(each.path, each.size_bytes) for each in result.outputs] == [
        ("/out/all", "8"),
        ("/out/d/e/two", "3"),
        ("/out/d/one", "2"),
        ("/out/copy", "5"),
    ]
    assert result.metadata["input /data/in.txt"].startswith("sha256:2cf24dba")


def test_files_of_an_image_are_not_changed_and_what_is_beside_a_task_not_seen(bench):
    secret = bench.folder / "secret"
    secret.write_text("s")
    result = bench.run(sh(f"touch /usr/x || echo no; echo y > /etc/jobsys.conf && cat /etc/jobsys.conf; ls {secret} || true"),
        inputs=[{"path": "/etc/jobsys.conf", "content": "x"}])  # fmt: skip
    assert result.state == "COMPLETE"
    assert bench.ended[0].stdout == "no\ny\n"
    assert not os.path.exists("/etc/jobsys.conf")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"inputs": [{"path": "/x", "url": "file:///etc/passwd"}]}, "only below"),
        ({"inputs": [{"path": "/x", "url": "gopher://x"}]}, "no way to gopher"),
        ({"outputs": [{"path": "/x", "url": "/etc/x"}]}, "only below"),
    ],
)
def test_all_urls_are_checked_before_anything_moves(bench, more, says):
    result = bench.run(["true"], **more)
    assert result.state == "SYSTEM_ERROR"
    assert says in result.reason
    assert [type(each) for each in bench.said] == [Staging]


def test_an_input_that_is_not_there(bench):
    result = bench.run(["true"], inputs=[{"path": "/x", "url": bench.url("nothing")}])
    assert result.state == "SYSTEM_ERROR"
    assert "/x" in result.reason
    assert not any(isinstance(each, Running | Started) for each in bench.said)


def test_outputs_are_stored_also_where_an_executor_failed(bench):
    outputs = [{"path": f"/out/{name}", "url": bench.url(name)} for name in ("b", "a")]
    result = bench.run(sh("echo 1 > /out/a; exit 4"), outputs=outputs)
    assert (result.state, [each.path for each in result.outputs]) == ("EXECUTOR_ERROR", ["/out/a"])
    assert (bench.data / "a").read_text() == "1\n"
    assert "exit code 4" in result.reason
    assert any(isinstance(each, Noted) and "/out/b" in each.text for each in bench.said)


def test_an_output_that_is_not_there_is_an_error_and_a_pattern_without_a_match_is_none(bench):
    pattern = {"path": "/out/*.x", "path_prefix": "/out", "url": bench.url("x")}
    assert bench.run(["true"], outputs=[pattern]).state == "COMPLETE"
    assert any(isinstance(each, Noted) and "nothing matches" in each.text for each in bench.said)
    result = bench.run(["true"], outputs=[{"path": "/out/a", "url": bench.url("a")}])
    assert (result.state, "there is no such file" in result.reason) == ("SYSTEM_ERROR", True)


def test_links_are_followed_inside_and_refused_outside(bench):
    good = bench.run(sh("echo 1 > /out/a; ln -s /out/a /out/b"), outputs=[{"path": "/out/b", "url": bench.url("b")}])
    assert (good.state, (bench.data / "b").read_text()) == ("COMPLETE", "1\n")
    bad = bench.run(sh("ln -s /etc/passwd /out/c"), outputs=[{"path": "/out/c", "url": bench.url("c")}])
    assert (bad.state, (bench.data / "c").exists()) == ("SYSTEM_ERROR", False)


def test_a_stream_does_not_follow_a_link_out(bench):
    secret = bench.data / "secret"
    secret.write_text("s")
    bench.run(sh(f"ln -s {secret} /out/log"), volumes=["/out"], executor={"stdout": "/out/first"})
    result = bench.run(
        sh(f"rm -f /out/log; ln -s {secret} /out/log"), ["echo", "overwritten"], volumes=["/out"], executor={"stdout": "/out/log"}
    )
    assert result.state == "COMPLETE"
    assert secret.read_text() == "s"


def test_live_output(bench):
    bench.run(sh("echo one; sleep 1.2; echo two"))
    printed = [each for each in bench.said if isinstance(each, Printed)]
    assert printed
    assert printed[0].stdout == "one\n"


def test_only_the_end_of_much_output_is_shown_and_all_is_kept(bench):
    bench.run(sh("yes | head -c 100000; echo end"))
    assert len(bench.ended[0].stdout) == 10_000
    assert bench.ended[0].stdout.endswith("end\n")
    assert len(bench.logs["0.stdout"]) == 100_004


def test_a_task_that_takes_too_long_ends_with_all_its_processes(bench):
    begun = time.monotonic()
    result = bench.run(sh("setsid sleep 77.25 & sleep 77.25"), ["true"], limits=Limits(seconds=1.0))
    assert time.monotonic() - begun < 30
    assert (result.state, result.reason) == ("SYSTEM_ERROR", "the task ran longer than it may")
    assert len(bench.ended) == 1
    assert not [each for each in psutil.process_iter(["cmdline"]) if "77.25" in (each.info["cmdline"] or [])]


def test_a_task_that_uses_too_much_memory(bench):
    hungry = ["python3", "-c", "import time; x = bytearray(300 << 20); time.sleep(60)"]
    result = bench.run(hungry, limits=Limits(memory=100 << 20))
    assert (result.state, bench.ended[0].exit_code) == ("EXECUTOR_ERROR", 137)
    assert any(isinstance(each, Noted) and "out of memory" in each.text for each in bench.said)


def test_a_task_that_writes_too_much(bench):
    result = bench.run(sh("head -c 50000000 /dev/zero > /tmp/x; sleep 60"), limits=Limits(disk=10_000_000))
    assert (result.state, "out of disk" in result.reason) == ("SYSTEM_ERROR", True)


def test_an_image_that_is_nowhere(bench):
    result = bench.run(["true"], site={"host_image": False})
    assert (result.state, "image 'x' is not here" in result.reason) == ("SYSTEM_ERROR", True)


def test_an_unpacked_image(bench):
    root = bench.folder / "images" / "mini_1"
    for name in ("bin", "lib", "lib64", "usr"):
        place = f"/{name}"
        if os.path.islink(place):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(os.readlink(place))
    (root / "usr").mkdir(exist_ok=True)
    (root / "marker").write_text("this image")
    busy = root / "usr" / "bin"
    busy.mkdir()
    (busy / "show").write_text("not runnable")
    site = {"images": str(bench.folder / "images"), "host_image": False}
    executor = {"image": "mini:1"}
    result = bench.run(["/usr/bin/show", "x"], site=site, executor=executor)
    assert (result.state, bench.ended[0].exit_code) == ("EXECUTOR_ERROR", 126)
