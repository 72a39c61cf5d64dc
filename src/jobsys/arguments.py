"""Command lines whose refusals are one line: what is wrong, what was meant, where all options are told."""

import argparse
import re
from collections.abc import Iterable
from typing import Final, NoReturn

from jobsys.spelling import do_you_mean

_UNKNOWN: Final = "unrecognized arguments: "
_CHOICE: Final = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)


class ArgumentParser(argparse.ArgumentParser):
    """Python's own, without a page of usage before an error."""

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and end with status 2."""
        if message.startswith(_UNKNOWN):
            message = _unknown(message.removeprefix(_UNKNOWN), self._option_string_actions)
        elif match := _CHOICE.search(message):
            message += do_you_mean(match[1], [word.strip("' ") for word in match[2].split(",")])
        self.exit(2, f"{self.prog}: error: {message}\nall arguments and options: {self.prog} --help\n")


def _unknown(words: str, options: Iterable[str]) -> str:
    """Name the options that there are not, or else the arguments that are too many."""
    wrong = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
    if not wrong:
        return f"there is no place for {words!r}: it takes no further arguments"
    return f"there is no option {wrong[0]}{do_you_mean(wrong[0], options)}"
