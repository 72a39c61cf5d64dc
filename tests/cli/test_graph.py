"""The picture of a graph: what is drawn, where it stands, and the files it becomes."""

import itertools
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsys.cli.picture.fold import fold
from jobsys.cli.picture.layout import GAP, arrange
from jobsys.cli.picture.model import Picture, by_job
from jobsys.history import read_history
from recorded import SELF, Recorded, fan, job, knot  # type: ignore[import-not-found]

SVG = "{http://www.w3.org/2000/svg}"


def picture(run: Recorded, most: int = 300, by_function: bool = False) -> Picture:
    return fold(by_job("title", read_history(run.flush().store), ()), most, by_function)


def arrows(drawn: Picture) -> set[tuple[str, str, str, int]]:
    return {(drawn.boxes[arrow.source].name, arrow.kind, drawn.boxes[arrow.target].name, arrow.jobs) for arrow in drawn.arrows}


@pytest.fixture
def rich_graph(tmp_path) -> Recorded:
    """Children, a service, a follow-on, values, an after, and a knot."""
    run = Recorded(str(tmp_path / "rich")).lead().script(job("prepare"))
    return run.commit(
        1,
        job("database", service_of=SELF),
        job("align"),
        job("sort", child_of=(1,), refs=(1,)),
        knot("end", child_of=(), follow_on_of=(SELF,)),
        job("merge", child_of=(3,), refs=(2,)),
        job("report", child_of=(3,), after=(1,)),
    )


def test_every_kind_of_edge(rich_graph):
    assert arrows(picture(rich_graph)) == {
        ("prepare", "service", "database", 1),
        ("prepare", "child", "align", 1),
        ("align", "child", "sort", 1),
        ("prepare", "follow-on", "end", 1),
        ("end", "child", "merge", 1),
        ("sort", "value", "merge", 1),
        ("end", "child", "report", 1),
        ("align", "after", "report", 1),
    }


def test_a_follow_on_stands_below_all_of_the_subtree(rich_graph):
    drawn = picture(rich_graph)
    layout = arrange(dict.fromkeys(drawn.boxes, (80, 40)), [arrow[:2] for arrow in drawn.arrows], drawn.order)
    at = {drawn.boxes[key].name: y for key, (_, y) in layout.centres.items()}
    assert at["prepare"] < at["align"] < at["sort"] < at["end"] < at["merge"]
    assert at["report"] > at["sort"], "it waits for all of align's subtree"


def test_a_child_that_takes_a_siblings_value_is_drawn_below_it_only(tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("top")).commit(1, job("one"), job("two", refs=(0,)))
    assert arrows(picture(run)) == {("top", "child", "one", 1), ("one", "value", "two", 1)}


def test_a_child_that_uses_its_parents_service_is_drawn_below_that_only(tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("top")).commit(1, job("db", service_of=SELF), job("query", refs=(0,)))
    assert arrows(picture(run)) == {("top", "service", "db", 1), ("db", "value", "query", 1)}


def test_jobs_alike_fold_into_one_box(tmp_path):
    drawn = picture(fan(Recorded(str(tmp_path / "s")), 2000))
    assert {box.name: len(box.jobs) for box in drawn.boxes.values()} == {"square": 2000, "total": 1}
    assert arrows(drawn) == {("square", "value", "total", 1)}


def test_few_jobs_stay_apart(tmp_path):
    assert len(picture(fan(Recorded(str(tmp_path / "s")), 5)).boxes) == 6


def test_chains_fold_by_function_only_where_there_are_too_many(tmp_path):
    chains = [job(name, refs=(number * 2,) if name == "b" else ()) for number in range(20) for name in ("a", "b")]
    run = Recorded(str(tmp_path / "s")).lead().script(*chains)
    assert len(picture(run).boxes) == 40
    assert arrows(picture(run, most=39)) == {("a", "value", "b", 20)}
    assert arrows(picture(run, by_function=True)) == {("a", "value", "b", 20)}


def test_recursion_by_function(tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("fib")).commit(1, job("fib"), job("fib"), job("add", refs=(0, 1)), refs=(2,))
    drawn = picture(run, by_function=True)
    assert [(box.name, box.recursive) for box in drawn.boxes.values()] == [("fib", True), ("add", False)]


def test_what_a_checkpoint_made_before_is_left_out(tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job("top", checkpoint=True, retries=1)).commit(1, job("low"))
    run.fail(2).commit(1, job("low"))
    assert sorted(picture(run).boxes) == [1, 3]


boxes = st.integers(1, 25).flatmap(
    lambda count: st.tuples(
        st.lists(st.floats(20, 200), min_size=count, max_size=count),
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1]), max_size=40),
    )
)


@settings(max_examples=150, deadline=None)
@given(boxes)
def test_any_graph_is_laid_out(given_boxes):
    widths, pairs = given_boxes
    sizes = {key: (width, 40.0) for key, width in enumerate(widths)}
    layout = arrange(sizes, pairs)
    assert set(layout.routes) == set(pairs)
    for one, two in pairs:
        upper, lower = layout.centres[one][1], layout.centres[two][1]
        assert upper > lower if (one, two) in layout.backwards else upper < lower
        assert layout.routes[one, two][0] == layout.centres[one]
        assert layout.routes[one, two][-1] == layout.centres[two]
    for (key, (x, y)), (other, (x2, y2)) in itertools.combinations(layout.centres.items(), 2):
        assert y != y2 or abs(x - x2) >= (widths[key] + widths[other]) / 2 + GAP - 1e-6, "boxes overlap"
    assert all(x - widths[key] / 2 + 1e-6 >= 0 and x + widths[key] / 2 <= layout.width + 1e-6 for key, (x, _) in layout.centres.items())


def test_few_arrows_cross():
    """Two trees whose leaves are given in turn can be drawn without a crossing."""
    pairs = [(number % 2, number + 2) for number in range(10)]
    layout = arrange(dict.fromkeys(range(12), (50.0, 40.0)), pairs)
    row = sorted(range(2, 12), key=lambda key: layout.centres[key][0])
    assert len(list(itertools.groupby(row, key=lambda key: key % 2))) == 2


def texts(svg: str) -> Iterator[str]:
    return (element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text"))


def test_svg(jobsys, under_way, tmp_path):
    target = tmp_path / "graph.svg"
    said = jobsys("graph", under_way.locator, "-o", target)
    assert (said.status, said.out, said.err) == (0, "", f"{target}: 10 jobs in 3 boxes\n")
    found = list(texts(target.read_text()))
    assert found[:2] == [under_way.locator, "10 jobs: 1 failed, 2 running, 1 waiting, 6 done"]
    assert found[2:7] == ["failed", "running", "waiting", "done", "value"]
    assert "square ×8" in found
    assert "1 failed · 2 running · 5 done · 15 s" in found
    assert "job 10 · waiting" in found


def test_names_are_escaped_and_cut(jobsys, tmp_path):
    run = Recorded(str(tmp_path / "s")).lead().script(job('<b>&"x"'), job("long" * 20)).flush()
    target = tmp_path / "graph.svg"
    jobsys("graph", run.locator, "-o", target)
    found = list(texts(target.read_text()))
    assert '<b>&"x"' in found
    assert any(text.endswith("…") and len(text) < 40 for text in found)
    jobsys("graph", run.locator, "-o", tmp_path / "graph.html")
    assert "&lt;b&gt;&amp;" in (tmp_path / "graph.html").read_text()


def test_dot_to_standard_output(jobsys, under_way):
    said = jobsys("graph", under_way.locator)
    assert said.out.startswith("digraph jobs {\n")
    assert '2 [label="square ×8\\n1 failed · 2 running · 5 done · 15 s"' in said.out
    assert "  1 -> 2 [" in said.out


def test_json(jobsys, under_way):
    found = jobsys("graph", under_way.locator, "--json").json
    assert [box["name"] for box in found["boxes"]] == ["load", "square", "total"]
    assert found["arrows"][0] == {"source": 1, "target": 2, "kind": "value", "jobs": 8}


def test_what_needs_graphviz_says_so_before_anything_is_read(jobsys, under_way, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    said = jobsys("graph", under_way.locator, "-o", tmp_path / "graph.png")
    assert said.status == 2
    assert "to draw .png graphviz must be installed (its program 'dot'); .svg and .html need nothing" in said.err
    assert jobsys("graph", under_way.locator, "-o", "graph.jpeg").status == 2


def test_graphviz_draws_where_it_is_there(jobsys, under_way, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    dot = tmp_path / "bin" / "dot"
    dot.write_text("#!/bin/sh\necho drawn with $1\ncat\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(dot.parent), prepend=":")
    assert jobsys("graph", under_way.locator, "-o", tmp_path / "graph.pdf").status == 0
    assert (tmp_path / "graph.pdf").read_text().startswith("drawn with -Tpdf\ndigraph jobs {")
    dot.write_text("#!/bin/sh\necho bad >&2\nexit 3\n")
    said = jobsys("graph", under_way.locator, "-o", tmp_path / "graph.pdf")
    assert (said.status, "could not draw" in said.err, "bad" in said.err) == (1, True, True)


def test_a_place_that_can_not_be_written(jobsys, under_way, tmp_path):
    said = jobsys("graph", under_way.locator, "-o", tmp_path / "none" / "graph.svg")
    assert (said.status, "can't write" in said.err) == (1, True)
