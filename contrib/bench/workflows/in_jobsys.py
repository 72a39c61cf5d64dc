"""A graph of shapes.py in jobsys: made by one job, or, a growing chain, each job by the one before."""

import json
import resource

import shapes
from measured import memory

import jobsys


@jobsys.job
def echo(number):
    return shapes.echo(number)


@jobsys.job
def step(number):
    return shapes.step(number)


@jobsys.job
def total(*numbers):
    return shapes.total(*numbers)


@jobsys.job
def add_up(numbers):
    return shapes.add_up(numbers)


@jobsys.job
def tally(number):
    return shapes.tally(number)


@jobsys.job
def merge(part, *tallies):
    return shapes.merge(part, *tallies)


@jobsys.job
def meet(above, left):
    return shapes.meet(above, left)


@jobsys.job
def make_bytes(size):
    return shapes.make_bytes(size)


@jobsys.job
def turn(data):
    return shapes.turn(data)


@jobsys.job
def first_byte(data):
    return shapes.first_byte(data)


JOBS = {job.__name__: job for job in (echo, step, total, add_up, tally, merge, meet, make_bytes, turn, first_byte)}


@jobsys.job
def draw(shape, count):
    return shapes.SHAPES[shape].make(lambda function, *arguments: JOBS[function.__name__](*arguments), count)


@jobsys.job
def grow(number, count):
    number = shapes.step(number)
    return grow(number, count) if number < count else number


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--shape", choices=[*shapes.SHAPES, "growing"], required=True)
    parser.add_argument("--n", type=int, required=True)
    arguments = parser.parse_args()
    root = grow(0, arguments.n) if arguments.shape == "growing" else draw(arguments.shape, arguments.n)
    answer = jobsys.run(root, arguments)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"answer": answer, "leader_cpu_s": round(used.ru_utime + used.ru_stime, 4), "rss_mb": round(memory() / 1e6, 1)}))
