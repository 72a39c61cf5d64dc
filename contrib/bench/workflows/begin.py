"""One job on a cluster: the seconds from the moment at which the batch system is given it to the one at which its function begins."""

import importlib
import json
import time

import jobsys


@jobsys.job
def begin():
    return time.time()


class Watched:
    """Notes when the batch system is given jobs, and has it go on as ever."""

    def __init__(self, batch_system):
        self.moments = []
        self._submit = batch_system.submit

    def submit(self, system, jobs):
        self.moments.append(time.time())
        self._submit(system, jobs)


if __name__ == "__main__":
    system = importlib.import_module("jobsys.batch.cluster.system").ClusterBatchSystem  # here: where the job runs nobody needs it
    watched = Watched(system)
    system.submit = lambda system, jobs: watched.submit(system, jobs)
    began = jobsys.run(begin(), jobsys.argument_parser(description=__doc__).parse_args())
    print(json.dumps({"begins_s": round(began - watched.moments[0], 4)}))
