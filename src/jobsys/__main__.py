"""Run the program as ``python -m jobsys``."""

import sys

from jobsys.cli import main

if __name__ == "__main__":
    sys.exit(main())
