"""One job, in Toil."""

from toil.common import Toil
from toil.job import Job


def greet(job, name):
    return f"Hello, {name}"


if __name__ == "__main__":
    options = Job.Runner.getDefaultArgumentParser().parse_args()
    with Toil(options) as workflow:
        print(workflow.start(Job.wrapJobFn(greet, "world", cores=1, memory="50M", disk="1M")))
