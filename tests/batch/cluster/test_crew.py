"""What becomes of tasks whose leader is not the only one, or has gone."""

import pytest

from jobsys import framing
from jobsys.batch import wire
from jobsys.batch.base import BatchState, BatchUpdate
from jobsys.batch.cluster.book import Wave
from jobsys.batch.cluster.crew import GRACE, Crew
from jobsys.batch.cluster.mail import Letter, Office
from jobsys.batch.cluster.scheduler import Ask
from jobsys.clock import SYSTEM
from jobsys.errors import IntegrityError
from jobsys.requirements import Requirements
from jobsys.storage.memory import MemoryStorage
from jobsys.testing.orders import job


def office() -> Office:
    return Office(MemoryStorage(), "tasks/", lambda wave: wave.encode())


def crew_of(mail: Office, count: int, replaced: bool = False) -> tuple[Crew, Wave]:
    """Give a crew of one wave, each task of which has a job."""
    crew = Crew("pretend", mail, 60.0, SYSTEM, lambda: replaced)
    wave = Wave(Ask("w", count, Requirements(), ""))
    wave.native = "7"
    for part in wave.parts:
        part.add(job(part.number + 1, "echo"))
    crew.add(wave)
    return crew, wave


def test_a_task_to_which_a_replaced_leader_has_written_is_given_up_and_its_jobs_come_back():
    mail = office()
    crew, wave = crew_of(mail, 1)
    (part,) = wave.parts
    part.begun[1] = part.since = 1.0  # type: ignore[assignment]
    mail.write("w", 0, 1, b"of the leader that did not know yet")
    crew.write(part, b"ours")
    crew.write(part, b"more")
    assert crew.unwanted == [part]
    part.ended = 0.0
    crew.bury(GRACE)
    assert [(update.id, update.state) for update in crew.news] == [(1, BatchState.RETURNED)]


def test_the_leader_that_was_replaced_gives_up_nothing():
    mail = office()
    crew, wave = crew_of(mail, 1, replaced=True)
    mail.write("w", 0, 1, b"of the leader that has come")
    with pytest.raises(IntegrityError, match="another leader"):
        crew.write(wave.parts[0], b"ours")
    assert crew.unwanted == []


def test_tasks_that_were_canceled_in_order_before_they_began_say_nothing_of_their_hosts():
    crew, wave = crew_of(office(), 5)
    wave.canceled = True
    for part in wave.parts:
        part.ended = 0.0
    crew.bury(GRACE)
    assert crew.error is None
    assert {update.state for update in crew.news} == {BatchState.RETURNED}


def test_a_service_that_was_up_in_a_canceled_task_is_not_up():
    crew, wave = crew_of(office(), 1)
    wave.canceled = True
    news = [BatchUpdate(1, BatchState.MESSAGE, b"up"), BatchUpdate(1, BatchState.COMPLETED, b"done")]
    crew.open(Letter("key", "w", 0, framing.pack(framing.UPDATES, payload=wire.pack_updates(news))), 0.0)
    assert [update.state for update in crew.news] == [BatchState.COMPLETED]
