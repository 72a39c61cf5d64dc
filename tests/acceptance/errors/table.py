"""All cases, in the order of the document, and the document itself."""

from acceptance.errors import jobs, scripts, stopping, usage  # type: ignore[import-not-found]
from acceptance.errors.case import Case, Left  # type: ignore[import-not-found]

TABLE: dict[str, list[Case]] = {
    "Options and commands": usage.OPTIONS,
    "The job store": usage.STORES,
    "Promises": scripts.PROMISES,
    "The graph": scripts.GRAPHS,
    "What a job asks for": scripts.REQUIREMENTS,
    "Workers import the script": scripts.IMPORTS,
    "Jobs that fail": jobs.JOBS,
    "Stopping, looking, resuming": stopping.STOPPING,
    "Surroundings": stopping.SURROUNDINGS,
}
CASES = [case for group in TABLE.values() for case in group]

_HEAD = """\
# What went wrong?

What you see, why, what to do, how the program ends, and what is left behind. Search this page for a part of the message: … stands for
names and numbers that differ. Each row is a test; the page is made of them, by
`PYTHONPATH=tests python tests/acceptance/errors/table.py`.

An error of jobsys is its message, after `jobsys: error:`; where your own line is at fault, that line stands before it. Of a job that fails
you see your own traceback and the end of what it printed. `--log-level debug` adds jobsys' own traceback. The exit statuses are those of
[command-line.md](command-line.md): 0 fine, 1 the run failed or is not there, 2 the script or its options are wrong, 130 it was stopped.
Nothing else is left behind: no process, no temporary file.
"""


def document() -> str:
    """Write the document."""
    parts = [_HEAD]
    for title, cases in TABLE.items():
        rows = "\n".join(_row(case) for case in cases)
        parts.append(f"## {title}\n\n| what you see | why | what to do | ends with | leaves |\n|---|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(case: Case) -> str:
    seen = f"`{case.says.removeprefix('jobsys: error: ')}`" if case.says else _printed(case)
    if "`" in case.says:
        seen = f"`` {case.says.removeprefix('jobsys: error: ')} ``"
    cells = (seen, case.did, case.way, str(case.status), str(case.left))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _printed(case: Case) -> str:
    return f"`{case.prints[0]}`" if case.prints and case.left is not Left.NOTHING else "nothing"


if __name__ == "__main__":
    print(document(), end="")
