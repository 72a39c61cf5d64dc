"""N jobs that do nothing, made by one job and summed up by another."""

import json
import resource

import jobsys


@jobsys.job
def echo(number):
    return number


@jobsys.job
def total(numbers):
    return sum(numbers)


@jobsys.job
def fan_out(count):
    return total([echo(number) for number in range(count)])


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    arguments = parser.parse_args()
    answer = jobsys.run(fan_out(arguments.n), arguments)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"answer": answer, "leader_cpu_s": used.ru_utime + used.ru_stime, "rss_mb": used.ru_maxrss // 1024}))
