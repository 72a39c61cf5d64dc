"""A workflow of a hundred jobs, of which some leave large values and files: a store meets every kind of request."""

import jobsys

WIDTH = 49
LARGE = 300_000  # bytes: into an object of its own
EXPECTED = [(number, LARGE if number % 10 == 0 else 10) for number in range(WIDTH)]


@jobsys.job(cores=0.1)
def piece(number):
    return jobsys.current().write_file(__file__, name=f"{number}.py"), bytes([number]) * (LARGE if number % 10 == 0 else 10)


@jobsys.job(cores=0.1)
def measure(pair):
    file, data = pair
    with jobsys.current().read_stream(file) as stream:
        assert b"a hundred jobs" in stream.read()
    return data[0], len(data)


@jobsys.job(cores=0.1)
def workflow(width=WIDTH):
    return [measure(piece(number)) for number in range(width)]
