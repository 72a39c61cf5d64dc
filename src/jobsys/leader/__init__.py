"""The process that runs the script: it walks the graph, hands jobs out and remembers what happened."""

from jobsys.leader.leader import Leader
from jobsys.leader.lease import acquire, release

__all__ = ["Leader", "acquire", "release"]
