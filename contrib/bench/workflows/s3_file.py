"""A file into a bucket, or out of it, through jobsys: ``up|down FILE LOCATOR KEY``."""

import shutil
import sys

from jobsys.digest import LARGE, hand_on
from jobsys.jobstores.s3 import storage

PIECE = 1 << 20

if __name__ == "__main__":
    way, path, locator, key = sys.argv[1:]
    opened = storage(locator)
    if way == "up":
        with open(path, "rb") as source, opened.writer(key) as target:
            shutil.copyfileobj(source, target, PIECE)
    else:
        with opened.reader(key) as source, open(path, "wb") as target:
            hand_on(source, LARGE + 1, target.write)  # as a job reads a file: hashed on its way
