"""The command line, the options, and which job store is meant."""

from acceptance.errors.case import START, Case, Left  # type: ignore[import-not-found]

RUN = "python flow.py store --progress off"
RUNNING = "python flow.py store --progress off >out 2>&1 & for i in $(seq 3000); do test -e up && break; sleep .02; done"
SLOW = "@jobsys.job\ndef main():\n    open('up', 'w').close()\n    time.sleep(60)\n"
STOPPED = "jobsys kill store >/dev/null; wait"

OPTIONS = [
    Case(
        did="no job store was named",
        command="python flow.py",
        says="flow.py: error: the following arguments are required: JOB_STORE",
        also=("all arguments and options: flow.py --help",),
        way="name a new or empty directory: `python flow.py file:my-store`",
        status=2,
    ),
    Case(
        did="an option is misspelt",
        command=f"{RUN} --retires 2",
        says="flow.py: error: there is no option --retires; do you mean '--retries'?",
        also=("all arguments and options: flow.py --help",),
        way="take the option that is meant; `--help` lists all",
        status=2,
    ),
    Case(
        did="there is an argument too many",
        command=f"{RUN} input.txt",
        says="flow.py: error: there is no place for 'input.txt': it takes no further arguments",
        way="add arguments of your own to the parser: `parser.add_argument(…)`",
        status=2,
    ),
    Case(
        did="an option's value is out of its range",
        command=f"{RUN} --retries -1",
        says="flow.py: error: argument --retries: '-1' makes no sense: it must be a whole number from 0 on",
        way="give a value as the message says",
        status=2,
    ),
    Case(
        did="a size has an unknown unit",
        command=f"{RUN} --max-memory lots",
        says="flow.py: error: argument --max-memory: size='lots' is no size: give bytes as a number, or text such as "
        "'500M', '2G' or '2GiB'",
        way="give bytes, or a number with K, M, G, T (and perhaps i, B)",
        status=2,
    ),
    Case(
        did="a keyword of jobsys.run is misspelt",
        guard="\nif __name__ == '__main__':\n    jobsys.run(main(), 'store', retires=3)\n",
        command="python flow.py",
        says="jobsys: error: jobsys.run has no option 'retires'; do you mean 'retries'?",
        way="take the option that is meant; keywords are the options of the command line, with _ for -",
        status=2,
    ),
    Case(
        did="the arguments of jobsys.run are the wrong way round",
        guard="\nif __name__ == '__main__':\n    jobsys.run('store', main())\n",
        command="python flow.py",
        says="jobsys: error: jobsys.run got <promise of job 'main'> in place of options: the workflow comes first, as in "
        "jobsys.run(main(), options)",
        way="give the workflow first, then the options or the locator",
        status=2,
    ),
    Case(
        did="the batch system does not exist",
        command=f"{RUN} --batch-system slum",
        says="jobsys: error: there is no batch system 'slum': there are 'aws-batch', 'dask', 'grid-engine', 'htcondor', 'inline', "
        "'kubernetes', 'local', 'lsf', 'pbs', 'slurm', 'ssh', 'tes', 'torque'",
        way="take one of those",
        status=2,
    ),
    Case(
        did="ssh has no hosts",
        command=f"{RUN} --batch-system ssh",
        says="jobsys: error: --batch-system ssh needs hosts: --hosts NAME, repeated or with commas",
        way="name the hosts: `--hosts node1,node2`",
        status=2,
    ),
    Case(
        did="the work directory is not there",
        command=f"{RUN} --work-dir nowhere",
        says="jobsys: error: --work-dir nowhere is no directory: make it first, or name another one",
        way="make it, or leave the option out: then it is the system's directory for temporary files (`TMPDIR`)",
        status=2,
    ),
    Case(
        did="the work directory can't be written",
        command=f"{RUN} --work-dir /proc",
        says="jobsys: error: workers can't have a directory in /proc: No such file or directory; make room, or name another one by "
        "--work-dir or TMPDIR",
        also=("All is kept in file:…/store: mend the cause and run the script again with --restart to go on where it stopped",),
        way="name one that you may write, with room for what jobs write",
        status=1,
        left=Left.RESUMABLE,
        mended="true",
    ),
    Case(
        did="what should travel is not there",
        command=f"{RUN} --ship nothere",
        says="jobsys: error: --ship …/nothere: there is no such file or directory; name one that there is, or leave it out",
        way="mend the path; it counts from the directory in which the script is started",
        status=2,
    ),
    Case(
        did="a variable for jobs is not set",
        command=f"{RUN} --env NOT_SET_HERE",
        says="jobsys: error: --env NOT_SET_HERE: there is no such variable here: set it first, or write --env NOT_SET_HERE=VALUE",
        way="export it before the start, or give its value",
        status=2,
    ),
    Case(
        did="large data lies beside the script",
        before="head -c 3000000 /dev/zero > big.dat",
        command=f"{RUN} --ship-limit 1M",
        says="jobsys: error: the script's own code is 3 MB, more than the 1 MB of --ship-limit; largest are",
        also=(
            "3 MB  …/big.dat",
            "List what is no code in a .jobsysignore (patterns as in a .gitignore) beside the script, or raise --ship-limit. "
            "'jobsys ship --dry-run SCRIPT' shows everything that would travel.",
        ),
        way="list data in `.jobsysignore`, or keep the script in a directory of its own; see [shipping.md](shipping.md)",
        status=2,
    ),
    Case(
        did="workers can't see a store in memory",
        command="python flow.py memory:",
        says="jobsys: error: a memory: job store can't be seen by other processes: use --batch-system inline with it, or a file: store",
        way="`memory:` is for `--batch-system inline`, in tests and for `pdb`",
        status=2,
    ),
    Case(
        did="a command of jobsys is misspelt",
        command="jobsys stauts store",
        says="jobsys: error: argument command: invalid choice: 'stauts' (choose from …); do you mean 'stats' or 'status'?",
        way="take the command that is meant",
        status=2,
    ),
    Case(
        did="ship is asked about a script with a syntax error",
        script="def main(:\n    return 1\n",
        command="jobsys ship --dry-run flow.py",
        says="jobsys: error: flow.py is no Python script in line 3: …; mend it first",
        way="mend the script: what it imports can't be told before",
        status=2,
    ),
    Case(
        did="an option of a command is misspelt",
        command="jobsys status store --wacth",
        says="jobsys status: error: there is no option --wacth; do you mean '--watch'?",
        also=("all arguments and options: jobsys status --help",),
        way="take the option that is meant",
        status=2,
    ),
]

STORES = [
    Case(
        did="the locator has an unknown scheme",
        command="python flow.py s4://bucket/run",
        says="jobsys: error: 's4://bucket/run' names no job store: there is no 's4' store; write file:/path, a plain path, "
        "s3://bucket/prefix, http://host:port or memory:name",
        way="write a locator of one of these kinds",
        status=2,
    ),
    Case(
        did="a file URL names another machine",
        command="python flow.py file://node7/data/store",
        says="jobsys: error: file://node7/data/store names a directory of another machine (node7); write file:///… with three slashes",
        way="for a store of another machine use [`jobsys serve`](command-line.md#serve) there",
        status=2,
    ),
    Case(
        did="the home directory in a path is of nobody",
        command="python flow.py '~nobodyatall/store'",
        says="jobsys: error: file:~nobodyatall/store: the home directory that ~nobodyatall means is not known here; write the whole path",
        way="write the path in full",
        status=2,
    ),
    Case(
        did="the store is of an earlier run",
        before=START,
        says="jobsys: error: there is a job store at file:…/store already: resume its run with --restart, remove it with 'jobsys clean', "
        "or choose another locator",
        way="decide: `--restart` goes on with that run, `jobsys clean` deletes it, another locator keeps both",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="there is nothing to restart",
        command=f"{RUN} --restart",
        says="jobsys: error: there is no job store at file:…/store (there is no such directory): name the one that the run was started "
        "with, or start the script without --restart to begin a run",
        way="check the path (a relative one counts from where you stand), or leave `--restart` out",
        status=1,
    ),
    Case(
        did="the directory holds something else",
        before="mkdir store; echo mine > store/thesis.txt",
        says="jobsys: error: file:…/store is not empty and no job store: nothing was written; choose a new or empty place",
        way="name a directory that is new or empty",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="the path is a file",
        before="echo mine > store",
        says="jobsys: error: can't write …/store/jobsys-store.json: a part of this path is a file, not a directory; choose another place",
        way="name a directory",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="the place can't be written",
        command="python flow.py /proc/store",
        says="jobsys: error: can't write /proc/store/jobsys-store.json: there is no such file or directory; choose another place",
        way="choose a place where you may make directories",
        status=1,
    ),
    Case(
        did="the run's key has another name than keys have",
        command=f"{RUN} --key-file my.key",
        says="jobsys: error: 'my.key' can't hold a run's key: its name must end in .jobsys-key, by which it is never shipped to workers",
        way="call it `my.jobsys-key`",
        status=2,
    ),
    Case(
        did="the run's key is elsewhere",
        before=f"{START} --key-file my.jobsys-key",
        command=f"{START} --restart",
        says="jobsys: error: the key of the run in file:…/store is not in …, and without it nobody can tell that the job store holds what "
        "the run wrote: the store says that it was made on this host, as …/my.jobsys-key, perhaps by another user; copy that file there "
        "(chmod 600), or name it with --key-file",
        way="`--key-file my.jobsys-key`, or copy it; a run whose key is lost can't be resumed, see [security.md](security.md)",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="the run's key was deleted",
        before=f"{START} --key-file my.jobsys-key; rm my.jobsys-key",
        command=f"{START} --restart --key-file my.jobsys-key",
        says="jobsys: error: the key of the run in file:…/store is gone (…/my.jobsys-key is not there any more), and without it nobody can "
        "tell that the job store holds what the run wrote: the store says that it was made there; put that file back (chmod 600), or name "
        "it with --key-file",
        way="put it back from a backup; without it `jobsys status` and `logs` still work, but the run has to begin anew",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="others can read the run's key",
        before=f"{START} --key-file my.jobsys-key; chmod 644 my.jobsys-key",
        command=f"{START} --restart --key-file my.jobsys-key",
        says="jobsys: error: …/my.jobsys-key is not this user's alone, so it may be no secret any more: make it so "
        "(chmod 600 …/my.jobsys-key)",
        way="as the message says; if others may have read it, begin a new run",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="the store was written by a newer version",
        before=f'{START}; chmod u+w store/*.json; sed -i \'s/"format":[0-9]*/"format":99/\' store/jobsys-store.json',
        command=f"{RUN} --restart",
        says="jobsys: error: the job store at file:…/store has format 99; this version of jobsys knows format … only: go on with "
        "the version that began the run (…), or begin anew in another job store",
        way="install the version that is named, or begin anew in another store",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="the store's first file is damaged",
        before=f"{START}; chmod u+w store/*.json; echo x > store/jobsys-store.json",
        command=f"{RUN} --restart",
        says="jobsys: error: file:…/store holds no readable jobsys-store.json (…): restore that file, or begin the run anew in another "
        "job store",
        way="restore it from a backup; results that are needed can be copied out of the store",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="a command is given a directory that is no store",
        before="mkdir store; echo mine > store/thesis.txt",
        command="jobsys status store",
        says="jobsys: error: there is no job store at file:…/store (that directory holds no jobsys-store.json): name the one that the run "
        "was started with, or start the script without --restart to begin a run",
        way="give the locator that the script was given",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="clean is given a directory that is no store",
        before="mkdir store; echo mine > store/thesis.txt",
        command="jobsys clean store",
        says="jobsys: error: there is no job store at file:…/store (that directory holds no jobsys-store.json): name the one that the run "
        "was started with, or start the script without --restart to begin a run",
        way="nothing was deleted; what is no job store, delete with `rm`",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="a second leader is started",
        script=SLOW,
        before="",
        command=f"{RUNNING}; {RUN} --restart; code=$?; {STOPPED}; exit $code",
        says="jobsys: error: the leader on … (process …) holds the run in file:…/store and is alive: two leaders can't share a run; "
        "watch it with 'jobsys status --watch', or stop it with 'jobsys kill'",
        way="let the first one work, or stop it with `jobsys kill`; the run can then be resumed",
        status=1,
        left=Left.RESUMABLE,
    ),
    Case(
        did="a run that goes on is restarted",
        script=SLOW,
        command=f"{RUNNING}; jobsys restart store; code=$?; {STOPPED}; exit $code",
        says="jobsys: error: the run in file:…/store goes on: its leader is process … on …; watch it with 'jobsys status --watch', or stop "
        "it first, with 'jobsys kill'",
        way="as above",
        status=1,
        left=Left.RESUMABLE,
    ),
    Case(
        did="the store of a run that goes on is cleaned",
        script=SLOW,
        command=f"{RUNNING}; jobsys clean store --force; code=$?; {STOPPED}; exit $code",
        says="jobsys: error: the leader of the run in file:…/store (process … on …) is alive: stop it first, with "
        "'jobsys kill file:…/store'",
        way="stop it first; `--force` is only for a leader on another host that you know to be dead",
        status=1,
        left=Left.RESUMABLE,
    ),
    Case(
        did="the token of a served store is not set",
        command="jobsys status http://127.0.0.1:9",
        says="jobsys: error: http://127.0.0.1:9 needs a token, and the environment variable JOBSYS_STORE_TOKEN is not set: set it to the "
        "token that its server was started with",
        way="set the variable that `jobsys serve` has printed",
        status=2,
    ),
]
