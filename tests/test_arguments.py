import pytest

from jobsys.arguments import ArgumentParser


def refusal(capsys, *words: str) -> str:
    parser = ArgumentParser(prog="flow.py")
    parser.add_argument("store")
    parser.add_argument("--retries", type=int)
    parser.add_argument("--progress", choices=("live", "plain"))
    with pytest.raises(SystemExit) as left:
        parser.parse_args(words)
    assert left.value.code == 2
    said, way = capsys.readouterr().err.splitlines()
    assert way == "all arguments and options: flow.py --help"
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s", "--retires=3"], "there is no option --retires; do you mean '--retries'?"),
        (["s", "--retires", "3"], "there is no option --retires; do you mean '--retries'?"),
        (["s", "-x"], "there is no option -x"),
        (["s", "more", "and more"], "there is no place for 'more and more': it takes no further arguments"),
        ([], "the following arguments are required: store"),
        (["s", "--retries", "x"], "argument --retries: invalid int value: 'x'"),
    ],
)
def test_a_refusal_is_one_line_and_the_way_to_help(capsys, words, said):
    assert refusal(capsys, *words) == f"flow.py: error: {said}"


def test_a_choice_that_is_near_is_named(capsys):
    assert refusal(capsys, "s", "--progress", "plian").endswith("; do you mean 'plain'?")
