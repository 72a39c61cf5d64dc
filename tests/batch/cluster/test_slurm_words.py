"""What Slurm's commands say when they fail, recorded from 22.05.8."""

import pytest

from jobsys.batch.cluster.scheduler import AskRefusedError, Output, PassingError
from jobsys.batch.cluster.slurm_words import harmless, not_taken, words

FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    "text",
    [
        FAILED + "Unable to contact slurm controller (connect failure)",
        FAILED + "Socket timed out on send/recv operation",
        "sbatch: error: AssocMaxSubmitJobLimit\n"
        + FAILED
        + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sacct: error: Problem talking to the database: Connection refused",
        "sbatch: error: 'nix' can't be reached now, or it is an invalid entry for --cluster.",
        "",
        # made by hand, from Slurm's own table of messages
        FAILED + "Slurm temporarily unable to accept job, sleeping and retrying",
        FAILED + "Slurm backup controller in standby mode",
        FAILED + "Zero Bytes were transmitted or received",
        FAILED + "Protocol authentication error",
        FAILED + "Resource temporarily unavailable",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit",
    ],
)
def test_what_may_succeed_later(text: str) -> None:
    assert isinstance(not_taken(Output(1, "", text)), PassingError)


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("sbatch: error: invalid partition specified: nix\n" + FAILED + "Invalid partition name specified", "partition=NAME"),
        (FAILED + "Invalid qos specification", "qos=NAME"),
        ("sbatch: error: Memory specification can not be satisfied\n" + FAILED + "Requested node configuration is not available", "lower"),
        (FAILED + "Invalid job array specification", "most=COUNT"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres=NAME"),
        ("sbatch: unrecognized option '--nix'\nTry \"sbatch --help\" for more information", "args="),
        (FAILED + "Invalid account or account/partition combination specified", "account=NAME"),
        (FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "qos=NAME"),
        ("sbatch: error: Batch script contains DOS line breaks (\\r\\n)", "script"),
        ("sbatch: error: the filter of this site says no", ""),
    ],
)
def test_a_refusal_has_slurm_s_words_and_the_way_out(text: str, way: str) -> None:
    error = not_taken(Output(1, "", text))
    assert isinstance(error, AskRefusedError)
    assert text.splitlines()[0] in str(error)
    assert way in str(error)


def test_too_many_tasks_in_the_queue_is_told_with_the_way_out() -> None:
    assert "most=COUNT" in str(not_taken(Output(1, "", "sbatch: error: AssocMaxSubmitJobLimit")))


def test_a_command_that_was_killed_may_succeed_later() -> None:
    assert isinstance(not_taken(Output(-9, "", "sbatch: error: Invalid qos specification")), PassingError)


def test_unknown_jobs_are_harmless() -> None:
    assert harmless(Output(1, "", "slurm_load_jobs error: Invalid job id specified\n"))
    assert harmless(Output(0, "", "anything"))
    assert not harmless(Output(1, "", "scancel: error: Kill job error on job id 12: Unable to contact slurm controller (connect failure)"))
    assert not harmless(Output(1))


def test_words_fit_into_a_line() -> None:
    assert words(Output(1, "out", "")) == "out"
    assert words(Output(7)) == "exit status 7"
    assert words(Output(1, "", " a\n\n b \n")) == "a; b"
    assert len(words(Output(1, "", "x" * 10_000))) == 500
