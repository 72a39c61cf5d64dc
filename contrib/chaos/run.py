"""Strike real runs of jobsys with kills, stops, full and failing disks, resume them, and look for anything lost, doubled or left behind.

python contrib/chaos/run.py --kills 200 --seed 1 --report chaos.md

Ends with status 1 if anything was; then it says where to look.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kin
import workload
from battle import Battle, chosen
from strikes import STRIKES

HERE = Path(__file__).resolve().parent
OWN_MOUNTS = "CHAOS_OWN_MOUNTS"


def main() -> int:
    """Fight; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25, help="end after so many strikes that killed something (default: 25)")
    parser.add_argument("--seed", type=int, default=1, help="from which all strikes and pauses are drawn (default: 1)")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of each run, about (default: 2000)")
    parser.add_argument("--report", type=Path, help="file for the table (default: only printed)")
    parser.add_argument("--directory", type=Path, help="where runs are made (default: the system's temporary directory)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only strikes with this in their name, such as 'zombie'")
    parser.add_argument("--without", default="", metavar="TEXT", help="no strikes with this in their name")
    parser.add_argument("--pause", type=float, default=1.2, metavar="SECONDS", help="the longest between two strikes (default: 1.2)")
    parser.add_argument("--ssh", action="store_true", help="jobs run on two hosts (this machine, twice), by agents")
    options = parser.parse_args()
    if not chosen(options):
        parser.error(f"no strike has {options.only!r} in its name: {'; '.join(strike.name for strike in STRIKES)}")
    _have_own_mounts()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: kin.asked_to_stop.append(number))
    directory = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.directory))
    os.environ["XDG_STATE_HOME"] = str(directory / "state")  # the keys of its runs go with it
    began = time.monotonic()
    battle = Battle(directory, undisturbed(directory, options.jobs), options)
    interrupted = False
    try:
        battle.fight(options.kills)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        battle.tidy()
    report = battle.report
    text = f"{report.table()}\n\n{report.summary()}\nseed {options.seed}, {time.monotonic() - began:.0f} s.\n"
    print(text)
    for note in report.notes:
        print(note)
    if options.report:
        options.report.write_text(text)
    if interrupted:
        print("interrupted: what was found up to here is above", file=sys.stderr)
        return 130
    return 1 if report.violations else 0


def undisturbed(directory: Path, jobs: int) -> str:
    """Run the workflow in one process, in memory, where nothing strikes; return what it prints."""
    outside = directory / "undisturbed"
    outside.mkdir()
    command = [sys.executable, str(HERE / "workload.py"), "memory:undisturbed", "--batch-system", "inline", "--progress", "off"]
    command += ["--jobs", str(jobs), "--outside", str(outside)]
    environment = {**os.environ, workload.QUICK: "1", "TMPDIR": str(outside), "JOBSYS_CACHE": str(outside / "cache")}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _have_own_mounts() -> None:
    """Go on in a mount namespace of one's own where that can be had: what is mounted there vanishes with the last process."""
    if os.environ.get(OWN_MOUNTS):
        return
    command = ["unshare", "--mount", "--propagation", "private"]
    try:
        possible = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        possible = False
    if possible:
        os.environ[OWN_MOUNTS] = "1"
        os.execvp(command[0], [*command, sys.executable, *sys.argv])


if __name__ == "__main__":
    sys.exit(main())
