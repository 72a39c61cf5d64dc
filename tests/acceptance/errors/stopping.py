"""Runs that are stopped, looked at and resumed; and odd surroundings."""

from acceptance.errors.case import START, Case, Left  # type: ignore[import-not-found]

RUN = "python flow.py store --progress off"
UP = "for i in $(seq 3000); do test -e up && break; sleep .02; done"
SLOW = "@jobsys.job\ndef main():\n    open('up', 'w').close()\n    time.sleep(SECONDS)\n    return 1\n".replace("SECONDS", "60")
BAD = "@jobsys.job(retries=0)\ndef main():\n    return 1 / 0\n"
QUICK = "sed -i 's/sleep(60)/sleep(0)/' flow.py"


def signalled(signal: str) -> str:
    """Start the script, and send it a signal once its job runs."""
    return f"set -m; {RUN} & {UP}; kill -{signal} $!; wait $!"


STOPPING = [
    Case(
        did="Ctrl-C is pressed",
        script=SLOW,
        command=signalled("INT"),
        says="jobsys: error: the run in file:…/store was stopped (signal SIGINT); run the script again with --restart to go on where it "
        "stopped",
        way="nothing is lost: `--restart`",
        status=130,
        left=Left.RESUMABLE,
        mended=QUICK,
    ),
    Case(
        did="Ctrl-C is pressed twice",
        script=SLOW,
        command=f"set -m; {RUN} & {UP}; kill -INT $!; kill -INT $!; wait $!",
        says="jobsys: error: the run in file:…/store was …SIGINT); run the script again with --restart to go on where it stopped",
        way="the second one does not wait until jobs have ended in order; `--restart` goes on all the same",
        status=130,
        left=Left.RESUMABLE,
    ),
    Case(
        did="the script is terminated",
        script=SLOW,
        command=signalled("TERM"),
        says="jobsys: error: the run in file:…/store was stopped (signal SIGTERM); run the script again with --restart to go on where it "
        "stopped",
        way="nothing is lost: `--restart`",
        status=130,
        left=Left.RESUMABLE,
        mended=QUICK,
    ),
    Case(
        did="the leader is killed",
        script=SLOW,
        command=f"({signalled('KILL')}) 2>/dev/null; jobsys status store",
        says="",
        prints=("file:…/store  INTERRUPTED", "resume it with: jobsys restart file:…/store"),
        way="nothing that was done is lost: `jobsys restart`",
        status=1,
        left=Left.RESUMABLE,
        mended=QUICK,
    ),
    Case(
        did="a finished run is restarted",
        before=START,
        command=f"{RUN} --restart",
        says="jobsys: the run was finished before: this is its stored value",
        prints=("1",),
        way="to run it again, take another store, or `jobsys clean` this one",
        status=0,
        left=Left.FINISHED,
    ),
    Case(
        did="the script is gone",
        script=BAD,
        before=f"{START}; rm flow.py",
        command="jobsys restart store",
        says="jobsys: error: the script that started the run, …/w/flow.py, is not there any more: start the script where it is now, with "
        "--restart",
        way="`python elsewhere/flow.py file:my-store --restart`",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="a job function was renamed before the restart",
        script=BAD,
        before=f"{START}; sed -i 's/def main/def other/; s/run(main/run(other/' flow.py",
        command=f"{RUN} --restart",
        says="a value or an argument can't be unpickled: 'main' is not in the module 'flow' on this side. Was it renamed or removed since, "
        "is it made while the program runs, or replaced after the import? Put it back under its name; --restart --same-code goes on with "
        "the code as it was",
        way="keep the names of functions and classes until the run is done: what waits in the store refers to them",
        status=1,
        left=Left.RESUMABLE,
        mended="sed -i 's/def other/def main/; s/run(other/run(main/; s/1 [/] 0/1/' flow.py",
    ),
    Case(
        did="a run of a session is restarted",
        before="python -c 'import jobsys\n@jobsys.job\ndef main(): return 1\njobsys.run(main(), \"store\")'",
        command="jobsys restart store",
        says="jobsys: error: the run was not started by a script but in a session (a notebook, a prompt, python -c), so there is no "
        "command to start it again: define there what it runs once more, and call jobsys.run with restart=True",
        way="as the message says",
        status=1,
        left=Left.AS_IT_WAS,
    ),
    Case(
        did="a run is killed that has ended",
        before=START,
        command="jobsys kill store",
        says="",
        prints=("there is nothing to stop: the leader (process … on …) has left, the run is done", "1 of 1 job done, 0 left"),
        way="nothing is to be done",
        status=0,
        left=Left.FINISHED,
    ),
    Case(
        did="logs are asked of a job that does not exist",
        before=START,
        command="jobsys logs store mian",
        says="jobsys: error: there is no job 'mian'; do you mean 'main'?",
        way="`jobsys status LOCATOR --jobs` lists numbers and names",
        status=1,
        left=Left.FINISHED,
    ),
    Case(
        did="logs are asked of an attempt that was not made",
        before=START,
        command="jobsys logs store 1 --attempt 7",
        says="jobsys: error: there is no attempt 7 of job 1 (main): there was 1 attempt",
        way="leave `--attempt` out to see all",
        status=1,
        left=Left.FINISHED,
    ),
]

SURROUNDINGS = [
    Case(
        did="the working directory was deleted",
        before="mkdir gone",
        command="script=$PWD/flow.py; cd gone; rmdir ../gone; python $script store",
        says="jobsys: error: the working directory is not there any more: change to one that is (cd), and start again from there",
        way="change to a directory that is there",
        status=2,
    ),
    Case(
        did="jobsys is called where the directory was deleted",
        before="mkdir gone",
        command="cd gone; rmdir ../gone; jobsys status store",
        says="jobsys: error: the working directory is not there any more: change to one that is (cd), and start again from there",
        way="change to a directory that is there",
        status=2,
    ),
    Case(
        did="standard input and output are closed",
        command=f"{RUN} <&- >&-",
        says="",
        way="the run goes on without them; the value is in the store: `--restart` gives it once more",
        status=0,
        left=Left.FINISHED,
    ),
    Case(
        did="the reader of a command leaves",
        script=BAD,
        before=START,
        command="jobsys logs store | true; exit ${PIPESTATUS[0]}",
        says="",
        way="status 141 is what shells have for it",
        status=141,
        left=Left.RESUMABLE,
    ),
    Case(
        did="the locale knows no such letter",
        script="@jobsys.job(retries=0)\ndef main():\n    raise ValueError('grün')\n",
        before=START,
        command="jobsys logs store",
        environment=(("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")),
        says="",
        prints=("ValueError: gr\\xfcn",),
        way="set a UTF-8 locale (`LC_ALL=C.UTF-8`) to see it as it is",
        status=0,
        left=Left.RESUMABLE,
    ),
    Case(
        did="the disk is full",
        script="@jobsys.job(retries=0)\ndef main():\n    return bytes(3_000_000)\n",
        guard="\nif __name__ == '__main__':\n    args = jobsys.argument_parser().parse_args()\n    print(len(jobsys.run(main(), args)))\n",
        before="mkdir store; mount -t tmpfs -o size=1m tmpfs store",
        says="can't write …: the disk is full (… MiB free in …); make room, then run again with --restart",
        way="make room, then `--restart`",
        status=1,
        left=Left.RESUMABLE,
        mended="mount -o remount,size=50m store",
        result="3000000",
        needs="mount",
    ),
    Case(
        did="a host can't be reached",
        command=f"{RUN} --batch-system ssh --hosts node7 --ship-env never --ssh 'echo no route to host >&2; false'",
        says="jobsys: error: there is no host that jobs can run on; mend one, or name others",
        also=("node7: …",),
        way="try `ssh node7 true`: it must go without a password",
        status=1,
    ),
    Case(
        did="a host has no such Python",
        command=RUN
        + ' --batch-system ssh --hosts node7 --ship-env never --worker-python python9.9 --ssh "sh -c \'shift; eval \\"\\$*\\"\' x"',
        says="node7: its shell can't start 'python9.9' (exit status 127): --worker-python names a program that is CPython …, as the "
        "leader's Python is",
        way="install that version there, or name it by its whole path with `--worker-python`",
        status=1,
    ),
]
