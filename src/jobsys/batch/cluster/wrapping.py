"""What goes around a task's script that the scheduler can't be told: where it prints, and which exit statuses must not reach it."""

import shlex
from collections.abc import Collection


def wrap(script: str, number: str, log: str = "", forbidden: Collection[int] = ()) -> str:
    """Put a script into a subshell, so that it may end as it likes.

    Args:
        script: a program for /bin/sh.
        number: an expression of the shell's arithmetic that gives the task's number, from 0 on.
        log: where it prints, with the task's number and ``.log`` behind it, if the host has that directory; else it prints where it would.
        forbidden: exit statuses that mean something to the scheduler; the task exits with 1 instead.
    """
    lines = ["#!/bin/sh"]
    if log:
        # in a subshell first: a redirection that fails ends the shell
        lines += [f"jobsys_log={shlex.quote(log)}-$(({number})).log", '(: >>"$jobsys_log") 2>/dev/null && exec >>"$jobsys_log" 2>&1']
    lines += ["(", script, ")"]
    if forbidden:
        lines += [
            "jobsys_status=$?",
            f'case "$jobsys_status" in {"|".join(map(str, sorted(forbidden)))}) exit 1 ;; esac',
            'exit "$jobsys_status"',
        ]
    return "\n".join(lines) + "\n"
