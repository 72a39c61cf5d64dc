"""Promise 8: a failure names itself. What people get wrong, and what they are told."""

import pytest

CASES = {
    "exception": (
        "@jobsys.job(retries=0)\ndef bad(x):\n    print('before it went wrong')\n    return 1 / x\n\n"
        "@jobsys.job\ndef main():\n    return bad(0)\n",
        [
            "1 job failed",
            "(bad) failed",
            "on ",
            "after 1 attempt",
            "ZeroDivisionError: division by zero",
            "return 1 / x",
            "before it went wrong",
        ],
    ),
    "retries": (
        "@jobsys.job(retries=2)\ndef main():\n    raise ValueError('no')\n",
        ["after 3 attempts", "ValueError: no"],
    ),
    "memory": (
        "@jobsys.job(memory='150M')\ndef main():\n    pile = []\n    while True:\n        pile.append(bytearray(10**7))\n",
        ["failed: memory", "MB", "memory=", "--max-retry-memory"],
    ),
    "walltime": (
        "@jobsys.job(walltime=0.5, retries=0)\ndef main():\n    time.sleep(60)\n",
        ["failed: time limit", "walltime"],
    ),
    "exit": ("@jobsys.job(retries=0)\ndef main():\n    os._exit(3)\n", ["exit status 3"]),
    "sys.exit": ("@jobsys.job(retries=0)\ndef main():\n    sys.exit('enough')\n", ["sys.exit", "enough"]),
    "signal": ("@jobsys.job(retries=0)\ndef main():\n    os.kill(os.getpid(), 11)\n", ["killed", "signal 11", "SIGSEGV"]),
    "unpicklable value": (
        "@jobsys.job(retries=0)\ndef main():\n    return {'data': [1, (x for x in [])]}\n",
        ["the value that 'main' returned can't be pickled", "['data'][1]", "generator"],
    ),
    "unpicklable argument": (
        "@jobsys.job\ndef use(x):\n    return x\n\ndef main():\n    return use({'deep': [(x for x in [])]})\n",
        ["can't be pickled", "['deep'][0]", "generator", "use"],
    ),
    "promise as a value": (
        "@jobsys.job\ndef one():\n    return 1\n\ndef main():\n    return one() + 1\n",
        ["promise of job 'one'", "no value yet", "pass it to another job"],
    ),
    "truth of a promise": (
        "@jobsys.job\ndef one():\n    return 1\n\ndef main():\n    return 1 if one() else 2\n",
        ["no value yet"],
    ),
    "cycle": (
        "class Step(jobsys.Job):\n    def run(self, context):\n        return 1\n\ndef main():\n    a, b = Step(name='a'), Step(name='b')\n"
        "    a.add_child(b)\n    b.add_child(a)\n    return a\n",
        ["circle", "a -> b -> a"],
    ),
    "too many cores": (
        "@jobsys.job(cores=4096)\ndef big():\n    return 1\n\ndef main():\n    return big()\n",
        ["4096", "cores", "big"],
    ),
    "too many cores, found later": (
        "@jobsys.job(cores=4096)\ndef big():\n    return 1\n\n@jobsys.job\ndef main():\n    return big()\n",
        ["(big) failed", "4096", "cores"],
    ),
    "no such option": ("@jobsys.job(memroy='1G')\ndef main():\n    return 1\n", ["no option 'memroy'", "memory"]),
    "no size": ("@jobsys.job(memory='lots')\ndef main():\n    return 1\n", ["memory='lots' is no size"]),
    "a function instead of a call": ("@jobsys.job\ndef job():\n    return 1\n\ndef main():\n    return job\n", ["is a function", "job("]),
    "nothing to run": ("def main():\n    return 42\n", ["no job in", "42"]),
    "path into a value": (
        "@jobsys.job\ndef one():\n    return {'a': 1}\n\n@jobsys.job(retries=0)\ndef use(x):\n    return x\n\n"
        "def main():\n    return use(one()['b'])\n",
        ["(use) failed", "['b']", "KeyError"],
    ),
    "no run method": ("class Step(jobsys.Job):\n    pass\n\ndef main():\n    return Step(retries=0)\n", ["Step must define run"]),
    "run inside a job": (
        "@jobsys.job\ndef one():\n    return 1\n\n@jobsys.job(retries=0)\ndef main():\n    return jobsys.run(one(), 'elsewhere')\n",
        ["inside a job"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_people_are_told(workflow, case):
    source, expected = CASES[case]
    flow = workflow(source)
    code, out, err = flow.run("--max-memory", "400M", "--backoff", "0.01")
    assert code != 0
    assert out == ""
    for text in expected:
        assert text in err, f"{text!r} is not in:\n{err}"
    flow.wait_for_no_process()


@pytest.mark.parametrize("case", ["unpicklable argument", "cycle", "too many cores", "nothing to run", "promise as a value"])
def test_what_is_refused_before_submission_leaves_no_store(workflow, case):
    flow = workflow(CASES[case][0])
    assert flow.run()[0] != 0
    assert not flow.store.exists()


def test_a_default_that_no_machine_has_is_refused_before_submission(workflow):
    flow = workflow("@jobsys.job\ndef main():\n    return 1\n")
    code, _, err = flow.run("--default-memory", "900T")
    assert code == 2
    assert "job 'main' can't run" in err
    assert not flow.store.exists()


def test_a_script_without_the_guard(workflow):
    flow = workflow(
        "@jobsys.job\ndef main():\n    return 1\n",
        guard="\nargs = jobsys.argument_parser().parse_args()\nprint(jobsys.run(main(), args))\n",
    )
    code, _, err = flow.run()
    assert code != 0
    assert '__name__ == "__main__"' in err


def test_every_failed_job_is_listed_and_the_others_ran(workflow):
    flow = workflow(
        """
@jobsys.job(retries=0)
def odd(x):
    with open("side", "a") as side:
        side.write(f"{x}\\n")
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x

@jobsys.job
def total(values):
    return sum(values)

@jobsys.job
def main():
    return total([odd(x) for x in range(6)])
"""
    )
    code, _, err = flow.run()
    assert code == 1
    assert "3 jobs failed, and 1 that wait for them never ran" in err
    for x in (1, 3, 5):
        assert f"ValueError: {x} is odd" in err
    assert sorted(flow.side()) == [str(x) for x in range(6)]


def test_memory_grows_until_it_is_enough(workflow):
    flow = workflow(
        "@jobsys.job(memory='120M', retries=0)\ndef main():\n    pile = bytearray(200 * 10**6)\n    time.sleep(0.5)\n"
        "    return jobsys.current().requirements.memory, jobsys.current().attempt, len(pile)\n"
    )
    code, out, err = flow.run()
    assert (code, out.strip()) == (0, "(240000000, 2, 200000000)"), err


def test_stop_on_first_failure(workflow):
    flow = workflow(
        "@jobsys.job(retries=0)\ndef bad():\n    raise ValueError('no')\n\n@jobsys.job\ndef long():\n    time.sleep(60)\n\n"
        "@jobsys.job\ndef main():\n    return [long(), bad()]\n"
    )
    code, _, err = flow.run("--stop-on-first-failure", timeout=30)
    assert code == 1
    assert "ValueError: no" in err
    flow.wait_for_no_process()


def test_a_job_is_not_charged_for_what_an_earlier_one_left(workflow):
    flow = workflow(
        """
kept = []

@jobsys.job
def keep(size):
    kept.append(bytearray(size * 10**6))
    return os.getpid()

@jobsys.job(memory="60M", retries=0)
def modest(before):
    time.sleep(0.5)
    return before, os.getpid(), jobsys.current().attempt

@jobsys.job
def main():
    return [modest(keep(80)), modest(keep(150))]
"""
    )
    code, out, err = flow.run("--max-cores", "1")
    assert code == 0, err
    runs = eval(out)
    assert [attempt for _, _, attempt in runs] == [1, 1]
