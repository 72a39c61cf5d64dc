"""Fail, mend, resume: one of three inputs can't be read, the others are not read again.

python mend_and_restart.py file:my-store one.txt two.txt three.txt

Every input holds a number in each line. The run tells which input is at fault and ends with status 1; when the file is mended,
the same line with --restart finishes the run: inputs that were read before are not read again, even if they are gone by now.
"""

import os
import sys
from pathlib import Path

import jobsys


@jobsys.job(memory="100M", retries=0)  # reading it once more would not help
def read(path):
    lines = Path(path).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip().lstrip("-").isdigit():
            raise jobsys.JobFailure(f"{path}, line {number}: {line!r} is no number")
    return [int(line) for line in lines]


@jobsys.job(memory="100M")
def total(columns):
    return sum(map(sum, columns))


@jobsys.job(memory="100M")
def main(paths):
    return total([read(path) for path in paths])


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("inputs", nargs="+")
    args = parser.parse_args()
    try:
        print(jobsys.run(main([os.path.abspath(path) for path in args.inputs]), args))
    except jobsys.FailedJobsError as error:
        sys.exit(str(error))
