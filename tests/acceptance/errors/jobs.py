"""Jobs that fail, each in its way."""

from acceptance.errors.case import Case, Left, failing  # type: ignore[import-not-found]

HERE = 'File "…/w/flow.py", line …, in main'

JOBS = [
    failing(
        "a job raises an exception",
        "print('before it went wrong')\nreturn 1 / int(open('people.txt').read())",
        "ZeroDivisionError: division by zero",
        "the traceback shows your line, the end of its log what it printed (all of it: `jobsys logs`); mend it and resume",
        before="echo 0 > people.txt",
        also=("the end of its log:", "| before it went wrong"),
        mended="echo 1 > people.txt",
        result="1.0",
    ),
    failing(
        "a job calls sys.exit",
        "sys.exit('enough')",
        "the job called sys.exit('enough'): a job ends by returning, and fails by raising",
        "return instead, or raise an exception",
        also=(HERE,),
    ),
    failing(
        "a job ends its process",
        "os._exit(3)",
        "its process exited with status 3 in the middle of the job",
        "something in the job (a library, `os._exit`) ends the process; run it alone with `--batch-system inline` to find out what",
    ),
    failing(
        "a job crashes in compiled code",
        "os.kill(os.getpid(), 11)",
        "its process was killed by signal 11 (SIGSEGV)",
        "a fault in compiled code, or a stack that overflowed; `python -X faulthandler` names the line",
    ),
    failing(
        "a job uses too much memory",
        "pile = []\nwhile True:\n    pile.append(bytearray(10_000_000))",
        "used … of memory, more than the … it asked for; ask for more with memory=; no more than … can be asked for "
        "(--max-retry-memory, or what there is)",
        "such a job is tried again with twice as much, up to what there is: ask for what it needs, or give it less to do at a time",
        options="memory='90M', retries=0",
        command="python flow.py store --progress off --backoff 0.01 --max-retry-memory 90M",
    ),
    failing(
        "a job runs out of its walltime",
        "time.sleep(60)",
        "ran longer than its walltime of 0.3 s; ask for more with walltime=",
        "ask for more, or find out why it takes so long",
        options="walltime=0.3, retries=0",
    ),
    failing(
        "a job recurs without end",
        "def again():\n    return again()\nreturn again()",
        "RecursionError: maximum recursion depth exceeded…",
        "mend the recursion, or raise the limit in the job (`sys.setrecursionlimit`)",
    ),
    failing(
        "an input file is missing",
        "return open('numbers.txt').read()",
        "FileNotFoundError: [Errno 2] No such file or directory: 'numbers.txt'",
        "jobs stand in the script's directory on the leader's machine; elsewhere only what travels is there: pass global files",
        also=(),
        mended="echo -n 7 > numbers.txt",
        result="7",
    ),
    failing(
        "a job imports what is not installed",
        "import nosuchmodule",
        "ModuleNotFoundError: No module named 'nosuchmodule'",
        "install it in the environment that runs the script; on other hosts see [shipping.md](shipping.md)",
    ),
    failing(
        "a value can't be pickled",
        "return {'result': open('flow.py')}",
        "the value that 'main' returned can't be pickled: ['result'] is a _io.TextIOWrapper (…): TypeError: cannot pickle …; "
        "pass the file's path and open it where it is used",
        "return data: numbers, texts, lists, arrays, ids of global files",
    ),
    failing(
        "a job waits for the keyboard",
        "return input('Which sample? ')",
        "EOFError: EOF when reading a line",
        "jobs have no terminal: ask in the script, before `jobsys.run`, and pass the answer",
    ),
    failing(
        "a run is started inside of a job",
        "return jobsys.run(one(), 'other')",
        "jobsys.errors.UsageError: jobsys.run was called inside a job: call job functions there and return their promises instead",
        "call the job function and return what it gives: the job's value is then that job's value",
        above="@jobsys.job\ndef one():\n    return 1\n\n",
    ),
    failing(
        "a job calls another with too many arguments",
        "return one(1, 2)",
        "jobsys.errors.GraphError: this call of 'one' does not fit: too many positional arguments; it takes (x)",
        "mend the call, in the line that is shown",
        above="@jobsys.job\ndef one(x):\n    return x\n\n",
    ),
    failing(
        "a file to import is missing",
        "return jobsys.current().import_file('/nowhere/reads.txt')",
        "jobsys.errors.NotFoundError: can't read /nowhere/reads.txt: there is no such file or directory",
        "mend the path; it must be there on the host where the job runs",
    ),
    failing(
        "nothing is at a URL",
        "server = HTTPServer(('127.0.0.1', 0), SimpleHTTPRequestHandler)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "return jobsys.current().import_file(f'http://127.0.0.1:{server.server_port}/reads.txt')",
        "jobsys.errors.NotFoundError: there is nothing at http://127.0.0.1:…/reads.txt (status 404)",
        "mend the URL; what is not there is not tried again and again",
        above="from http.server import HTTPServer, SimpleHTTPRequestHandler\n\n",
    ),
    failing(
        "a URL has an unknown scheme",
        "return jobsys.current().import_file('foo://bucket/reads')",
        "jobsys.errors.StorageError: can't use foo://bucket/reads: there is no scheme 'foo'; give a path, file:, http:, https:, s3:, or "
        "what fsspec has a driver for, such as gs:, ftp: and sftp:",
        "use one of those",
    ),
    failing(
        "a URL needs a driver that is not installed",
        "return jobsys.current().import_file('gs://bucket/reads')",
        "jobsys.errors.StorageError: gs://bucket/reads needs a driver beside jobsys[urls]: …",
        "install what the message names",
    ),
    failing(
        "a deleted global file is read",
        "file = write()\nreturn use(file, after=delete(file))",
        "jobsys.errors.NotFoundError: the global file 'data.txt' is not in the job store: a job has deleted it, or it is of an attempt "
        "that failed, or of another run (…). Delete a file after the last job that reads it (after=), and pass ids on as values of jobs",
        "order the deletion behind the last reader",
        above="@jobsys.job\ndef write():\n    path = jobsys.current().temp_dir / 'data.txt'\n    path.write_text('x')\n"
        "    return jobsys.current().write_file(path)\n\n"
        "@jobsys.job\ndef delete(file):\n    jobsys.current().delete_file(file)\n\n"
        "@jobsys.job(retries=0)\ndef use(file):\n    return jobsys.current().read_file(file).read_text()\n\n",
    ),
    failing(
        "what is read is no global file",
        "return jobsys.current().read_file('data.txt')",
        "jobsys.errors.UsageError: 'data.txt' is no id of a global file: give what write_file, write_stream or import_file returned",
        "pass on the id, not the name",
    ),
    failing(
        "a temporary file is handed on",
        "return use(make())",
        "FileNotFoundError: [Errno 2] No such file or directory: '…/data.txt'",
        "`temp_dir` goes with its attempt: hand on `write_file(path)`, and read it with `read_file`",
        above="@jobsys.job\ndef make():\n    path = jobsys.current().temp_dir / 'data.txt'\n    path.write_text('x')\n    return path\n\n"
        "@jobsys.job(retries=0)\ndef use(path):\n    return path.read_text()\n\n",
    ),
    failing(
        "a job prints without end",
        "print('x' * 300_000)\nraise ValueError('after much talk')",
        "| [jobsys: the first … bytes are not kept; --max-log-size says how many are]",
        "the end is kept; raise `--max-log-size`, or write to a global file",
        command="python flow.py store --progress off --max-log-size 1000",
    ),
    Case(
        did="a job leaves processes behind",
        script="import subprocess\n\n@jobsys.job\ndef main():\n"
        "    subprocess.Popen(['sleep', '1000'], start_new_session=True)\n    return 1\n",
        says="",
        way="they are ended with the job: wait for them (`subprocess.run`), or run a service beside the jobs that need it",
        status=0,
        left=Left.FINISHED,
        prints=("1",),
    ),
    Case(
        did="everything was to be deleted and a job fails",
        script="@jobsys.job(retries=0)\ndef main():\n    return 1 / 0\n",
        command="python flow.py store --progress off --clean always",
        says="nothing is kept (--clean always): mend the cause",
        way="without `--clean always` the run could be resumed",
        status=1,
    ),
]
