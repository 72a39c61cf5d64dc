"""One job that sleeps, and says when it begins."""

import json
import time

import jobsys


@jobsys.job
def nap(seconds, started):
    with open(started, "w"):
        time.sleep(seconds)
    return seconds


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--started", required=True, help="a file to make when the job begins")
    arguments = parser.parse_args()
    print(json.dumps({"answer": jobsys.run(nap(arguments.seconds, arguments.started), arguments)}))
