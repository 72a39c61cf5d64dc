"""One job, in jobsys."""

import jobsys


@jobsys.job
def greet(name):
    return f"Hello, {name}"


if __name__ == "__main__":
    arguments = jobsys.argument_parser(description=__doc__).parse_args()
    print(jobsys.run(greet("world"), arguments))
