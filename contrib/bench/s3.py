"""Measure S3 as a job store: what ``run.py --only s3`` measures; all other options are the same.

Examples:
    python contrib/bench/s3.py                       three rounds or more of everything, beside boto3, the aws CLI and Toil
    python contrib/bench/s3.py --n 1000 --rounds 1   Toil runs all 1,000 jobs, which takes ten minutes
"""

import sys

import run

if __name__ == "__main__":
    sys.exit(run.main(["--only", "s3", *sys.argv[1:]]))
