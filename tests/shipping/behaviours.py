"""What code does once it has arrived: user types, deferred functions, encapsulation, restarts, the leader's settings."""

from typing import Final

from shipping.shape import HELPER, START, Shape, module, script  # type: ignore[import-not-found]

TYPES: Final = {
    "models/__init__.py": "",
    "models/kinds.py": module("""
        import dataclasses, enum

        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int

        class Colour(enum.Enum):
            RED = "red"

        class Outer:
            class Inner:
                def __init__(self, text):
                    self.text = text

        class Refusal(Exception):
            def __init__(self, reason, code):
                super().__init__(reason, code)
                self.code = code
    """),
    "flow.py": script(
        """
        class Own(kinds.Outer):
            here = "script"

        @jobsys.job(memory="50M")
        def move(point, colour, inner, own):
            return kinds.Point(point.x + 1), colour, type(inner)(inner.text * 2), kinds.Refusal("no", 7), own

        @jobsys.job(memory="50M")
        def check(values):
            point, colour, inner, refusal, own = values
            try:
                raise refusal
            except kinds.Refusal as error:
                code = error.code
            kept = isinstance(own, Own) and own.here
            return (point, colour is kinds.Colour.RED, inner, code, kept), seen(kinds)

        @jobsys.job(memory="50M")
        def main():
            return check(move(kinds.Point(1), kinds.Colour.RED, kinds.Outer.Inner("ab"), Own()))
        """,
        "from models import kinds\n",
    ).replace(
        "    print(value,",
        "    point, red, inner, *rest = value\n"
        "    value = [type(point) is kinds.Point, point.x, red, type(inner) is kinds.Outer.Inner, inner.text, *rest]\n"
        "    print(value,",
    ),
}

DEFERRED: Final = {
    "tidy/__init__.py": "",
    "tidy/up.py": "def leave(path, text):\n    with open(path, 'a') as stream:\n        stream.write(text)\n",
    "flow.py": script(
        """
        @jobsys.job(memory="50M", retries=1, name="die once")
        def work(path):
            context = jobsys.current()
            context.defer(tidy.up.leave, path, f"tidied {context.attempt};")
            if context.attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return path

        @jobsys.job(memory="50M")
        def read(path):
            with open(path) as stream:
                text = stream.read()
            os.unlink(path)
            return sorted(set(text.split(";"))), seen(tidy.up)

        @jobsys.job(memory="50M")
        def main():
            return read(work(f"/tmp/deferred-{uuid.uuid4().hex}"))
        """,
        "import os\nimport signal\nimport tidy.up\nimport uuid\n",
    ),
}

ENCAPSULATED: Final = {
    "kitchen/__init__.py": "",
    "kitchen/oven.py": module("""
        import jobsys
        from kitchen.parts import weigh

        class Bake(jobsys.Job):
            def __init__(self, what):
                super().__init__(memory="50M")
                self.what = what

            def run(self, context):
                self.add_child_fn(weigh, self.what, memory="50M")
                return f"{self.what} baked"
    """),
    "kitchen/parts.py": "def weigh(what):\n    return len(what)\n\ndef serve(text):\n    return text + ' and served'\n",
    "flow.py": script(
        """
        def finish(text):
            return text + " at last", seen(kitchen.oven, kitchen.parts)

        def main():
            baking = Bake("cake").encapsulate()
            served = baking.add_follow_on_fn(serve, baking.rv(), memory="50M")
            return served.add_follow_on_fn(finish, served.rv(), memory="50M").rv()
        """,
        "import kitchen.oven\nfrom kitchen.oven import Bake\nfrom kitchen.parts import serve\n",
    ),
}

STEPS: Final = script(
    """
    @jobsys.job(memory="50M", retries=0)
    def first():
        return version.NAME + os.environ.get("SETTING", "")

    @jobsys.job(memory="50M", retries=0)
    def second(before):
        if os.environ.get("SETTING") == "bad":
            raise ValueError("not yet")
        return (before, version.NAME), seen(version)

    @jobsys.job(memory="50M")
    def main():
        return second(first())
    """,
    "import os\nimport version\n",
)
RESTARTED: Final = {"flow.py": STEPS, "version.py": "NAME = 'old'\n"}
BROKEN: Final = STEPS.replace('if os.environ.get("SETTING") == "bad":', "if True:")

SAME: Final = {
    "flow.py": script(
        """
        def facts():
            return {
                "optimize": sys.flags.optimize, "utf8": sys.flags.utf8_mode, "dev": sys.flags.dev_mode,
                "hash": hash("jobsys"), "zone": time.tzname, "hour": time.localtime(0).tm_hour,
                "encoding": locale.getpreferredencoding(False), "language": locale.setlocale(locale.LC_CTYPE, ""),
                "asserts": __debug__, "warns": sys.warnoptions, "x": dict(sys._xoptions), "argv": sys.argv[-1],
            }

        @jobsys.job(memory="50M")
        def main(leader):
            mine = facts()
            return {name: (leader[name], mine[name]) for name in leader if leader[name] != mine[name]}, seen(helper)
        """,
        "import helper\nimport locale\nimport sys\nimport time\n",
    ).replace("main()", "main(facts())"),
    "helper.py": HELPER,
}

HANDED: Final = {
    "flow.py": script(
        """
        @jobsys.job(memory="50M")
        def main():
            return [os.environ.get(name) for name in ("GIVEN", "PASSED", "SECRET")], seen(helper)
        """,
        "import helper\nimport os\n",
    ),
    "helper.py": HELPER,
}

POOLS: Final = {
    "helper.py": HELPER,
    "flow.py": script(
        """
        def pooled(method):
            context = multiprocessing.get_context(method)
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                return [*pool.map(helper.twice, [1]), *pool.map(own, [1])]

        def own(x):
            return 3 * helper.twice(x)

        @jobsys.job(memory="500M")
        def main():
            return [pooled(method) for method in ("fork", "spawn", "forkserver")], seen(helper)
        """,
        "import concurrent.futures\nimport helper\nimport multiprocessing\n",
    ),
}

SHAPES: Final = [
    Shape("user types", TYPES, "[True, 2, True, True, 'abab', 7, 'script']"),
    Shape("deferred functions", DEFERRED, "['', 'tidied 1', 'tidied 2']", hosts=("n3",)),
    Shape("encapsulation", ENCAPSULATED, "cake baked and served at last", places=2),
    Shape("process pools in a job", POOLS, "[[2, 6], [2, 6], [2, 6]]"),
    Shape(
        "restart with an edited script",
        {**RESTARTED, "flow.py": BROKEN},
        "('old', 'newer')",
        edit={"flow.py": STEPS, "version.py": "NAME = 'newer'\n"},
        again=("--restart",),
    ),
    Shape(
        "restart with the same code",
        RESTARTED,
        "('oldbad', 'old')",
        edit={"version.py": "NAME = 'newer'\n"},
        first=("--env", "SETTING=bad"),
        again=("--restart", "--same-code", "--env", "SETTING="),
    ),
    Shape(
        "the leader's settings",
        SAME,
        "{}",
        ("{python}", "-O", "-X", "utf8", "-W", "ignore::ImportWarning", "flow.py", *START),
        environment={"PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8", "LANG": "C"},
    ),
    Shape(
        "variables handed on",
        HANDED,
        "['here', 'along', None]",
        environment={"PASSED": "along", "SECRET": "jobsys-test-secret"},
        options=("--env", "GIVEN=here", "--env", "PASSED"),
        local=False,
        forbidden=("jobsys-test-secret",),
    ),
]
