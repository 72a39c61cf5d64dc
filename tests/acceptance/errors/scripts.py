"""What stands in the script: promises, graphs, requirements, and how it is imported."""

from acceptance.errors.case import KEPT, Case, Left  # type: ignore[import-not-found]

ONE = "@jobsys.job(retries=0)\ndef one(x=1):\n    return x\n\n"
STEP = "class Step(jobsys.Job):\n    def run(self, context):\n        return 1\n\n"
NO_VALUE = (
    "jobsys: error: <promise of job 'one'> has no value yet: pass it to another job (anywhere inside its arguments) and use the value "
    "there, or return it; a part of it is promised by promise[0] or promise['key']"
)
GO_ON = "All is kept in file:…/store: mend the cause and run the script again with --restart to go on where it stopped"
UNGUARDED = "\nargs = jobsys.argument_parser().parse_args()\nprint(jobsys.run(main(), args))\n"


def main(body: str, above: str = ONE) -> str:
    """Write a main that is no job: it makes the graph in the script itself."""
    return above + "def main():\n" + "".join(f"    {line}\n" for line in body.splitlines())


def at(code: str, where: str = "main") -> tuple[str, str]:
    """Give the lines that show where in the script it is."""
    return f'File "…/w/flow.py", line …, in {where}', code


PROMISES = [
    Case(
        did="a promise is added to",
        script=main("return one() + 1"),
        shows=at("return one() + 1"),
        says=NO_VALUE,
        way="let a job do it: `add(one(), 1)`; a promise has no value before its job has run",
        status=2,
    ),
    Case(
        did="a promise is iterated over",
        script=main("return [one(x) for x in one()]"),
        shows=at("return [one(x) for x in one()]"),
        says=NO_VALUE,
        way="make the loop in a job, which gets the list and may make as many jobs as it wants",
        status=2,
    ),
    Case(
        did="a promise decides an if",
        script=main("return one() if one() else 2"),
        shows=at("return one() if one() else 2"),
        says=NO_VALUE,
        way="decide in a job that gets the value",
        status=2,
    ),
    Case(
        did="a promise is made a text",
        script=main("return one('result-' + str(one()) + '.txt')"),
        shows=at("return one('result-' + str(one()) + '.txt')"),
        says=NO_VALUE,
        way="make the text in the job that gets the value; to look at a promise, print `repr(promise)`",
        status=2,
    ),
    Case(
        did="a part is promised that the value does not have",
        script=main("return one(one({'a': 1})['b'])"),
        says="the promise's path ['b'] does not fit the value: KeyError: 'b'",
        also=(KEPT,),
        way="look what that job returns (`jobsys logs`), and mend the key",
        status=1,
        left=Left.RESUMABLE,
    ),
]

GRAPHS = [
    Case(
        did="the function is given and not called",
        guard="\nif __name__ == '__main__':\n    jobsys.run(main, 'store')\n",
        command="python flow.py",
        says="jobsys: error: <job function main> is a function: call it, run(main(…), …), to make its job",
        way="call it: `jobsys.run(main(), …)`",
        status=2,
    ),
    Case(
        did="the workflow is no job",
        script="def main():\n    return 42\n",
        says="jobsys: error: there is no job in what jobsys.run was given (42): give a promise, a Job, or something that holds promises",
        way="put `@jobsys.job` above the function",
        status=2,
    ),
    Case(
        did="jobs wait for each other",
        script=main("a, b = Step(name='a'), Step(name='b')\na.add_child(b)\nb.add_child(a)\nreturn a", STEP),
        says="jobsys: error: the jobs wait for each other in a circle: a -> b -> a",
        way="take out one of these edges (children, follow-ons, `after=`, promises in arguments)",
        status=2,
    ),
    Case(
        did="a promise is added as a child",
        script=main("first = Step()\nfirst.add_child(one())\nreturn first", ONE + STEP),
        says="jobsys: error: add_child got <promise of job 'one'>, whose job has its place already: make the job with function.as_job(…) "
        "and add that",
        way="`first.add_child(one.as_job())`, or `first.add_child_fn(function)`",
        status=2,
    ),
    Case(
        did="a service is run by itself",
        script=main("return Server()", "class Server(jobsys.Service):\n    def start(self, context):\n        return 1\n\n"),
        says="jobsys: error: job 'Server' is a service that no job has: add it with client.add_service(service), and run the client",
        way="a service lives as long as the job that it was added to, and that job's successors",
        status=2,
    ),
    Case(
        did="a job is added as a service",
        script=main("first = Step()\nfirst.add_service(Step())\nreturn first", STEP),
        says="jobsys: error: add_service got job 'Step', which is no service: give a jobsys.Service, or add a job with add_child",
        way="make it a `jobsys.Service` with `start` and `stop`, or add it as a child",
        status=2,
    ),
    Case(
        did="after is no job",
        script=main("return one(after=3)"),
        shows=at("return one(after=3)"),
        says="jobsys: error: after=3: give a promise, a job, or a list of them",
        way="give what the call of the earlier job returned",
        status=2,
    ),
    Case(
        did="a call lacks an argument",
        script="@jobsys.job\ndef main(sample, reference):\n    return sample\n",
        says="jobsys: error: this call of 'main' does not fit: missing a required argument: 'sample'; it takes (sample, reference)",
        way="mend the call, in the line that is shown",
        status=2,
    ),
    Case(
        did="a run method takes no context",
        script="class Step(jobsys.Job):\n    def run(self):\n        return 1\n\ndef main():\n    return Step()\n",
        says="jobsys: error: Step.run must take the running job's context: write def run(self, context)",
        way="add the parameter",
        status=2,
    ),
    Case(
        did="a job is async",
        script="@jobsys.job\nasync def main():\n    return 1\n",
        says="jobsys: error: main is async, and a job is an ordinary function: call asyncio.run(…) inside of one",
        way="as the message says",
        status=2,
    ),
    Case(
        did="a job yields",
        script="@jobsys.job\ndef main():\n    yield 1\n",
        says="jobsys: error: main has a yield, and what it returns can't travel: collect the values and return the list",
        way="`return list(…)`",
        status=2,
    ),
    Case(
        did="an open file is an argument",
        script=main("return one(open('flow.py'))"),
        says="jobsys: error: the call of 'one' can't be pickled: args[0] is a _io.TextIOWrapper (…): TypeError: cannot pickle …; "
        "pass the file's path and open it where it is used",
        way="pass the path, or a global file (`import_file`)",
        status=2,
    ),
    Case(
        did="a lock is inside an argument",
        script=main("return one({'guard': [threading.Lock()]})"),
        says="jobsys: error: the call of 'one' can't be pickled: args[0]['guard'][0] is a _thread.lock (…): TypeError: cannot pickle …; "
        "make it inside of the function that uses it, or pass what it is made from",
        way="jobs share nothing but values and files: leave the lock out, or make the connection, handle, … in the job",
        status=2,
    ),
    Case(
        did="jobsys.current is called outside of a job",
        script=main("return one(jobsys.current().temp_dir)"),
        shows=at("return one(jobsys.current().temp_dir)"),
        says="jobsys: error: no job runs here: jobsys.current() is for code that a job calls",
        way="call it in the body of a job",
        status=2,
    ),
]

REQUIREMENTS = [
    Case(
        did="a requirement can't be read",
        script="@jobsys.job(memory='2 gigs')\ndef main():\n    return 1\n",
        shows=at("@jobsys.job(memory='2 gigs')", "<module>"),
        says="jobsys: error: memory='2 gigs' is no size: give bytes as a number, or text such as '500M', '2G' or '2GiB'",
        way="mend it, in the line that is shown",
        status=2,
    ),
    Case(
        did="cores are negative",
        script="@jobsys.job(cores=-1)\ndef main():\n    return 1\n",
        shows=at("@jobsys.job(cores=-1)", "<module>"),
        says="jobsys: error: cores=-1 is no number of cores: give a positive number such as 1, 0.5 or 8",
        way="mend it, in the line that is shown",
        status=2,
    ),
    Case(
        did="a requirement is misspelt",
        script="@jobsys.job(memroy='1G')\ndef main():\n    return 1\n",
        shows=at("@jobsys.job(memroy='1G')", "<module>"),
        says="jobsys: error: a job has no option 'memroy'; do you mean 'memory'?",
        way="take the option that is meant",
        status=2,
    ),
    Case(
        did="no machine has so many cores",
        script="@jobsys.job(cores=4096)\ndef main():\n    return 1\n",
        says="jobsys: error: job 'main' can't run: a job asks for cores=4096, but jobs on this machine can have … at most: lower cores=, "
        "or run where there is more",
        way="ask for less, or run it on larger hosts (`--batch-system ssh`)",
        status=2,
    ),
    Case(
        did="a job made later asks for too much memory",
        script="@jobsys.job(memory='900T')\ndef big():\n    return 1\n\n@jobsys.job\ndef main():\n    return big()\n",
        says="a job asks for memory=900 TB, but jobs on this machine can have … at most: lower memory=, or run where there is more",
        also=(KEPT,),
        way="ask for less and resume; jobs that are done do not run again",
        status=1,
        left=Left.RESUMABLE,
    ),
]

IMPORTS = [
    Case(
        did="the guard is forgotten",
        guard=UNGUARDED,
        says="jobsys: error: the workers can't start: jobsys.run was called while a worker imported the script: workers import it to find "
        'its jobs, so the call must stand under `if __name__ == "__main__":`',
        also=(GO_ON,),
        way="put what starts the run under that line, and start again with `--restart`",
        status=2,
        left=Left.RESUMABLE,
        mended="sed -i 's/^args/if __name__ == \"__main__\":\\n    args/; s/^print/    print/' flow.py",
    ),
    Case(
        did="the script can't be imported by workers",
        script="if __name__ != '__main__':\n    raise RuntimeError('no display here')\n\n@jobsys.job\ndef main():\n    return 1\n",
        says="jobsys: error: the workers can't start: the script can't be imported: RuntimeError: no display here",
        also=('File "…/w/flow.py", line 4, in <module>', GO_ON),
        way='what only the leader should do stands under `if __name__ == "__main__":`',
        status=2,
        left=Left.RESUMABLE,
        mended="sed -i 's/raise .*/pass/' flow.py",
    ),
    Case(
        did="the script exits while it is imported",
        script="if __name__ != '__main__':\n    sys.exit(3)\n\n@jobsys.job\ndef main():\n    return 1\n",
        says="jobsys: error: the workers can't start: the script 'flow' called sys.exit(3) while a worker imported it: put what only the "
        'leader should do under `if __name__ == "__main__":`',
        way="as the message says",
        status=2,
        left=Left.RESUMABLE,
    ),
    Case(
        did="importing the script ends the process",
        script="if __name__ != '__main__':\n    os._exit(3)\n\n@jobsys.job\ndef main():\n    return 1\n",
        says="jobsys: error: worker hosts die again and again, the last with status 3 before the script was imported: importing it may "
        "end the process; mend the cause, then run again with --restart",
        way="some module that the script imports ends the process: find it with `python -c 'import flow'`",
        status=1,
        left=Left.RESUMABLE,
    ),
    Case(
        did="the script has a syntax error",
        script="def main(:\n    return 1\n",
        says="SyntaxError: …",
        way="Python's own message: mend the script; nothing was begun",
        status=1,
    ),
]
