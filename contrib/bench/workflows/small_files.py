"""Jobs that each write many small files into the store, and as many that each read them."""

import json

import jobsys

CONTENT = b"0123456789abcdef" * 64


@jobsys.job
def write(count):
    context = jobsys.current()
    path = context.temp_dir / "made"
    files = []
    for _ in range(count):
        path.write_bytes(CONTENT)
        files.append(context.write_file(path))
    return files


@jobsys.job
def read(files):
    context = jobsys.current()
    return sum(context.read_file(file).read_bytes() == CONTENT for file in files)


@jobsys.job
def add_up(numbers):
    return sum(numbers)


@jobsys.job
def write_and_read(jobs, files):
    return add_up([read(write(files)) for _ in range(jobs)])


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--files", type=int, required=True)
    arguments = parser.parse_args()
    print(json.dumps({"answer": jobsys.run(write_and_read(arguments.n, arguments.files), arguments)}))
