"""The benchmarks run, small, and tell what they found; how fast anything is, no test says."""

import importlib
import json
import subprocess
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree as Xml

import pytest

BENCH = Path(__file__).resolve().parent.parent / "contrib" / "bench"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def modules(monkeypatch):
    """Import modules of the benchmarks by name, and forget them behind: chaos has some of the same names."""
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(BENCH)):
            del sys.modules[name]


@pytest.fixture
def ratio(modules):
    return modules("report").Ratio


@pytest.fixture
def run_of(modules):
    """Make a saved run of one case: its rates, round by round, and those of a peer."""

    def make(path, mine, theirs, *, processor="a", quick=False, n=None):
        case = modules("report").Case("case")
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            case.runs += [{"who": "jobsys", "round": number, "load": 0.1, "rate": one}, {"who": "peer", "round": number, "rate": other}]
        case.compare("rate", ("jobsys", "rate"), ("peer", "rate"), 1.0)
        about = {"processor": processor, "load_before": 0.1, "fsync_ms": 0.2}
        asked = {"sizes": {"quick": quick, "n": n}, "cases": ["case"]}
        return modules("saved").write(path, [case], about, asked)

    return make


def bench(*words):
    command = [sys.executable, str(BENCH / "run.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def compare(*words):
    command = [sys.executable, str(BENCH / "compare.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quick_runs_every_case_that_needs_no_installed_peer(tmp_path, modules):
    saved = tmp_path / "run.json"
    ended = bench("--quick", "--json", saved, "--directory", tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(saved.read_text())
    expected = [each.name for each in modules("cases").BENCHES.values() if each.usual and each.quick]
    assert found["asked"]["cases"] == expected
    assert len(found["cases"]) == len(expected)
    for case in found["cases"]:
        assert case["problems"] == []
        assert case["ratios"], case["name"]
        assert {"jobsys", "undisturbed"} & {run["who"] for run in case["runs"]}, case["name"]
    root = Xml.fromstring(saved.with_suffix(".svg").read_text())
    told = "".join(root.itertext())
    for case in found["cases"]:
        for each in case["ratios"]:
            if each["target"] is not None:
                assert each["name"] in told
                assert each["name"] in ended.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "run.svg"}


def test_a_case_that_fails_is_told_and_ends_with_1(tmp_path):
    saved = tmp_path / "run.json"
    ended = bench(
        "--quick", "--only", "shipping", "--peers", "toil", "--peer-python", "no-such-python", "--shipped-python", "none", "--json", saved
    )
    assert ended.returncode == 1
    assert "FAILED shipping" in ended.stdout
    assert json.loads(saved.read_text())["cases"][0]["problems"]


def test_without_installed_peers_it_goes_on_and_says_so(modules, monkeypatch):
    run, cases = modules("run"), modules("cases")

    def offline():
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(modules("environment"), "peer_python", offline)
    options = run.parse(["--peers", "pool,ray"])
    peers, python, failed = run.find_peers(options, [cases.BENCHES["chain"]])
    assert (peers, python) == (["pool"], "")
    assert "--peers pool,fork" in failed[0].problems[0]
    assert run.find_peers(options, [cases.BENCHES["idle"]]) == (["pool", "ray"], "", [])


def test_a_run_that_is_broken_off_tells_what_it_has(tmp_path, modules, monkeypatch, capsys):
    run, settings = modules("run"), modules("settings")

    def measured(_):
        return [modules("report").Case("first", runs=[{"who": "jobsys", "round": 0, "rate": 1.5}])]

    def interrupted(_):
        raise KeyboardInterrupt

    benches = [settings.Bench(each.__name__, "", each) for each in (measured, interrupted)]
    monkeypatch.setattr(run, "chosen", lambda *_: benches)
    assert run.main(["--peers", "pool", "--json", str(tmp_path / "run.json"), "--directory", str(tmp_path)]) == 130
    assert [case["name"] for case in json.loads((tmp_path / "run.json").read_text())["cases"]] == ["first"]
    assert "first" in capsys.readouterr().out


def test_a_contestant_that_fails_is_left_out_and_the_others_go_on(tmp_path, modules):
    contest, case = modules("contest"), modules("report").Case("case")

    def broken(place):
        raise contest.ContestError("it is broken")

    contest.take_turns(case, {"broken": broken, "fine": lambda place: {"rate": 2.0}}, 2, tmp_path)
    assert case.by_round("fine", "rate") == {0: 2.0, 1: 2.0}
    assert case.problems == ["broken is left out: it is broken"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "nonsense"], "nonsense"),
        (["--n", "5"], "--n needs one --only CASE"),
        (["--rounds", "0"], "no whole number from 1 on"),
        (["--peers", "pool,nobody"], "there is no peer nobody"),
        (["--directory", "nowhere-at-all"], "make it first"),
        (["--against", "nowhere.json"], "nowhere.json is not there"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(words, told):
    ended = bench(*words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr


def test_all_cases_are_listed(modules):
    ended = bench("--list")
    assert ended.returncode == 0
    assert [line.split()[0] for line in ended.stdout.splitlines()] == list(modules("cases").BENCHES)


# ── ratios ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rounds", "target", "at_least", "met", "score"),
    [
        ((1.0, 2.0, 9.0), 2.0, True, True, 1.0),
        ((1.0, 1.0, 9.0), 2.0, True, False, 0.5),
        ((4.0,), 2.0, False, False, 0.5),
        ((1.0,), 2.0, False, True, 2.0),
        ((0.0,), 0.0, False, True, 1.0),
        ((5.0,), 0.0, False, False, 0.0),
    ],
)
def test_the_middle_round_counts_against_the_target(ratio, rounds, target, at_least, met, score):
    found = ratio("x", rounds, target, at_least)
    assert (found.met, found.score) == (met, score)


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "0"), (0.012345, "0.0123"), (999.4, "999"), (1000.4, "1,000"), (2730.3, "2,730"), (-2730.3, "-2,730")]
)
def test_numbers_are_written_without_exponents(modules, value, told):
    assert modules("report").short(value) == told


def test_a_ratio_is_made_within_rounds_that_have_both(modules):
    case = modules("report").Case("case")
    case.divide("mine / theirs", {0: 10.0, 1: 30.0, 2: 5.0}, {0: 5.0, 1: 10.0})
    assert case.ratios[0].rounds == (2.0, 3.0)
    assert modules("report").joined({0: 1.0, 1: 5.0}, {0: 2.0}) == {0: 2.0, 1: 5.0}


def test_a_missed_target_is_drawn_left_of_the_line(modules, ratio):
    case = modules("report").Case("case", ratios=[ratio("good", (4.0,), 2.0), ratio("bad", (1.0,), 2.0), ratio("a < b & c", (3.0,))])
    root = Xml.fromstring(modules("plot").drawn([case], "title"))
    bars = [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in root.iter(f"{SVG}rect") if "x" in bar.attrib]
    (line, wide), (start, as_wide) = bars[:2]
    assert start + as_wide == pytest.approx(line, abs=0.2)
    assert wide == pytest.approx(as_wide, abs=0.2)  # twice and half
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "a < b & c" in texts
    assert any("1 of 2 missed" in (text or "") for text in texts)


# ── what has changed ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_lies_outside_the_spread_is_told_from_noise(tmp_path, modules, run_of):
    then = run_of(tmp_path / "then.json", [10.0, 12.0], [10.0, 10.0])
    noise = modules("compare").compared(then, run_of(tmp_path / "now.json", [11.0, 13.0], [10.0, 10.0]))
    assert "within the spread" in noise
    worse = modules("compare").compared(then, run_of(tmp_path / "now.json", [5.0, 6.0], [10.0, 10.0]))
    assert "-50.0 %  outside: WORSE" in worse
    assert "1 of 1 outside the spread" in worse
    assert "0 of 1 outside the spread" in noise
    better = modules("compare").compared(then, run_of(tmp_path / "now.json", [20.0, 24.0], [10.0, 10.0]))
    assert "+100.0 %  outside: better" in better
    once = modules("compare").compared(then, run_of(tmp_path / "now.json", [20.0], [10.0]))
    assert "one round: unknown" in once


def test_two_saved_runs_are_compared_by_the_command(tmp_path, run_of):
    run_of(tmp_path / "then.json", [10.0, 12.0], [10.0, 10.0])
    run_of(tmp_path / "now.json", [20.0, 24.0], [10.0, 10.0])
    ended = compare(tmp_path / "then.json", tmp_path / "now.json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "case: jobsys, rate" in ended.stdout


def test_of_another_machine_only_ratios_are_compared(tmp_path, modules, run_of):
    then = run_of(tmp_path / "then.json", [10.0, 12.0], [10.0, 10.0], processor="b")
    told = modules("compare").compared(then, run_of(tmp_path / "now.json", [20.0, 24.0], [10.0, 10.0]))
    assert "ANOTHER MACHINE" in told
    assert "processor: b then, a now" in told
    assert "case: rate" in told
    assert "case: jobsys, rate" not in told


def test_runs_of_other_sizes_are_not_compared(tmp_path, run_of):
    run_of(tmp_path / "then.json", [10.0], [10.0], quick=True)
    run_of(tmp_path / "now.json", [10.0], [10.0], n=7)
    ended = compare(tmp_path / "then.json", tmp_path / "now.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "(--quick)" in ended.stderr
    assert "(--n 7)" in ended.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is not there"),
        ("{", "can't be read as JSON"),
        ("[]", "has the format None"),
        ('{"format": "jobsys-bench 0"}', "has the format 'jobsys-bench 0'"),
    ],
)
def test_a_file_that_is_no_saved_run_is_refused(tmp_path, content, told):
    path = tmp_path / "then.json"
    if content is not None:
        path.write_text(content)
    ended = compare(path, path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert str(path) in ended.stderr
    assert told in ended.stderr


def test_the_newest_run_of_its_kind_is_found(tmp_path, modules, monkeypatch):
    saved = modules("saved")
    monkeypatch.setattr(saved, "RUNS", tmp_path)
    with pytest.raises(saved.SavedError, match="no full run is saved"):
        saved.named("newest", quick=False)
    for name in ("full-20260101-000000.json", "full-20260201-000000.json", "quick-20260301-000000.json"):
        (tmp_path / name).touch()
    assert saved.named("newest", quick=False).name == "full-20260201-000000.json"
    assert saved.named("newest", quick=True).name == "quick-20260301-000000.json"
    assert saved.named("other.json", quick=True) == Path("other.json")


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "target", "header", "kind"),
    [
        ("GET", "/bucket?list-type=2&prefix=a", b"", "list"),
        ("GET", "/bucket?prefix=a&marker=b", b"", "list"),
        ("GET", "/bucket?location", b"", "get bucket"),
        ("HEAD", "/bucket", b"", "head bucket"),
        ("PUT", "/bucket/", b"", "put bucket"),
        ("GET", "/bucket/a/b", b"", "get"),
        ("HEAD", "/bucket/a?versionId=1", b"", "head"),
        ("PUT", "/bucket/a", b"", "put"),
        ("PUT", "/bucket/a", b"PUT /bucket/a HTTP/1.1\r\nX-Amz-Copy-Source: b/c\r\n\r\n", "copy"),
        ("POST", "/bucket/a?uploads", b"", "begin upload"),
        ("PUT", "/bucket/a?partNumber=1&uploadId=u", b"", "put part"),
        ("POST", "/bucket/a?uploadId=u", b"", "complete upload"),
        ("DELETE", "/bucket/a?uploadId=u", b"", "abort upload"),
        ("POST", "/bucket?delete", b"", "delete many"),
        ("DELETE", "/bucket/a", b"", "delete"),
    ],
)
def test_a_request_to_s3_is_counted_as_what_it_asks_for(modules, method, target, header, kind):
    assert modules("counting").kind(method, target, header) == kind


class Echo(BaseHTTPRequestHandler):
    """Answers with the body that came, whole or in chunks."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body, length = b"", self.headers.get("Content-Length")
        if length is None:
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(length))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_proxy_hands_on_every_byte_and_counts(modules):
    body = bytes(range(256)) * 4000
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with modules("counting").Counting(server.server_port) as proxy:
            connection = HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            for sent in (body, b"", iter([body[:70_000], body[70_000:]])):  # what is given piece by piece goes in chunks
                connection.request("PUT", "/bucket/key", sent)
                assert connection.getresponse().read() == (b"" if sent == b"" else body)
            connection.close()
            assert proxy.take() == {"put": 3}
            assert proxy.take() == {}
        server.shutdown()


def test_what_more_jobs_would_take_is_told_from_two_sizes(modules):
    told = modules("cases.s3_fan_out").on_a_line(100, {20: {0: 7.0, 1: 5.0, 2: 1.0}, 10: {0: 5.0, 1: 5.0}})
    assert told == {0: 23.0, 1: 5.0}


def test_without_the_script_that_starts_ceph_it_says_what_to_set(modules, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_SERVERS", str(tmp_path / "none"))
    with pytest.raises(modules("contest").ContestError, match="set TEST_SERVERS"), modules("ceph").ceph(tmp_path):
        pytest.fail("it began")


# ── Slurm ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_of_commands_are_counted_by_what_they_are_for(modules, tmp_path):
    slurm, real = modules("slurm"), tmp_path / "real"
    real.mkdir()
    for name in slurm.KINDS:
        (real / name).write_text('#!/bin/sh\necho "$0 $*"\n')
        (real / name).chmod(0o755)
    slurm.write_counting(tmp_path / "counting", str(real))
    environment = {slurm.NOTED: str(tmp_path / "calls"), "PATH": "/usr/bin:/bin"}
    for words in (["sbatch", "--array=0-9", "a b"], ["squeue"], ["sacct"], ["scontrol"], ["sbatch"]):
        command = [str(tmp_path / "counting" / words[0]), *words[1:]]
        printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        assert printed == f"{real / words[0]} {' '.join(words[1:])}\n"
    counted = slurm.calls(tmp_path)
    assert counted == {"sbatch": 2, "squeue": 1, "sacct": 1, "scontrol": 1}
    assert slurm.by_kind(counted) == {"submit": 2, "look": 2, "ask": 1, "cancel": 0, "commands": 5}
    assert slurm.by_kind(slurm.calls(tmp_path / "real"))["commands"] == 0


def test_without_slurm_it_says_what_to_install_or_to_set(modules, tmp_path, monkeypatch):
    slurm, error = modules("slurm"), modules("contest").ContestError
    with pytest.raises(error, match="apt-get install"):
        slurm.write_counting(tmp_path / "counting", str(tmp_path))
    monkeypatch.setenv("TEST_SCHEDULERS", str(tmp_path / "none"))
    with pytest.raises(error, match="set TEST_SCHEDULERS"), slurm.slurm(tmp_path):
        pytest.fail("it began")
