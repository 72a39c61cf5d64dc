"""Rounds: wait, strike, check, resume, check. Runs follow each other until there were enough kills."""

import argparse
import random
import shutil
import sys
import time
from pathlib import Path

import checker
import kin
import leftovers
from campaign import STUCK, Campaign
from checker import Account, Violation
from report import END, Report, Row
from strikes import STRIKES, Strike, StrikeError

import faults

TRIES = 6  # leaders that may end by themselves, one after the other


class Battle:
    """A series of runs under fire; everything random is drawn from the seed."""

    def __init__(self, directory: Path, expected: str, options: argparse.Namespace) -> None:
        """Make runs below a directory; ``expected`` is what an undisturbed run prints, ``options`` are those of the command."""
        self.directory = directory
        self.seed = options.seed
        self.jobs = options.jobs
        self.expected = expected
        self.ssh = options.ssh
        self.pause = options.pause
        self.rng = random.Random(options.seed)
        self.strikes = chosen(options)
        self.report = Report({strike.name: Row() for strike in self.strikes})
        self.round = 0
        self.last = END  # the strike before
        self.kept: list[Path] = []

    def fight(self, kills: int) -> None:
        """Strike until so many strikes have killed something, or there were thrice as many; let the last run finish."""
        number = 0
        while self._goes_on(kills):
            number += 1
            run = Campaign(self.directory / f"run-{number}", self.jobs, small_disk=number % 2 == 0, ssh=self.ssh)
            keep = False  # not if a person interrupts it
            try:
                keep = not self._through(run, kills)
            except Exception:
                keep = True
                raise
            finally:
                run.close(keep=keep)
                if keep:
                    self.kept.append(run.directory)

    def _goes_on(self, kills: int) -> bool:
        return self.report.kills < kills and self.round < 3 * kills

    def _through(self, run: Campaign, kills: int) -> bool:
        """Take one run to its end; tell whether all was well."""
        run.start()
        while True:
            if self._goes_on(kills):
                kin.wait_for(lambda: run.leader.status is not None, self.rng.uniform(0.0, self.pause))
            else:
                run.leader.wait(STUCK)
            if run.leader.status == 0:
                return self._finish(run)
            if run.leader.status is not None:
                if not self._resume(run, self.last):
                    return False
            elif not self._goes_on(kills):
                return self._broken(END, [Violation("lost", "the run does not end")], run)
            elif not self._strike(run, self._draw(run)):
                return False

    def _draw(self, run: Campaign) -> Strike:
        """Choose a strike that is possible in this run."""
        while True:
            strike = self.rng.choices(self.strikes, [each.weight for each in self.strikes])[0]
            problem = _problem(run, strike)
            if problem is None:
                return strike
            self.report.row(strike.name).excuse = problem

    def _strike(self, run: Campaign, strike: Strike) -> bool:
        """Strike once, resume, and check; tell whether all was well."""
        family = run.wait_for_workers() if strike.workers else kin.Family.of(run.leader.pid, run.leader.mark)
        if run.leader.status is not None or (strike.workers and not family.workers):
            return True  # it has just ended
        self.round, self.last = self.round + 1, strike.name
        row = self.report.row(strike.name)
        row.struck += 1
        run.may_fail |= strike.fails
        before = Account.read(run.store)
        try:
            killed = strike.act(run, family, self.rng)
        except StrikeError as error:
            return self._broken(strike.name, [Violation("doubled", str(error))], run)
        row.killed += killed
        self.report.kills += killed > 0
        account, starts = run.witnesses()
        found = [*checker.check_kept(before, account), *checker.check_going_on(account, starts)]
        if found:
            return self._broken(strike.name, found, run)
        return self._resume(run, strike.name)

    def _resume(self, run: Campaign, name: str) -> bool:
        """Have the run go on after a strike; start a leader as often as one ends. Tell whether all was well."""
        row, began, tries = self.report.row(name), time.monotonic(), 0
        before = Account.read(run.store)
        after = max(before.segments, default=0)
        while True:
            if not run.wait_for_commit(after):
                return self._broken(name, [Violation("lost", f"the run stands still for {STUCK} s")], run)
            if run.leader.status in {None, 0}:
                break
            if tries == TRIES:
                return self._broken(name, [Violation("lost", f"it can't be resumed: {run.leader.said()}")], run)
            self._note_end(run, name)
            if self.rng.random() < 0.5:
                kin.wait_for(lambda: not kin.marked(run.leader.mark), leftovers.PATIENCE)
            began, tries = began if tries else time.monotonic(), tries + 1
            after = run.last_segment()
            run.start()
        row.seconds.append(time.monotonic() - began)
        row.resumed += 1
        return self._look(run, name, before)

    def _note_end(self, run: Campaign, name: str) -> None:
        """Count a leader that ended although no signal did it, and keep what it said."""
        status = run.leader.status
        if status is not None and status > 0:
            self.report.ended_by_themselves += 1
            said = run.leader.said().replace(str(run.directory), "…").strip() or "(it said nothing)"
            self.report.notes.append(f"round {self.round}, {name}: a leader ended with status {status}: {said}")

    def _look(self, run: Campaign, name: str, before: Account) -> bool:
        """Check everything that must hold while the run goes on."""
        account, starts = run.witnesses()
        found = [*checker.check_kept(before, account), *checker.check_going_on(account, starts)]
        found += [] if run.may_fail else checker.check_failures(account)
        for leader in run.gone():
            if leader is not run.leader:
                found += leftovers.processes(leader.mark)
        if run.leader.status is None:
            family = run.wait_for_workers()
            if run.leader.status is None:
                found += leftovers.of_the_dead(run.store_path, run.temporary, family)
        return self._broken(name, found, run) if found else True

    def _finish(self, run: Campaign) -> bool:
        """Check everything that must hold at the end; tell whether it does."""
        account, starts = run.witnesses()
        found = [
            *checker.check_going_on(account, starts),
            *([] if run.may_fail else checker.check_failures(account)),
            *checker.check_finished(account, run.leader.printed(), self.expected),
            *leftovers.processes(run.mark),
            *leftovers.temporary(run.store_path, run.temporary, run.cache),
            *leftovers.locks(run.store_path, run.temporary, run.cache),
            *leftovers.released(run.store),
            *([] if "could not be removed" in run.leader.said() else leftovers.objects(run.store, account)),  # it has told so
        ]
        self.report.runs += 1
        self.report.jobs += len(account.live()) - 1
        self.report.attempts += len(starts)
        print(f"run {self.report.runs} finished after {self.round} strikes, {self.report.kills} of them kills", file=sys.stderr)
        return self._broken(END, found, run) if found else True

    def _broken(self, name: str, found: list[Violation], run: Campaign) -> bool:
        """Report violations, with all that is needed to look into them."""
        self.report.row(name).violations += found
        print(f"VIOLATION: seed {self.seed}, round {self.round}, strike {name!r}; kept: {run.directory}", file=sys.stderr)
        for each in found[:10]:
            print(f"  {each.kind}: {each.text}", file=sys.stderr)
        if len(found) > 10:
            print(f"  … and {len(found) - 10} more", file=sys.stderr)
        return False

    def tidy(self) -> None:
        """Remove the directory, unless something is kept in it."""
        if not self.kept:
            shutil.rmtree(self.directory, ignore_errors=True)


def chosen(options: argparse.Namespace) -> list[Strike]:
    """Give the strikes that a person asked for."""
    only, without = options.only.lower(), options.without.lower()
    found = [each for each in STRIKES if only in each.name.lower() and (options.ssh or each.needs != "ssh")]
    return [each for each in found if not without or without not in each.name.lower()]


def _problem(run: Campaign, strike: Strike) -> str | None:
    """Say why a strike is not possible in a run: empty where another run may do; None if it is possible."""
    if strike.needs == "disk":
        return "" if run.disk is None else run.disk.problem or None
    if strike.needs == "shim":
        return run.shim.problem or None
    if strike.needs == "host":
        return None if run.host or faults.other_host() else "no other host name can be had here (unshare --uts)"
    return None
