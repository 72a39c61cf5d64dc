"""Measure a cluster's scheduler: what ``run.py --only cluster`` measures; all other options are the same.

Examples:
    python contrib/bench/cluster.py                                three rounds or more of everything, beside raw sbatch and Toil
    python contrib/bench/cluster.py --peers pool                   without Toil, which takes most of the time
    python contrib/bench/cluster.py --n 1000 --rounds 1            Toil runs all 1,000 jobs
"""

import sys

import run

if __name__ == "__main__":
    sys.exit(run.main(["--only", "cluster", *sys.argv[1:]]))
