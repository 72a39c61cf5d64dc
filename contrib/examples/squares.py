"""Add up squares, each computed in a job of its own: the script of the README, with room to breathe.

python squares.py file:my-store --n 10
"""

import jobsys


@jobsys.job(memory="100M", cores=1)
def square(x):
    return x * x


@jobsys.job
def total(values):
    return sum(values)


@jobsys.job
def main(n):
    return total([square(i) for i in range(n)])


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--n", type=int, default=10)
    args = parser.parse_args()
    print(jobsys.run(main(args.n), args))
