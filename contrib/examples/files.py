"""Sort the lines of a large file in pieces: global files, requirements that depend on values, clean-up for every case.

python files.py file:my-store --input unsorted.txt --output sorted.txt
"""

import heapq
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import jobsys

PIECE = 1_000_000  # bytes


@jobsys.job(memory="100M")
def split(url):
    """Bring the file into the job store, and cut it at the ends of lines."""
    context = jobsys.current()
    pieces = []
    with context.read_stream(context.import_file(url)) as source:
        while lines := source.readlines(PIECE):
            with context.write_stream(f"piece-{len(pieces)}.txt") as (target, file):
                target.writelines(line if line.endswith(b"\n") else line + b"\n" for line in lines)
            pieces.append(file)
    return pieces


@jobsys.job(memory="200M")
def sort_piece(file):
    """Sort one piece with the program `sort`, in a directory that is gone afterwards."""
    context = jobsys.current()
    scratch = context.temp_dir / "scratch"
    scratch.mkdir()
    context.defer(leave_no_trace, str(scratch))  # called also if this process is killed
    done = context.temp_dir / "sorted.txt"
    # bytes are compared as Python compares them, so that merge agrees
    command = ["sort", "--temporary-directory", str(scratch), "--output", str(done), str(context.read_file(file))]
    subprocess.run(command, check=True, env=os.environ | {"LC_ALL": "C"})
    context.delete_file(file)  # when this job has committed, and not before
    return context.write_file(done)


def leave_no_trace(directory):
    """Remove what is left of a directory; it may be called twice."""
    for path in Path(directory).glob("*"):
        path.unlink(missing_ok=True)


@jobsys.job
def merge(files, url):
    """Merge the sorted pieces into one file, as a stream, and copy it to where it belongs."""
    context = jobsys.current()
    with ExitStack() as stack:
        sources = [stack.enter_context(context.read_stream(file)) for file in files]
        target, merged = stack.enter_context(context.write_stream("sorted.txt"))
        target.writelines(heapq.merge(*sources))
    context.export_file(merged, url)
    return merged.size


@jobsys.job(memory="100M")
def sort_pieces(pieces):
    """Make a job for each piece: only now is it known how many there are."""
    return [sort_piece(piece) for piece in pieces]


def memory_for(files):
    """Say how much memory merging takes: a buffer for each file."""
    return 100_000_000 + 1_000_000 * len(files)


@jobsys.job(memory="100M")
def main(source, target):
    files = sort_pieces(split(source))
    merging = merge.with_requirements(memory=jobsys.PromisedRequirement(memory_for, files))
    return merging(files, target)


if __name__ == "__main__":
    parser = jobsys.argument_parser(description=__doc__)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    size = jobsys.run(main(os.path.abspath(args.input), os.path.abspath(args.output)), args)
    print(f"sorted {size:,} bytes into {args.output}")
