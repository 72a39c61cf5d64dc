"""The documents are true: their links lead somewhere, their examples run, their commands exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("contrib/**/*.md")})
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text()) if language in languages]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*?)\s*$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(page: Path) -> Iterator[str]:
    """Give what a page tells to type: the lines of its shell blocks, and its code spans."""
    for block in blocks(page, "sh", "console", "bash"):
        yield from (line.removeprefix("$ ").strip() for line in block.splitlines())
    yield from SPAN.findall(FENCE.sub("", page.read_text()))


def words_after(program: str) -> set[str]:
    """Collect the word after a program's name, wherever a page names both; `x a, b, c` names three."""
    found: set[str] = set()
    for page in PAGES:
        for line in command_lines(page):
            if match := re.match(rf"{program} ([a-z][\w-]*(?:, [a-z][\w-]*)*)(?=\s|$|`)", line):
                found.update(match[1].split(", "))
    return found


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(other), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_compile(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python"), 1):
        compile(block, f"{page.name}:{number}", "exec")


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page.exists() and page not in seen:
            seen.add(page)
            targets = (target.partition("#")[0] for target in LINK.findall(page.read_text()))
            waiting += [(page.parent / target).resolve() for target in targets if target and ":" not in target]
    assert [page_id(page) for page in PAGES if page not in seen] == []


def test_the_script_of_the_readme_runs(tmp_path: Path) -> None:
    """Save the first Python block under the name that the console block calls, and compare what each `$` line prints."""
    readme = ROOT / "README.md"
    script = blocks(readme, "python")[0]
    assert len(script.splitlines()) < 20
    session = blocks(readme, "console")[0]
    commands = re.findall(r"^\$ python (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert commands
    for arguments, expected in commands:
        words = shlex.split(arguments, comments=True)
        (tmp_path / words[0]).write_text(script)
        result = run(sys.executable, *words, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, expected), result.stderr


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert words_after("make") >= {"demo", "test", "check"}
    assert words_after("make") <= targets


def test_every_make_target_has_its_line_of_help() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = run("make", "--no-print-directory", "help", cwd=ROOT).stdout
    assert [target for target in targets if not re.search(rf"make {target}\s+\w", listed)] == []


def test_every_subcommand_that_is_named_exists() -> None:
    program = Path(sys.executable).with_name("jobsys")
    result = run(str(program), "--help", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    braces = re.search(r"\{([a-z,\-]+)\}", result.stdout)
    known = set(braces[1].split(",")) if braces else set(re.findall(r"^ {2,4}([a-z]+)\b", result.stdout, re.MULTILINE))
    assert words_after("jobsys")
    assert words_after("jobsys") <= known
