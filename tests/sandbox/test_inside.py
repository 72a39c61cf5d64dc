"""Paths as they are seen inside."""

import os

import pytest

from jobsys.sandbox.inside import matches, open_inside, resolve, translated


@pytest.fixture
def tree(tmp_path):
    made = tmp_path / "tree"
    (made / "data" / "deep").mkdir(parents=True)
    (made / "data" / "a.txt").write_text("a")
    (made / "data" / "b.txt").write_text("b")
    (made / "data" / ".hidden.txt").write_text("h")
    (made / "data" / "[x].txt").write_text("x")
    (made / "data" / "deep" / "c.txt").write_text("c")
    (tmp_path / "secret").write_text("secret")
    return str(made)


def link(tree, path, target):
    os.symlink(target, tree + path)


def test_links_lead_from_the_inside_and_never_out(tree):
    link(tree, "/data/absolute", "/data/a.txt")
    link(tree, "/data/relative", "deep/../b.txt")
    link(tree, "/data/out", "../../../../../../secret")
    link(tree, "/data/etc", "/etc/passwd")
    link(tree, "/data/folder", "/data/deep")
    link(tree, "/data/circle", "circle")
    assert resolve(tree, "/data/absolute") == f"{tree}/data/a.txt"
    assert resolve(tree, "/data/relative") == f"{tree}/data/b.txt"
    assert resolve(tree, "/data/folder/c.txt") == f"{tree}/data/deep/c.txt"
    assert resolve(tree, "/data/folder/../a.txt") == f"{tree}/data/a.txt"
    assert [resolve(tree, f"/data/{name}") for name in ("out", "etc", "circle", "nothing")] == [None] * 4


def test_a_link_in_the_place_of_a_stream_is_replaced(tree, tmp_path):
    link(tree, "/data/log", str(tmp_path / "secret"))
    with open_inside(tree, "/data/log", write=True) as stream:
        stream.write(b"mine")
    assert (tmp_path / "secret").read_text() == "secret"
    with open_inside(tree, "/data/log", write=False) as stream:
        assert stream.read() == b"mine"


def test_a_link_is_not_read_out_of_the_tree(tree, tmp_path):
    link(tree, "/data/in", str(tmp_path / "secret"))
    with pytest.raises(FileNotFoundError):
        open_inside(tree, "/data/in", write=False)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/data/*.txt", ["/data/[x].txt", "/data/a.txt", "/data/b.txt"]),
        ("/data/?.txt", ["/data/a.txt", "/data/b.txt"]),
        ("/data/[a-a].txt", ["/data/a.txt"]),
        ("/data/[!a].txt", ["/data/b.txt"]),
        ("/data/.*.txt", ["/data/.hidden.txt"]),
        ("/data/\\[x].txt", ["/data/[x].txt"]),
        ("/data/*/c.txt", ["/data/deep/c.txt"]),
        ("/*/*/c.txt", ["/data/deep/c.txt"]),
        ("/data/**/c.txt", ["/data/deep/c.txt"]),
        ("/data/{a,b}.txt", []),
        ("/data/d*", ["/data/deep"]),
        ("/data/nothing*", []),
        ("/no/where/*", []),
    ],
)
def test_wildcards_are_those_of_posix(tree, pattern, found):
    assert list(matches(tree, pattern)) == found


@pytest.mark.parametrize(("pattern", "name"), [("[]]", "]"), ("[!]]", "a"), ("a[", "a["), ("[^a]", "b"), ("[a\\]", "\\"), ("a\\*", "a*")])
def test_strange_patterns(pattern, name):
    assert translated(pattern).fullmatch(name)
