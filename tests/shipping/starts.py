"""The ways in which a script may be started, with a file and without."""

from typing import Final

from shipping.shape import HELPER, PROOF, START, TWICE, Shape, module, script  # type: ignore[import-not-found]

TWICE_SCRIPT: Final = script(TWICE, "import helper\n")
INSIDE: Final = script(TWICE, "from tool import helper\n")
SESSION: Final = f"""import jobsys
import helper
{PROOF}
class Box:
    def __init__(self, x):
        self.x = x

@jobsys.job(memory="50M")
def double(box):
    return Box(helper.twice(box.x))

@jobsys.job(memory="50M")
def show(box):
    return box.x, seen(helper)

@jobsys.job(memory="50M")
def main(x):
    return show(double(Box(x)))

"""
ASK: Final = """arguments = jobsys.argument_parser().parse_args({argv})
value, lines = jobsys.run(main(21), arguments)
print(value, *lines, sep="\\n")
"""
TYPED: Final = SESSION + ASK
"""As one types it: a blank line ends each block."""

PTY: Final = module('''
    """Type the lines of a file into an interactive Python on a terminal; print what the last one answers."""
    import os, pty, sys

    def answer():
        seen = b""
        while not seen.endswith((b">>> ", b"... ")):
            seen += os.read(terminal, 4096)
        return seen.decode().replace("\\r", "").splitlines()

    lines = open("typed.txt").read().replace("ARGV", repr(sys.argv[1:])).splitlines()
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "dumb"
        os.execv(sys.executable, [sys.executable, "-q"])
    answer()
    for line in lines:
        os.write(terminal, line.encode() + b"\\n")
        told = answer()
    print(*[line.removeprefix("answer ") for line in told if line.startswith("answer ")] or told, sep="\\n")
    os.write(terminal, b"exit()\\n")
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass  # so a terminal says that its last user is gone
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
''')

NOTEBOOK: Final = module('''
    """Run cells in a real kernel, as a notebook does, and print what they print."""
    import sys
    from jupyter_client.manager import start_new_kernel

    cells = open("cells.txt").read().replace("ARGV", repr(sys.argv[1:])).split("# ----\\n")
    manager, client = start_new_kernel(kernel_name="python3")
    def show(message):
        content = message["content"]
        if message["msg_type"] == "stream":
            print(content["text"], end="", file=getattr(sys, content["name"]))
        elif message["msg_type"] == "error":
            sys.exit("\\n".join(content["traceback"]))
    try:
        for cell in cells:
            client.execute_interactive(cell, timeout=60, output_hook=show)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
''')

HIDDEN: Final = "flöw v1.2 (final).py"

SHAPES: Final = [
    Shape(
        "module with -m",
        {"tool/__init__.py": "", "tool/helper.py": HELPER, "tool/flow.py": INSIDE},
        "42",
        ("{python}", "-m", "tool.flow", *START),
    ),
    Shape(
        "package with -m",
        {"tool/__init__.py": "", "tool/helper.py": HELPER, "tool/__main__.py": script(TWICE, "from . import helper\n")},
        "42",
        ("{python}", "-m", "tool", *START),
    ),
    Shape(
        "directory",
        {"app/__main__.py": TWICE_SCRIPT, "app/helper.py": HELPER},
        "42",
        ("{python}", "app", *START),
    ),
    Shape(
        "zipapp",
        {
            "app/__main__.py": script(
                """
                @jobsys.job(memory="50M")
                def main():
                    return helper.twice(int((files("stock") / "number.txt").read_text())), seen(helper)
                """,
                "from importlib.resources import files\nimport helper\n",
            ),
            "app/helper.py": HELPER,
            "app/stock/__init__.py": "",
            "app/stock/number.txt": "21",
        },
        "42",
        ("{python}", "app.pyz", *START),
        setup=(("{python}", "-m", "zipapp", "app", "-o", "app.pyz"),),
    ),
    Shape("no suffix", {"flow": TWICE_SCRIPT, "helper.py": HELPER}, "42", ("{python}", "flow", *START)),
    Shape(
        "odd names",
        {f"my wörk/v1.0 beta/{HIDDEN}": TWICE_SCRIPT, "my wörk/v1.0 beta/helper.py": HELPER},
        "42",
        ("{python}", HIDDEN, *START),
        cwd="my wörk/v1.0 beta",
    ),
    Shape(
        "symbolic link",
        {"real/flow.py": TWICE_SCRIPT, "real/helper.py": HELPER},
        "42",
        ("{python}", "bin/start", *START),
        setup=(("mkdir", "bin"), ("ln", "-s", "../real/flow.py", "bin/start")),
    ),
    Shape(
        "absolute path from elsewhere",
        {"flow.py": TWICE_SCRIPT, "helper.py": HELPER, "elsewhere/helper.py": "raise RuntimeError('from the working directory')\n"},
        "42",
        ("{python}", "{project}/flow.py", *START),
        cwd="elsewhere",
    ),
    Shape(
        "python -c",
        {"helper.py": HELPER},
        "42",
        ("{python}", "-c", SESSION + ASK.replace("{argv}", "None"), *START),
    ),
    Shape(
        "standard input",
        {"helper.py": HELPER},
        "42",
        ("{python}", "-", *START),
        stdin=SESSION + ASK.replace("{argv}", "None"),
    ),
    Shape("interactive, piped", {"helper.py": HELPER}, "42", ("{python}", "-q", "-i"), stdin=TYPED),
    Shape(
        "interactive, on a terminal",
        {
            "helper.py": HELPER,
            "driver.py": PTY,
            "typed.txt": SESSION
            + "value, lines = jobsys.run(main(21), jobsys.argument_parser().parse_args(ARGV))\n"
            + 'print("", *(f"answer {each}" for each in [value, *lines]), sep="\\n")\n',
        },
        "42",
        ("{python}", "driver.py", *START),
    ),
    Shape(
        "notebook",
        {"helper.py": HELPER, "driver.py": NOTEBOOK, "cells.txt": SESSION + "# ----\n" + ASK.replace("{argv}", "ARGV")},
        "42",
        ("{python}", "driver.py", *START),
        venv="science",
    ),
    Shape(
        "exec of a text",
        {"helper.py": HELPER, "session.txt": SESSION + ASK.replace("{argv}", "None")},
        "42",
        ("{python}", "-c", "exec(open('session.txt').read())", *START),
    ),
]
