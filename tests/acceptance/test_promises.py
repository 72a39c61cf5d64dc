"""The nine promises, each with the tests that fail when it is broken: each was broken on purpose, in two places or more."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent

PROMISES = {
    "1 first commit wins": """
        simulation/test_system.py::test_random_workflows_on_bad_days_end_as_on_good_ones
        leader/test_leader.py::test_the_first_commit_wins
        leader/test_leader.py::test_two_commits_of_one_attempt_count_once
        leader/test_left_commits.py::test_a_left_commit_of_a_job_that_is_done_is_thrown_away
        leader/test_left_commits.py::test_the_commit_of_an_attempt_that_was_given_up_comes_too_late
        leader/test_leader.py::test_a_failed_attempt_is_followed_by_another_and_leaves_no_files
        leader/test_leader.py::test_a_service_that_is_forgotten_leaves_nothing
        worker/test_execute.py::test_of_two_attempts_without_a_leader_each_leaves_its_commit
        leader/test_zombies.py::test_of_two_commits_that_were_left_the_first_is_taken_in_and_nothing_of_the_other_stays
        leader/test_zombies.py::test_a_worker_that_waits_for_an_answer_deletes_nothing_of_its_commit_that_was_taken_in
        leader/test_zombies.py::test_a_worker_of_a_run_that_had_its_store_here_before_leaves_nothing
        model/test_model.py::test_no_state_violates_the_promises
        progress/test_flow.py::test_a_commit_counts_once
        acceptance/test_resume.py::test_a_killed_leader_resumes_and_nothing_committed_runs_again
    """,
    "2 one leader": """
        simulation/test_system.py::test_random_workflows_on_bad_days_end_as_on_good_ones
        leader/test_lease.py::test_a_living_leader_of_this_host_is_not_replaced
        leader/test_lease.py::test_of_two_that_come_at_the_same_time_one_leads
        leader/test_lease.py::test_setting_the_clock_makes_nobody_dead
        leader/test_leader.py::test_a_replaced_leader_stops_and_shows_nothing
        leader/test_leader.py::test_a_replaced_leader_deletes_no_files
        leader/test_leader.py::test_the_heart_beats
        test_journal.py::test_a_replaced_leader_can_write_no_more
        test_run_ends.py::test_the_store_of_a_living_leader_is_not_deleted
        test_run_ends.py::test_a_store_that_another_leader_took_over_is_not_deleted
        test_run_ends.py::test_a_store_that_another_leader_took_over_at_the_very_end_is_not_deleted
        leader/test_zombies.py::test_a_leader_does_not_take_over_from_a_later_one
        leader/test_zombies.py::test_a_leader_that_was_replaced_and_has_nothing_to_write_notices
        model/test_model.py::test_no_state_violates_the_promises
        acceptance/test_resume.py::test_a_second_leader_is_refused
    """,
    "3 the journal is the leader's memory": """
        simulation/test_system.py::test_random_workflows_on_bad_days_end_as_on_good_ones
        leader/test_every_storage_call.py::test_every_storage_call
        leader/test_every_storage_call.py::test_the_process_ends_at_every_storage_call
        leader/test_every_storage_call.py::test_an_answer_that_is_lost_at_every_call_of_a_server_changes_nothing
        leader/test_every_worker_call.py::test_every_storage_call_of_workers
        leader/test_every_system_call.py::test_every_system_call
        leader/test_leader.py::test_what_follows_from_an_event_waits_for_the_journal
        leader/test_left_commits.py::test_commits_left_by_workers_are_taken_in
        leader/test_left_commits.py::test_a_left_commit_is_deleted_only_when_the_journal_has_it
        leader/test_zombies.py::test_a_leader_that_was_replaced_deletes_no_commit_that_was_left_since
        leader/test_leader.py::test_snapshots_stand_for_the_journal_before_them
        leader/test_leader.py::test_what_could_not_be_written_is_not_shown
        test_journal.py::test_what_was_not_flushed_did_not_happen
        test_journal.py::test_a_segment_that_is_missing_is_found
        simulation/test_simulation.py::test_any_order_of_events_leads_to_what_the_model_says
    """,
    "4 no partial object, and what was acknowledged survives": """
        simulation/test_system.py::test_random_workflows_on_bad_days_end_as_on_good_ones
        storage/test_local.py::test_what_is_synced_and_in_which_order
        leader/test_power_cuts.py::test_a_power_cut_at_every_point
        leader/test_power_cuts.py::test_a_power_cut_after_a_killed_run_was_resumed
        leader/test_power_cuts.py::test_a_sync_that_fails_acknowledges_nothing
        storage/test_local.py::test_killed_writers_leave_nothing_partial
        storage/test_local.py::test_a_full_disk_says_how_full_and_leaves_nothing
        test_journal.py::test_a_truncated_segment_is_found
        test_journal.py::test_a_damaged_snapshot_is_passed_over
        acceptance/test_promises.py::test_4_the_default_is_a_power_cut
    """,
    "5 what a job reads is not what others can change": """
        test_context.py::test_what_a_job_does_to_its_file_reaches_nobody_else
        test_context.py::test_files_come_from_and_go_to_urls
        storage/test_local.py::test_objects_are_read_only_and_executable_on_request
    """,
    "6 memory is bounded": """
        leader/test_leader.py::test_finished_jobs_leave_the_leaders_memory
        leader/test_leader.py::test_the_batch_system_has_only_so_many_attempts_at_once
        leader/test_leader.py::test_a_value_that_nobody_needs_any_more_is_deleted
        progress/test_flow.py::test_a_chain_of_jobs_that_each_make_the_next_does_not_grow_in_memory
        progress/test_flow.py::test_a_fan_out_leaves_nothing_once_it_was_consumed
    """,
    "7 the code that runs is the code that was shipped": """
        test_resource.py::test_what_is_not_what_was_saved_is_refused
        test_resource.py::test_a_flipped_byte_is_seen_and_repaired
        worker/test_code.py::test_what_runs_is_what_was_shipped
        acceptance/test_trouble.py::test_workers_run_what_was_shipped_not_what_the_script_became
        acceptance/test_trouble.py::test_code_that_was_changed_in_the_store_does_not_run
    """,
    "8 a failure names itself": """
        leader/test_leader.py::test_an_attempt_that_ended_without_a_report_is_told_in_full
        leader/test_leader.py::test_a_failure_shows_the_end_of_its_log
        leader/test_leader.py::test_lost_attempts_are_not_charged
        progress/test_policy.py::test_what_is_not_the_jobs_fault_is_not_charged_but_limited
        acceptance/test_failures.py::test_what_people_are_told
    """,
    "9 kill means killed": """
        acceptance/test_chaos.py::test_nothing_is_lost_doubled_wrong_or_left
        acceptance/test_kill.py::test_nothing_is_left
        acceptance/test_kill.py::test_jobsys_kill_stops_a_run_which_can_be_resumed
        batch/test_local.py::test_nothing_outlives_the_leader
        batch/test_local.py::test_nothing_outlives_leader_and_host_killed_together
        batch/test_local.py::test_a_daemon_does_not_outlive_its_job
    """,
}


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_are_there(promise):
    for place in PROMISES[promise].split():
        file, name = place.split("::")
        assert re.search(rf"^def {name}\(", (HERE / file).read_text(), re.MULTILINE), f"{place} is gone: who watches promise {promise}?"


def test_4_the_default_is_a_power_cut(workflow, tmp_path):
    """What the leader (whose own store an inline job sees) and the workers write is synced, unless somebody asks for less."""
    flow = workflow("@jobsys.job\ndef main():\n    return jobsys.current()._store.storage.durable\n")
    runs = [
        ("True", []),
        ("True", ["--batch-system", "inline"]),
        ("False", ["--durability", "kill"]),
        ("False", ["--durability", "kill", "--batch-system", "inline"]),
    ]
    for number, (synced, options) in enumerate(runs):
        assert flow.run(*options, store=str(tmp_path / f"store{number}"))[1].strip() == synced, options
