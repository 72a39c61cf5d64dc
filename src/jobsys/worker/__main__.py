"""The command line of a worker host. A batch system starts it; a person has no use for it."""

import gc
import importlib
import sys

if __name__ == "__main__":
    gc.disable()  # what is loaded stays; the host sets it going again before anything of the user's is loaded
    importlib.import_module("jobsys.worker.main").main(sys.argv[1:])
